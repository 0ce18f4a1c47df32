//! `http:get`

use crate::expectation::{Expectation, Status, verdict};
use runbook_sdk::duration::Span;
use runbook_sdk::http::{Endpoint, Timing};
use runbook_sdk::operation::measurement;
use runbook_sdk::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// What to ask, and what the answer must be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Path below the target's address; its own if absent.
    #[serde(default = "root")]
    path: String,
    /// The status, or a list; any from 200 to 299 if absent.
    status: Option<Status>,
    /// Headers that must be there and contain this text.
    headers: Option<BTreeMap<String, String>>,
    /// Text that the body must contain.
    contains: Option<String>,
    /// Values at paths such as `orders[0].id` of a JSON body.
    json: Option<BTreeMap<String, Json>>,
    /// Slower is a warning.
    warn: Option<Span>,
    /// Slower is a failure.
    crit: Option<Span>,
}

fn root() -> String {
    "/".to_owned()
}

/// What was answered.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Status code.
    status: u16,
    /// Who answered, as `ip:port`.
    peer: String,
    /// Milliseconds in all.
    total_ms: f64,
    /// The body, if it is JSON and smaller than 64 KiB.
    body: Option<Json>,
}

const KEPT: usize = 64 << 10;

pub(crate) fn get(_job: &Job, input: Input) -> Result<Report<Output>> {
    let response = match Endpoint::slot("target").get(&input.path) {
        Ok(response) => response,
        // A service that is away is what a probe is for to find: a failed check, not a broken one.
        Err(fault) if matches!(fault.class, FaultClass::Transient | FaultClass::Timeout) => {
            return Ok(Report::fail(fault.message, Output { status: 0, peer: String::new(), total_ms: 0.0, body: None }));
        }
        Err(fault) => return Err(fault),
    };
    let expectation = Expectation {
        status: input.status.as_ref(),
        headers: input.headers.as_ref(),
        contains: input.contains.as_deref(),
        json: input.json.as_ref(),
    };
    let took = Duration::from_micros(response.timing.total_us);
    let (outcome, problem) = verdict(&expectation.compare(&response), took, input.warn, input.crit);
    let total_ms = milliseconds(response.timing.total_us);
    let body = if response.body.len() <= KEPT { serde_json::from_slice(&response.body).ok() } else { None };
    let summary = problem.unwrap_or_else(|| format!("{} in {total_ms} ms", response.status));
    let report = Report::new(outcome, summary, Output { status: response.status, peer: response.peer, total_ms, body });
    Ok(parts(&response.timing)
        .into_iter()
        .fold(report, |report, (label, us)| report.measure(measurement(label, milliseconds(us), "ms"))))
}

fn parts(timing: &Timing) -> [(&'static str, u64); 5] {
    [
        ("total", timing.total_us),
        ("dns", timing.dns_us),
        ("connect", timing.connect_us),
        ("tls", timing.tls_us),
        ("first_byte", timing.first_byte_us),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "durations of requests are small")]
fn milliseconds(us: u64) -> f64 {
    (us as f64 / 10.0).round() / 100.0
}
