//! What an answer must be.

use runbook_sdk::duration::Span;
use runbook_sdk::http::Response;
use runbook_sdk::prelude::*;
use std::collections::BTreeMap;

/// One status or several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Status {
    /// This one.
    One(u16),
    /// Any of these.
    Any(Vec<u16>),
}

impl Status {
    fn has(&self, status: u16) -> bool {
        match self {
            Self::One(one) => *one == status,
            Self::Any(any) => any.contains(&status),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::One(one) => one.to_string(),
            Self::Any(any) => any.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "),
        }
    }
}

/// What an answer must be. Without `status`, any from 200 to 299 is good.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expectation<'a> {
    pub(crate) status: Option<&'a Status>,
    pub(crate) headers: Option<&'a BTreeMap<String, String>>,
    pub(crate) contains: Option<&'a str>,
    pub(crate) json: Option<&'a BTreeMap<String, Json>>,
}

impl Expectation<'_> {
    /// Compares; what does not hold is said.
    pub(crate) fn compare(&self, response: &Response) -> Assertions {
        let mut assertions = Assertions::new();
        let expected = self.status.map_or_else(|| "200 to 299".to_owned(), Status::describe);
        let good = self.status.map_or(response.is_success(), |status| status.has(response.status));
        assertions.holds(good, || format!("status is {}, expected {expected}", response.status));
        for (name, expected) in self.headers.into_iter().flatten() {
            match response.header(name) {
                Some(found) => assertions.contains(&format!("header `{name}`"), found, expected),
                None => assertions.holds(false, || format!("there is no header `{name}`, expected `{expected}`")),
            };
        }
        if let Some(expected) = self.contains {
            assertions.contains("the body", &response.text(), expected);
        }
        if let Some(paths) = self.json.filter(|paths| !paths.is_empty()) {
            match response.json::<Json>() {
                Ok(body) => paths.iter().for_each(|(path, expected)| {
                    assertions.json_equals(&body, path, expected);
                }),
                Err(fault) => {
                    assertions.holds(false, || fault.message);
                }
            }
        }
        assertions
    }
}

/// The worse of what the comparison says and what the time says.
pub(crate) fn verdict(
    assertions: &Assertions,
    took: std::time::Duration,
    warn: Option<Span>,
    crit: Option<Span>,
) -> (Outcome, Option<String>) {
    let slower = |limit: Option<Span>| limit.filter(|limit| took > limit.0);
    match (assertions.all_hold(), slower(crit), slower(warn)) {
        (false, ..) => (Outcome::Fail, Some(assertions.failures().join("; "))),
        (true, Some(limit), _) => {
            (Outcome::Fail, Some(format!("took {} ms, at most {} ms", took.as_millis(), limit.0.as_millis())))
        }
        (true, None, Some(limit)) => {
            (Outcome::Warn, Some(format!("took {} ms, more than {} ms", took.as_millis(), limit.0.as_millis())))
        }
        (true, None, None) => (Outcome::Pass, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_sdk::http::Timing;
    use std::time::Duration;

    fn response(status: u16, body: &str) -> Response {
        let timing = Timing { dns_us: 0, connect_us: 0, tls_us: 0, first_byte_us: 0, total_us: 0 };
        let headers = vec![("content-type".to_owned(), "application/json; charset=utf-8".to_owned())];
        Response { status, headers, body: body.as_bytes().to_vec(), truncated: false, peer: String::new(), timing }
    }

    #[test]
    fn an_answer_is_compared_in_every_part_and_all_differences_are_said() {
        let status = Status::Any(vec![200, 204]);
        let headers = BTreeMap::from([("Content-Type".to_owned(), "text/html".to_owned())]);
        let json = BTreeMap::from([("status".to_owned(), json!("ok"))]);
        let expectation = Expectation { status: Some(&status), headers: Some(&headers), contains: Some("up"), json: Some(&json) };
        let found = expectation.compare(&response(500, "{\"status\":\"down\"}"));
        assert_eq!(
            found.failures(),
            [
                "status is 500, expected 200 or 204",
                "header `Content-Type` does not contain `text/html`; it starts with `application/json; charset=utf-8`",
                "the body does not contain `up`; it starts with `{\"status\":\"down\"}`",
                "`status` is \"down\", expected \"ok\"",
            ]
        );
    }

    #[test]
    fn latency_makes_a_good_answer_worse_and_never_a_bad_one_better() {
        let good = Expectation::default().compare(&response(200, ""));
        let bad = Expectation::default().compare(&response(503, ""));
        let span = |ms| Some(Span(Duration::from_millis(ms)));
        let took = Duration::from_millis(150);
        assert_eq!(verdict(&good, took, span(100), span(200)).0, Outcome::Warn);
        assert_eq!(verdict(&good, took, span(50), span(100)).0, Outcome::Fail);
        assert_eq!(verdict(&good, took, span(200), None).0, Outcome::Pass);
        assert_eq!(verdict(&bad, took, None, None).0, Outcome::Fail);
    }
}
