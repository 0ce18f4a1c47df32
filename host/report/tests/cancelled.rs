//! Reports about a cancel, about `finally`, and about notifications that were not sent.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use runbook_report::{FORMATS, Summary, record_lines, render};
use serde_json::{Value, json};
use support::{records, summary};

/// The report in every format, as plain text without escapes and markup, by the name of the format.
fn all_formats(summary: &Summary) -> Vec<(String, String)> {
    let without_markup = |text: String| {
        let parts = [
            ("\\", ""),
            ("&quot;", "\""),
            ("&#39;", "'"),
            ("&#x27;", "'"),
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&amp;", "&"),
            ("<!-- -->", ""),
            ("\n", " "),
        ];
        parts
            .iter()
            .fold(text, |text, (from, to)| text.replace(from, to))
            .replace("<code>", "`")
            .replace("</code>", "`")
    };
    FORMATS
        .iter()
        .map(|(format, name, ..)| ((*name).to_owned(), without_markup(render(*format, summary))))
        .collect()
}

fn start_events(section: &str) -> Vec<Value> {
    let step = |id: &str, section: &str| {
        json!({ "id": id, "title": id, "section": section,
        "uses": "u", "digest": "d" })
    };
    vec![
        json!({ "of": "run", "type": "run-started", "runbook": "r", "title": "t",
            "steps": [step("pay", "step"), step("tell", section)], "params": {} }),
        json!({ "of": "run", "type": "steps-began", "locks": [] }),
    ]
}

fn attempt_events(step: &str, undo: &str) -> [Value; 2] {
    let proposal = json!({ "effects": [], "summary": "s", "before": null });
    let result = json!({ "type": "succeeded", "outcome": "pass", "summary": "s", "output": {},
        "changed": true, "measurements": [], "cases": [] });
    [
        json!({ "of": "step", "type": "attempt-started", "step": step, "attempt": 1, "input": {},
            "input_digest": "d", "proposal": proposal, "undo": undo }),
        json!({ "of": "step", "type": "attempt-ended", "step": step, "attempt": 1, "result": result,
            "then": { "type": "final" }, "duration_ms": 5 }),
    ]
}

fn cancel_event() -> Value {
    json!({ "of": "run", "type": "cancel-requested", "by": "ada@desk" })
}

#[test]
fn the_line_about_a_cancel_depends_on_how_far_the_run_is() {
    let mut events = [start_events("finally"), attempt_events("pay", "auto").to_vec()].concat();
    let last_line_and_summary = |events: &[Value]| {
        let all = [events, &[cancel_event()]].concat();
        let line = record_lines(&summary(&all), records(&all).last().unwrap()).remove(0).text;
        (line, summary(&all))
    };
    assert!(
        last_line_and_summary(&events)
            .0
            .starts_with("ada@desk cancels the run: running steps are stopped")
    );
    let mut undoing = events.clone();
    undoing.push(json!({ "of": "run", "type": "undo-began", "cause": { "type": "cancel" },
        "order": ["pay"] }));
    assert!(last_line_and_summary(&undoing).0.contains("being undone already"));
    events.push(json!({ "of": "run", "type": "finally-began", "end": "succeeded", "cause": null }));
    let (line, _) = last_line_and_summary(&events);
    assert!(line.contains("too late") && line.contains("runbook show 0190aa11-22bb"), "{line}");
    events.extend([
        cancel_event(),
        json!({ "of": "run", "type": "run-ended", "end": "succeeded", "cause": null }),
    ]);
    let summary = summary(&events);
    for (format, text) in all_formats(&summary) {
        if format != "junit" {
            let expected = if format == "json" { "\"progress\": \"finally\"" } else { "too late" };
            assert!(text.contains(expected) && text.contains("ada@desk"), "{format}: {text}");
            assert!(text.contains("runbook undo 0190aa11-22bb"), "{format}: {text}");
        }
    }
}

#[test]
fn a_cancelled_run_that_waits_for_a_decision_shows_what_each_answer_means() {
    let mut events = start_events("step");
    events.push(attempt_events("pay", "explicit")[0].clone());
    events.push(json!({ "of": "run", "type": "resumed", "by": "b" }));
    events.push(cancel_event());
    events.push(json!({ "of": "step", "type": "recovered", "step": "pay", "attempt": 1,
        "decision": { "type": "ask-operator", "known": "k", "before": null, "now": null } }));
    events.push(json!({ "of": "run", "type": "undo-began", "cause": { "type": "cancel" },
        "order": ["pay"] }));
    events.push(json!({ "of": "run", "type": "paused",
        "reason": { "type": "unknown-outcome", "steps": ["pay"] } }));
    let summary = summary(&events);
    for (format, text) in all_formats(&summary) {
        assert!(
            text.contains("it is being undone (ada@desk cancelled it at 2026-01-01 10:00:00 UTC)"),
            "{format}: {text}"
        );
    }
    // What has not begun never will.
    for (format, text) in all_formats(&summary) {
        assert!(!text.contains("pending"), "{format}: {text}");
    }
    let next = summary.next_action.as_deref().unwrap();
    assert!(
        next.contains("it happened; its undo runs") && next.contains("nothing of it is undone"),
        "{next}"
    );
    assert!(!next.contains("(it happened)") && !next.contains("=retry"), "{next}");
}

#[test]
fn every_end_names_changes_by_finally_and_unsent_notifications_apart_from_those_of_steps() {
    let fault =
        json!({ "class": "timeout", "code": "c", "message": "no answer", "effect": "possible" });
    for (end, cause) in [
        ("succeeded-with-warnings", Value::Null),
        ("failed-clean", json!({ "type": "timeout" })),
        ("dirty", json!({ "type": "step", "step": "pay" })),
    ] {
        let mut events = start_events("finally");
        let irreversible = attempt_events("pay", "irreversible");
        if end == "dirty" {
            events.extend(irreversible);
        }
        events.push(json!({ "of": "run", "type": "finally-began", "end": end, "cause": cause }));
        events.extend(attempt_events("tell", "not-needed"));
        events.push(json!({ "of": "notify", "type": "notify-started", "notify": "notify/1",
            "on": "dirty" }));
        events.push(json!({ "of": "notify", "type": "notify-ended", "notify": "notify/1",
            "on": "dirty", "fault": fault }));
        events.push(json!({ "of": "run", "type": "run-ended", "end": end, "cause": cause }));
        let summary = summary(&events);
        assert!(!summary.remaining_changes().changed.contains(&"tell".into()), "{end}");
        for (format, text) in all_formats(&summary) {
            if format == "junit" && end == "succeeded-with-warnings" {
                continue;
            }
            if format == "json" {
                // Fields and no sentence.
                assert!(
                    text.contains("\"notify\": \"notify/1\"")
                        && text.contains("\"why\": \"no answer\""),
                    "{end}: {text}"
                );
                continue;
            }
            assert!(
                text.contains("`finally` changed something, which stays: `tell`"),
                "{end} {format}: {text}"
            );
            assert!(
                text.contains("`notify/1` (dirty) was not sent: no answer"),
                "{end} {format}: {text}"
            );
            assert!(
                !text.contains("not put back (tell") && !text.contains("pay, tell"),
                "{end} {format}: {text}"
            );
        }
    }
}
