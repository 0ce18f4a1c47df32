//! A runbook that nests another and a suite, and is guarded: the real program on a real database.

use crate::{home, query_texts};
use runbook_tests::env::TestEnv;

const SHARED: &str = r#"
format = 1
[targets.db]
sql = "sqlite:shop.db"
[targets.out]
files = "out"
access = "write"
"#;

const DAY: &str = r#"
format = 1
include = ["shop.toml"]
[runbook]
name = "day"
title = "Close the day"
[params.day]
type = "string"
required = true
[[guard]]
id = "calm"
uses = "sql:query"
bind.db = "db"
with = { statement = "select count(*) as n from alarms", first_row = { n = 0 } }
every = "100ms"
[[step]]
id = "before"
suite = "checks.toml"
[[step]]
id = "archive"
runbook = "archive.toml"
with = { file = "day-{{ params.day }}.db" }
[[step]]
id = "mark"
uses = "sql:transaction"
bind.db = "db"
with = { statements = ["insert into effects values ('mark')"] }
undo = { uses = "sql:transaction", bind.db = "db", with = { statements = ["delete from effects where name = 'mark'"] } }
"#;

const ARCHIVE: &str = r#"
format = 1
include = ["shop.toml"]
[runbook]
name = "archive"
[params.file]
type = "string"
required = true
[locks]
exclusive = ["db:shop"]
[[preflight]]
id = "intact"
uses = "sqlite:integrity-check"
bind.db = "db"
[[step]]
id = "copy"
uses = "sqlite:backup"
bind = { db = "db", directory = "out" }
with = { file = "{{ params.file }}" }
undo = "auto"
[[step]]
id = "move"
uses = "sql:transaction"
bind.db = "db"
with = { statements = ["insert into effects values ('moved {{ params.file }}')"] }
undo = { uses = "sql:transaction", bind.db = "db", with = { statements = ["delete from effects where name like 'moved%'"] } }
[[verify]]
id = "there"
uses = "sql:query"
bind.db = "db"
with = { statement = "select count(*) as n from effects where name like 'moved%'", first_row = { n = 1 } }
"#;

const CHECKS: &str = r#"
format = 1
include = ["shop.toml"]
[runbook]
name = "checks"
[[check]]
id = "file"
uses = "sqlite:integrity-check"
bind.db = "db"
[[check]]
id = "orders"
depends_on = ["file"]
uses = "sql:query"
bind.db = "db"
with = { statement = "select count(*) as n from orders", first_row = { n = 2 } }
"#;

fn prepared() -> TestEnv {
    let env = home();
    for (name, text) in [
        ("shop.toml", SHARED),
        ("day.toml", DAY),
        ("archive.toml", ARCHIVE),
        ("checks.toml", CHECKS),
    ] {
        env.file(name, text);
    }
    std::fs::create_dir(env.path().join("out")).expect("a folder can be made");
    let tables = "create table effects (name text); create table alarms (n int); create table \
                  orders (n int);";
    database(&env)
        .execute_batch(&format!("{tables} insert into orders values (1), (2);"))
        .expect("tables can be made");
    env
}

fn database(env: &TestEnv) -> rusqlite::Connection {
    rusqlite::Connection::open(env.path().join("shop.db")).expect("the database is there")
}

fn effects(env: &TestEnv) -> Vec<String> {
    query_texts(env, "shop.db", "select name from effects order by name")
}

const EXEC: &[&str] = &["exec", "day.toml", "--set", "day=42"];

#[test]
fn nested_steps_run_with_their_own_parameters_under_the_locks_of_their_file() {
    let env = prepared();
    env.run(EXEC).status(0).out("archive.move").out("4 of 4 steps done").err("lock `db:shop` held");
    assert_eq!(effects(&env), ["mark", "moved day-42.db"]);
    assert!(env.path().join("out/day-42.db").exists());
}

#[test]
fn a_failure_after_a_nested_runbook_undoes_its_steps() {
    let env = prepared();
    env.file(
        "day.toml",
        &DAY.replace("insert into effects values ('mark')", "insert into nowhere values (1)"),
    );
    env.run(EXEC)
        .status(1)
        .err("archive.move: undone")
        .err("archive.copy: undone")
        .err("archive.copy: observed again: as before");
    assert_eq!(effects(&env), [""; 0]);
    assert!(!env.path().join("out/day-42.db").exists());
}

#[test]
fn a_suite_that_fails_stops_the_run_before_anything_is_changed() {
    let env = prepared();
    database(&env).execute_batch("delete from orders").expect("good SQL");
    env.run(EXEC).status(1).out("No step had changed anything").out("1 failed: `orders`");
    assert_eq!(effects(&env), [""; 0]);
}

#[test]
fn a_breached_guard_stops_the_run_before_its_first_step() {
    let env = prepared();
    database(&env).execute_batch("insert into alarms values (1)").expect("good SQL");
    env.run(EXEC).status(1).err("guard calm: breached").out("guard `calm` was breached");
    assert_eq!(effects(&env), [""; 0]);
}

#[test]
fn a_dry_run_asks_every_nested_step_and_changes_nothing() {
    let env = prepared();
    env.run(&[EXEC, &["--dry-run"]].concat())
        .status(0)
        .out("stands for the 2 steps below")
        .out("archive.move")
        .out("3 effects would")
        .without("fail");
    assert_eq!(effects(&env), [""; 0]);
}

#[test]
fn what_a_nested_runbook_may_do_stands_in_the_access_report() {
    let env = prepared();
    env.run(&["review", "day.toml"])
        .out("archive.copy")
        .out("files.write")
        .out("before.orders")
        .out("calm");
}

#[test]
fn a_nested_run_killed_after_any_record_is_completed_once() {
    let whole = prepared();
    whole.run(EXEC).status(0);
    let n_records = records(&whole);
    assert!(n_records > 20, "{n_records} records");
    for stop in 1..n_records {
        let env = prepared();
        let mut command = env.command(EXEC);
        command.env("RUNBOOK_TEST_KILL", format!("record:{stop}"));
        assert!(
            command.output().expect("the program starts").status.code().is_none(),
            "record {stop}: it was to be killed"
        );
        let run = env.newest_run();
        let resumed = env.run(&["resume", &run]);
        if resumed.status == 5 {
            let step = if resumed.stderr.contains("`mark`") { "mark" } else { "archive.move" };
            let is_done = effects(&env)
                .iter()
                .any(|name| name.starts_with(step.trim_start_matches("archive.")));
            let decision = if is_done { "done" } else { "retry" };
            env.run(&["resume", &run, "--decide", &format!("{step}={decision}")]).status(0);
        } else {
            assert_eq!(resumed.status, 0, "record {stop}\n{}\n{}", resumed.stdout, resumed.stderr);
        }
        assert_eq!(effects(&env), ["mark", "moved day-42.db"], "record {stop}");
    }
}

fn records(env: &TestEnv) -> i64 {
    let journal = rusqlite::Connection::open(env.path().join(".local/state/runbook/journal.db"))
        .expect("the journal is there");
    journal.query_row("select count(*) from events", [], |row| row.get(0)).expect("it has records")
}
