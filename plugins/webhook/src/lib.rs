//! The bundled plugin `webhook`: sends a message to a webhook.

use runbook_sdk::operation::effect;
use runbook_sdk::prelude::*;

/// What to send.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Path below the target's address; its own if absent.
    #[serde(default)]
    path: String,
    /// Sent as JSON.
    json: Option<Json>,
    /// Sent as text.
    text: Option<String>,
    /// The status that means success; any from 200 to 299 if absent.
    expect_status: Option<u16>,
}

/// What was answered.
#[derive(Serialize, JsonSchema)]
struct Output {
    /// Status code.
    status: u16,
}

struct Post;

impl Input {
    /// Body and its type.
    fn body(&self) -> Result<(Vec<u8>, &'static str)> {
        match (&self.json, &self.text) {
            (Some(json), None) => Ok((json.to_string().into_bytes(), "application/json")),
            (None, Some(text)) => Ok((text.clone().into_bytes(), "text/plain; charset=utf-8")),
            (None, None) => Err(Fault::invalid("webhook.nothing", "there is nothing to send: give `json` or `text`")),
            (Some(_), Some(_)) => Err(Fault::invalid("webhook.both", "give `json` or `text`, not both")),
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
        let (body, _) = input.body()?;
        let summary = format!("send {} bytes with POST", body.len());
        Ok(Proposal::one(effect("http.post", input.path(), summary), Json::Null))
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let (body, kind) = input.body()?;
        let response = http::Endpoint::slot("webhook").header("content-type", kind).post(input.path(), &body)?;
        let good = input.expect_status.map_or(response.is_success(), |expected| response.status == expected);
        if good {
            return Ok(Completion::changed(format!("sent, answered {}", response.status), Output { status: response.status }));
        }
        let message = format!("the webhook answered {}: {}", response.status, runbook_sdk::assertion::start_of(&response.text()));
        // 429 and 5xx may be gone in a moment; the others will not.
        Err(if response.status == 429 || response.status >= 500 {
            Fault::transient("webhook.busy", message)
        } else {
            Fault::assertion("webhook.status", message)
        })
    }
}

runbook_sdk::plugin! { steps: { "post" => Post } }

#[cfg(test)]
mod tests {
    use super::*;

    fn body(input: Json) -> Result<(Vec<u8>, &'static str)> {
        serde_json::from_value::<Input>(input).expect("the test's input fits").body()
    }

    #[test]
    fn exactly_one_of_json_and_text_is_sent() {
        assert_eq!(body(json!({ "json": { "a": 1 } })).expect("json"), (b"{\"a\":1}".to_vec(), "application/json"));
        assert_eq!(body(json!({ "text": "x" })).expect("text").0, b"x");
        assert!(body(json!({})).is_err());
        assert!(body(json!({ "json": 1, "text": "x" })).is_err());
    }
}
