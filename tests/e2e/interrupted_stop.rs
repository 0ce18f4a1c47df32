//! A stop that was interrupted during its grace period continues in the Docker engine. The run
//! still ends with a running application, and checks it again after the grace period.

use crate::home;
use runbook_tests::docker::App;
use runbook_tests::env::TestEnv;
use runbook_tests::running::RunningProgram;
use runbook_tests::{interrupt, wait_for};
use std::time::{Duration, Instant};

/// Seconds between the stop signal and the kill.
const GRACE_S: u64 = 4;

fn runbook(app: &App, head: &str, undo: &str, step: &str) -> String {
    format!(
        "format = 1\n[runbook]\nname = \"stops\"\n{head}\n[undo]\nverify = true\n[targets.app]\n\
         docker = {{ name = \"{}\" }}\n[[step]]\nid = \"stop\"\nuses = \"docker:stop\"\n\
         bind.container = \"app\"\nwith.grace = \"{GRACE_S}s\"\n{undo}\n{step}\n",
        app.name
    )
}

struct StopScenario {
    env: TestEnv,
    app: App,
}

impl StopScenario {
    fn new(name: &str, head: &str, step: &str) -> Self {
        Self::with_undo("undo = \"auto\"", name, head, step)
    }

    fn with_undo(undo: &str, name: &str, head: &str, step: &str) -> Self {
        let (env, app) = (home(), App::start_stubborn(name));
        env.file("r.toml", &runbook(&app, head, undo, step));
        Self { env, app }
    }

    /// Starts the run, and returns when the application got the stop signal.
    fn start_and_wait_for_stop(&self) -> (RunningProgram, Instant) {
        let child = self.env.spawn(&["exec", "r.toml", "--yes"]);
        wait_for("the application is asked to end", || !self.app.signals().is_empty());
        (child, Instant::now())
    }

    /// Waits until the grace period of the engine is over, and checks that the application runs.
    fn assert_app_runs(&self, asked: Instant) {
        let over = asked + Duration::from_secs(GRACE_S + 2);
        wait_for("the engine has ended it, or its time is over", || {
            self.app.signals().len() >= 2 || Instant::now() > over
        });
        assert_eq!(self.app.state(), "running", "signals: {:?}", self.app.signals());
        wait_for("the application answers", || self.app.answers());
    }
}

#[test]
fn a_stop_that_is_cancelled_in_its_grace_leaves_the_application_running() {
    let scenario = StopScenario::new("stop-cancel", "", "");
    let (child, asked) = scenario.start_and_wait_for_stop();
    interrupt(&child);
    let finished = runbook_tests::env::finish(child.wait_with_output().expect("it ends"));
    assert_eq!(finished.status, 130, "{}\n{}", finished.stdout, finished.stderr);
    assert_eq!(scenario.app.state(), "running", "{}\n{}", finished.stdout, finished.stderr);
    scenario.assert_app_runs(asked);
    finished.out("observed to be as before");
}

#[test]
fn after_a_kill_during_a_stop_cancel_undoes_it_and_resume_finishes_it() {
    for (verb, state) in [("cancel", "running"), ("resume", "exited")] {
        let scenario = StopScenario::new(&format!("stop-killed-{verb}"), "", "");
        let (mut child, asked) = scenario.start_and_wait_for_stop();
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        let run = scenario.env.newest_run();
        let arguments: &[&str] =
            if verb == "cancel" { &["cancel", &run, "--yes"] } else { &["resume", &run] };
        scenario.env.run(arguments).status(0);
        assert_eq!(scenario.app.state(), state, "{verb}");
        if verb == "cancel" {
            scenario.assert_app_runs(asked);
        }
    }
}

#[test]
fn a_timeout_that_is_shorter_than_the_grace_is_warned_of_and_leaves_the_application_running() {
    let cases = [("", "timeout = \"1s\"", 1), ("timeout = \"2s\"", "", 124)];
    for (head, step, status) in cases {
        let scenario = StopScenario::new("stop-timeout", head, step);
        let validated = scenario.env.run(&["validate", "r.toml"]).status(0);
        if step.is_empty() {
            validated.without("E0239");
        } else {
            validated
                .err("E0239")
                .err("`grace` of step `stop` is 4.0 s, and its `timeout` is 1.0 s");
        }
        let (child, asked) = scenario.start_and_wait_for_stop();
        let finished = runbook_tests::env::finish(child.wait_with_output().expect("it ends"));
        assert_eq!(finished.status, status, "{}\n{}", finished.stdout, finished.stderr);
        scenario.assert_app_runs(asked);
    }
}

#[test]
fn a_guard_that_breaches_in_the_grace_leaves_the_application_running() {
    let scenario = StopScenario::new("stop-guard", "", "");
    let guard = "[targets.db]\nsql = \"sqlite:work.db\"\n[[guard]]\nid = \"calm\"\n\
                 uses = \"sql:query\"\nbind.db = \"db\"\n\
                 with = { statement = \"select 1 from alarm\", row_count = 0 }\nevery = \"100ms\"\n\
                 on_breach = \"undo\"\n";
    let db = rusqlite::Connection::open(scenario.env.path().join("work.db")).expect("a file");
    db.execute_batch("create table alarm (n)").expect("a table");
    let text = scenario.env.read("r.toml");
    scenario.env.file("r.toml", &format!("{text}{guard}"));
    let (child, asked) = scenario.start_and_wait_for_stop();
    db.execute_batch("insert into alarm values (1)").expect("a row");
    let finished = runbook_tests::env::finish(child.wait_with_output().expect("it ends"));
    assert_eq!(finished.status, 1, "{}\n{}", finished.stdout, finished.stderr);
    scenario.assert_app_runs(asked);
}

/// If the stop was answered, its undo does not wait for the grace period.
#[test]
fn a_stop_that_was_answered_is_undone_without_waiting() {
    let scenario = StopScenario::new("stop-answered", "", "");
    scenario.env.run(&["exec", "r.toml", "--yes"]).status(0);
    let run = scenario.env.newest_run();
    scenario.env.run(&["undo", &run, "--yes"]).status(0).out("as before");
    assert_eq!(scenario.app.state(), "running");
    // It may have been killed after its grace period, but it got only one stop signal.
    let signals = scenario.app.signals();
    assert_eq!(signals.iter().filter(|signal| *signal == "15").count(), 1, "{signals:?}");
}

/// An explicit start in `undo` or `finally` also waits for the grace period of the engine.
#[test]
fn an_explicit_start_waits_for_the_interrupted_stop() {
    let start =
        format!("uses = \"docker:start\", bind.container = \"app\", with.grace = \"{GRACE_S}s\"");
    let finally = format!(
        "[[finally]]\nid = \"start\"\nuses = \"docker:start\"\nbind.container = \"app\"\n\
                 with.grace = \"{GRACE_S}s\"\n"
    );
    let ways = [
        ("stop-undo-start", format!("undo = {{ {start} }}"), String::new()),
        ("stop-finally-start", "irreversible = \"`finally` starts it\"".to_owned(), finally),
    ];
    for (name, undo, last) in ways {
        let scenario = StopScenario::with_undo(&undo, name, "", &last);
        let (child, asked) = scenario.start_and_wait_for_stop();
        interrupt(&child);
        let finished = runbook_tests::env::finish(child.wait_with_output().expect("it ends"));
        assert!(
            finished.stdout.contains("ancelled"),
            "{name}: {}\n{}\n{}",
            finished.status,
            finished.stdout,
            finished.stderr
        );
        scenario.assert_app_runs(asked);
    }
}

/// A stop and a start are undone by another process than the one that executed them, also after a
/// kill during the undo. No step is reported as drifted because a later step was undone.
#[test]
fn a_start_that_is_undone_after_a_resume_is_no_drift() {
    let last = "[[step]]\nid = \"start\"\nneeds = [\"stop\"]\nuses = \"docker:start\"\n\
                bind.container = \"app\"\nwith.grace = \"4s\"\nundo = \"auto\"\n[[step]]\n\
                id = \"look\"\nneeds = [\"start\"]\n\
                manual = { instructions = \"look\", confirm = \"I looked\" }\n";
    for is_killed in [false, true] {
        let scenario = StopScenario::new(
            if is_killed { "start-undone-killed" } else { "start-undone" },
            "",
            last,
        );
        scenario.env.run(&["exec", "r.toml", "--yes"]).status(5);
        let run = scenario.env.newest_run();
        if is_killed {
            let before = scenario.app.signals().len();
            let mut child = scenario.env.spawn(&["cancel", &run, "--yes"]);
            wait_for("the undo of the start asks it to end", || {
                scenario.app.signals().len() > before
            });
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
        let finished = scenario.env.run(&["cancel", &run, "--yes"]).status(0);
        finished.out("observed to be as before").without("is not as before").without("DIRTY");
        assert_eq!(scenario.app.state(), "running");
    }
}
