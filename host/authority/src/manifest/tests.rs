use super::*;
use runbook_document::{Diagnostics, Source};

const VALID_MANIFEST: &str = r#"
format = 1
[plugin]
name = "postgres"
version = "0.1.0"
description = "Checks a database"
[slots.db]
capability = "sql"
verbs = ["query", "execute"]
reason = "reads statistics"
[[operation]]
name = "ping"
kind = "probe"
summary = "connects"
slots = { db = ["query"] }
"#;

fn parse(text: &str) -> Result<Manifest, Vec<String>> {
    let mut diagnostics = Diagnostics::default();
    let manifest = Manifest::parse(&Source::new("plugin.toml", text), &mut diagnostics);
    manifest.ok_or_else(|| {
        diagnostics
            .iter()
            .map(|d| format!("{}: {} {}", d.position().line, d.code, d.message))
            .collect()
    })
}

/// All diagnostics of a text, warnings too: line, code and message.
fn messages(text: &str) -> Vec<String> {
    let mut diagnostics = Diagnostics::default();
    let _ = Manifest::parse(&Source::new("plugin.toml", text), &mut diagnostics);
    diagnostics.iter().map(|d| format!("{}: {} {}", d.position().line, d.code, d.message)).collect()
}

#[test]
fn one_mistake_gives_one_diagnostic() {
    assert_eq!(messages(VALID_MANIFEST), Vec::<String>::new());
    // Each mistake alone, and the only diagnostic that it gives.
    for (good, wrong, expected) in [
        (
            "verbs = [\"query\", \"execute\"]",
            "verbs = [\"qery\"]",
            "9: E0305 `qery` is not a verb of `sql`",
        ),
        (
            "verbs = [\"query\", \"execute\"]",
            "verbs = [\"qery\", \"execute\"]",
            "9: E0305 `qery` is not a verb of `sql`",
        ),
        ("{ db = [\"query\"] }", "{ dbb = [\"query\"] }", "15: E0308 `dbb` is not a slot"),
        ("{ db = [\"query\"] }", "{ db = [\"qery\"] }", "15: E0305 `qery` is not a verb of `sql`"),
        ("capability = \"sql\"", "capability = \"sqll\"", "8: E0304 `sqll` is not a capability"),
    ] {
        let found = messages(&VALID_MANIFEST.replace(good, wrong));
        assert_eq!(found, [expected], "{wrong}");
    }
}

#[test]
fn an_unused_slot_is_reported_at_its_header() {
    let unused = "[slots.other]\ncapability = \"sql\"\nverbs = [\"query\"]\nreason = \"none\"\n\
                  [[operation]]";
    assert_eq!(
        messages(&VALID_MANIFEST.replace("[[operation]]", unused)),
        ["11: E0302 slot `other` is used by no operation"]
    );
}

#[test]
fn a_manifest_is_the_same_after_it_was_written_to_a_section_and_read() {
    let manifest = parse(VALID_MANIFEST).expect("the example is good");
    assert_eq!(
        Manifest::from_section(&manifest.to_section()).expect("own output is readable"),
        manifest
    );
}

#[test]
fn an_operation_that_uses_an_undeclared_verb_is_refused() {
    let errors = parse(&VALID_MANIFEST.replace("[\"query\", \"execute\"]", "[\"execute\"]"))
        .expect_err("`query` is not declared");
    assert_eq!(
        errors,
        ["15: E0311 the operation uses `query` on slot `db`, which declares only `execute`"]
    );
}

#[test]
fn a_probe_that_changes_something_is_refused() {
    let errors = parse(&VALID_MANIFEST.replace("{ db = [\"query\"] }", "{ db = [\"execute\"] }"))
        .expect_err("probes do not write");
    assert_eq!(errors, ["13: E0310 a probe changes nothing, but this one uses verbs that do"]);
}

#[test]
fn a_section_that_claims_less_than_it_uses_is_refused() {
    let mut manifest = parse(VALID_MANIFEST).expect("the example is good");
    manifest.slots.get_mut("db").expect("the slot is there").verbs = vec![Verb::SqlExecute];
    assert!(matches!(
        Manifest::from_section(&manifest.to_section()),
        Err(ManifestError::UndeclaredUse { .. })
    ));
}

/// The path of every text in a JSON value, and the JSON value with `hostile` instead of that text.
fn with_hostile(value: &serde_json::Value, hostile: &str) -> Vec<(String, serde_json::Value)> {
    use serde_json::Value as Json;
    match value {
        Json::String(_) => vec![(String::new(), Json::from(hostile))],
        Json::Array(items) => {
            let hostile_items = |(at, item): (usize, &Json)| {
                let changed = with_hostile(item, hostile).into_iter();
                changed.map(move |(place, item)| {
                    let mut items = items.clone();
                    items[at] = item;
                    (format!("/{at}{place}"), Json::from(items))
                })
            };
            items.iter().enumerate().flat_map(hostile_items).collect()
        }
        Json::Object(entries) => {
            let hostile_entries = |(key, value): (&String, &Json)| {
                let in_value = with_hostile(value, hostile).into_iter().map(|(place, value)| {
                    let mut changed = entries.clone();
                    changed.insert(key.clone(), value);
                    (format!("/{key}{place}"), Json::Object(changed))
                });
                let in_key = entries.iter().map(|(known, value)| {
                    (if known == key { hostile.to_owned() } else { known.clone() }, value.clone())
                });
                in_value
                    .chain([(
                        format!("/{key} itself"),
                        in_key.collect::<serde_json::Map<_, _>>().into(),
                    )])
                    .collect::<Vec<_>>()
            };
            entries.iter().flat_map(hostile_entries).collect()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
    }
}

#[test]
fn a_section_with_a_character_that_cannot_be_shown_is_refused_wherever_it_stands() {
    let mut manifest = parse(VALID_MANIFEST).expect("the example is good");
    let operation = manifest.operations.get_mut("ping").expect("it is there");
    operation.optional = vec!["db".to_owned()];
    operation.input = serde_json::json!({ "title": "T", "properties": { "a": { "description": "two\nlines", "enum": ["x"] } } });
    let section: serde_json::Value =
        serde_json::from_slice(&manifest.to_section()).expect("it is JSON");
    assert!(Manifest::from_section(section.to_string().as_bytes()).is_ok());
    for hostile in [
        "\u{1b}[2J",
        "a\rb",
        "\u{9b}",
        "\u{202e}",
        "\u{2028}",
        "\u{ffff}",
        "\u{200b}",
        "\u{e0041}",
        "\0",
    ] {
        let places = with_hostile(&section, hostile);
        assert!(places.len() > 20, "{}", places.len());
        for (place, value) in places {
            let error = Manifest::from_section(value.to_string().as_bytes()).expect_err(&place);
            let shown = error.to_string();
            assert!(matches!(error, ManifestError::Text { .. }), "{place}: {shown}");
            assert!(runbook_text::first_not_in_line(&shown).is_none(), "{place}: {shown:?}");
        }
    }
}

#[test]
fn names_of_a_section_are_kebab_case() {
    for name in ["../../etc/passwd", "A", "a b", "", "a\\b", "é"] {
        let section =
            String::from_utf8(parse(VALID_MANIFEST).expect("good").to_section()).expect("text");
        for known in ["postgres", "db", "ping"] {
            let changed = section
                .replace(&format!("\"{known}\""), &serde_json::Value::from(name).to_string());
            let error = Manifest::from_section(changed.as_bytes()).expect_err(name);
            assert!(matches!(error, ManifestError::Name { .. }), "{known} as {name:?}: {error}");
        }
    }
}

#[test]
fn a_text_of_a_manifest_with_a_hidden_character_is_refused() {
    for text in ["Checks a database", "reads statistics", "connects", "0.1.0"] {
        let errors = parse(&VALID_MANIFEST.replace(text, "x\\u202Ey")).expect_err(text);
        assert!(errors[0].contains("E0290") && errors[0].contains("U+202E"), "{errors:?}");
    }
}

#[test]
fn a_section_is_refused_for_what_plugin_toml_is_refused_for() {
    type Change = fn(&mut Manifest, &str);
    let changes: [(&str, Change); 5] = [
        ("a name", |manifest, operation| {
            let moved = manifest.operations.remove(operation).expect("it is there");
            manifest.operations.insert("No Name".to_owned(), moved);
        }),
        ("a probe that writes", |manifest, operation| {
            let operation = manifest.operations.get_mut(operation).expect("it is there");
            operation.slots.insert("db".to_owned(), vec![Verb::SqlExecute]);
        }),
        ("a probe that is run once", |manifest, operation| {
            manifest.operations.get_mut(operation).expect("it is there").idempotent = false;
        }),
        ("a probe with an undo", |manifest, operation| {
            manifest.operations.get_mut(operation).expect("it is there").undo = true;
        }),
        ("an optional slot", |manifest, operation| {
            manifest.operations.get_mut(operation).expect("it is there").optional =
                vec!["nobody".to_owned()];
        }),
    ];
    for (what, change) in changes {
        let mut manifest = parse(VALID_MANIFEST).expect("the example is good");
        change(&mut manifest, "ping");
        let error = Manifest::from_section(&manifest.to_section()).expect_err(what);
        assert!(
            matches!(error, ManifestError::Operation { .. } | ManifestError::Name { .. }),
            "{what}: {error}"
        );
    }
    let errors = parse(&VALID_MANIFEST.replace("name = \"ping\"", "name = \"Ping it\""))
        .expect_err("no name");
    assert_eq!(errors, ["12: E0303 operation name `Ping it` is not kebab case"]);
}

const CONDITION: &str = "needed_if = \
     [{ slot = \"db\", verb = \"query\", any_of = [\"a[].b\"], is = \"x\", or_absent = true }]\n";

#[test]
fn a_condition_is_the_same_after_it_was_written_to_a_section_and_read() {
    for test in ["is = \"x\", or_absent = true", "is = true", "is = 3", "is = \"true\"", ""] {
        let written = CONDITION.replace("is = \"x\", or_absent = true", test);
        let manifest = parse(&format!("{VALID_MANIFEST}{written}")).expect("it is good");
        assert_eq!(manifest.operations["ping"].needed_if.len(), 1);
        let read = Manifest::from_section(&manifest.to_section()).expect("own output");
        assert_eq!(read, manifest, "{written}");
    }
}

#[test]
fn a_wrong_condition_is_reported_at_its_position() {
    for (good, wrong, expected) in [
        ("slot = \"db\"", "slot = \"dp\"", "16: E0313 `dp` is not among the operation's slots"),
        (
            "verb = \"query\"",
            "verb = \"execute\"",
            "16: E0313 the operation does not use `execute` on slot `db`",
        ),
        ("[\"a[].b\"]", "[]", "16: E0313 `any_of` names no place of the input"),
        (
            "[\"a[].b\"]",
            "[\"a[0].b\"]",
            "16: E0313 `a[0].b` is no path of an input: write keys with dots between them, and \
             `[]` behind a list, such as `cases[].method`",
        ),
        (
            "is = \"x\"",
            "is = 1.5",
            "16: E0313 `is` must be a text, a whole number, `true` or `false`",
        ),
        ("is = \"x\", ", "", "16: E0313 `or_absent` belongs to `is`, and there is no `is`"),
        ("slot = \"db\", ", "", "16: E0202 condition 1 has no `slot`, which must be a string"),
        (
            "any_of = ",
            "anyof = ",
            "16: E0202 condition 1 has no `any_of`, which must be a list such as `[\"a\", \"b\"]`",
        ),
    ] {
        let found = messages(&format!("{VALID_MANIFEST}{}", CONDITION.replace(good, wrong)));
        assert_eq!(found.first().map(String::as_str), Some(expected), "{wrong}");
    }
}

#[test]
fn a_condition_of_a_section_must_fit_its_operation_and_its_input() {
    type Change = fn(&mut VerbCondition);
    let changes: [(&str, Change); 5] = [
        ("does not use `query` on slot `other`", |condition| {
            condition.slot = "other".to_owned();
        }),
        ("does not use `execute` on slot `db`", |condition| {
            condition.verb = Verb::SqlExecute;
        }),
        ("names no place", |condition| condition.any_of.clear()),
        ("has no key `bb` there", |condition| {
            condition.any_of = vec![InputPath::parse("a[].bb").expect("a path")];
        }),
        ("is never there; it is one of `\"x\"`", |condition| {
            condition.test = ValueTest::Is(Scalar::Text("y".to_owned()));
        }),
    ];
    let mut manifest = parse(&format!("{VALID_MANIFEST}{CONDITION}")).expect("it is good");
    manifest.operations.get_mut("ping").expect("it is there").input = serde_json::json!({
        "type": "object",
        "properties": { "a": { "type": "array", "items": {
            "type": "object",
            "properties": { "b": { "enum": ["x"] }, "bc": {} },
            "additionalProperties": false,
        } } },
    });
    assert!(Manifest::from_section(&manifest.to_section()).is_ok());
    for (expected, change) in changes {
        let mut wrong_manifest = manifest.clone();
        let operation = wrong_manifest.operations.get_mut("ping").expect("it is there");
        change(&mut operation.needed_if[0]);
        let error = Manifest::from_section(&wrong_manifest.to_section()).expect_err(expected);
        assert!(matches!(error, ManifestError::Condition { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    for path in ["a[0]", "", "a..b"] {
        let text = String::from_utf8(manifest.to_section()).expect("JSON");
        let wrong_text = text.replace("\"a[].b\"", &format!("\"{path}\""));
        assert_ne!(wrong_text, text);
        let error = Manifest::from_section(wrong_text.as_bytes()).expect_err(path);
        assert!(error.to_string().contains("is no path of an input"), "{error}");
    }
}

#[test]
fn unknown_names_come_with_the_nearest_known_one() {
    let errors = parse(&VALID_MANIFEST.replace("capability = \"sql\"", "capability = \"sqll\""))
        .expect_err("no such capability");
    assert!(errors[0].contains("`sqll` is not a capability"), "{errors:?}");
}
