//! `grpc:health`

use runbook_sdk::http::{Endpoint, HealthAnswer, ServingStatus};
use runbook_sdk::prelude::*;
use std::time::Duration;

/// Which services to ask for, and how long an answer may take.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Full names of services, such as `orders.v1.Orders`; the whole server if there are none.
    #[serde(default)]
    services: Vec<String>,
    /// A slower answer is a warning.
    warn: Option<Span>,
    /// A slower answer is a failure.
    crit: Option<Span>,
}

/// What the server said.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The address that answered, as `ip:port`, or the path of its socket.
    peer: String,
    /// Each service, in the order of the input.
    services: Vec<Service>,
}

/// What the server said of one service.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Service {
    /// Its full name; empty for the whole server.
    name: String,
    /// `serving`, `not-serving`, `service-unknown` or `unknown`.
    status: String,
    /// Milliseconds of the call, with its connection.
    ms: f64,
}

pub(crate) fn health(_job: &Job, input: Input) -> Result<Report<Output>> {
    let server = Endpoint::slot(slot!("server"));
    let names =
        if input.services.is_empty() { vec![String::new()] } else { input.services.clone() };
    let ask = |name: String| server.health(&name).map(|answer| (name, answer));
    Ok(report(&input, names.into_iter().map(ask).collect::<Result<_>>()?))
}

fn report(input: &Input, answers: Vec<(String, HealthAnswer)>) -> Report<Output> {
    let slowest =
        answers.iter().map(|(_, answer)| answer.timing.total_us).max().unwrap_or_default();
    let not_serving: Vec<_> = answers
        .iter()
        .filter(|(_, answer)| answer.status != ServingStatus::Serving)
        .map(|(name, answer)| format!("{} is {}", shown(name), words(answer.status)))
        .collect();
    let exceeded =
        |limit: Option<Span>| limit.filter(|limit| Duration::from_micros(slowest) > limit.0);
    let ms = milliseconds(slowest);
    let too_slow =
        |limit: Span| format!("the answer took {ms} ms, more than {} ms", limit.as_millis_f64());
    let (outcome, summary) = match (exceeded(input.crit), exceeded(input.warn)) {
        _ if !not_serving.is_empty() => (Outcome::Fail, not_serving.join("; ")),
        (Some(limit), _) => (Outcome::Fail, too_slow(limit)),
        (None, Some(limit)) => (Outcome::Warn, too_slow(limit)),
        (None, None) => {
            let names: Vec<_> = answers.iter().map(|(name, _)| shown(name)).collect();
            let verb = if names.len() == 1 { "is" } else { "are" };
            (Outcome::Pass, format!("{} {verb} serving ({ms} ms)", names.join(", ")))
        }
    };
    let peer = answers.first().map(|(_, answer)| answer.peer.clone()).unwrap_or_default();
    let service = |(name, answer): (String, HealthAnswer)| Service {
        name,
        status: words(answer.status).replace(' ', "-"),
        ms: milliseconds(answer.timing.total_us),
    };
    let output = Output { peer, services: answers.into_iter().map(service).collect() };
    let at_most = |limit: Span| limit.as_millis_f64().to_string();
    Report::new(outcome, summary, output).measure(Measurement {
        warn: input.warn.map(at_most),
        crit: input.crit.map(at_most),
        ..measurement("health", ms, "ms")
    })
}

fn shown(name: &str) -> &str {
    if name.is_empty() { "the server" } else { name }
}

fn words(status: ServingStatus) -> &'static str {
    match status {
        ServingStatus::Serving => "serving",
        ServingStatus::NotServing => "not serving",
        ServingStatus::ServiceUnknown => "service unknown",
        ServingStatus::Unknown => "unknown",
    }
}

#[expect(clippy::cast_precision_loss, reason = "durations of calls are small")]
fn milliseconds(us: u64) -> f64 {
    (us as f64 / 10.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_sdk::http::Timing;

    fn input(json: &Json) -> Input {
        serde_json::from_value(json.clone()).expect("good input")
    }

    fn answer(name: &str, status: ServingStatus) -> (String, HealthAnswer) {
        let timing =
            Timing { dns_us: 0, connect_us: 0, tls_us: 0, first_byte_us: 0, total_us: 12_345 };
        let peer = "10.0.0.7:50051".to_owned();
        (name.to_owned(), HealthAnswer { status, peer, timing })
    }

    #[test]
    fn every_service_must_be_serving() {
        for (status, outcome) in [
            (ServingStatus::Serving, Outcome::Pass),
            (ServingStatus::NotServing, Outcome::Fail),
            (ServingStatus::ServiceUnknown, Outcome::Fail),
            (ServingStatus::Unknown, Outcome::Fail),
        ] {
            let answers = vec![answer("", ServingStatus::Serving), answer("a.B", status)];
            let found = report(&input(&json!({})), answers);
            assert_eq!(found.outcome, outcome, "{}", found.summary);
            assert_eq!(found.output.services[1].status, words(status).replace(' ', "-"));
        }
        let found = report(
            &input(&json!({})),
            vec![answer("", ServingStatus::NotServing), answer("a.B", ServingStatus::Unknown)],
        );
        assert_eq!(found.summary, "the server is not serving; a.B is unknown");
    }

    #[test]
    fn a_slow_answer_is_a_warning_or_a_failure() {
        for (json, outcome) in [
            (json!({ "warn": "20ms", "crit": "1s" }), Outcome::Pass),
            (json!({ "warn": "10ms", "crit": "1s" }), Outcome::Warn),
            (json!({ "warn": "1ms", "crit": "12ms" }), Outcome::Fail),
        ] {
            let found = report(&input(&json), vec![answer("", ServingStatus::Serving)]);
            assert_eq!(found.outcome, outcome, "{json}");
        }
    }
}
