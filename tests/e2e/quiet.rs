//! `-q` prints only errors, requests to a person, and requested output. The end of a run is printed
//! once.

use crate::home;
use runbook_tests::env::{ProgramOutput, TestEnv, finish};
use std::fs::File;

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "quiet"
[defaults]
on_failure = "stop"
[locks]
exclusive = ["quiet"]
[targets.db]
sql = "sqlite:n.db"
[[step]]
id = "first"
uses = "sql:execute"
bind.db = "db"
with = { statement = "insert into said values ('first')" }
irreversible = "it is said"
[[step]]
id = "second"
uses = "sql:execute"
bind.db = "db"
with = { statement = "insert into SECOND values ('second')" }
irreversible = "it is said"
"#;

const LOOK: &str = r#"
[[step]]
id = "look"
manual = { instructions = "Look at the lamp.\nIs it green?" }
"#;

fn prepared(second: &str, more: &str) -> TestEnv {
    let env = home();
    rusqlite::Connection::open(env.path().join("n.db"))
        .and_then(|db| db.execute_batch("create table said (what)"))
        .expect("made");
    env.file("r.toml", &format!("{}{more}", RUNBOOK.replace("SECOND", second)));
    env
}

fn assert_silent(finished: &ProgramOutput) {
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("", ""));
}

#[test]
fn a_run_that_succeeds_says_one_line() {
    let env = prepared("said", "");
    for arguments in [&["exec", "-q", "r.toml", "-y"][..], &["--quiet", "exec", "r.toml", "-y"]] {
        let finished = env.run(arguments).status(0);
        let run = env.newest_run();
        assert_eq!(finished.stderr, "", "{finished:?}");
        assert_eq!(finished.stdout.lines().count(), 1, "{finished:?}");
        let line = format!("Succeeded. Everything was done. run {run}, took ");
        assert!(finished.stdout.starts_with(&line), "{finished:?}");
    }
}

#[test]
fn a_run_that_does_not_succeed_says_how_it_ended_and_what_to_do() {
    let env = prepared("missing", "");
    let finished = env.run(&["exec", "-q", "r.toml", "-y"]).status(7);
    assert_eq!(finished.stderr, "", "{finished:?}");
    let finished = finished.out("DIRTY.").out("step `second` failed").out("Next: ");
    assert!(!finished.stdout.contains("first   done"), "no list of steps: {finished:?}");
    let finished = finished.out("✗ second").out("no such table: missing");
    let stays = finished.stdout.find("Stays").or_else(|| finished.stdout.find("DIRTY"));
    assert!(stays > finished.stdout.find("✗ second"), "{finished:?}");
}

#[test]
fn instructions_for_a_person_are_printed() {
    let env = prepared("said", LOOK);
    let finished = env.run(&["exec", "-q", "r.toml", "-y"]).status(5);
    let finished =
        finished.err("Look at the lamp.").err("Is it green?").out("Paused: ").out("Next: ");
    assert!(!finished.stderr.contains("first"), "{finished:?}");
    let run = env.newest_run();
    assert_silent(&env.run(&["answer", "-q", &run, "look"]).status(0));
    let finished = env.run(&["resume", "-q", &run]).status(0);
    assert_eq!(
        (finished.stdout.lines().count(), finished.stderr.as_str()),
        (1, ""),
        "{finished:?}"
    );
}

#[test]
fn with_events_on_stdout_the_end_is_printed_to_stderr() {
    let env = prepared("said", "");
    let finished = env.run(&["exec", "-q", "r.toml", "-y", "--events", "-"]).status(0);
    assert!(finished.stdout.lines().all(|line| line.starts_with('{')), "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    finished.err("Succeeded. Everything was done.");
}

#[test]
fn listings_are_printed_and_notes_are_not() {
    let env = prepared("said", "");
    assert_silent(&env.run(&["runs", "-q"]).status(0));
    assert_silent(&env.run(&["locks", "-q"]).status(0));
    assert_silent(&env.run(&["validate", "-q", "r.toml"]).status(0));
    assert_silent(&env.run(&["lock", "-q", "r.toml"]).status(0));
    assert_silent(&env.run(&["fmt", "-q", "r.toml"]).status(0));
    env.run(&["exec", "-q", "r.toml", "-y"]).status(0);
    assert_eq!(env.run(&["runs", "-q"]).status(0).stdout, env.run(&["runs"]).status(0).stdout);
    env.run(&["show", "-q", &env.newest_run()]).status(0).out("✓ first").out("Succeeded");
    env.run(&["plan", "-q", "r.toml"]).status(0).out("Authority");
}

#[test]
fn errors_are_printed_as_without_quiet() {
    let env = prepared("said", "[[step]]\nid = \"x\"\nuses = 7\n");
    for command in [
        &["validate", "r.toml"][..],
        &["exec", "r.toml", "-y"],
        &["show", "abc"],
        &["runs", "--state", "x"],
    ] {
        let loud = env.run(command);
        let quiet = env.run(&[command, &["-q"]].concat());
        assert_ne!(loud.status, 0, "{loud:?}");
        assert_eq!((loud.status, loud.stderr), (quiet.status, quiet.stderr), "{command:?}");
    }
    env.run(&["runs", "-q", "-v"]).status(2).err("cannot be used with");
}

/// Stdout and stderr of a program in one file, as in the log of a CI service.
fn run_into_one_file(env: &TestEnv, arguments: &[&str]) -> String {
    let log = File::create(env.path().join("log")).expect("made");
    let both = log.try_clone().expect("a file can be shared");
    let output = env.command(arguments).stdout(log).stderr(both).output().expect("it starts");
    assert!(finish(output).stdout.is_empty());
    env.read("log")
}

#[test]
fn the_end_of_a_run_is_printed_once_if_both_streams_go_to_one_file() {
    let env = prepared("missing", "");
    let told = run_into_one_file(&env, &["exec", "r.toml", "-y"]);
    assert_eq!(told.matches("DIRTY. ").count(), 1, "{told}");
    let run = env.newest_run();
    let told = run_into_one_file(&env, &["show", &run, "--follow"]);
    assert_eq!(told.matches("DIRTY. ").count(), 1, "{told}");
    let told = run_into_one_file(&env, &["exec", "r.toml", "-y", "--events", "-"]);
    assert_eq!(told.matches("DIRTY. ").count(), 1, "{told}");
    // With separate streams, each has the end of the run.
    let apart = env.run(&["exec", "r.toml", "-y"]).status(7).out("DIRTY. ").err("DIRTY. ");
    assert_eq!(apart.stdout.matches("DIRTY. ").count(), 1, "{apart:?}");
    assert_eq!(apart.stderr.matches("DIRTY. ").count(), 1, "{apart:?}");
}

/// A step failed, but `on_failure = "continue"` or `finally` lets the run end.
#[test]
fn a_step_that_failed_is_named_with_its_reason_however_the_run_ended() {
    let goes_on = "[[step]]\nid = \"third\"\nuses = \"sql:execute\"\nbind.db = \"db\"\n\
                   with = { statement = \"delete from nowhere\" }\nirreversible = \"gone\"\n\
                   on_failure = \"continue\"\n";
    let at_the_end = "[[finally]]\nid = \"third\"\nuses = \"sql:execute\"\nbind.db = \"db\"\n\
                      with = { statement = \"delete from nowhere\" }\n";
    for more in [goes_on, at_the_end] {
        let env = prepared("said", more);
        let finished = env.run(&["exec", "-q", "r.toml", "-y"]);
        finished.out("third").out("no such table: nowhere");
    }
}
