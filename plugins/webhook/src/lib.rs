//! The bundled plugin `webhook`: sends a message to a webhook.

use runbook_sdk::assertion::start_of;
use runbook_sdk::prelude::*;

/// The message that is sent, as JSON or as text.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Path below the target's address; its own if absent.
    #[serde(default)]
    path: String,
    /// A body that is sent as JSON.
    json: Option<Json>,
    /// A body that is sent as text.
    text: Option<String>,
    /// The status that means success; any from 200 to 299 if absent.
    expect_status: Option<u16>,
}

/// What the server answered.
#[derive(Debug, Serialize, JsonSchema)]
struct Output {
    /// The status code of the answer, such as 200.
    status: u16,
}

struct Post;

impl Input {
    /// The body and its content type.
    fn body(&self) -> Result<(Vec<u8>, &'static str)> {
        match (&self.json, &self.text) {
            (Some(json), None) => Ok((json.to_string().into_bytes(), "application/json")),
            (None, Some(text)) => Ok((text.clone().into_bytes(), "text/plain; charset=utf-8")),
            (None, None) => Err(Fault::invalid(
                "webhook.nothing",
                "there is nothing to send: give `json` or `text`",
            )),
            (Some(_), Some(_)) => {
                Err(Fault::invalid("webhook.both", "give `json` or `text`, not both"))
            }
        }
    }

    fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }
}

impl Step for Post {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let (body, kind) = input.body()?;
        let summary = format!("POST {} with {} bytes of {kind}", input.path(), body.len());
        Ok(Proposal::one(effect("http.post", input.path(), summary), Json::Null))
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let (body, kind) = input.body()?;
        let response = http::Endpoint::slot(slot!("webhook"))
            .header("content-type", kind)
            .post(input.path(), &body)?;
        judge(input, response.status, &response.text())
    }
}

/// Decides by the status whether the webhook took the message.
fn judge(input: &Input, status: u16, body: &str) -> Result<Completion<Output>> {
    if input.expect_status.map_or((200..300).contains(&status), |expected| status == expected) {
        return Ok(Completion::changed(format!("sent, answered {status}"), Output { status }));
    }
    let wanted = input
        .expect_status
        .map_or_else(|| "200 to 299".to_owned(), |expected| expected.to_string());
    let message = format!("the webhook answered {status}, expected {wanted}: {}", start_of(body));
    // 429 and 5xx are temporary; other statuses are not.
    Err(if status == 429 || status >= 500 {
        Fault::transient("webhook.busy", message)
    } else {
        Fault::assertion("webhook.status", message)
    })
}

runbook_sdk::plugin! { steps: { "post" => Post } }

#[cfg(test)]
mod tests {
    use super::*;

    fn input(input: Json) -> Input {
        serde_json::from_value(input).expect("the test's input fits")
    }

    fn job() -> Job {
        Job {
            run_id: String::new(),
            step: "tell".to_owned(),
            attempt: 1,
            deadline_ms: 0,
            dry_run: false,
            unanswered: None,
        }
    }

    #[test]
    fn exactly_one_of_json_and_text_is_sent() {
        let body = |value| input(value).body();
        assert_eq!(
            body(json!({ "json": { "a": 1 } })).expect("json"),
            (b"{\"a\":1}".to_vec(), "application/json")
        );
        assert_eq!(body(json!({ "text": "x" })).expect("text").0, b"x");
        assert_eq!(body(json!({})).map_err(|fault| fault.code), Err("webhook.nothing".to_owned()));
        assert_eq!(
            body(json!({ "json": 1, "text": "x" })).map_err(|fault| fault.code),
            Err("webhook.both".to_owned())
        );
    }

    #[test]
    fn the_plan_says_method_path_and_size() {
        let effects = |value| Post::plan(&job(), &input(value)).expect("it can be planned").effects;
        let named = effects(json!({ "json": { "a": 1 }, "path": "/hooks/7" }));
        assert_eq!((named[0].verb.as_str(), named[0].target.as_str()), ("http.post", "/hooks/7"));
        assert_eq!(named[0].summary, "POST /hooks/7 with 7 bytes of application/json");
        assert_eq!(effects(json!({ "text": "x" }))[0].target, "/", "the target's own address");
    }

    #[test]
    fn any_good_status_is_expected_unless_one_is_named() {
        let any = input(json!({ "text": "x" }));
        let only = input(json!({ "text": "x", "expect_status": 202 }));
        assert_eq!(judge(&any, 204, "").map(|done| done.output.status).ok(), Some(204));
        assert_eq!(judge(&only, 202, "").map(|done| done.output.status).ok(), Some(202));
        let fault = judge(&only, 200, "ok").expect_err("200 is not 202");
        assert_eq!(fault.message, "the webhook answered 200, expected 202: ok");
        assert_eq!(fault.class, FaultClass::Assertion);
    }

    #[test]
    fn a_busy_webhook_may_be_asked_again_and_one_that_refuses_may_not() {
        let class = |status| {
            judge(&input(json!({ "text": "x" })), status, "").expect_err("it did not work").class
        };
        assert_eq!(class(429), FaultClass::Transient);
        assert_eq!(class(503), FaultClass::Transient);
        assert_eq!(class(404), FaultClass::Assertion);
        assert_eq!(class(302), FaultClass::Assertion);
    }
}
