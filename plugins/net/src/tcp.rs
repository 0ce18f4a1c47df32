//! `net:tcp`

use runbook_sdk::net::{Answer, AnswerEnd, Connection, Server, Turn};
use runbook_sdk::prelude::*;
use std::time::Duration;

/// Where to connect, what to say, and what must come.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// One of the target's hosts; may be left out if it lists one.
    host: Option<String>,
    /// One of the target's ports; may be left out if it lists one.
    port: Option<u16>,
    /// Text that the server must send by itself: its banner.
    banner: Option<String>,
    /// Lines to say after it, in this order. The target must allow each by `questions`.
    #[serde(default)]
    say: Vec<Say>,
    /// Slower to connect is a warning.
    warn: Option<Span>,
    /// Slower to connect is a failure.
    crit: Option<Span>,
}

/// A line, and what must come after it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Say {
    /// The line, without its end.
    line: String,
    /// Text that the answer must have; without it nothing is waited for.
    expect: Option<String>,
}

/// What the server did.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The address that answered, as `ip:port`.
    peer: String,
    /// Milliseconds that the connection took, without the look-up of the name.
    connect_ms: f64,
    /// What came in each turn that waited for a text; bytes that are no UTF-8 are replaced.
    answers: Vec<String>,
    /// Whether there was more than the target allows to read.
    truncated: bool,
}

pub(crate) fn tcp(_job: &Job, input: Input) -> Result<Report<Output>> {
    let mut server = Server::slot(slot!("server"));
    if let Some(host) = &input.host {
        server = server.host(host);
    }
    if let Some(port) = input.port {
        server = server.port(port);
    }
    Ok(report(&input, server.connect(&turns(&input))?))
}

fn turns(input: &Input) -> Vec<Turn> {
    let banner = input.banner.iter().map(|text| Turn::wait(text));
    let said = input.say.iter().map(|say| {
        let turn = Turn::say(&say.line);
        match &say.expect {
            Some(text) => turn.until(text),
            None => turn,
        }
    });
    banner.chain(said).collect()
}

/// The texts that the turns wait for, in their order.
fn expected(input: &Input) -> impl Iterator<Item = &str> {
    input
        .banner
        .iter()
        .chain(input.say.iter().filter_map(|say| say.expect.as_ref()))
        .map(String::as_str)
}

fn report(input: &Input, connection: Connection) -> Report<Output> {
    let took = Duration::from_micros(connection.connect_us);
    let connect_ms = milliseconds(connection.connect_us);
    let place = format!("{}:{}", connection.host, connection.port);
    let mut assertions = Assertions::new();
    for (text, answer) in expected(input).zip(&connection.answers) {
        assertions.holds(answer.end == AnswerEnd::Found, || unmet_message(text, answer));
    }
    let exceeded = |limit: Option<Span>| limit.filter(|limit| took > limit.0);
    let problem = (!assertions.all_hold()).then(|| assertions.failures().join("; "));
    let (outcome, summary) = match (problem, exceeded(input.crit), exceeded(input.warn)) {
        (Some(problem), _, _) => (Outcome::Fail, format!("{place}: {problem}")),
        (None, Some(limit), _) => (Outcome::Fail, too_slow(&place, connect_ms, limit)),
        (None, None, Some(limit)) => (Outcome::Warn, too_slow(&place, connect_ms, limit)),
        (None, None, None) => (Outcome::Pass, format!("{place} answered in {connect_ms} ms")),
    };
    let text = |answer: &Answer| String::from_utf8_lossy(&answer.content).into_owned();
    let answers = connection.answers.iter().map(text).collect();
    let truncated = connection.answers.iter().any(|answer| answer.end == AnswerEnd::Cut);
    let output = Output { peer: connection.peer, connect_ms, answers, truncated };
    let at_most = |limit: Span| limit.as_millis_f64().to_string();
    let connect = Measurement {
        warn: input.warn.map(at_most),
        crit: input.crit.map(at_most),
        ..measurement("connect", connect_ms, "ms")
    };
    Report::new(outcome, summary, output).measure(connect).measure(measurement(
        "dns",
        milliseconds(connection.dns_us),
        "ms",
    ))
}

fn unmet_message(text: &str, answer: &Answer) -> String {
    let said = String::from_utf8_lossy(&answer.content);
    let said = if said.is_empty() {
        "it said nothing".to_owned()
    } else {
        format!("it said `{}`", runbook_sdk::assertion::start_of(said.trim_end()))
    };
    let why = match answer.end {
        AnswerEnd::Found => "",
        AnswerEnd::Closed => ", and closed the connection",
        AnswerEnd::Cut => ", and no more was read (`max_bytes` of the target)",
    };
    format!("expected `{text}`; {said}{why}")
}

fn too_slow(place: &str, took: f64, limit: Span) -> String {
    format!("{place} answered in {took} ms, more than {} ms", limit.as_millis_f64())
}

#[expect(clippy::cast_precision_loss, reason = "durations of connections are small")]
fn milliseconds(us: u64) -> f64 {
    (us as f64 / 10.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(json: &Json) -> Input {
        serde_json::from_value(json.clone()).expect("good input")
    }

    fn connection(answers: &[(&str, AnswerEnd)]) -> Connection {
        let answer = |(text, end): &(&str, AnswerEnd)| Answer {
            content: text.as_bytes().to_vec(),
            end: *end,
        };
        Connection {
            host: "mail.internal".to_owned(),
            port: 25,
            peer: "10.0.0.7:25".to_owned(),
            dns_us: 100,
            connect_us: 12_345,
            answers: answers.iter().map(answer).collect(),
        }
    }

    #[test]
    fn each_text_that_is_expected_must_come() {
        let input = input(&json!({
            "banner": "220", "say": [{ "line": "NOOP", "expect": "250" }, { "line": "QUIT" }]
        }));
        assert_eq!(turns(&input).len(), 3);
        let good = [("220 hello", AnswerEnd::Found), ("250 ok", AnswerEnd::Found)];
        let passed = report(&input, connection(&good));
        assert_eq!((passed.outcome, passed.output.answers.len()), (Outcome::Pass, 2));
        for (end, words) in
            [(AnswerEnd::Closed, "closed the connection"), (AnswerEnd::Cut, "`max_bytes`")]
        {
            let failed = report(&input, connection(&[good[0], ("421 no", end)]));
            assert_eq!(failed.outcome, Outcome::Fail);
            assert!(
                failed.summary.contains("expected `250`; it said `421 no`")
                    && failed.summary.contains(words),
                "{}",
                failed.summary
            );
        }
    }

    #[test]
    fn a_slow_connection_is_a_warning_or_a_failure() {
        for (json, outcome) in [
            (json!({ "warn": "20ms", "crit": "1s" }), Outcome::Pass),
            (json!({ "warn": "10ms", "crit": "1s" }), Outcome::Warn),
            (json!({ "warn": "1ms", "crit": "12ms" }), Outcome::Fail),
        ] {
            assert_eq!(report(&input(&json), connection(&[])).outcome, outcome, "{json}");
        }
    }
}
