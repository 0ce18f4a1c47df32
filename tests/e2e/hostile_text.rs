//! A file that somebody else wrote tries to be more than text, on the way through the whole program: who reviews it is not attacked.

use crate::home;
use runbook_tests::env::Finished;
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

/// What a text of TOML may hold when it is written with escapes.
const HOSTILE: &str =
    "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}1A\r\u{202e}\u{2028}\u{200b}\nFORGED by a line\n::error::FORGED\n##[error]FORGED";

/// Nothing steers the terminal, and no line is forged.
fn assert_is_text(finished: &Finished, what: &str) {
    for text in [&finished.stdout, &finished.stderr] {
        if let Some(found) = runbook_text::first_hidden(text) {
            panic!("{what}: {} in {text:?}", runbook_text::describe(found.character));
        }
        for line in text.lines() {
            let begin = line.trim_start();
            assert!(!begin.starts_with("FORGED") && !begin.starts_with("::") && !line.contains("##["), "{what}: {text}");
        }
    }
}

fn pointers(value: &Value, at: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        Value::String(_) => found.push(at.clone()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                at.push(index.to_string());
                pointers(item, at, found);
                at.pop();
            }
        }
        Value::Table(entries) => {
            for (key, value) in entries {
                at.push(key.clone());
                pointers(value, at, found);
                at.pop();
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

/// The runbook with the hostile text behind the one at this place.
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
    let written = toml::to_string(&changed).expect("a table").replace("\"HOSTILE-TEXT-HERE\"", &format!("\"{text}{escaped}\""));
    assert!(written.contains("\\U0000001B"), "{written}");
    written
}

#[test]
fn no_text_of_a_runbook_reaches_the_terminal_of_who_reviews_it_as_more_than_text() {
    let env = home();
    let runbook: Value = toml::from_str(RUNBOOK).expect("TOML");
    env.file("r.toml", RUNBOOK);
    env.run(&["validate", "r.toml"]).status(0);
    env.run(&["plan", "--offline", "r.toml"]).status(0);
    let mut places = Vec::new();
    pointers(&runbook, &mut Vec::new(), &mut places);
    assert!(places.len() >= 25, "{places:?}");
    for place in places {
        env.file("r.toml", &with_hostile(&runbook, &place));
        for command in [
            &["validate", "r.toml"][..],
            &["plan", "--offline", "r.toml"],
            &["audit", "r.toml"],
            &["exec", "--no-input", "r.toml"],
        ] {
            assert_is_text(&env.run(command), &format!("{place:?} {command:?}"));
        }
    }
}

#[test]
fn a_file_with_what_is_not_seen_is_refused_and_quoted_as_text() {
    let env = home();
    for hidden in ["\u{1b}[2J", "\u{202e}", "\u{200b}", "\u{9b}1A", "\u{e0041}", "\u{2028}"] {
        env.file("r.toml", &RUNBOOK.replace("Tidy up", &format!("Tidy{hidden} up")));
        for command in
            [&["validate", "r.toml"][..], &["plan", "r.toml"], &["exec", "r.toml"], &["check", "r.toml"], &["audit", "r.toml"]]
        {
            let finished = env.run(command).err("E0290").err("r.toml:4:");
            assert_is_text(&finished, &format!("{hidden:?} {command:?}"));
        }
    }
}

#[test]
fn the_name_of_a_file_is_one_line_of_text() {
    let env = home();
    for name in ["a\u{1b}[2J.toml", "::error::x\nFORGED.toml", "a\u{202e}b.toml", "-\u{1b}[2J\nFORGED"] {
        env.file(name, RUNBOOK);
        for command in ["validate", "plan", "audit", "lock", "exec", "check", "fmt"] {
            assert_is_text(&env.run(&[command, name]), &format!("{command} {name:?}"));
            assert_is_text(&env.run(&[command, &format!("./{name}")]), &format!("{command} ./{name:?}"));
        }
        env.file(name, "name = [");
        assert_is_text(&env.run(&["validate", &format!("./{name}")]), name);
    }
}
