//! `http:get` and `http:head`

use crate::body::Body;
use crate::expectation::{Expectation, Header, Status, verdict};
use runbook_sdk::http::{Endpoint, Response, Timing};
use runbook_sdk::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// The request, and what the response must be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Path below the target's address; its own if absent.
    #[serde(default = "root")]
    path: String,
    /// The status, or a list; any from 200 to 299 if absent.
    status: Option<Status>,
    /// Headers that must be there: a text that each contains, or `{ equals = "…" }`.
    headers: Option<BTreeMap<String, Header>>,
    /// Text that the body must contain.
    contains: Option<String>,
    /// Text that the body must be, byte for byte.
    body_equals: Option<String>,
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

/// What the server answered.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The status code of the answer, such as 200.
    status: u16,
    /// The address of the server that answered, as `ip:port`.
    peer: String,
    /// Milliseconds from the look-up of the name to the end of the answer.
    total_ms: f64,
    /// The body, if it is JSON.
    body: Option<Json>,
    /// Whether it is JSON and too long to be kept: then `body` is absent, and the summary says why.
    truncated: bool,
}

pub(crate) fn get(_job: &Job, input: Input) -> Result<Report<Output>> {
    let answer = Endpoint::slot(slot!("target")).get(&input.path)?;
    let expectation = Expectation {
        status: input.status.as_ref(),
        headers: input.headers.as_ref(),
        contains: input.contains.as_deref(),
        body_equals: input.body_equals.as_deref(),
        json: input.json.as_ref(),
    };
    Ok(report(answer, &expectation, input.warn, input.crit))
}

/// The request, and what the response must be. The response has no body.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeadInput {
    /// Path below the target's address; its own if absent.
    #[serde(default = "root")]
    path: String,
    /// The status, or a list; any from 200 to 299 if absent.
    status: Option<Status>,
    /// Headers that must be there: a text that each contains, or `{ equals = "…" }`.
    headers: Option<BTreeMap<String, Header>>,
    /// Slower is a warning.
    warn: Option<Span>,
    /// Slower is a failure.
    crit: Option<Span>,
}

/// What the server answered, without a body.
#[derive(Serialize, JsonSchema)]
pub(crate) struct HeadOutput {
    /// The status code of the answer, such as 200.
    status: u16,
    /// The address of the server that answered, as `ip:port`.
    peer: String,
    /// Milliseconds from the look-up of the name to the end of the answer.
    total_ms: f64,
}

pub(crate) fn head(_job: &Job, input: HeadInput) -> Result<Report<HeadOutput>> {
    let answer = Endpoint::slot(slot!("target")).head(&input.path)?;
    let expectation = Expectation {
        status: input.status.as_ref(),
        headers: input.headers.as_ref(),
        ..Expectation::default()
    };
    let report = report(answer, &expectation, input.warn, input.crit);
    Ok(report.map(|Output { status, peer, total_ms, .. }| HeadOutput { status, peer, total_ms }))
}

/// Judges a response. Without a response the probe returns a fault, and the host decides the
/// outcome by its class, in the same way for every probe.
fn report(
    response: Response,
    expectation: &Expectation<'_>,
    warn: Option<Span>,
    crit: Option<Span>,
) -> Report<Output> {
    let took = Duration::from_micros(response.timing.total_us);
    let (outcome, problem) = verdict(&expectation.compare(&response), took, warn, crit);
    let total_ms = milliseconds(response.timing.total_us);
    let body = Body::from_response(&response);
    let summary =
        body.annotate(problem.unwrap_or_else(|| format!("{} in {total_ms} ms", response.status)));
    let truncated = body.is_truncated();
    let output = Output {
        status: response.status,
        peer: response.peer,
        total_ms,
        body: body.json,
        truncated,
    };
    let report = Report::new(outcome, summary, output);
    let total = Measurement {
        warn: warn.map(threshold),
        crit: crit.map(threshold),
        ..measurement("total", total_ms, "ms")
    };
    timing_parts(&response.timing).into_iter().fold(report.measure(total), |report, (label, us)| {
        report.measure(measurement(label, milliseconds(us), "ms"))
    })
}

/// The threshold in Nagios syntax: from 0 to this many milliseconds is good.
fn threshold(limit: Span) -> String {
    limit.as_millis_f64().to_string()
}

fn timing_parts(timing: &Timing) -> [(&'static str, u64); 4] {
    [
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Response {
        let timing = Timing {
            dns_us: 100,
            connect_us: 250,
            tls_us: 0,
            first_byte_us: 40_000,
            total_us: 41_234,
        };
        let body = body.as_bytes().to_vec();
        Response {
            status,
            headers: Vec::new(),
            body,
            truncated: false,
            peer: "127.0.0.1:80".to_owned(),
            timing,
            path: "/".to_owned(),
        }
    }

    #[test]
    fn the_timing_is_measured_in_its_parts_with_the_limits_on_the_total() {
        let limit = |ms| Some(Span(Duration::from_millis(ms)));
        let report = report(answer(200, "{}"), &Expectation::default(), limit(40), limit(2_000));
        assert_eq!(report.outcome, Outcome::Warn);
        assert_eq!(report.summary, "took 41 ms, more than 40 ms");
        let labels_and_values: Vec<_> = report
            .measurements
            .iter()
            .map(|measurement| (measurement.label.as_str(), measurement.value))
            .collect();
        assert_eq!(
            labels_and_values,
            [("total", 41.23), ("dns", 0.1), ("connect", 0.25), ("tls", 0.0), ("first_byte", 40.0)]
        );
        assert_eq!(report.measurements[0].warn.as_deref(), Some("40"));
        assert_eq!(report.measurements[0].crit.as_deref(), Some("2000"));
    }

    #[test]
    fn only_a_json_body_is_kept() {
        let kept_body =
            |body| report(answer(200, body), &Expectation::default(), None, None).output.body;
        assert_eq!(kept_body("{\"a\":1}"), Some(json!({ "a": 1 })));
        assert_eq!(kept_body("<p>"), None);
    }
}
