//! The bundled plugin `slack`: posts a message to a channel's incoming webhook.

use runbook_sdk::operation::effect;
use runbook_sdk::prelude::*;

/// What to say.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The message, in Slack's markup.
    text: String,
}

/// What was answered.
#[derive(Serialize, JsonSchema)]
struct Output {
    /// Status code.
    status: u16,
}

struct Post;

impl Step for Post {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        if input.text.trim().is_empty() {
            return Err(Fault::invalid("slack.empty", "the message is empty"));
        }
        let summary = format!("post \"{}\"", runbook_sdk::assertion::start_of(&input.text));
        Ok(Proposal::one(effect("http.post", "channel", summary), Json::Null))
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let body = json!({ "text": input.text }).to_string();
        let response = http::Endpoint::slot("webhook").header("content-type", "application/json").post("/", body.as_bytes())?;
        if response.is_success() {
            return Ok(Completion::changed("posted", Output { status: response.status }));
        }
        let message = format!("Slack answered {}: {}", response.status, runbook_sdk::assertion::start_of(&response.text()));
        Err(if response.status == 429 || response.status >= 500 {
            Fault::transient("slack.busy", message)
        } else {
            Fault::assertion("slack.refused", message)
        })
    }
}

runbook_sdk::plugin! { steps: { "post" => Post } }
