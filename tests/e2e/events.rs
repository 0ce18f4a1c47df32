//! The stream of events for programs: every line matches the published schema, and the events are
//! in order and complete.

use crate::repository;
use crate::signals::{open_gate, prepared, wait_for_the_gate};
use runbook_tests::env::TestEnv;
use serde_json::Value;

fn schema(name: &str) -> jsonschema::Validator {
    let text = std::fs::read_to_string(repository().join("schema").join(name))
        .expect("the schema is published");
    jsonschema::validator_for(&serde_json::from_str(&text).expect("a schema is JSON"))
        .expect("a good schema")
}

/// Parses the events of a text, and checks each against the schema.
fn events(text: &str) -> Vec<Value> {
    let schema = schema("events.v1.json");
    let parsed = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    let events: Vec<Value> = parsed.collect();
    for event in &events {
        let wrong: Vec<_> = schema.iter_errors(event).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?} in {event}");
    }
    assert!(!events.is_empty(), "there are some");
    events
}

fn numbers(events: &[Value], field: &str) -> Vec<u64> {
    events
        .iter()
        .map(|event| event[field].as_u64().unwrap_or_else(|| panic!("{field} in {event}")))
        .collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"]["type"].as_str().expect("it has a type")).collect()
}

/// Runs a command with `--events`, and returns the events that it wrote.
fn run_with_events(env: &TestEnv, arguments: &[&str]) -> Vec<Value> {
    let line: Vec<&str> = arguments.iter().copied().chain(["--events", "events.jsonl"]).collect();
    env.run(&line).status(0);
    let events = events(&env.read("events.jsonl"));
    let monotonic = numbers(&events, "monotonic_ms");
    assert!(monotonic.is_sorted(), "{monotonic:?}");
    events
}

#[test]
fn exec_resume_undo_and_check_write_events_as_they_happen() {
    let env = prepared();
    let mut child = env.spawn(&["exec", "r.toml", "--events", "first.jsonl"]);
    wait_for_the_gate(&env, 0);
    // The events are written before the run ends.
    runbook_tests::wait_for("events are told", || {
        env.read("first.jsonl").contains("\"attempt-ended\"")
    });
    child.kill().and_then(|()| child.wait()).expect("it is ours");
    open_gate(&env);
    let run = env.newest_run();
    let resumed = run_with_events(&env, &["resume", &run]);
    assert_eq!(kinds(&resumed)[0], "resumed");
    let undone = run_with_events(&env, &["undo", &run, "--yes"]);
    assert!(kinds(&undone).contains(&"undo-ended"), "{undone:?}");
    let checked = run_with_events(&env, &["check", "checks.toml"]);
    assert_eq!(
        (numbers(&checked, "seq")[0], *kinds(&checked).last().expect("some")),
        (0, "run-ended")
    );
    // The journal has the same events in the same order.
    let shown = events(&env.run(&["show", &run, "--format", "jsonl"]).status(0).stdout);
    assert_eq!(numbers(&shown, "seq"), (0..shown.len() as u64).collect::<Vec<_>>());
    let told: Vec<&Value> = resumed.iter().chain(&undone).map(|event| &event["event"]).collect();
    let journaled: Vec<&Value> = shown.iter().map(|event| &event["event"]).collect();
    assert!(journaled.ends_with(&told), "what was told is what was written down");
}

#[test]
fn a_run_can_be_followed_by_a_program() {
    let env = prepared();
    let mut child = env.spawn(&["exec", "r.toml"]);
    wait_for_the_gate(&env, 0);
    let follower = env.spawn(&["show", &env.newest_run(), "--follow", "--format", "jsonl"]);
    open_gate(&env);
    let told = follower.wait_with_output().expect("it ends");
    assert!(child.wait().expect("it ends").success());
    let events = events(&String::from_utf8_lossy(&told.stdout));
    assert_eq!(
        (kinds(&events)[0], *kinds(&events).last().expect("some")),
        ("run-started", "run-ended")
    );
    assert!(
        events.iter().all(|event| event["monotonic_ms"].is_null()),
        "another program executed it"
    );
}

#[test]
fn events_on_stdout_are_the_only_output_there() {
    let env = prepared();
    open_gate(&env);
    events(&env.run(&["exec", "r.toml", "--events", "-"]).status(0).stdout);
    events(&env.run(&["check", "checks.toml", "--events", "-"]).status(0).stdout);
    env.run(&["exec", "r.toml", "--events", "-", "--report", "json=-"])
        .status(2)
        .err("both to go to stdout");
    env.run(&["exec", "r.toml", "--events", "no/such/folder"]).status(2).err("cannot be written");
}

#[test]
fn an_event_stream_that_cannot_be_written_is_only_a_warning() {
    let env = prepared();
    open_gate(&env);
    env.run(&["exec", "r.toml", "--events", "/dev/full"])
        .status(0)
        .err("warning: events could not be written");
}

#[test]
fn the_json_report_matches_its_schema() {
    let env = prepared();
    open_gate(&env);
    env.run(&["exec", "r.toml"]).status(0);
    let run = env.newest_run();
    env.run(&["undo", &run, "--yes"]).status(0);
    let report: Value =
        serde_json::from_str(&env.run(&["report", &run, "--format", "json"]).status(0).stdout)
            .expect("JSON");
    let schema = schema("report.v1.json");
    let wrong: Vec<_> = schema
        .iter_errors(&report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    // The report has no key that the schema does not name.
    let known = serde_json::from_str::<Value>(
        &std::fs::read_to_string(repository().join("schema/report.v1.json")).expect("it is there"),
    );
    let known = known.expect("JSON");
    for (key, properties) in [
        (&report, &known["properties"]),
        (&report["steps"][0], &known["$defs"]["StepSummary"]["properties"]),
    ] {
        for name in key.as_object().expect("an object").keys() {
            assert!(properties.get(name).is_some(), "`{name}` is not in the schema");
        }
    }
}
