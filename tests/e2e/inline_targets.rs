//! A target that is written inline in `bind` is checked, shown and locked like a named target.

use crate::home;
use runbook_tests::env::TestEnv;
use rusqlite::Connection;
use serde_json::Value;

const HEAD: &str = "format = 1\n[runbook]\nname = \"site\"\n";

/// The section of a call, and its text with `BIND` (or `UNDO`) in place of its `bind`.
const CALLS: &[(&str, &str)] = &[
    (
        "preflight",
        "[[preflight]]\nid = \"look\"\nuses = \"sql:query\"\nBIND\nwith = { statement = \"select 1\" }\n",
    ),
    (
        "step",
        "[[step]]\nid = \"look\"\nuses = \"sql:query\"\nBIND\nwith = { statement = \"select 1\" }\n",
    ),
    (
        "verify",
        "[[verify]]\nid = \"look\"\nuses = \"sql:query\"\nBIND\nwith = { statement = \"select 1\" }\n",
    ),
    (
        "finally",
        "[[finally]]\nid = \"look\"\nuses = \"sql:query\"\nBIND\nwith = { statement = \"select 1\" }\n",
    ),
    (
        "guard",
        "[[guard]]\nid = \"look\"\nuses = \"sql:query\"\nBIND\nwith = { statement = \"select 1\" }\nevery = \"1s\"\n",
    ),
    (
        "undo",
        "[[step]]\nid = \"change\"\nuses = \"sql:execute\"\nbind.db = \"named\"\n\
         with = { statement = \"delete from t\" }\n\
         undo = { uses = \"sql:execute\", UNDO, with.statement = \"insert into t values (1)\" }\n",
    ),
];

const NAMED: &str = "[targets.named]\nsql = \"sqlite:named.db\"\n";

/// A runbook with the call, bound by `bind`, and a step that uses the named target.
fn runbook(call: &str, bind: &str, targets: &str) -> String {
    let call = call.replace("BIND", bind).replace("UNDO", bind);
    let other = "[[step]]\nid = \"other\"\nuses = \"sql:query\"\nbind.db = \"named\"\n\
                 with = { statement = \"select 1\" }\n";
    format!("{HEAD}{NAMED}{targets}{other}{call}")
}

fn prepared() -> TestEnv {
    let env = home();
    for name in ["named.db", "placed.db"] {
        Connection::open(env.path().join(name))
            .and_then(|db| db.execute_batch("create table t (n); insert into t values (1)"))
            .expect("made");
    }
    env
}

/// The sentences in the review of a file about what each slot may do.
fn sentences(env: &TestEnv, file: &str) -> Vec<String> {
    let review = env.run(&["review", file, "--format", "json"]);
    let review: Value = serde_json::from_str(&review.stdout).expect("JSON");
    let mut found = Vec::new();
    collect(&review, &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(sentence)) = members.get("sentence") {
                found.push(sentence.clone());
            }
            members.values().for_each(|member| collect(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn an_inline_target_is_granted_like_a_named_one_in_every_section() {
    let env = prepared();
    for (name, call) in CALLS {
        env.file("placed.toml", &runbook(call, "bind.db = { sql = \"sqlite:placed.db\" }", ""));
        let by_name = "[targets.placed]\nsql = \"sqlite:placed.db\"\n";
        env.file("by-name.toml", &runbook(call, "bind.db = \"placed\"", by_name));
        let placed = sentences(&env, "placed.toml");
        assert!(placed.iter().any(|sentence| sentence.contains("placed.db")), "{name}: {placed:?}");
        assert_eq!(placed, sentences(&env, "by-name.toml"), "{name}");
        env.run(&["exec", "placed.toml", "-y"]).status(0);
    }
}

#[test]
fn a_suite_can_check_an_inline_target() {
    let env = prepared();
    let check = "[[check]]\nid = \"rows\"\nuses = \"sql:query\"\n\
                 bind.db = { sql = \"sqlite:placed.db\" }\n\
                 with = { statement = \"select n from t\", row_count = 1 }\n";
    env.file("s.toml", &format!("{HEAD}{check}"));
    env.run(&["check", "s.toml"]).status(0);
    // The same inline target twice in one run is one target; another address is another target.
    let outer = "format = 1\n[runbook]\nname = \"outer\"\n[[step]]\nid = \"a\"\nsuite = \"s.toml\"\n\
                 [[step]]\nid = \"b\"\nsuite = \"s.toml\"\n\
                 [[step]]\nid = \"rows\"\nuses = \"sql:query\"\n\
                 bind.db = { sql = \"sqlite:named.db\" }\nwith = { statement = \"select 1\" }\n";
    env.file("outer.toml", outer);
    env.run(&["exec", "outer.toml", "-y"]).status(0);
}

#[test]
fn a_mistake_in_an_inline_target_is_reported_at_its_line() {
    let env = prepared();
    let at_line = |bind: &str, expected: &str| {
        let call = CALLS[1].1;
        env.file("r.toml", &runbook(call, bind, ""));
        let line = runbook(call, bind, "").lines().position(|line| line == bind).expect("there");
        let place = format!("r.toml:{}", line + 1);
        let said = env.run(&["validate", "r.toml"]).stderr;
        assert!(said.contains(&place) && said.contains(expected), "{bind}: {said}");
    };
    at_line("bind.db = { sql = \"sqlite:x.db\", max_rowz = 3 }", "max_rowz");
    at_line("bind.db = { http = \"https://x.internal\" }", "http");
    at_line("bind.db = { }", "target");
    at_line("bind.db = 3", "the name of a target, or a target");
}

#[test]
fn boundary_and_lockfile_apply_to_inline_targets() {
    let env = prepared();
    let text = runbook(CALLS[1].1, "bind.db = { sql = \"sqlite:placed.db\" }", "");
    env.file("r.toml", &text);
    let allow = |file: &str| {
        let path = env.path().join(file).display().to_string();
        format!("[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\nfiles = [\"{path}\"]\n")
    };
    env.file("narrow.toml", &format!("format = 1\n{}", allow("named.db")));
    env.file("wide.toml", &format!("format = 1\n{}{}", allow("named.db"), allow("placed.db")));
    let refused = env.run(&["exec", "r.toml", "-y", "--boundary", "narrow.toml"]);
    assert_ne!(refused.status, 0, "{}", refused.stdout);
    env.run(&["exec", "r.toml", "-y", "--boundary", "wide.toml"]).status(0);
    env.run(&["lock", "r.toml"]).status(0);
    env.file("r.toml", &text.replace("sqlite:placed.db", "sqlite:other.db"));
    assert_ne!(env.run(&["exec", "r.toml", "-y"]).status, 0, "another database was not reviewed");
}
