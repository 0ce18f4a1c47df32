//! The timeline: spans are the fold of the records of a run, and the HTML page contains no markup
//! from texts.
#![allow(clippy::unwrap_used, reason = "tests")]

use runbook_engine::{Record, RunEvent, RunHeader};
use runbook_report::{Activity, Format, SpanEnd, Summary, Timeline, TimelineSpan, render};
use serde_json::json;

fn records(events: &[(&str, serde_json::Value)]) -> Vec<Record> {
    let record = |(seq, (at, event)): (usize, &(&str, serde_json::Value))| {
        let event: RunEvent = serde_json::from_value(event.clone()).unwrap();
        Record { seq: seq as u64, at: format!("2026-01-01T10:{at}Z").parse().unwrap(), event }
    };
    events.iter().enumerate().map(record).collect()
}

fn attempt_started(step: &str, attempt: u32) -> serde_json::Value {
    json!({ "of": "step", "type": "attempt-started", "step": step, "attempt": attempt, "input": {},
        "input_digest": "sha256:0", "proposal": null, "undo": "not-needed" })
}

fn attempt_ended(step: &str, attempt: u32, summary: &str) -> serde_json::Value {
    let result = json!({ "type": "succeeded", "outcome": "pass", "summary": summary, "output": null,
        "changed": false });
    json!({ "of": "step", "type": "attempt-ended", "step": step, "attempt": attempt,
        "result": result, "then": { "type": "final" }, "duration_ms": 1 })
}

fn span_facts(spans: &[TimelineSpan]) -> Vec<(Option<&str>, Activity, SpanEnd)> {
    spans.iter().map(|span| (span.step.as_deref(), span.activity, span.end)).collect()
}

#[test]
fn an_attempt_is_a_span_from_its_intent_to_its_result() {
    let timeline = Timeline::of(&records(&[
        ("00:00", attempt_started("a", 1)),
        ("00:02", attempt_ended("a", 1, "well")),
    ]));
    let [span] = timeline.spans() else { panic!("one span: {:?}", timeline.spans()) };
    assert_eq!(
        (span.activity, span.end, span.summary.as_str()),
        (Activity::Attempt(1), SpanEnd::Good, "well")
    );
    assert_eq!(span.to.unwrap().duration_since(span.from).as_secs(), 2);
}

#[test]
fn an_attempt_during_which_the_process_died_ends_with_the_last_record() {
    let resumed = json!({ "of": "run", "type": "resumed", "by": "ada@vm" });
    let records = records(&[
        ("00:00", attempt_started("a", 1)),
        ("00:01", attempt_started("b", 1)),
        ("30:00", resumed),
        ("30:01", attempt_started("a", 2)),
        ("30:02", attempt_ended("a", 2, "well")),
    ]);
    let timeline = Timeline::of(&records);
    let expected = [
        (Some("a"), Activity::Attempt(1), SpanEnd::CutOff),
        (Some("b"), Activity::Attempt(1), SpanEnd::CutOff),
        (None, Activity::Dead, SpanEnd::CutOff),
        (Some("a"), Activity::Attempt(2), SpanEnd::Good),
    ];
    assert_eq!(span_facts(timeline.spans()), expected);
    assert_eq!(timeline.spans()[0].to, Some(records[1].at), "nobody knows of anything later");
    assert_eq!(
        timeline.spans()[2].to.unwrap().duration_since(timeline.spans()[2].from).as_secs(),
        29 * 60 + 59
    );
}

#[test]
fn a_pause_ends_when_the_run_is_resumed() {
    let paused = json!({ "of": "run", "type": "paused", "reason": { "type": "interrupted" } });
    let resumed = json!({ "of": "run", "type": "resumed", "by": "ada@vm" });
    let timeline = Timeline::of(&records(&[("00:00", paused), ("10:00", resumed)]));
    assert_eq!(span_facts(timeline.spans()), [(None, Activity::Pause, SpanEnd::Good)]);
}

fn page_of(text: &str, records: &[Record]) -> String {
    let header: RunHeader = serde_json::from_value(json!({
        "run": "01a1fd21-3b49-73af-9d20-e1f0f68dfbeb", "name": "n", "title": text, "sources": [],
        "digest": "sha256:0",
        "params": { text: text }, "environment": text, "operator": text,
        "started": "2026-01-01T10:00:00Z"
    }))
    .unwrap();
    render(Format::Html, &Summary::of(&header, records))
}

#[test]
fn no_text_becomes_markup_of_the_page() {
    let hostile = "\"'></td><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\u{1b}[2J";
    let listing = json!([{ "id": hostile, "title": hostile, "section": "step", "uses": hostile,
        "digest": hostile }]);
    let run_started = json!({ "of": "run", "type": "run-started", "runbook": "n", "title": hostile,
        "steps": listing, "params": {} });
    let page = page_of(
        hostile,
        &records(&[
            ("00:00", run_started),
            ("00:00", attempt_started(hostile, 1)),
            ("00:01", attempt_ended(hostile, 1, hostile)),
        ]),
    );
    for part in ["<script", "<img", "onerror=alert(1)>", "\"'>", "\u{1b}"] {
        assert!(!page.contains(part), "`{part}` is in the page");
    }
    assert!(page.contains("&lt;script&gt;") && page.contains("default-src 'none'"));
    assert_eq!(page.matches("class=\"b-good\"").count(), 1, "one bar: {page}");
}

#[test]
fn a_long_pause_leaves_most_of_the_timeline_to_the_work() {
    let listing = json!([{ "id": "a", "title": "a", "section": "step", "uses": "test:do",
        "digest": "sha256:0" }]);
    let events = [
        (
            "00:00",
            json!({ "of": "run", "type": "run-started", "runbook": "n", "title": "t",
                "steps": listing, "params": {} }),
        ),
        ("00:00", attempt_started("a", 1)),
        ("00:10", attempt_ended("a", 1, "well")),
        ("00:10", json!({ "of": "run", "type": "paused", "reason": { "type": "interrupted" } })),
        ("50:00", json!({ "of": "run", "type": "resumed", "by": "ada@vm" })),
        ("50:00", attempt_started("a", 2)),
        ("50:10", attempt_ended("a", 2, "well")),
    ];
    let page = page_of("t", &records(&events));
    assert!(
        page.contains("left:min(0.00%,calc(100% - 4px));width:48.50%"),
        "ten of twenty seconds of work are half of what is not pause: {page}"
    );
    assert!(page.contains("left:min(51.50%,calc(100% - 4px));width:48.50%"), "{page}");
}
