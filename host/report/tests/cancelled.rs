//! Reports about a cancel, about `finally`, and about notifications that were not sent.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use runbook_report::{FORMATS, Summary, lines, render};
use serde_json::{Value, json};
use support::{records, summary};

/// In every format that is for people or programs, as plain text.
fn everywhere(summary: &Summary) -> Vec<(String, String)> {
    let plain = |text: String| {
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
        .map(|(format, name, ..)| ((*name).to_owned(), plain(render(*format, summary))))
        .collect()
}

fn started(section: &str) -> Vec<Value> {
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

fn attempt(step: &str, undo: &str) -> [Value; 2] {
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

fn cancelled() -> Value {
    json!({ "of": "run", "type": "cancel-requested", "by": "ada@desk" })
}

#[test]
fn a_cancel_says_what_it_means_where_the_run_is() {
    let mut events = [started("finally"), attempt("pay", "auto").to_vec()].concat();
    let told = |events: &[Value]| {
        let all = [events, &[cancelled()]].concat();
        let line = lines(&summary(&all), records(&all).last().unwrap()).remove(0).text;
        (line, summary(&all))
    };
    assert!(told(&events).0.starts_with("ada@desk cancels the run: running steps are stopped"));
    let mut undoing = events.clone();
    undoing.push(json!({ "of": "run", "type": "undo-began", "cause": { "type": "cancel" },
        "order": ["pay"] }));
    assert!(told(&undoing).0.contains("being undone already"));
    events.push(json!({ "of": "run", "type": "finally-began", "end": "succeeded", "cause": null }));
    let (line, _) = told(&events);
    assert!(line.contains("too late") && line.contains("runbook show 0190aa11-22bb"), "{line}");
    events.extend([
        cancelled(),
        json!({ "of": "run", "type": "run-ended", "end": "succeeded", "cause": null }),
    ]);
    let summary = summary(&events);
    for (format, text) in everywhere(&summary) {
        if format != "junit" {
            let late = if format == "json" { "\"while_it\": \"finally\"" } else { "too late" };
            assert!(text.contains(late) && text.contains("ada@desk"), "{format}: {text}");
            assert!(text.contains("runbook undo 0190aa11-22bb"), "{format}: {text}");
        }
    }
}

#[test]
fn a_run_that_is_being_cancelled_and_waits_for_a_decision_says_so_with_what_each_answer_means() {
    let mut events = started("step");
    events.push(attempt("pay", "explicit")[0].clone());
    events.push(json!({ "of": "run", "type": "resumed", "by": "b" }));
    events.push(cancelled());
    events.push(json!({ "of": "step", "type": "recovered", "step": "pay", "attempt": 1,
        "decision": { "type": "ask-operator", "known": "k", "before": null, "now": null } }));
    events.push(json!({ "of": "run", "type": "undo-began", "cause": { "type": "cancel" },
        "order": ["pay"] }));
    events.push(json!({ "of": "run", "type": "paused",
        "reason": { "type": "unknown-outcome", "steps": ["pay"] } }));
    let summary = summary(&events);
    for (format, text) in everywhere(&summary) {
        assert!(
            text.contains("it is being undone (ada@desk cancelled it at 2026-01-01 10:00:00 UTC)"),
            "{format}: {text}"
        );
    }
    // What has not begun never will.
    for (format, text) in everywhere(&summary) {
        assert!(!text.contains("pending"), "{format}: {text}");
    }
    let next = summary.to_continue.as_deref().unwrap();
    assert!(
        next.contains("it happened; its undo runs") && next.contains("nothing of it is undone"),
        "{next}"
    );
    assert!(!next.contains("(it happened)") && !next.contains("=retry"), "{next}");
}

#[test]
fn what_always_runs_is_no_part_of_the_account_and_every_end_names_it_and_who_was_not_told() {
    let fault =
        json!({ "class": "timeout", "code": "c", "message": "no answer", "effect": "possible" });
    for (end, cause) in [
        ("succeeded-with-warnings", Value::Null),
        ("failed-clean", json!({ "type": "timeout" })),
        ("dirty", json!({ "type": "step", "step": "pay" })),
    ] {
        let mut events = started("finally");
        let irreversible = attempt("pay", "irreversible");
        if end == "dirty" {
            events.extend(irreversible);
        }
        events.push(json!({ "of": "run", "type": "finally-began", "end": end, "cause": cause }));
        events.extend(attempt("tell", "not-needed"));
        events.push(json!({ "of": "notify", "type": "notify-started", "notify": "notify/1",
            "on": "dirty" }));
        events.push(json!({ "of": "notify", "type": "notify-ended", "notify": "notify/1",
            "on": "dirty", "fault": fault }));
        events.push(json!({ "of": "run", "type": "run-ended", "end": end, "cause": cause }));
        let summary = summary(&events);
        assert!(!summary.account().changed.contains(&"tell".into()), "{end}");
        for (format, text) in everywhere(&summary) {
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
