//! A command that shows a run reads its record and its lease one after the other. A run that ends
//! between the two reads is reported as ended, not as interrupted.

use crate::home;
use runbook_tests::env::{ProgramOutput, TestEnv, finish};
use runbook_tests::running::RunningProgram;
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

/// Every command that shows the state of a run, and the read during which the run ends.
const READERS: [(&[&str], &str); 8] = [
    (&["runs"], "run-read:1"),
    (&["runs", "--format", "json"], "run-read:1"),
    (&["runs", "--state", "succeeded"], "run-read:1"),
    (&["show", ID], "run-read:1"),
    (&["show", ID, "--format", "json"], "run-read:1"),
    (&["show", ID, "--follow"], "run-read:2"),
    (&["exec", "r.toml", "-y", "--run-id", ID], "run-read:1"),
    (&["cancel", ID, "--yes"], "run-read:1"),
];

/// Starts the program, and returns when it has stopped at the failpoint.
fn start_stopped(env: &TestEnv, arguments: &[&str], failpoint: &str) -> RunningProgram {
    let mut command = env.command(arguments);
    command.env("RUNBOOK_TEST_STOP", failpoint).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = RunningProgram::start(&mut command);
    wait_for(&format!("{arguments:?} is stopped at {failpoint}"), || running.is_stopped());
    running
}

fn resume_process(running: RunningProgram) -> ProgramOutput {
    send(&running, "CONT");
    finish(running.wait_with_output().expect("it ends"))
}

#[test]
fn a_run_that_ends_between_two_reads_is_reported_as_ended() {
    let env = home();
    rusqlite::Connection::open(env.path().join("n.db"))
        .expect("a file")
        .execute_batch("create table n (n)")
        .expect("made");
    env.file("r.toml", RUNBOOK);
    let run = start_stopped(&env, &["exec", "r.toml", "-y", "--run-id", ID], "record:2");
    let readers = READERS
        .map(|(arguments, failpoint)| (arguments, start_stopped(&env, arguments, failpoint)));
    resume_process(run).status(0);
    for (arguments, reader) in readers {
        let finished = resume_process(reader)
            .without("nterrupted\":true")
            .without("Interrupted")
            .without("nobody executes");
        match arguments[0] {
            "cancel" => finished.status(2).err("has ended, so there is nothing to cancel"),
            "runs" => finished.status(0).out("succeeded").without("interrupted "),
            _ => finished.status(0).out("ucceeded"),
        };
    }
}
