//! One case: a request, and what the response must be.

use crate::values::Values;
use runbook_sdk::assertion::json_at;
use runbook_sdk::http::{Endpoint, Response};
use runbook_sdk::prelude::*;
use std::collections::BTreeMap;

/// How a request is made.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

/// One case of the scenario.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// What the case proves, as its name in reports.
    name: String,
    /// The method of the request; GET if absent.
    #[serde(default)]
    method: Method,
    /// Path below the target's address. `${name}` is a captured value.
    path: String,
    /// The body, which is sent as JSON.
    body: Option<Json>,
    /// Sent as a form, in place of `body`.
    form: Option<BTreeMap<String, String>>,
    /// Where the secret of slot `password` goes, unseen: a JSON pointer such as `/password` into
    /// `body`, or the name of a field of `form`.
    password_at: Option<String>,
    /// Request headers; the target must allow them.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Whether the secret of slot `token` is sent as `Authorization`.
    #[serde(default)]
    auth: bool,
    /// What the answer must be.
    #[serde(default)]
    expect: Expect,
    /// Values to keep: name, and path in the JSON of the answer.
    #[serde(default)]
    capture: BTreeMap<String, String>,
}

/// What the answer must be.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// Any from 200 to 299 if absent.
    status: Option<u16>,
    /// Text that the body must contain.
    contains: Option<String>,
    /// Values at paths of a JSON body.
    #[serde(default)]
    json: BTreeMap<String, Json>,
}

impl Case {
    /// What the case proves, as its name in reports.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The first text that refers to a secret as targets do (`secret:NAME`). It would be sent
    /// literally.
    pub(crate) fn find_secret_reference(&self) -> Option<&str> {
        let texts = std::iter::once(&self.path).chain(self.headers.values()).map(String::as_str);
        texts
            .chain(self.body.iter().flat_map(crate::values::texts))
            .find(|text| names_a_secret(text))
    }

    /// The first value that this case uses and that no case has captured.
    pub(crate) fn missing_value(&self, values: &Values) -> Option<String> {
        let texts = std::iter::once(&self.path).chain(self.headers.values());
        let texts = texts.chain(self.form.iter().flat_map(BTreeMap::values));
        let in_texts = texts.map(|text| values.fill(text)).find_map(Result::err);
        in_texts.or_else(|| self.body.as_ref().and_then(|body| values.fill_json(body).err()))
    }

    /// Makes the request and judges the answer.
    pub(crate) fn run(&self, values: &mut Values) -> Verdict {
        let start = clock::monotonic();
        let (outcome, detail) = match self.missing_value(values) {
            Some(name) => (
                Outcome::Unknown,
                format!("`${{{name}}}` was not captured, so this could not be tried"),
            ),
            None => match self.request(values) {
                Ok(response) => self.judge(&response, values),
                Err(fault) if fault.class == FaultClass::Denied => {
                    (Outcome::Unknown, format!("could not be tried: {}", fault.message))
                }
                Err(fault) => (Outcome::Fail, fault.message),
            },
        };
        let duration_ms = clock::ms_since(start);
        Verdict { name: self.name.clone(), outcome, detail, duration_ms }
    }

    fn request(&self, values: &Values) -> Result<Response> {
        let missing_value_fault =
            |name: String| Fault::invalid("smoke.value", format!("`${{{name}}}` was not captured"));
        let path = values.fill(&self.path).map_err(missing_value_fault)?;
        let mut endpoint = Endpoint::slot(slot!("target"));
        for (name, value) in &self.headers {
            endpoint = endpoint.header(name, &values.fill(value).map_err(missing_value_fault)?);
        }
        if self.auth {
            endpoint = endpoint.secret_header("authorization", slot!("token"));
        }
        let body = match (&self.body, &self.form) {
            (Some(_), Some(_)) => {
                return Err(Fault::invalid("smoke.body", "a case has `body` or `form`, not both"));
            }
            (Some(body), None) => {
                endpoint = endpoint.header("content-type", "application/json");
                values.fill_json(body).map_err(missing_value_fault)?.to_string()
            }
            (None, Some(form)) => {
                endpoint = endpoint.header("content-type", "application/x-www-form-urlencoded");
                let field = |(name, value): (&String, &String)| {
                    values.fill(value).map(|value| form_field(name, &value))
                };
                form.iter()
                    .map(field)
                    .collect::<std::result::Result<Vec<_>, _>>()
                    .map_err(missing_value_fault)?
                    .join("&")
            }
            (None, None) => String::new(),
        };
        endpoint = match (&self.password_at, &self.form) {
            (None, _) => endpoint,
            (Some(name), Some(_)) => endpoint.secret_form(name, slot!("password")),
            (Some(pointer), None) => endpoint.secret_json(pointer, slot!("password")),
        };
        match self.method {
            Method::Get => endpoint.get(&path),
            Method::Head => endpoint.head(&path),
            Method::Post => endpoint.post(&path, body.as_bytes()),
            Method::Put => endpoint.put(&path, body.as_bytes()),
            Method::Patch => endpoint.patch(&path, body.as_bytes()),
            Method::Delete => endpoint.delete(&path),
        }
    }

    fn judge(&self, response: &Response, values: &mut Values) -> (Outcome, String) {
        let mut assertions = Assertions::new();
        let is_expected_status = self
            .expect
            .status
            .map_or(response.is_success(), |expected| response.status == expected);
        let expected =
            self.expect.status.map_or_else(|| "200 to 299".to_owned(), |status| status.to_string());
        assertions.holds(is_expected_status, || {
            format!("status is {}, expected {expected}", response.status)
        });
        if let Some(text) = &self.expect.contains {
            match response.whole() {
                // A body that was cut off does not prove that a text is missing.
                Err(fault) if !response.text().contains(text.as_str()) => {
                    assertions.holds(false, || fault.message)
                }
                Ok(_) | Err(_) => assertions.contains("the body", &response.text(), text),
            };
        }
        if !self.expect.json.is_empty() || !self.capture.is_empty() {
            self.judge_json(response, values, &mut assertions);
        }
        if assertions.all_hold() {
            (Outcome::Pass, response.status.to_string())
        } else {
            (Outcome::Fail, assertions.failures().join("; "))
        }
    }

    fn judge_json(&self, response: &Response, values: &mut Values, assertions: &mut Assertions) {
        let body = match response.json_of_any_status::<Json>() {
            Ok(body) => body,
            Err(fault) => {
                assertions.holds(false, || fault.message);
                return;
            }
        };
        for (path, expected) in &self.expect.json {
            assertions.json_equals(&body, path, expected);
        }
        for (name, path) in &self.capture {
            match json_at(&body, path) {
                Some(value) => values.set(name, value),
                None => {
                    assertions
                        .holds(false, || format!("there is no `{path}` to capture as `{name}`"));
                }
            }
        }
    }
}

/// `secret:login`, by itself or after a word such as `Bearer`.
fn names_a_secret(text: &str) -> bool {
    let name = |word: &str| word.strip_prefix("secret:").is_some_and(|name| !name.is_empty());
    text.split_whitespace().any(name)
}

/// `name=value` as forms write it.
fn form_field(name: &str, value: &str) -> String {
    let encode = |text: &str| -> String {
        let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte);
        let encode_byte = |byte: u8| {
            if is_unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        };
        text.bytes().map(encode_byte).collect()
    };
    format!("{}={}", encode(name), encode(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_sdk::http::Timing;

    fn case(rest: &Json) -> Case {
        let mut case = json!({ "name": "it works", "path": "/orders" });
        let entries = rest.as_object().expect("the test writes an object").clone();
        case.as_object_mut().expect("made above").extend(entries);
        serde_json::from_value(case).expect("the test's case fits")
    }

    fn judge_response(rest: &Json, status: u16, body: &str) -> (Outcome, String, Values) {
        judge(rest, Response { status, ..whole(body) })
    }

    fn judge(rest: &Json, response: Response) -> (Outcome, String, Values) {
        let mut values = Values::default();
        let (outcome, reason) = case(rest).judge(&response, &mut values);
        (outcome, reason, values)
    }

    fn whole(body: &str) -> Response {
        let timing = Timing { dns_us: 0, connect_us: 0, tls_us: 0, first_byte_us: 0, total_us: 0 };
        let body = body.as_bytes().to_vec();
        Response {
            status: 200,
            headers: Vec::new(),
            body,
            truncated: false,
            peer: String::new(),
            timing,
            path: "/".to_owned(),
        }
    }

    #[test]
    fn a_body_that_was_cut_proves_only_what_is_in_it() {
        let cut_response = Response { truncated: true, ..whole("{\"item\":\"book\"") };
        let expected_reason =
            "the body is longer than the 14 bytes that the target's `max_body` lets through";
        let expectations = [
            json!({ "expect": { "contains": "pen" } }),
            json!({ "expect": { "json": { "item": "book" } } }),
            json!({ "capture": { "item": "item" } }),
        ];
        for rest in expectations {
            let (outcome, reason, _) = judge(&rest, cut_response.clone());
            assert_eq!((outcome, reason.as_str()), (Outcome::Fail, expected_reason), "{rest}");
        }
        assert_eq!(
            judge(&json!({ "expect": { "contains": "book" } }), cut_response.clone()).0,
            Outcome::Pass
        );
        assert_eq!(
            judge(&json!({}), cut_response).0,
            Outcome::Pass,
            "who asks nothing of the body does not mind"
        );
    }

    #[test]
    fn a_good_answer_passes_and_its_values_are_kept() {
        let rest = json!({ "expect": { "status": 201, "contains": "book", "json": { "item": "book" } }, "capture": { "id": "id" } });
        let (outcome, reason, values) = judge_response(&rest, 201, "{\"id\":7,\"item\":\"book\"}");
        assert_eq!((outcome, reason.as_str()), (Outcome::Pass, "201"));
        assert_eq!(values.fill("/orders/${id}"), Ok("/orders/7".to_owned()));
    }

    #[test]
    fn a_bad_answer_fails_with_every_reason() {
        let rest = json!({ "expect": { "contains": "book", "json": { "item": "book" } }, "capture": { "id": "id" } });
        let (outcome, reason, _) = judge_response(&rest, 500, "{\"item\":\"pen\"}");
        assert_eq!(outcome, Outcome::Fail);
        assert_eq!(
            reason,
            "status is 500, expected 200 to 299; the body does not contain `book`; it starts with \
             `{\"item\":\"pen\"}`; `item` is \"pen\", expected \"book\"; there is no `id` to \
             capture as `id`"
        );
    }

    #[test]
    fn what_a_bad_answer_says_is_kept_too_so_that_the_cleanup_can_remove_it() {
        let rest = json!({ "expect": { "status": 200 }, "capture": { "id": "id" } });
        let (outcome, _, values) = judge_response(&rest, 201, "{\"id\":7}");
        assert_eq!(outcome, Outcome::Fail);
        assert_eq!(values.fill("${id}"), Ok("7".to_owned()));
    }

    #[test]
    fn an_answer_that_is_not_json_fails_only_who_asks_for_json() {
        assert_eq!(judge_response(&json!({}), 200, "<p>").0, Outcome::Pass);
        let (outcome, reason, _) =
            judge_response(&json!({ "capture": { "id": "id" } }), 200, "<p>");
        assert_eq!(outcome, Outcome::Fail);
        assert!(reason.starts_with("the body is not the expected JSON"), "{reason}");
    }

    #[test]
    fn a_text_that_names_a_secret_is_found_wherever_it_is() {
        let found = |rest: Json| case(&rest).find_secret_reference().map(str::to_owned);
        assert_eq!(
            found(json!({ "body": { "user": "x", "with": [{ "password": "secret:login" }] } })),
            Some("secret:login".to_owned())
        );
        assert_eq!(
            found(json!({ "headers": { "authorization": "Bearer secret:login" } })),
            Some("Bearer secret:login".to_owned())
        );
        assert_eq!(found(json!({ "path": "/secret:a" })), None);
        assert_eq!(found(json!({ "body": "a secret: nobody knows it" })), None);
    }

    #[test]
    fn a_missing_value_is_found_wherever_it_is_used() {
        let missing_value = |rest: Json| case(&rest).missing_value(&Values::default());
        assert_eq!(missing_value(json!({})), None);
        assert_eq!(missing_value(json!({ "path": "/orders/${a}" })), Some("a".to_owned()));
        assert_eq!(missing_value(json!({ "headers": { "etag": "${b}" } })), Some("b".to_owned()));
        assert_eq!(missing_value(json!({ "body": { "ids": ["${c}"] } })), Some("c".to_owned()));
    }

    #[test]
    fn a_case_with_an_unknown_key_is_refused() {
        let case = json!({ "name": "x", "path": "/", "expects": { "status": 200 } });
        assert!(
            serde_json::from_value::<Case>(case).is_err(),
            "a misspelled expectation must not be left out"
        );
    }
}
