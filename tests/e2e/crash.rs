//! Killed at every write of the journal and resumed: the same final state, no completed step twice.

use crate::home;
use runbook_tests::env::TestEnv;

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "crash"
title = "Killed anywhere"
[targets.db]
sql = "sqlite:crash.db"
[targets.out]
files = "out"
access = "write"
[locks]
exclusive = ["crash"]
[[preflight]]
id = "sound"
uses = "sqlite:integrity-check"
bind.db = "db"
[[step]]
id = "first"
uses = "sql:transaction"
bind.db = "db"
with = { statements = ["insert into effects values ('first')"] }
irreversible = "counted"
[[step]]
id = "copy"
uses = "sqlite:backup"
bind = { db = "db", directory = "out" }
with = { file = "copy.db" }
undo = "auto"
[[step]]
id = "second"
uses = "sql:transaction"
bind.db = "db"
with = { statements = ["insert into effects values ('second')"] }
irreversible = "counted"
[[verify]]
id = "both"
uses = "sql:query"
bind.db = "db"
with = { statement = "select count(*) as n from effects", first_row = { n = 2 } }
"#;

fn prepared() -> TestEnv {
    let env = home();
    env.file("r.toml", RUNBOOK);
    std::fs::create_dir(env.path().join("out")).expect("a folder can be made");
    let database = rusqlite::Connection::open(env.path().join("crash.db")).expect("a database can be made");
    database.execute_batch("create table effects (name text primary key)").expect("a table can be made");
    env
}

fn effects(env: &TestEnv) -> Vec<String> {
    let database = rusqlite::Connection::open(env.path().join("crash.db")).expect("the database is there");
    let mut statement = database.prepare("select name from effects order by name").expect("good SQL");
    statement.query_map([], |row| row.get(0)).expect("the query works").map(|name| name.expect("text")).collect()
}

fn records(env: &TestEnv) -> i64 {
    let path = env.path().join(".local/state/runbook/journal.db");
    let Ok(journal) = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY) else { return 0 };
    journal.query_row("select count(*) from events", [], |row| row.get(0)).unwrap_or(0)
}

#[test]
fn killed_after_each_record_the_run_is_resumed_to_the_same_end() {
    let whole = prepared();
    whole.run(&["exec", "r.toml"]).status(0);
    let n_records = records(&whole);
    assert!(n_records >= 10, "{n_records} records");
    for stop in 1..n_records {
        let env = prepared();
        let mut command = env.command(&["exec", "r.toml"]);
        command.env("RUNBOOK_TEST_KILL_AFTER_RECORD", stop.to_string());
        let killed = command.output().expect("the program starts");
        assert!(
            killed.status.code().is_none(),
            "record {stop}: it was to be killed: {}",
            String::from_utf8_lossy(&killed.stderr)
        );
        assert_eq!(records(&env), stop);
        let runs = env.run(&["runs"]).status(0).stdout;
        let run = runs.split_whitespace().next().expect("there is a run").to_owned();
        let resumed = env.run(&["resume", &run]);
        if resumed.status == 5 {
            // A write that is not idempotent and cannot be observed is never repeated by itself: the operator decides.
            let done = effects(&env);
            let step = if resumed.stderr.contains("`second`") { "second" } else { "first" };
            let decision = if done.iter().any(|name| name == step) { "skip" } else { "retry" };
            env.run(&["resume", &run, "--decide", &format!("{step}={decision}")]).status(0);
        } else {
            assert_eq!(resumed.status, 0, "record {stop}\n{}\n{}", resumed.stdout, resumed.stderr);
        }
        assert_eq!(effects(&env), ["first", "second"], "record {stop}");
        assert!(env.path().join("out/copy.db").exists(), "record {stop}");
        // Nobody holds the lock any more.
        env.run(&["show", &run]).status(0).out("Succeeded");
    }
}
