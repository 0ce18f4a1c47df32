//! `runbook cancel`: a run is ended in order by somebody else, or by anybody if nobody executes it.

use crate::home;
use runbook_tests::env::TestEnv;
use runbook_tests::wait_for;

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "cancelled"
[targets.db]
sql = "sqlite:work.db"
[targets.out]
files = "out"
access = "write"
[locks]
exclusive = ["cancelled"]
[[step]]
id = "copy"
uses = "sqlite:backup"
bind = { db = "db", directory = "out" }
with.file = "copy.db"
undo = "auto"
[[step]]
id = "wait"
uses = "sql:query"
bind.db = "db"
with = { statement = "select 1 as n", row_count = 2 }
until = "outcome == 'pass'"
every = "100ms"
within = "60s"
"#;

fn prepared() -> TestEnv {
    let env = home();
    std::fs::create_dir(env.path().join("out")).expect("a folder can be made");
    rusqlite::Connection::open(env.path().join("work.db")).expect("a file").execute_batch("vacuum").expect("a database");
    env.file("r.toml", RUNBOOK);
    env
}

fn copied(env: &TestEnv) -> bool {
    env.path().join("out/copy.db").exists()
}

/// Waits until the copy is made and recorded: killed before that, its outcome would be unknown.
fn wait_for_the_copy(env: &TestEnv) {
    wait_for("the copy is made", || copied(env));
    wait_for("it is recorded", || env.run(&["show", &env.newest_run()]).stdout.contains("✓ copy"));
}

#[test]
fn whoever_executes_it_ends_it_in_order() {
    let env = prepared();
    let child = env.spawn(&["exec", "r.toml", "--yes"]);
    wait_for_the_copy(&env);
    let run = env.newest_run();
    env.run(&["cancel", &run]).status(0).err("was asked to end run");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!copied(&env), "what was done is undone");
    env.run(&["show", &run]).status(0).out("Cancelled.");
    env.run(&["cancel", &run]).status(2).err("has ended");
}

#[test]
fn a_run_that_nobody_executes_any_more_is_ended_from_here() {
    let env = prepared();
    let mut child = env.spawn(&["exec", "r.toml", "--yes"]);
    wait_for_the_copy(&env);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let run = env.newest_run();
    env.run(&["cancel", &run, "--yes"]).status(0).out("Cancelled.");
    assert!(!copied(&env), "what was done is undone");
    // The lock is free again.
    env.run(&["runs"]).status(0).out("undone");
}
