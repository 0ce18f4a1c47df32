//! Events for programs: one line of JSON for each record of the journal. Like the journal, they
//! contain no secrets.

use jiff::Timestamp;
use runbook_engine::{Record, RunEvent, RunId};
use serde::Serialize;
use std::time::Duration;

/// The version of a line.
const FORMAT: u8 = 1;

/// One line of `--events`: a record of the journal with its run and its time.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct EventLine<'a> {
    /// The version of this form. A field or a kind of event may be added to it; none is taken away
    /// or changed.
    format: u8,
    /// The run that the event belongs to.
    run: RunId,
    /// Counted from 0 in each run, without gaps.
    seq: u64,
    /// The time of the event, by the wall clock, which may be changed.
    at: Timestamp,
    /// Milliseconds since this execution of the run began, by a monotonic clock. `null` if another
    /// process than the executing one writes the line.
    monotonic_ms: Option<u64>,
    /// The event itself.
    event: &'a RunEvent,
}

/// An event as one line of JSON, without a line break.
pub fn event_line(run: RunId, record: &Record, since_start: Option<Duration>) -> String {
    let monotonic_ms =
        since_start.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let line = EventLine {
        format: FORMAT,
        run,
        seq: record.seq,
        at: record.at,
        monotonic_ms,
        event: &record.event,
    };
    runbook_text::json(&serde_json::to_string(&line).expect("an event has string keys only"))
        .into_owned()
}

/// The JSON Schema of a line.
pub fn event_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(EventLine<'_>).to_value();
    schema["title"] = "runbook event, JSON form 1".into();
    schema["description"] =
        "One line of what `runbook exec --events`, `resume`, `undo`, `check` and \
         `runbook show --format jsonl` write."
            .into();
    schema["properties"]["format"] =
        serde_json::json!({ "const": FORMAT, "description": "The version of this form." });
    schema
}
