//! Hostile text in files, manifests and journals does not reach the terminal of a reader as control
//! sequences or forged lines.

use crate::home;
use runbook_tests::env::ProgramOutput;
use toml::Value;

const RUNBOOK: &str = r#"format = 1
[runbook]
name = "tidy"
title = "Tidy up"
description = "What it is for"
owner = "team"
risk = "reversible"
[params.path]
type = "string"
default = "/health"
help = "Where to look"
[locks]
exclusive = ["orders"]
[targets.api]
http = "http://127.0.0.1:1"
paths = ["/health"]
[targets.shop]
sql = "sqlite:shop.db"
create = true
[[preflight]]
id = "look"
title = "Look first"
uses = "http:get"
bind.target = "api"
with = { path = "{{ params.path }}" }
[[step]]
id = "ask"
title = "Ask somebody"
when = "true"
manual = { instructions = "Look at the graphs", confirm = "seen" }
[[step]]
id = "drop"
uses = "sql:transaction"
bind.db = "shop"
with = { statements = ["delete from t"] }
irreversible = "looked at by two"
approval = { expires = "15m" }
"#;

/// Characters that a TOML string can contain when they are written as escapes.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}1A\r\u{202e}\u{2028}\u{200b}\nFORGED by a line\n\
     ::error::FORGED\n##[error]FORGED";

/// Checks that the output has no control or hidden characters and no forged line.
fn assert_nothing_is_forged(finished: &ProgramOutput, what: &str) {
    for text in [&finished.stdout, &finished.stderr] {
        if let Some(found) = runbook_text::first_hidden(text) {
            panic!("{what}: {} in {text:?}", runbook_text::describe(found.character));
        }
        for line in text.lines() {
            let begin = line.trim_start();
            assert!(
                !begin.starts_with("FORGED") && !begin.starts_with("::") && !line.contains("##["),
                "{what}: {text}"
            );
        }
    }
}

fn collect_pointers(value: &Value, at: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        Value::String(_) => found.push(at.clone()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                at.push(index.to_string());
                collect_pointers(item, at, found);
                at.pop();
            }
        }
        Value::Table(entries) => {
            for (key, value) in entries {
                at.push(key.clone());
                collect_pointers(value, at, found);
                at.pop();
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

/// The runbook with the hostile text appended to the string at `pointer`.
fn with_hostile(runbook: &Value, pointer: &[String]) -> String {
    let mut changed = runbook.clone();
    let mut place = &mut changed;
    for key in pointer {
        place = match place {
            Value::Array(items) => &mut items[key.parse::<usize>().expect("an index")],
            other => other.get_mut(key).expect("it is there"),
        };
    }
    let text = place.as_str().expect("a text").to_owned();
    *place = Value::String("HOSTILE-TEXT-HERE".to_owned());
    let escaped: String = HOSTILE.chars().map(|c| format!("\\U{:08X}", u32::from(c))).collect();
    let written = toml::to_string(&changed)
        .expect("a table")
        .replace("\"HOSTILE-TEXT-HERE\"", &format!("\"{text}{escaped}\""));
    assert!(written.contains("\\U0000001B"), "{written}");
    written
}

#[test]
fn no_hostile_text_of_a_runbook_reaches_the_terminal_of_a_reviewer() {
    let env = home();
    let runbook: Value = toml::from_str(RUNBOOK).expect("TOML");
    env.file("r.toml", RUNBOOK);
    env.run(&["validate", "r.toml"]).status(0);
    env.run(&["plan", "--offline", "r.toml"]).status(0);
    let mut places = Vec::new();
    collect_pointers(&runbook, &mut Vec::new(), &mut places);
    assert!(places.len() >= 25, "{places:?}");
    for place in places {
        env.file("r.toml", &with_hostile(&runbook, &place));
        for command in [
            &["validate", "r.toml"][..],
            &["plan", "--offline", "r.toml"],
            &["review", "r.toml"],
            &["exec", "--no-input", "r.toml"],
        ] {
            assert_nothing_is_forged(&env.run(command), &format!("{place:?} {command:?}"));
        }
    }
}

#[test]
fn a_file_with_hidden_characters_is_refused_and_quoted_as_text() {
    let env = home();
    for hidden in ["\u{1b}[2J", "\u{202e}", "\u{200b}", "\u{9b}1A", "\u{e0041}", "\u{2028}"] {
        env.file("r.toml", &RUNBOOK.replace("Tidy up", &format!("Tidy{hidden} up")));
        for command in [
            &["validate", "r.toml"][..],
            &["plan", "r.toml"],
            &["exec", "r.toml"],
            &["check", "r.toml"],
            &["review", "r.toml"],
        ] {
            let finished = env.run(command).err("E0290").err("r.toml:4:");
            assert_nothing_is_forged(&finished, &format!("{hidden:?} {command:?}"));
        }
    }
}

#[test]
fn a_hostile_file_name_is_printed_as_one_line() {
    let env = home();
    for name in
        ["a\u{1b}[2J.toml", "::error::x\nFORGED.toml", "a\u{202e}b.toml", "-\u{1b}[2J\nFORGED"]
    {
        env.file(name, RUNBOOK);
        for command in ["validate", "plan", "review", "lock", "exec", "check", "fmt"] {
            assert_nothing_is_forged(&env.run(&[command, name]), &format!("{command} {name:?}"));
            assert_nothing_is_forged(
                &env.run(&[command, &format!("./{name}")]),
                &format!("{command} ./{name:?}"),
            );
        }
        env.file(name, "name = [");
        assert_nothing_is_forged(&env.run(&["validate", &format!("./{name}")]), name);
    }
}

/// Hostile text as JSON escapes. It replaces text of the same length in a manifest.
const IN_JSON: &str = "\\u001b[2J\\u202e\\u2028\\n::error::FORGED";

/// The offsets of the texts in the manifest of a component that are at least as long as
/// [`IN_JSON`].
fn texts_of_the_manifest(component: &[u8]) -> Vec<usize> {
    let mark = b"runbook:manifest";
    let begin =
        component.windows(mark.len()).position(|bytes| bytes == mark).expect("it has a manifest")
            + mark.len();
    let mut found = Vec::new();
    for key in [
        "\"name\":\"",
        "\"version\":\"",
        "\"description\":\"",
        "\"summary\":\"",
        "\"reason\":\"",
        "\"const\":\"",
        "\"pattern\":\"",
    ] {
        let places = component[begin..]
            .windows(key.len())
            .enumerate()
            .filter(|(_, bytes)| *bytes == key.as_bytes());
        for text in places.map(|(at, _)| begin + at + key.len()) {
            let end = component[text..]
                .iter()
                .position(|byte| *byte == b'"')
                .map_or(component.len(), |length| text + length);
            let room = &component[text..end];
            if room.len() >= IN_JSON.len() && !room.contains(&b'\\') {
                found.push(text);
            }
        }
    }
    found
}

/// A component from elsewhere is inspected before anybody trusts it, and its manifest may be
/// hostile.
#[test]
fn no_hostile_text_of_a_manifest_reaches_the_terminal() {
    let env = home();
    let mut seen = 0;
    for name in ["sql", "smoke", "disk"] {
        env.run(&["plugin", "export", name, "--output", &format!("{name}-good.wasm")]).status(0);
        let good =
            std::fs::read(env.path().join(format!("{name}-good.wasm"))).expect("it was written");
        let places = texts_of_the_manifest(&good);
        assert!(places.len() >= 3, "{name}: {places:?}");
        for place in places {
            let mut bad = good.clone();
            bad[place..place + IN_JSON.len()].copy_from_slice(IN_JSON.as_bytes());
            std::fs::write(env.path().join("bad.wasm"), &bad).expect("it can be written");
            for command in [
                &["plugin", "inspect", "bad.wasm"][..],
                &["plugin", "inspect", "./bad.wasm:run"],
                &["review", "./bad.wasm"],
            ] {
                assert_nothing_is_forged(
                    &env.run(command),
                    &format!("{name} at {place}: {command:?}"),
                );
            }
            seen += 1;
        }
    }
    assert!(seen >= 15, "only {seen} texts");
}

/// Parameters, answers, rows of a database and names of operators are hostile, and every command
/// that shows a run prints them.
#[test]
fn no_hostile_text_of_a_run_reaches_the_terminal() {
    let env = home();
    let escaped: String = HOSTILE
        .chars()
        .filter(|c| *c != '\'')
        .map(|c| format!("||char({})", u32::from(c)))
        .collect();
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"tidy\"\n[params.note]\ntype = \"string\"\n\
                  required = true\n[targets.shop]\nsql = \"sqlite:shop.db\"\ncreate = true\n\
                  [[step]]\nid = \"look\"\nuses = \"sql:query\"\nbind.db = \"shop\"\n\
                  with = {{ statement = \"select 'x'{escaped} as t\", first_row = {{ t = \"other\" \
                  }} }}\non_failure = \"continue\"\n[[step]]\nid = \"ask\"\n\
                  manual = {{ instructions = \"Look: {{{{ params.note }}}}\", form = {{ what \
                  = \"string\" }} }}\n"
        ),
    );
    rusqlite::Connection::open(env.path().join("shop.db"))
        .expect("it opens")
        .execute_batch("create table t (a)")
        .expect("SQL");
    let note = format!("note={HOSTILE}");
    assert_nothing_is_forged(&env.run(&["exec", "r.toml", "--set", &note]).status(5), "exec");
    let run = env.newest_run();
    assert_nothing_is_forged(
        &env.run(&["answer", &run, "ask", "--set", &format!("what={HOSTILE}")]),
        "answer",
    );
    // Another operator with a hostile name writes to the same journal.
    let journal = rusqlite::Connection::open(env.path().join(".local/state/runbook/journal.db"))
        .expect("it is there");
    journal
        .execute("update runs set operator = ?1, title = ?1", [HOSTILE])
        .expect("it can be changed");
    journal
        .execute(
            "update events set event = json_set(event, '$.by', ?1) where json_extract(event, \
             '$.by') is not null",
            [HOSTILE],
        )
        .expect("it can be changed");
    drop(journal);
    let line = |words: &[&str]| env.run(words);
    for format in ["text", "json", "junit", "markdown", "html", "jsonl"] {
        let finished = line(&["show", &run, "--format", format]).status(0);
        // HTML and JSON have their own escaping rules, which `host/report/tests/hostile` checks.
        for text in [&finished.stdout, &finished.stderr] {
            assert!(runbook_text::first_hidden(text).is_none(), "{format}: {text:?}");
        }
    }
    for words in [
        &["show", &run][..],
        &["show", &run, "--follow"],
        &["runs"],
        &["runs", "--format", "json"],
        &["audit", "show"],
        &["audit", "show", "--json"],
        &["audit", "verify"],
        &["report", &run],
        &["cancel", &run, "--yes"],
        &["undo", &run, "--yes"],
        &["retry", &run, "--from", HOSTILE],
        &["answer", &run, HOSTILE],
        &["approve", &run, HOSTILE],
        &["audit", "show", HOSTILE],
        &["show", HOSTILE],
    ] {
        assert_nothing_is_forged(&line(words), &format!("{words:?}"));
    }
}
