//! Each file `tests/wrong/*.toml` has a mistake, and `validate` prints exactly the `.txt` file
//! beside it: where the mistake is, what is wrong, and what to do.
//!
//! The first line of the `.txt` file is the exit code. After a change of a message,
//! `RUNBOOK_BLESS=1` updates these files; read their diff.

use crate::{home, repository};
use std::fmt::Write as _;
use std::fs;

/// The test fails if there are fewer files: then it has not found them.
const MIN_FILES: usize = 80;

#[test]
fn every_wrong_runbook_gets_the_expected_diagnostics() {
    let folder = repository().join("tests/wrong");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= MIN_FILES, "only {} mistakes", files.len());
    let bless = std::env::var_os("RUNBOOK_BLESS").is_some();
    let env = home();
    for entry in fs::read_dir(folder.join("beside")).expect("what some of them nest is there") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        env.file(name, &fs::read_to_string(&path).expect("a runbook"));
    }
    let mut wrong = String::new();
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        env.file(name, &fs::read_to_string(&path).expect("a runbook"));
        let finished = env.run(&["validate", name]);
        let found = format!("exit code {}\n{}", finished.status, finished.stderr);
        let answer = path.with_extension("txt");
        if bless {
            fs::write(&answer, &found).expect("the answer can be written");
        }
        let expected = fs::read_to_string(&answer).unwrap_or_default();
        if found != expected {
            let _ = write!(wrong, "\n{name}\n--- expected\n{expected}--- found\n{found}");
        }
        assert!(finished.status == 2 || finished.status == 6, "{name} is not refused: {found}");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// `validate --format json` has the same findings at the same lines as the text, and matches the
/// published schema.
#[test]
fn json_diagnostics_match_the_text_diagnostics() {
    let folder = repository().join("tests/wrong");
    let env = home();
    for entry in fs::read_dir(folder.join("beside")).expect("what some of them nest is there") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        env.file(name, &fs::read_to_string(&path).expect("a runbook"));
    }
    let schema = fs::read_to_string(repository().join("schema/validation.v1.json"))
        .expect("it is published");
    let schema = serde_json::from_str(&schema).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let mut findings_seen = 0;
    let files = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path());
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        env.file(name, &fs::read_to_string(&path).expect("a runbook"));
        let shown = fs::read_to_string(path.with_extension("txt")).expect("its answer");
        let told = env.run(&["validate", "--format", "json", name]);
        assert!(
            shown.starts_with(&format!("exit code {}\n", told.status)),
            "{name}: exit code {}",
            told.status
        );
        let line: serde_json::Value = serde_json::from_str(&told.stdout).expect("one object");
        assert!(validator.is_valid(&line), "{name}: {line}");
        assert_eq!((&line["ok"], &line["file"]), (&false.into(), &name.into()), "{name}");
        let findings = line["findings"].as_array().expect("a list");
        assert_eq!(findings.is_empty(), line["error"].is_object(), "{name}: {line}");
        for finding in findings {
            let text = |key: &str| finding[key].as_str().unwrap_or_default();
            assert!(shown.contains(text("code")), "{name}: {finding}");
            let place = format!("{}:{}:{}]", text("file"), finding["line"], finding["column"]);
            assert!(shown.contains(&place), "{name}: {place} is not shown: {shown}");
        }
        let errors = findings.iter().filter(|finding| finding["severity"] == "error").count();
        let count_text =
            if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") };
        assert!(
            findings.is_empty() || shown.contains(&count_text),
            "{name}: {count_text} are told: {shown}"
        );
        findings_seen += findings.len();
    }
    assert!(findings_seen > MIN_FILES, "only {findings_seen} findings");
    env.file(
        "good.toml",
        "format = 1\n[runbook]\nname = \"good\"\n[[step]]\nid = \"look\"\n\
         manual = { instructions = \"Look.\" }\n",
    );
    let good: serde_json::Value = serde_json::from_str(
        &env.run(&["validate", "--format", "json", "good.toml"]).status(0).stdout,
    )
    .expect("JSON");
    assert!(validator.is_valid(&good) && good["ok"] == true && good["holds"] == "1 step", "{good}");
}

/// Mistakes of each stage of validation: the correct text in [`RUNBOOK_FOR_MISTAKES`], the wrong
/// text, and the expected code.
const STAGES: &[(&str, &str, &str)] = &[
    // A key.
    ("owner = \"team\"", "ownr = \"team\"", "E0204"),
    // A type.
    ("timeout = \"5m\"", "timeout = 5", "E0203"),
    // A name that another step bears.
    ("needs = [\"look\"]", "needs = [\"lock\"]", "E0210"),
    // A name in a template.
    ("{{ params.which }}", "{{ params.witch }}", "E0212"),
    // A target.
    ("http = \"http://127.0.0.1:1\"", "http = \"127.0.0.1:1\"", "E0103"),
    // A target that is not there.
    ("bind.db = \"shop\" #1", "bind.db = \"shpo\" #1", "E0218"),
    // A slot of a plugin.
    ("bind.db = \"shop\" #2", "bind.bd = \"shop\" #2", "E0111"),
    // An operation of a plugin.
    ("\"sql:query\" #3", "\"sql:qeury\" #3", "E0110"),
    // The input of an operation.
    ("statement = \"select 4\"", "statment = \"select 4\"", "E0230"),
    // What an operation does.
    ("irreversible = \"an example\"", "", "E0221"),
    // Another file.
    ("runbook = \"inner.toml\"", "runbook = \"outer.toml\"", "E0225"),
];

const RUNBOOK_FOR_MISTAKES: &str = r#"format = 1
[runbook]
name = "stages"
owner = "team"
timeout = "5m"
[params.which]
type = "string"
default = "a"
[targets.shop]
sql = "sqlite:shop.db"
[targets.api]
http = "http://127.0.0.1:1"
[[step]]
id = "look"
uses = "sql:query"
bind.db = "shop" #1
with = { statement = "select '{{ params.which }}'" }
[[step]]
id = "two"
uses = "sql:query"
bind.db = "shop" #2
needs = ["look"]
with = { statement = "select 2" }
[[step]]
id = "three"
uses = "sql:query" #3
bind.db = "shop"
with = { statement = "select 3" }
[[step]]
id = "four"
uses = "sql:query"
bind.db = "shop"
with = { statement = "select 4" }
[[step]]
id = "five"
uses = "sql:transaction"
bind.db = "shop"
with = { statements = ["create table t (a)"] }
irreversible = "an example"
[[step]]
id = "six"
uses = "http:get"
bind.target = "api"
[[step]]
id = "seven"
runbook = "inner.toml"
"#;

/// The codes of the errors in an output, sorted, without those of warnings.
fn codes(stderr: &str) -> Vec<String> {
    let mut lines = stderr.lines().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let is_code = line.len() == 5
            && line.starts_with('E')
            && line[1..].bytes().all(|byte| byte.is_ascii_digit());
        let is_error = lines
            .clone()
            .find(|line| !line.trim().is_empty())
            .is_some_and(|line| line.trim_start().starts_with('×'));
        if is_code && is_error {
            found.push(line.to_owned());
        }
    }
    found.sort();
    found
}

#[test]
fn mistakes_of_all_stages_are_reported_together_and_once() {
    let env = home();
    env.file(
        "inner.toml",
        "format = 1\n[runbook]\nname = \"inner\"\n[[step]]\nid = \"a\"\nuses = \"sql:query\"\n\
         bind.db = \"shop\"\nwith = { statement = \"select 1\" }\n",
    );
    env.file("r.toml", RUNBOOK_FOR_MISTAKES);
    env.run(&["validate", "r.toml"]).status(0);
    let answer = |mistakes: &[usize]| {
        let text = mistakes.iter().fold(RUNBOOK_FOR_MISTAKES.to_owned(), |text, mistake| {
            let (good, bad, _) = STAGES[*mistake];
            assert_eq!(text.matches(good).count(), 1, "{good}");
            text.replace(good, bad)
        });
        env.file("r.toml", &text);
        let finished = env.run(&["validate", "r.toml"]).status(2);
        (codes(&finished.stderr), finished.stderr)
    };
    let mut sets: Vec<Vec<usize>> = (0..STAGES.len()).map(|one| vec![one]).collect();
    sets.extend(
        (0..STAGES.len())
            .flat_map(|one| (one + 1..STAGES.len()).map(move |other| vec![one, other])),
    );
    sets.push((0..STAGES.len()).collect());
    for mistakes in sets {
        let mut expected: Vec<String> =
            mistakes.iter().map(|mistake| STAGES[*mistake].2.to_owned()).collect();
        expected.sort();
        let (found, said) = answer(&mistakes);
        assert_eq!(found, expected, "{mistakes:?}\n{said}");
    }
}

/// Every construct that names a field of an output, with `FIELD` in its place; an existing field;
/// and one that the output never has.
const OUTPUT_FIELD_USES: &[(&str, &str, &str)] = &[
    ("[[preflight]]\nid = \"q\"\nQUERYexpect = { FIELD = 1 }\n", "row_count", "row_cont"),
    ("[[step]]\nid = \"q\"\nQUERYexpect = { FIELD = 1 }\n", "row_count", "row_cont"),
    ("[[verify]]\nid = \"q\"\nQUERYexpect = { FIELD = 1 }\n", "row_count", "row_cont"),
    ("[[finally]]\nid = \"q\"\nQUERYexpect = { FIELD = 1 }\n", "row_count", "row_cont"),
    (
        "[[guard]]\nid = \"q\"\nevery = \"5s\"\nQUERYexpect = { FIELD = 1 }\n",
        "row_count",
        "row_cont",
    ),
    ("[[step]]\nid = \"q\"\nQUERYexpect = { row_count = FIELD }\n", "1", "\"1\""),
    ("[[step]]\nid = \"q\"\nQUERYexpect = { truncated = FIELD }\n", "false", "\"no\""),
    ("[[step]]\nid = \"q\"\nQUERYexpect = { rows = FIELD }\n", "[]", "\"none\""),
    (
        "[[step]]\nid = \"q\"\nQUERYexpect = { row_count = { FIELD = { crit = \"1\" } } }\n",
        "crit = \"1\", warn",
        "last",
    ),
    (
        "[[step]]\nid = \"q\"\nQUERYwithin = \"5s\"\nuntil = \"output.FIELD == 1\"\n",
        "row_count",
        "row_cont",
    ),
    (
        "[[step]]\nid = \"q\"\nQUERYwithin = \"5s\"\nuntil = \"output.row_count == FIELD\"\n",
        "1",
        "'1'",
    ),
    (
        "[[step]]\nid = \"q\"\nQUERYwithin = \"5s\"\nuntil = \"outcome == FIELD\"\n",
        "'pass'",
        "'passed'",
    ),
    (
        "[[step]]\nid = \"q\"\nQUERYwithin = \"5s\"\n\
         until = \"'fail' != outcome or outcome in ['warn', FIELD]\"\n",
        "'pass'",
        "'ok'",
    ),
    (
        "[[step]]\nid = \"q\"\nQUERY[[step]]\nid = \"r\"\nwhen = \"steps.q.outcome == FIELD\"\n\
         QUERY",
        "'pass'",
        "'succeeded'",
    ),
    (
        "[[step]]\nid = \"q\"\nQUERY[[step]]\nid = \"r\"\nwhen = \"steps.q.output.FIELD == 1\"\n\
         QUERY",
        "row_count",
        "row_cont",
    ),
    (
        "[[step]]\nid = \"q\"\nQUERY[[step]]\nid = \"r\"\n\
      when = \"steps.q.output.row_count == FIELD\"\nQUERY",
        "1",
        "'one'",
    ),
    (
        "[[step]]\nid = \"s\"\nuses = \"smoke:run\"\nbind.target = \"api\"\n\
         with.cases = [{ name = \"a\", path = \"/\" }]\nexpect = { FIELD = 1 }\n",
        "passed",
        "pass",
    ),
    ("[[check]]\nid = \"q\"\nQUERYexpect = { FIELD = 1 }\n", "row_count", "row_cont"),
    // The output of a manual step has the fields of its form, and the choice.
    ("ASKED[[step]]\nid = \"r\"\nwhen = \"steps.ask.output.FIELD\"\nQUERY", "yes", "form.yes"),
    (
        "ASKED[[step]]\nid = \"r\"\nwhen = \"steps.ask.output.choice == FIELD\"\nQUERY",
        "'stop'",
        "'stopp'",
    ),
    ("ASKED[[step]]\nid = \"r\"\nwhen = \"steps.ask.output.yes == FIELD\"\nQUERY", "true", "'yes'"),
    ("ASKED[[step]]\nid = \"r\"\nwhen = \"steps.ask.output.FIELD > 1\"\nQUERY", "whole", "confirm"),
    (
        "ASKED[[step]]\nid = \"r\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
      with = { statement = \"select '{{ steps.ask.output.FIELD }}'\" }\n",
        "text",
        "txt",
    ),
    (
        "ASKED[[step]]\nid = \"r\"\nQUERY[[notify]]\non = [\"failed\"]\nuses = \"webhook:post\"\n\
         bind.webhook = \"api\"\nwith = { json = { text = \"{{ steps.ask.output.FIELD }}\" } }\n",
        "part",
        "text.x",
    ),
    (
        "ASKED[[step]]\nid = \"t\"\n\
         manual = { instructions = \"see {{ steps.ask.output.FIELD }}\" }\n",
        "choice",
        "choices",
    ),
    (
        "[[step]]\nid = \"t\"\nmanual = { instructions = \"look\", confirm = \"yes\" }\n[[step]]\n\
         id = \"r\"\nwhen = \"steps.t.FIELD\"\nQUERY",
        "output",
        "output.confirm",
    ),
];

/// A manual step with a form field of each type.
const ASKED: &str = "[[step]]\nid = \"ask\"\n\
                     manual = \
                     { instructions = \"look\", form = { yes = \"bool\", whole = \"int\", part = \"float\", text = \"string\" }, choices = [\"go\", \"stop\"] }\n";

#[test]
fn an_impossible_output_field_or_value_is_reported_in_every_section() {
    let env = home();
    let head = "format = 1\n[runbook]\nname = \"doors\"\n[targets.api]\n\
                http = \"http://127.0.0.1:1\"\n[targets.db]\nsql = \"sqlite:w.db\"\n";
    let query = "uses = \"sql:query\"\nbind.db = \"db\"\nwith = { statement = \"select 1\" }\n";
    for (field_use, good, bad) in OUTPUT_FIELD_USES {
        let guarded =
            if field_use.starts_with("[[guard]]") { "[[step]]\nid = \"x\"\nQUERY" } else { "" };
        let text = |field: &str| {
            format!("{head}{field_use}{guarded}")
                .replace("QUERY", query)
                .replace("ASKED", ASKED)
                .replace("FIELD", field)
        };
        if !good.contains("crit") {
            env.file("r.toml", &text(good));
            let finished = env.run(&["validate", "r.toml"]);
            assert!(
                finished.status == 0 && !finished.stderr.contains("E0234"),
                "{field_use}: {}",
                finished.stderr
            );
        }
        env.file("r.toml", &text(bad));
        let finished = env.run(&["validate", "r.toml"]);
        assert_eq!(
            (finished.status, codes(&finished.stderr)),
            (2, vec!["E0234".to_owned()]),
            "{field_use}: {}",
            finished.stderr
        );
    }
}

#[test]
fn every_input_mistake_is_reported_at_its_key() {
    let env = home();
    let head = "format = 1\n[runbook]\nname = \"inputs\"\n[params.name]\ntype = \"string\"\n\
                default = \"a\"\n[params.count]\ntype = \"int\"\ndefault = 1\n[targets.api]\n\
                http = \"http://127.0.0.1:1\"\n[targets.db]\nsql = \"sqlite:w.db\"\n[[preflight]]\n\
                id = \"q\"\n";
    let sql = "uses = \"sql:query\"\nbind.db = \"db\"\n";
    let http = "uses = \"http:get\"\nbind.target = \"api\"\n";
    let smoke = "uses = \"smoke:run\"\nbind.target = \"api\"\n";
    let cases: &[(&str, &str, &[&str])] = &[
        (
            sql,
            "{ statment = \"select 1\", row_count = \"1\" }",
            &[
                ":18:10]",
                "did you mean `statement`?",
                ":18:45]",
                "`/row_count`: it must be: whole number",
            ],
        ),
        (
            sql,
            "{ statement = \"select 1\", row_count = \"{{ params.name }}\" }",
            &["`params.name` is of type string; give it `type = \"int\"`"],
        ),
        (sql, "{ statement = \"{{ params.count }}\" }", &["{{ params.count | string }}"]),
        (sql, "{ row_count = 1 }", &["it needs `statement` (text)"]),
        (
            http,
            "{ status = \"200\", warn = \"3\" }",
            &["whole number | list of whole number", "duration, such as \"5m\""],
        ),
        (http, "{ patth = \"/\", stats = 1 }", &["did you mean `path`?", "did you mean `status`?"]),
        (
            smoke,
            "{ cases = [{ name = \"a\", path = \"/\", expct = {} }] }",
            &["`/cases/0`: there is no key `expct`", "did you mean `expect`?"],
        ),
        (smoke, "{ cases = [{}] }", &["`/cases/0`: it needs `name` (text), `path` (text)"]),
    ];
    for (uses, with, said) in cases {
        env.file("r.toml", &format!("{head}{uses}with = {with}\n"));
        let finished = env.run(&["validate", "r.toml"]).status(2);
        let shown = finished
            .stderr
            .split_whitespace()
            .filter(|word| *word != "│")
            .collect::<Vec<_>>()
            .join(" ");
        for said in *said {
            assert!(shown.contains(said), "`{said}` is not said of {with}:\n{}", finished.stderr);
        }
    }
}

/// A list or map, a template that reads a field of its items, and the message if an item lacks the
/// field.
const ITEMS: &[(&str, &str, Option<&str>)] = &[
    ("[{ id = 1, host = \"a\" }, { id = 2, host = \"b\" }]", "item.host", None),
    (
        "[{ id = 1, host = \"a\" }, { id = 2, host = \"b\" }]",
        "item.hots",
        Some("item 1 of `for_each` has no `hots`"),
    ),
    (
        "[{ id = 1, host = \"a\" }, { id = 2 }]",
        "item.host",
        Some("item 2 of `for_each` has no `host`"),
    ),
    ("[{ id = 1, host = \"a\" }, { id = 2 }]", "item.host | default('x')", None),
    ("[{ id = { a = 1 } }]", "item.id.a", None),
    ("[{ id = { a = 1 } }]", "item.id.b", Some("item 1 of `for_each` has no `b`")),
    ("[\"a\", \"b\"]", "item", None),
    ("[\"a\", \"b\"]", "item.id", Some("item 1 of `for_each` has no `id`")),
    ("[\"{{ params.any }}\", \"{{ params.any }}x\"]", "item.id", None),
    ("{ a = { port = 1 }, b = { port = 2 } }", "item.key", None),
    ("{ a = { port = 1 }, b = { port = 2 } }", "item.value.port", None),
    (
        "{ a = { port = 1 }, b = { prot = 2 } }",
        "item.value.port",
        Some("`b` of `for_each` has no `port`"),
    ),
    ("{ a = { port = 1 } }", "item.port", Some("an item of the map `for_each` has no `port`")),
];

#[test]
fn missing_fields_of_items_and_constant_item_keys_are_reported() {
    let env = home();
    let head = "format = 1\n[runbook]\nname = \"items\"\n[params.any]\ntype = \"string\"\n\
                default = \"a\"\n[targets.db]\nsql = \"sqlite:w.db\"\n[[step]]\nid = \"each\"\n\
                uses = \"sql:query\"\nbind.db = \"db\"\n";
    for (items, read, said) in ITEMS {
        env.file(
            "r.toml",
            &format!(
                "{head}for_each = {items}\nwith = {{ statement = \"select '{{{{ {read} }}}}'\" }}\n"
            ),
        );
        let finished = env.run(&["validate", "r.toml"]);
        match said {
            None => finished.status(0).without("for_each"),
            Some(said) => finished.status(2).err("E0212").err(said),
        };
    }
    let key = |key: &str| {
        let with = "with = { statement = \"select '{{ item.id }}'\" }\n";
        env.file("r.toml", &format!("{head}for_each = [{{ id = 1 }}]\nkey = \"{key}\"\n{with}"));
        env.run(&["validate", "r.toml"]).status(0)
    };
    key("{{ item.id }}").without("`key`");
    key("{{ params.any }}-{{ item.id }}").without("`key`");
    key("item.id").err("the same for every item").err("write `{{ item.id }}`");
    key("{{ params.any }}").err("the same for every item");
}
