//! Known mistakes of other tools, and tests that the real program does not make them.
//! `docs/traps.md` lists them.

use crate::{home, query_texts};
use runbook_tests::env::TestEnv;
use std::os::unix::fs::PermissionsExt as _;

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "trap"
[params.word]
type = "string"
default = "one"
[targets.db]
sql = "sqlite:work.db"
[[step]]
id = "make"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into effects values ('{{ params.word }}')"]
undo = { uses = "sql:transaction", bind = { db = "db" }, with = { statements = ["delete from effects where name = '{{ params.word }}'"] } }
[[step]]
id = "look"
uses = "sql:query"
bind.db = "db"
with.statement = "select max(name) as name from effects"
"#;

fn prepared(runbook: &str) -> TestEnv {
    let env = home();
    database(&env).execute_batch("create table effects (name text not null)").expect("good SQL");
    env.file("r.toml", runbook);
    env
}

fn database(env: &TestEnv) -> rusqlite::Connection {
    rusqlite::Connection::open(env.path().join("work.db")).expect("a database can be made")
}

fn journal(env: &TestEnv) -> rusqlite::Connection {
    rusqlite::Connection::open(env.path().join(".local/state/runbook/journal.db"))
        .expect("the journal is there")
}

fn effects(env: &TestEnv) -> Vec<String> {
    query_texts(env, "work.db", "select name from effects order by name")
}

#[test]
fn a_verify_that_fails_is_never_exit_code_0() {
    let verify = "[[verify]]\nid = \"two\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
                  with = \
                  { statement = \"select count(*) as n from effects\", first_row = { n = 2 } }\n";
    let env = prepared(&format!("{RUNBOOK}{verify}"));
    env.run(&["exec", "r.toml", "--yes"])
        .status(1)
        .out("Failed.")
        .out("verify `two` failed")
        .without("Succeeded");
    assert!(effects(&env).is_empty());
}

#[test]
fn undo_needs_a_named_run_and_happens_once() {
    let env = prepared(RUNBOOK);
    env.run(&["exec", "r.toml", "--yes", "--set", "word=first"]).status(0);
    env.run(&["exec", "r.toml", "--yes", "--set", "word=second"]).status(0);
    env.run(&["undo"]).status(2).err("RUN");
    env.run(&["undo", "0"]).status(2).err("runbook runs");
    assert_eq!(effects(&env), ["first", "second"], "nobody said which");
    let second = env.newest_run();
    env.run(&["undo", &second, "--yes"]).status(0);
    assert_eq!(effects(&env), ["first"]);
    env.run(&["undo", &second, "--yes"]).without("removed");
    assert_eq!(effects(&env), ["first"]);
}

#[test]
fn a_record_that_cannot_be_read_stops_its_own_run_only() {
    let env = prepared(RUNBOOK);
    env.run(&["exec", "r.toml", "--yes"]).status(0);
    let broken = env.newest_run();
    journal(&env)
        .execute("update events set event = 'garbage' where seq = 3", [])
        .expect("it can be damaged");
    env.run(&["show", &broken]).status(3).err(&broken).without("Succeeded");
    env.run(&["undo", &broken, "--yes"]).status(3);
    assert_eq!(effects(&env), ["one"], "nothing is done by a journal that cannot be understood");
    // Other runs are not affected.
    env.run(&["runs"]).status(0).out(&broken);
    env.run(&["exec", "r.toml", "--yes", "--set", "word=two"]).status(0);
    env.run(&["show", &env.newest_run()]).status(0).out("Succeeded");
}

#[test]
fn a_resumed_run_uses_the_text_that_it_began_with() {
    let killed = |env: &TestEnv| {
        let mut command = env.command(&["exec", "r.toml", "--yes"]);
        command.env("RUNBOOK_TEST_KILL", "record:5");
        assert_eq!(
            command.output().expect("the program starts").status.code(),
            None,
            "it is killed"
        );
        env.newest_run()
    };
    // The journal has the text of the runbook, so a later change of the file has no effect.
    let env = prepared(RUNBOOK);
    let run = killed(&env);
    env.file("r.toml", &RUNBOOK.replace("max(name)", "min(name)"));
    env.run(&["resume", &run]).status(0);
    let shown = env.run(&["show", &run, "--format", "json"]).status(0).stdout;
    assert!(shown.contains("\"one\""), "{shown}");
    // With `--accept-changes`, the new text is used.
    let env = prepared(RUNBOOK);
    let run = killed(&env);
    env.file("r.toml", &RUNBOOK.replace("max(name)", "min(name)"));
    env.run(&["resume", &run, "--accept-changes"]).status(0);
}

#[test]
fn a_run_sees_nothing_of_another() {
    let env = prepared(RUNBOOK);
    env.run(&["exec", "r.toml", "--yes", "--set", "word=from-the-first"]).status(0);
    let first = env.newest_run();
    database(&env).execute("delete from effects", []).expect("good SQL");
    env.run(&["exec", "r.toml", "--yes"]).status(0);
    let second = env.newest_run();
    assert_ne!(first, second);
    env.run(&["show", &second, "--format", "json"]).status(0).without("from-the-first");
}

#[test]
fn journal_and_audit_log_are_private() {
    let env = prepared(RUNBOOK);
    env.run(&["exec", "r.toml", "--yes"]).status(0);
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o077
    };
    let mut open = vec![env.path().join(".local/state/runbook")];
    let mut seen = 0;
    while let Some(folder) = open.pop() {
        assert_eq!(mode(&folder), 0, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).expect("it can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                assert_eq!(mode(&path), 0, "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 2, "a journal and an audit log");
}
