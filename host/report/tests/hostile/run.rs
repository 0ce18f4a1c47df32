//! A run of which every event happened, in every report, in the live view and in the trace.

use crate::structure::{self, Grammar, RenderedReport};
use crate::{HARMLESS, hostile_texts, joined_hostile_texts};
use runbook_engine::{
    GuardEvent, LifecycleEvent, NotifyEvent, Record, RunEvent, RunHeader, StepEvent,
};
use runbook_report::{FORMATS, Format, Summary, record_lines, render};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn grammar(format: Format) -> Grammar {
    match format {
        Format::Text => Grammar::Lines,
        Format::Json => Grammar::Json,
        Format::Junit => Grammar::Junit,
        Format::Markdown => Grammar::Markdown,
        Format::Html => Grammar::Html,
    }
}

const RUN: &str = "0190aa11-22bb-7c3d-8e4f-5a6b7c8d9e0f";
const AT: &str = "2026-01-01T10:00:00Z";

fn header() -> Value {
    json!({
        "run": RUN, "name": "n", "title": "t", "sources": [["f.toml", "text"]],
        "digest": "sha256:0",
        "params": { "p": "v", "list": ["a"] }, "environment": "prod", "operator": "ada",
        "started": AT
    })
}

fn fault() -> Value {
    json!({ "class": "transient", "code": "c", "message": "m",
        "logs": [{ "level": "warn", "message": "l" }] })
}

fn proposal() -> Value {
    json!({ "effects": [{ "verb": "v", "target": "t", "summary": "s" }], "summary": "s",
        "before": { "b": "b" } })
}

fn measurements() -> Value {
    json!([{ "label": "l", "value": 1.5, "unit": "s", "warn": "1", "crit": "2" }])
}

fn cases() -> Value {
    json!([{ "name": "n", "outcome": "fail", "detail": "d", "duration_ms": 1 },
        { "name": "n", "outcome": "unknown", "detail": "d", "duration_ms": 1 }])
}

fn succeeded_result() -> Value {
    json!({ "type": "succeeded", "outcome": "warn", "summary": "s", "output": { "o": "o" },
        "changed": true, "measurements": measurements(), "cases": cases() })
}

fn failed_result() -> Value {
    json!({ "type": "failed", "fault": fault(), "outcome": "fail", "output": { "o": "o" },
        "measurements": measurements(), "cases": cases() })
}

/// Every event, and every word of it that has a text.
fn events() -> Vec<Value> {
    let last = json!({ "type": "final" });
    let logs = json!([{ "level": "error", "message": "l" }]);
    let sections = ["preflight", "step", "verify", "finally", "guard", "check", "undo", "notify"];
    let step = |id: &str, section: &str| {
        json!({ "id": id, "title": "t", "section": section,
        "uses": "u", "digest": "d" })
    };
    let steps = ["a", "b", "c", "d", "e"].iter().map(|id| step(id, "step"));
    let steps: Vec<_> = steps
        .chain(sections.iter().map(|section| step(&format!("s-{section}"), section)))
        .collect();
    let attempt = |step: &str, result: Value, then: Value| json!({ "of": "step", "type": "attempt-ended", "step": step, "attempt": 1, "result": result, "then": then, "duration_ms": 5, "logs": logs });
    let attempt_started = |step: &str| {
        json!({ "of": "step", "type": "attempt-started", "step": step,
        "attempt": 1, "input": { "i": "i" }, "input_digest": "d", "proposal": proposal(),
        "undo": "auto" })
    };
    let mut events = vec![
        json!({ "of": "run", "type": "run-started", "runbook": "r", "title": "t", "steps": steps,
            "params": { "p": "v" }, "retry_of": { "run": RUN,
            "assumed": [{ "step": "e", "output": { "o": "o" }, "done_in": RUN }] } }),
        json!({ "of": "run", "type": "lock-waiting", "name": "n", "holder": "h" }),
        json!({ "of": "run", "type": "window-checked",
            "verdict": { "type": "overridden", "by": "b", "opens": AT } }),
        json!({ "of": "run", "type": "steps-began",
            "locks": [{ "name": "n", "token": 1, "taken_from": "f" }] }),
        json!({ "of": "run", "type": "cancel-requested", "by": "b" }),
        json!({ "of": "run", "type": "locks-retaken",
            "locks": [{ "name": "n", "token": 2, "taken_from": "f" }] }),
        json!({ "of": "guard", "type": "guard-observed", "guard": "s-guard",
            "observation": { "verdict": "blind", "summary": "s" } }),
        json!({ "of": "step", "type": "step-skipped", "step": "e", "reason": "assumed" }),
        json!({ "of": "step", "type": "approval-asked", "step": "a", "digest": "d",
            "input": { "i": "i" }, "proposal": proposal(), "quorum": 2, "expires_ms": 60_000,
            "places": ["p"] }),
        json!({ "of": "step", "type": "approval-given", "step": "a", "digest": "d", "by": "b",
            "verdict": { "type": "rejected", "reason": "r" } }),
        json!({ "of": "step", "type": "approval-given", "step": "a", "digest": "d", "by": "b",
            "verdict": { "type": "approved" } }),
        attempt_started("a"),
        json!({ "of": "step", "type": "still-waiting", "step": "a", "call": "attempt",
            "waited_ms": 60_000, "at_most_ms": 90_000, "then": "pauses" }),
        attempt("a", failed_result(), json!({ "type": "retry", "delay_ms": 5 })),
        attempt_started("a"),
        attempt("a", succeeded_result(), last.clone()),
        json!({ "of": "step", "type": "manual-asked", "step": "b", "instructions": "i",
            "options": ["--set v=STRING"] }),
        json!({ "of": "step", "type": "manual-answered", "step": "b", "by": "b",
            "values": { "v": "v" } }),
        json!({ "of": "step", "type": "items-listed", "step": "c",
            "items": [{ "key": "k", "value": { "v": "v" } }] }),
        json!({ "of": "step", "type": "items-ended", "step": "c", "result": failed_result(),
            "then": last }),
        json!({ "of": "step", "type": "group-began", "step": "d", "params": { "p": "v" } }),
        json!({ "of": "step", "type": "attempt-refused", "step": "d", "attempt": 1,
            "fault": fault(), "then": last }),
        json!({ "of": "step", "type": "recovered", "step": "a", "attempt": 1,
            "decision": { "type": "ask-operator", "known": "k", "before": { "b": "b" },
            "now": { "n": "n" } } }),
        json!({ "of": "run", "type": "verify-began" }),
        json!({ "of": "run", "type": "stopping",
            "cause": { "type": "lock-busy", "name": "n", "holder": "h" } }),
        json!({ "of": "run", "type": "undo-began", "cause": { "type": "guard", "guard": "s-guard" },
            "order": ["a", "c"] }),
        json!({ "of": "step", "type": "undo-started", "step": "a", "attempt": 1 }),
        json!({ "of": "step", "type": "undo-ended", "step": "a", "attempt": 1,
            "result": { "type": "done", "summary": "s" }, "then": last, "duration_ms": 5 }),
        json!({ "of": "step", "type": "undo-checked", "step": "a",
            "finding": { "type": "drifted", "before": { "b": "b" }, "now": { "n": "n" } } }),
        json!({ "of": "step", "type": "undo-checked", "step": "a",
            "finding": { "type": "unknown", "fault": fault() } }),
        json!({ "of": "step", "type": "undo-started", "step": "c", "attempt": 1 }),
        json!({ "of": "step", "type": "undo-ended", "step": "c", "attempt": 1,
            "result": { "type": "failed", "fault": fault() }, "then": last, "duration_ms": 5 }),
        json!({ "of": "notify", "type": "notify-started", "notify": "s-notify", "on": "dirty" }),
        json!({ "of": "notify", "type": "notify-ended", "notify": "s-notify", "on": "dirty",
            "fault": fault() }),
        json!({ "of": "run", "type": "finally-began", "end": "dirty",
            "cause": { "type": "step", "step": "a" } }),
    ];
    for reason in [
        json!({ "type": "unknown-outcome", "steps": ["a"] }),
        json!({ "type": "approval", "steps": ["a"] }),
        json!({ "type": "manual", "steps": ["a"] }),
        json!({ "type": "guard", "guard": "s-guard", "why": "w" }),
        json!({ "type": "lease-lost", "name": "n" }),
        json!({ "type": "lease-lost", "name": "n",
            "taken_by": { "by": "b", "at": AT, "reason": "r" } }),
        json!({ "type": "outside-window", "opens": AT }),
        json!({ "type": "interrupted" }),
    ] {
        events.push(json!({ "of": "run", "type": "paused", "reason": reason }));
        events.push(json!({ "of": "run", "type": "resumed", "by": "b" }));
    }
    events.push(json!({ "of": "run", "type": "undo-requested", "by": "b" }));
    for cause in ["preflight", "step", "verify"] {
        events.push(json!({ "of": "run", "type": "run-ended", "end": "dirty",
            "cause": { "type": cause, "step": "a" } }));
    }
    events.push(json!({ "of": "run", "type": "run-ended", "end": "dirty",
            "cause": { "type": "lock-busy", "name": "n", "holder": "h" } }));
    events
}

/// The names of an enum's variants, as serde tells them.
fn variants<T: DeserializeOwned>() -> BTreeSet<String> {
    let error = serde_json::from_value::<T>(json!({ "type": "?" })).err().unwrap().to_string();
    let names: BTreeSet<String> = error.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    assert!(!names.is_empty(), "{error}");
    names
}

/// The run: its header, and its events.
fn run() -> Value {
    json!({ "header": header(), "events": events() })
}

fn parse_run(run: &Value) -> Option<(RunHeader, Vec<Record>)> {
    let header = serde_json::from_value(run["header"].clone()).ok()?;
    let records = run["events"].as_array()?.iter().enumerate().map(|(seq, event)| {
        let event: RunEvent = serde_json::from_value(event.clone()).ok()?;
        Some(Record { seq: seq as u64, at: AT.parse().ok()?, event })
    });
    Some((header, records.collect::<Option<_>>()?))
}

/// The pointer of every string and of every key of a map of values.
fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, item)| texts(item, &format!("{at}/{index}"), found)),
        Value::Object(entries) => {
            entries.iter().for_each(|(key, value)| texts(value, &format!("{at}/{key}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Steps within steps are read from their ids, which are made of words, and of keys of items
/// between brackets. None has a backtick.
fn text_for_field(pointer: &str, text: &str) -> String {
    let mut keys = pointer.rsplit('/').filter(|key| key.parse::<usize>().is_err());
    match keys.next() {
        Some("step" | "id" | "guard" | "notify" | "order") => {
            text.replace(['/', '.', '[', ']', '`'], "_")
        }
        Some("steps") if pointer.contains("/reason/") => {
            text.replace(['/', '.', '[', ']', '`'], "_")
        }
        Some(_) | None => text.to_owned(),
    }
}

fn run_with(run: &Value, pointers: &[&String], text: &str) -> Option<(RunHeader, Vec<Record>)> {
    let mut changed = run.clone();
    for pointer in pointers {
        *changed.pointer_mut(pointer).unwrap() = Value::String(text_for_field(pointer, text));
    }
    parse_run(&changed)
}

/// What a person is shown of a run at any time, and its structure.
fn structures(header: &RunHeader, records: &[Record]) -> Vec<RenderedReport> {
    let mut found = Vec::new();
    let mut live = Summary::of(header, &[]);
    for record in records {
        live.fold(record);
        for line in record_lines(&live, record) {
            assert!(!line.text.contains('\n'), "{:?}", line.text);
            structure::of(Grammar::Lines, &runbook_text::for_terminal(&line.text));
        }
        let is_reported = matches!(
            record.event,
            RunEvent::Run(LifecycleEvent::Paused { .. } | LifecycleEvent::RunEnded { .. })
        );
        for (format, name, ..) in FORMATS.iter().filter(|_| is_reported) {
            found.push(RenderedReport::new(name, grammar(*format), render(*format, &live)));
        }
    }
    found
}

#[test]
fn the_hostile_run_has_every_kind_of_event() {
    let (_, records) = parse_run(&run()).unwrap();
    let text = serde_json::to_string(&records).unwrap();
    let words = [
        variants::<LifecycleEvent>(),
        variants::<StepEvent>(),
        variants::<GuardEvent>(),
        variants::<NotifyEvent>(),
        variants::<runbook_engine::AttemptResult>(),
        variants::<runbook_engine::PauseReason>(),
        variants::<runbook_engine::UndoResult>(),
        variants::<runbook_engine::ApprovalVerdict>(),
    ];
    for name in words.iter().flatten() {
        assert!(text.contains(&format!("\"type\":\"{name}\"")), "the run has no `{name}`");
    }
}

#[test]
fn no_text_of_a_run_changes_the_structure_of_any_report() {
    let run = run();
    let mut pointers = Vec::new();
    texts(&run, "", &mut pointers);
    let (free_pointers, fixed_pointers): (Vec<_>, Vec<_>) =
        pointers.iter().partition(|pointer| run_with(&run, &[*pointer], HARMLESS).is_some());
    // What no text can stand in: words of vocabularies, times and ids of runs.
    let words = [
        "of", "type", "run", "started", "section", "reason", "outcome", "class", "level", "undo",
        "on", "end", "opens", "verdict", "call", "then", "done_in", "at",
    ];
    let unknown: Vec<_> = fixed_pointers
        .iter()
        .filter(|at| !words.contains(&at.rsplit('/').next().unwrap()))
        .collect();
    assert!(unknown.is_empty(), "no text was tried in {unknown:?}");
    assert!(free_pointers.len() > 150, "only {} texts", free_pointers.len());

    let hostile = joined_hostile_texts();
    for pointer in &free_pointers {
        let (header, records) = run_with(&run, &[*pointer], HARMLESS).unwrap();
        let expected = structures(&header, &records);
        let (header, records) = run_with(&run, &[*pointer], &hostile).unwrap();
        structure::compare(&expected, &structures(&header, &records), pointer);
    }
}

#[test]
fn no_text_changes_the_structure_when_all_texts_are_hostile() {
    let run = run();
    let mut pointers = Vec::new();
    texts(&run, "", &mut pointers);
    let free_pointers: Vec<_> =
        pointers.iter().filter(|pointer| run_with(&run, &[*pointer], HARMLESS).is_some()).collect();
    let (header, records) = run_with(&run, &free_pointers, HARMLESS).unwrap();
    let expected = structures(&header, &records);
    for text in hostile_texts() {
        let (header, records) = run_with(&run, &free_pointers, &text).unwrap();
        structure::compare(&expected, &structures(&header, &records), &text);
    }
}
