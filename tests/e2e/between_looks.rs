//! Whoever tells how a run stands reads its record and its lease, one after the other. A run that
//! ends between the two is told as ended: it was not interrupted.

use crate::home;
use runbook_tests::env::{Finished, TestEnv, finish};
use runbook_tests::running::Running;
use runbook_tests::{send, wait_for};
use std::process::Stdio;

const ID: &str = "0197a5c4-0000-4000-8000-00000000beef";

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "short"
[targets.db]
sql = "sqlite:n.db"
[[step]]
id = "look"
uses = "sql:query"
bind.db = "db"
with = { statement = "select 1 as n", row_count = 1 }
"#;

/// Every command that tells how a run stands, and at which of its looks the run ends.
const READERS: [(&[&str], &str); 8] = [
    (&["runs"], "looked:1"),
    (&["runs", "--format", "json"], "looked:1"),
    (&["runs", "--state", "succeeded"], "looked:1"),
    (&["show", ID], "looked:1"),
    (&["show", ID, "--format", "json"], "looked:1"),
    (&["show", ID, "--follow"], "looked:2"),
    (&["exec", "r.toml", "-y", "--run-id", ID], "looked:1"),
    (&["cancel", ID, "--yes"], "looked:1"),
];

/// Starts the program, and returns when it stands still at the moment.
fn stopped(env: &TestEnv, arguments: &[&str], moment: &str) -> Running {
    let mut command = env.command(arguments);
    command.env("RUNBOOK_TEST_STOP", moment).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = Running::start(&mut command);
    wait_for(&format!("{arguments:?} stands still at {moment}"), || running.stands_still());
    running
}

fn go_on(running: Running) -> Finished {
    send(&running, "CONT");
    finish(running.wait_with_output().expect("it ends"))
}

#[test]
fn a_run_that_ends_between_the_looks_of_a_reader_is_told_as_ended() {
    let env = home();
    rusqlite::Connection::open(env.path().join("n.db"))
        .expect("a file")
        .execute_batch("create table n (n)")
        .expect("made");
    env.file("r.toml", RUNBOOK);
    let run = stopped(&env, &["exec", "r.toml", "-y", "--run-id", ID], "record:2");
    let readers = READERS.map(|(arguments, moment)| (arguments, stopped(&env, arguments, moment)));
    go_on(run).status(0);
    for (arguments, reader) in readers {
        let told = go_on(reader)
            .without("nterrupted\":true")
            .without("Interrupted")
            .without("nobody executes");
        match arguments[0] {
            "cancel" => told.status(2).err("has ended, so there is nothing to cancel"),
            "runs" => told.status(0).out("succeeded").without("interrupted "),
            _ => told.status(0).out("ucceeded"),
        };
    }
}
