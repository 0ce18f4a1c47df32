//! `redis:ping`

use crate::{database, text};
use runbook_sdk::prelude::*;

/// How quick it must be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Slower is a warning.
    warn: Option<Span>,
    /// Slower is a failure.
    crit: Option<Span>,
}

/// How quick it was.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Milliseconds for connecting, logging in and one command.
    round_trip_ms: f64,
}

pub(crate) fn ping(_job: &Job, input: Input) -> Result<Report<Output>> {
    let start = clock::monotonic();
    let reply = database().read(["ping"])?;
    let round_trip = clock::monotonic().saturating_sub(start);
    let round_trip_ms = (round_trip.as_secs_f64() * 1e5).round() / 100.0;
    let answer = text(&reply)?;
    let slower = |limit: Option<Span>| limit.is_some_and(|limit| round_trip > limit.0);
    let outcome = match (answer == "PONG", slower(input.crit), slower(input.warn)) {
        (false, _, _) | (true, true, _) => Outcome::Fail,
        (true, false, true) => Outcome::Warn,
        (true, false, false) => Outcome::Pass,
    };
    let summary = format!("answered {answer} in {round_trip_ms} ms");
    let took = measurement("round_trip", round_trip_ms, "ms");
    Ok(Report::new(outcome, summary, Output { round_trip_ms }).measure(took))
}
