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
    // What was asked for was done: nobody is told that it was not, nor that the run goes on.
    env.run(&["resume", &run]).status(2).err("has ended").without("nobody has ended it").without("goes on now");
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

/// A process that is stopped for longer than its lease lives: it is not called dead, and goes on when it is let.
#[test]
fn a_process_that_stands_still_is_not_called_dead_and_goes_on_when_it_is_let() {
    let env = prepared();
    let mut command = env.command(&["exec", "r.toml", "--yes"]);
    command.env("RUNBOOK_TEST_LEASE_MS", "1500").stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("the program starts");
    wait_for_the_copy(&env);
    let run = env.newest_run();
    runbook_tests::send(&child, "STOP");
    wait_for("its lease is over", || env.run(&["show", &run]).stdout.contains("stands still"));
    let pid = child.id();
    env.run(&["show", &run]).status(0).out(&format!("kill -CONT {pid}")).without("nobody executes").without("Interrupted");
    env.run(&["runs"]).status(0).out("standing still").without("interrupted");
    runbook_tests::send(&child, "CONT");
    wait_for("it goes on", || env.run(&["show", &run]).stdout.contains("executed by"));
    runbook_tests::interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!copied(&env), "what was done is undone");
}

#[test]
fn a_cancel_that_died_with_its_process_is_told_to_whoever_resumes_the_run() {
    let env = prepared();
    let mut child = env.spawn(&["exec", "r.toml", "--yes"]);
    wait_for_the_copy(&env);
    let run = env.newest_run();
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    // What `cancel` wrote a moment before. (A process that is stopped may hold the journal, and then nobody can ask.)
    let journal = rusqlite::Connection::open(env.path().join(".local/state/runbook/journal.db")).expect("the journal is there");
    journal.busy_timeout(std::time::Duration::from_secs(5)).expect("it can wait");
    let asked = "insert into cancel_requests (run, executor, at_ns, operator) \
                 select run, '0190aa11-22bb-7c3d-8e4f-5a6b7c8d9e0f', max(at_ns) + 1, 'ada@desk' from events group by run";
    assert_eq!(journal.execute(asked, []).expect("it can be written"), 1);
    let again = env.spawn(&["resume", &run]);
    let by = format!("executed by process {}", again.id());
    wait_for("it goes on", || env.run(&["show", &run]).stdout.contains(&by));
    runbook_tests::interrupt(&again);
    let finished = runbook_tests::env::finish(again.wait_with_output().expect("it ends"));
    finished.status(130).err("ada@desk asked that this run be ended").err(&format!("runbook cancel {run}"));
}
