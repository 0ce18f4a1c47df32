//! What an answer must be.

use runbook_sdk::assertion::start_of;
use runbook_sdk::http::Response;
use runbook_sdk::prelude::*;
use std::collections::BTreeMap;

/// One status or several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Status {
    /// Exactly this status.
    One(u16),
    /// Any of these statuses.
    Any(Vec<u16>),
}

impl Status {
    fn matches(&self, status: u16) -> bool {
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

/// What a header must be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Header {
    /// It contains this text.
    Contains(String),
    /// It is exactly this text.
    Exactly {
        /// The whole value of the header.
        equals: String,
    },
}

/// What a response must be. Without `status`, any status from 200 to 299 is good.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expectation<'a> {
    pub(crate) status: Option<&'a Status>,
    pub(crate) headers: Option<&'a BTreeMap<String, Header>>,
    pub(crate) contains: Option<&'a str>,
    pub(crate) body_equals: Option<&'a str>,
    pub(crate) json: Option<&'a BTreeMap<String, Json>>,
}

impl Expectation<'_> {
    /// Compares a response with what is expected, and collects what does not hold.
    pub(crate) fn compare(&self, response: &Response) -> Assertions {
        let mut assertions = Assertions::new();
        let expected = self.status.map_or_else(|| "200 to 299".to_owned(), Status::describe);
        let is_expected_status =
            self.status.map_or(response.is_success(), |status| status.matches(response.status));
        assertions.holds(is_expected_status, || {
            format!("status is {}, expected {expected}", response.status)
        });
        for (name, expected) in self.headers.into_iter().flatten() {
            compare_header(&mut assertions, response, name, expected);
        }
        self.compare_body(&mut assertions, response);
        assertions
    }

    fn compare_body(&self, assertions: &mut Assertions, response: &Response) {
        let paths = self.json.filter(|paths| !paths.is_empty());
        // A body that was cut off proves neither that a text is missing nor that the JSON is
        // broken.
        let found_already = self.contains.is_none_or(|text| response.text().contains(text));
        if let Err(fault) = response.whole()
            && (!found_already || self.body_equals.is_some() || paths.is_some())
        {
            assertions.holds(false, || fault.message);
            return;
        }
        if let Some(expected) = self.contains {
            assertions.contains("the body", &response.text(), expected);
        }
        if let Some(expected) = self.body_equals {
            let found = response.text();
            assertions.holds(found == expected, || {
                format!(
                    "the body is not `{}`; it is {} bytes and starts with `{}`",
                    start_of(expected),
                    found.len(),
                    start_of(&found)
                )
            });
        }
        let Some(paths) = paths else { return };
        match response.json_of_any_status::<Json>() {
            Ok(body) => paths.iter().for_each(|(path, expected)| {
                assertions.json_equals(&body, path, expected);
            }),
            Err(fault) => {
                assertions.holds(false, || fault.message);
            }
        }
    }
}

fn compare_header(assertions: &mut Assertions, response: &Response, name: &str, expected: &Header) {
    let what = format!("header `{name}`");
    match (response.header(name), expected) {
        (Some(found), Header::Contains(text)) => assertions.contains(&what, found, text),
        (Some(found), Header::Exactly { equals }) => assertions.holds(found == equals, || {
            format!("{what} is `{}`, expected `{equals}`", start_of(found))
        }),
        (None, Header::Contains(text) | Header::Exactly { equals: text }) => {
            assertions.holds(false, || format!("there is no {what}, expected `{text}`"))
        }
    };
}

/// The worse of two outcomes, that of the comparison and that of the latency, with its reason.
pub(crate) fn verdict(
    assertions: &Assertions,
    elapsed: std::time::Duration,
    warn: Option<Span>,
    crit: Option<Span>,
) -> (Outcome, Option<String>) {
    let slower = |limit: Option<Span>| limit.filter(|limit| elapsed > limit.0);
    match (assertions.all_hold(), slower(crit), slower(warn)) {
        (false, ..) => (Outcome::Fail, Some(assertions.failures().join("; "))),
        (true, Some(limit), _) => (
            Outcome::Fail,
            Some(format!("took {} ms, at most {} ms", elapsed.as_millis(), limit.0.as_millis())),
        ),
        (true, None, Some(limit)) => (
            Outcome::Warn,
            Some(format!("took {} ms, more than {} ms", elapsed.as_millis(), limit.0.as_millis())),
        ),
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
        let headers =
            vec![("content-type".to_owned(), "application/json; charset=utf-8".to_owned())];
        Response {
            status,
            headers,
            body: body.as_bytes().to_vec(),
            truncated: false,
            peer: String::new(),
            timing,
            path: "/".to_owned(),
        }
    }

    #[test]
    fn an_answer_is_compared_in_every_part_and_all_differences_are_listed() {
        let status = Status::Any(vec![200, 204]);
        let headers =
            BTreeMap::from([("Content-Type".to_owned(), Header::Contains("text/html".to_owned()))]);
        let json = BTreeMap::from([("status".to_owned(), json!("ok"))]);
        let expectation = Expectation {
            status: Some(&status),
            headers: Some(&headers),
            contains: Some("up"),
            body_equals: Some("OK"),
            json: Some(&json),
        };
        let found = expectation.compare(&response(500, "{\"status\":\"down\"}"));
        assert_eq!(
            found.failures(),
            [
                "status is 500, expected 200 or 204",
                "header `Content-Type` does not contain `text/html`; it starts with \
                 `application/json; charset=utf-8`",
                "the body does not contain `up`; it starts with `{\"status\":\"down\"}`",
                "the body is not `OK`; it is 17 bytes and starts with `{\"status\":\"down\"}`",
                "`status` is \"down\", expected \"ok\"",
            ]
        );
    }

    #[test]
    fn latency_makes_a_good_answer_worse_and_never_a_bad_one_better() {
        let passing_assertions = Expectation::default().compare(&response(200, ""));
        let failing_assertions = Expectation::default().compare(&response(503, ""));
        let span = |ms| Some(Span(Duration::from_millis(ms)));
        let elapsed = Duration::from_millis(150);
        assert_eq!(verdict(&passing_assertions, elapsed, span(100), span(200)).0, Outcome::Warn);
        assert_eq!(verdict(&passing_assertions, elapsed, span(50), span(100)).0, Outcome::Fail);
        assert_eq!(verdict(&passing_assertions, elapsed, span(200), None).0, Outcome::Pass);
        assert_eq!(verdict(&failing_assertions, elapsed, None, None).0, Outcome::Fail);
    }

    #[test]
    fn a_header_is_compared_in_part_or_exactly_and_must_be_there() {
        let exactly = |text: &str| Header::Exactly { equals: text.to_owned() };
        let compare = |name: &str, header: Header| {
            let headers = BTreeMap::from([(name.to_owned(), header)]);
            let expectation = Expectation { headers: Some(&headers), ..Expectation::default() };
            expectation.compare(&response(200, "")).failures().to_vec()
        };
        assert!(compare("content-type", Header::Contains("json".to_owned())).is_empty());
        assert!(compare("Content-Type", exactly("application/json; charset=utf-8")).is_empty());
        assert_eq!(
            compare("content-type", exactly("application/json")),
            ["header `content-type` is `application/json; charset=utf-8`, expected \
              `application/json`"]
        );
        assert_eq!(compare("etag", exactly("x")), ["there is no header `etag`, expected `x`"]);
    }

    #[test]
    fn a_runbook_writes_a_header_as_text_or_as_equals() {
        let read = |value: Json| serde_json::from_value::<Header>(value);
        assert!(matches!(read(json!("a")), Ok(Header::Contains(text)) if text == "a"));
        assert!(
            matches!(read(json!({ "equals": "a" })), Ok(Header::Exactly { equals }) if equals == "a")
        );
        assert!(read(json!(1)).is_err());
    }

    #[test]
    fn a_body_that_was_cut_proves_only_what_is_in_it() {
        let json = BTreeMap::from([("status".to_owned(), json!("ok"))]);
        let cut_response = Response { truncated: true, ..response(200, "{\"status\":\"ok\"") };
        let expected_failures =
            ["the body is longer than the 14 bytes that the target's `max_body` lets through"];
        for expectation in [
            Expectation { json: Some(&json), ..Expectation::default() },
            Expectation { contains: Some("late"), ..Expectation::default() },
            Expectation { body_equals: Some("{\"status\":\"ok\""), ..Expectation::default() },
        ] {
            assert_eq!(expectation.compare(&cut_response).failures(), expected_failures);
        }
        let text_in_kept_part = Expectation { contains: Some("status"), ..Expectation::default() };
        assert!(
            text_in_kept_part.compare(&cut_response).all_hold(),
            "the text is in the part that came"
        );
        assert!(
            Expectation::default().compare(&cut_response).all_hold(),
            "who asks nothing of the body does not mind"
        );
    }
}
