//! `runbook cancel`: the executing process ends the run in order. If no process executes it, the
//! command ends it itself.

use crate::home;
use runbook_tests::env::TestEnv;
use runbook_tests::running::RunningProgram;
use runbook_tests::terminal::{Control, Terminal};
use runbook_tests::{interrupt, wait_for};
use std::net::TcpListener;

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
    rusqlite::Connection::open(env.path().join("work.db"))
        .expect("a file")
        .execute_batch("vacuum")
        .expect("a database");
    env.file("r.toml", RUNBOOK);
    env
}

fn copy_exists(env: &TestEnv) -> bool {
    env.path().join("out/copy.db").exists()
}

/// Waits until the copy is made and recorded: killed before that, its outcome would be unknown.
fn wait_for_the_copy(env: &TestEnv) {
    wait_for("the copy is made", || copy_exists(env));
    wait_for("it is recorded", || env.run(&["show", &env.newest_run()]).stdout.contains("✓ copy"));
}

#[test]
fn the_executing_process_ends_a_cancelled_run_in_order() {
    let env = prepared();
    let child = env.spawn(&["exec", "r.toml", "--yes"]);
    wait_for_the_copy(&env);
    let run = env.newest_run();
    env.run(&["cancel", &run]).status(0).err("was asked to end run");
    let output = child.wait_with_output().expect("it ends");
    // No signal came: its status is that of a run that did not succeed.
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!copy_exists(&env), "what was done is undone");
    env.run(&["show", &run]).status(0).out("Cancelled.");
    env.run(&["cancel", &run]).status(2).err("has ended");
    // The request was fulfilled, so `resume` reports neither an open request nor a running run.
    env.run(&["resume", &run])
        .status(2)
        .err("has ended")
        .without("nobody has ended it")
        .without("goes on now");
}

#[test]
fn cancel_ends_a_run_that_nobody_executes() {
    let env = prepared();
    let mut child = env.spawn(&["exec", "r.toml", "--yes"]);
    wait_for_the_copy(&env);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let run = env.newest_run();
    env.run(&["cancel", &run, "--yes"]).status(0).out("Cancelled.");
    assert!(!copy_exists(&env), "what was done is undone");
    // The lock is free again.
    env.run(&["runs"]).status(0).out("undone");
}

/// The process is stopped for longer than its lease lasts.
#[test]
fn a_stopped_process_is_not_reported_as_dead_and_can_continue() {
    let env = prepared();
    let mut command = env.command(&["exec", "r.toml", "--yes"]);
    command
        .env("RUNBOOK_TEST_LEASE_MS", "1500")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = RunningProgram::start(&mut command);
    wait_for_the_copy(&env);
    let run = env.newest_run();
    runbook_tests::send(&child, "STOP");
    wait_for("its lease is over", || {
        let shown = env.run(&["show", &run]);
        if shown.status != 0 {
            // It was stopped while it had the journal locked, so `show` cannot read it.
            runbook_tests::send(&child, "CONT");
            runbook_tests::send(&child, "STOP");
        }
        shown.stdout.contains("stands still")
    });
    let pid = child.id();
    env.run(&["show", &run])
        .status(0)
        .out(&format!("kill -CONT {pid}"))
        .without("nobody executes")
        .without("Interrupted");
    env.run(&["runs"]).status(0).out("standing-still").without("interrupted");
    runbook_tests::send(&child, "CONT");
    wait_for("it goes on", || env.run(&["show", &run]).stdout.contains("executed by"));
    runbook_tests::interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!copy_exists(&env), "what was done is undone");
}

#[test]
fn resume_reports_a_cancel_request_that_the_dead_process_left() {
    let env = prepared();
    let mut child = env.spawn(&["exec", "r.toml", "--yes"]);
    wait_for_the_copy(&env);
    let run = env.newest_run();
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    // The record that `cancel` writes. (The command itself cannot be used: a stopped process may
    // have the journal locked.)
    let journal = rusqlite::Connection::open(env.path().join(".local/state/runbook/journal.db"))
        .expect("the journal is there");
    journal.busy_timeout(std::time::Duration::from_secs(5)).expect("it can wait");
    let asked = "insert into cancel_requests (run, executor, at_ns, operator) select run, \
                 '0190aa11-22bb-7c3d-8e4f-5a6b7c8d9e0f', max(at_ns) + 1, 'ada@desk' from events \
                 group by run";
    assert_eq!(journal.execute(asked, []).expect("it can be written"), 1);
    let again = env.spawn(&["resume", &run]);
    let by = format!("executed by process {}", again.id());
    wait_for("it goes on", || env.run(&["show", &run]).stdout.contains(&by));
    runbook_tests::interrupt(&again);
    let finished = runbook_tests::env::finish(again.wait_with_output().expect("it ends"));
    finished
        .status(130)
        .err("ada@desk asked that this run be ended")
        .err(&format!("runbook cancel {run}"));
}

/// `resume` reports that the process lives, and does not report that a process died.
#[test]
fn resume_of_a_live_run_with_a_cancel_request_reports_no_dead_process() {
    let env = prepared();
    let child = env.spawn(&["exec", "r.toml", "--yes"]);
    wait_for_the_copy(&env);
    let run = env.newest_run();
    // The request names another execution, so the process does not act on it.
    let journal = rusqlite::Connection::open(env.path().join(".local/state/runbook/journal.db"))
        .expect("the journal is there");
    journal.busy_timeout(std::time::Duration::from_secs(5)).expect("it can wait");
    let asked = "insert into cancel_requests (run, executor, at_ns, operator) select run, \
                 '0190aa11-22bb-7c3d-8e4f-5a6b7c8d9e0f', max(at_ns) + 1, 'ada@desk' from events \
                 group by run";
    assert_eq!(journal.execute(asked, []).expect("it can be written"), 1);
    env.run(&["resume", &run])
        .status(6)
        .err("is executed by process")
        .without("process died")
        .without("goes on now");
    interrupt(&child);
    assert_eq!(child.wait_with_output().expect("it ends").status.code(), Some(130));
}

/// The cancel comes while a slow step of `finally` runs and all other steps are over.
#[test]
fn a_cancel_in_finally_is_too_late_and_says_so() {
    let env = prepared();
    let slow = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = slow.local_addr().expect("it is bound").port();
    let copy = &RUNBOOK[..RUNBOOK.find("[[step]]\nid = \"wait\"").expect("it is there")];
    let always = format!(
        "[[finally]]\nid = \"tell\"\nuses = \"http:post\"\nbind.target = \"api\"\n\
                 with = {{ path = \"/\", body = \"x\" }}\n[targets.api]\n\
                 http = \"http://127.0.0.1:{port}\"\n"
    );
    env.file("r.toml", &format!("{copy}{always}"));
    let child = env.spawn(&["exec", "r.toml", "--yes"]);
    let (mut request, _) = slow.accept().expect("it asks");
    let run = env.newest_run();
    env.run(&["cancel", &run]).status(0).err("too late").err(&format!("runbook undo {run}"));
    wait_for("it is in the journal", || {
        env.run(&["show", &run, "--format", "jsonl"]).stdout.contains("cancel-requested")
    });
    std::io::Write::write_all(&mut request, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .expect("it listens");
    let finished = runbook_tests::env::finish(child.wait_with_output().expect("it ends"));
    finished
        .status(0)
        .err("too late: its steps are over")
        .out("Succeeded.")
        .out(&format!("`runbook undo {run}` puts back `copy`"));
    assert!(copy_exists(&env), "nothing was undone");
    env.run(&["show", &run]).status(0).out("cancelled it at").out("too late");
}

/// A run that waits for a person. The undo of its first step calls a server that never answers.
fn waiting_run_with_hanging_undo() -> (TestEnv, TcpListener, String) {
    let (env, silent) = (home(), TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let port = silent.local_addr().expect("it is bound").port();
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"hangs\"\n[targets.db]\nsql = \"sqlite:work.db\"\n\
                  create = true\n[targets.api]\nhttp = \"http://127.0.0.1:{port}\"\n\
                  timeout = \"60s\"\n[[step]]\nid = \"make\"\nuses = \"sql:transaction\"\n\
                  bind.db = \"db\"\ntimeout = \"60s\"\n\
                  with = {{ statements = [\"create table t (a)\"] }}\n\
                  undo = {{ uses = \"http:post\", bind.target = \"api\", with = {{ path \
                  = \"/undo\", body = \"x\" }} }}\n[[step]]\nid = \"look\"\nneeds = [\"make\"]\n\
                  manual = {{ instructions = \"look\", confirm = \"I looked\" }}\n[[step]]\n\
                  id = \"last\"\nneeds = [\"look\"]\nuses = \"sql:query\"\nbind.db = \"db\"\n\
                  with = {{ statement = \"select 1\" }}\n"
        ),
    );
    env.run(&["exec", "r.toml", "--yes"]).status(5);
    let run = env.newest_run();
    (env, silent, run)
}

fn wait_for_the_undo(env: &TestEnv, run: &str) {
    wait_for("the undo has begun", || env.run(&["show", run]).stdout.contains("undoing"));
}

#[test]
fn an_interrupted_cancel_is_no_success_and_lists_what_is_not_undone() {
    let (env, _silent, run) = waiting_run_with_hanging_undo();
    let terminal = Terminal::open();
    let mut child = terminal.spawn(&env.command(&["cancel", &run]), Control::Session);
    wait_for("it asks", || terminal.shown().contains("[y/N]"));
    terminal.type_keys("y\n");
    wait_for_the_undo(&env, &run);
    terminal.type_keys("\x03");
    let status = child.wait().expect("it ends");
    let shown = terminal.shown();
    assert_eq!(status.code(), Some(130), "{shown}");
    assert!(shown.contains("Paused: interrupted by the operator"), "{shown}");
    assert!(!shown.contains("No step had changed anything"), "{shown}");
    let paused = env.run(&["show", &run]).status(0);
    paused
        .out("its undo was cut off, and whether it happened is not known")
        .out("the run ended before it began")
        .without("pending");
    // The run is listed as paused, in the state `paused-undoing`.
    for arguments in
        [&["runs"][..], &["runs", "--state", "paused"], &["runs", "--state", "paused-undoing"]]
    {
        env.run(arguments).status(0).out("paused-undoing");
    }
    env.run(&["cancel", &run, "--yes"]).status(7).out("DIRTY").out("--decide make=done");
}

#[test]
fn a_second_cancel_reports_that_the_run_is_being_cancelled() {
    let (env, _silent, run) = waiting_run_with_hanging_undo();
    let child = env.spawn(&["cancel", &run, "--yes"]);
    wait_for_the_undo(&env, &run);
    for _ in 0..2 {
        env.run(&["cancel", &run, "--yes"])
            .status(0)
            .err("is being cancelled already")
            .without("E0508");
    }
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
}

/// None of the commands reports that another process executes the run.
#[test]
fn of_simultaneous_cancels_one_ends_the_run_and_the_others_report_it() {
    let (env, silent, run) = waiting_run_with_hanging_undo();
    let children: Vec<_> = (0..4).map(|_| env.spawn(&["cancel", &run, "--yes"])).collect();
    wait_for_the_undo(&env, &run);
    drop(silent);
    for child in children {
        let finished = runbook_tests::env::finish(child.wait_with_output().expect("it ends"));
        let told = &finished.stderr;
        let is_told = ["is being cancelled already", "was asked to end run", "has ended"]
            .iter()
            .any(|text| told.contains(text));
        assert!(
            finished.status == 7 || is_told,
            "{}\n{}\n{told}",
            finished.status,
            finished.stdout
        );
        finished.without("is executed by process");
    }
}

/// The same number is in `show`, `runs` and the JSON output.
#[test]
fn the_duration_of_a_killed_run_is_the_same_in_every_output() {
    let env = prepared();
    let mut child = env.spawn(&["exec", "r.toml", "--yes"]);
    wait_for_the_copy(&env);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let run = env.newest_run();
    let shown = |key: &str| -> u64 {
        let json: serde_json::Value =
            serde_json::from_str(&env.run(&["show", &run, "--format", "json"]).stdout)
                .expect("JSON");
        json[key].as_u64().expect("a number")
    };
    let interrupted = shown("duration_ms");
    assert_eq!(shown("duration_ms"), interrupted, "nobody executes it, so it gets no longer");
    env.run(&["cancel", &run, "--yes"]).status(0);
    let ended = shown("duration_ms");
    assert!(ended >= interrupted, "{ended} after {interrupted}");
    let listed: serde_json::Value = serde_json::from_str(
        env.run(&["runs", "--format", "json"]).stdout.lines().next().expect("a run"),
    )
    .expect("JSON");
    assert_eq!(listed["took_ms"].as_u64(), Some(ended));
}
