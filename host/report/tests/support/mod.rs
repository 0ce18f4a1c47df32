//! A run for tests of reports: its header, and a summary of the events that it is given.

use runbook_engine::{Record, RunEvent, RunHeader};
use runbook_report::Summary;
use serde_json::{Value, json};

/// The time of every event.
pub const AT: &str = "2026-01-01T10:00:00Z";

/// The header of the run.
pub fn header() -> RunHeader {
    let header = json!({
        "run": "0190aa11-22bb-7c3d-8e4f-5a6b7c8d9e0f", "name": "n", "title": "t", "sources": [],
        "digest": "sha256:0", "params": {},
        "environment": null, "operator": "ada", "started": AT
    });
    serde_json::from_value(header).expect("a header")
}

/// The events as records, one after another.
pub fn records(events: &[Value]) -> Vec<Record> {
    let event = |event: &Value| -> RunEvent {
        serde_json::from_value(event.clone()).unwrap_or_else(|error| panic!("{event}: {error}"))
    };
    let at = AT.parse().expect("a time");
    events
        .iter()
        .enumerate()
        .map(|(seq, found)| Record { seq: seq as u64, at, event: event(found) })
        .collect()
}

/// The summary of a run with these events.
pub fn summary(events: &[Value]) -> Summary {
    Summary::of(&header(), &records(events))
}
