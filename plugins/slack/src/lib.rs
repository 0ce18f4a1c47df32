//! The bundled plugin `slack`: posts a message to a channel's incoming webhook.

use runbook_sdk::assertion::start_of;
use runbook_sdk::prelude::*;

/// The message that is posted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The message, in Slack's markup.
    text: String,
}

/// What the server answered.
#[derive(Debug, Serialize, JsonSchema)]
struct Output {
    /// The status code of the answer, such as 200.
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
        let summary = format!("post \"{}\" to the channel", start_of(&input.text));
        Ok(Proposal::one(effect("http.post", "/", summary), Json::Null))
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let response = http::Endpoint::slot(slot!("webhook"))
            .header("content-type", "application/json")
            .post("/", &body(&input.text))?;
        judge(response.status, &response.text())
    }
}

/// The JSON body that an incoming webhook takes.
fn body(text: &str) -> Vec<u8> {
    json!({ "text": text }).to_string().into_bytes()
}

/// Decides by status and body whether Slack took the message.
fn judge(status: u16, answer: &str) -> Result<Completion<Output>> {
    if (200..300).contains(&status) {
        return Ok(Completion::changed("posted to slack", Output { status }));
    }
    let message = format!("slack answered {status}: {}", start_of(answer));
    Err(if status == 429 || status >= 500 {
        Fault::transient("slack.busy", message)
    } else {
        Fault::assertion("slack.refused", message)
    })
}

runbook_sdk::plugin! { steps: { "post" => Post } }

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Proposal> {
        let job = Job {
            run_id: String::new(),
            step: "tell".to_owned(),
            attempt: 1,
            deadline_ms: 0,
            dry_run: false,
            unanswered: None,
        };
        Post::plan(&job, &Input { text: text.to_owned() })
    }

    #[test]
    fn a_message_is_sent_as_json_whatever_is_in_it() {
        assert_eq!(body("a \"b\"\nc"), br#"{"text":"a \"b\"\nc"}"#);
    }

    #[test]
    fn the_plan_shows_the_start_of_the_message_on_one_line() {
        assert_eq!(
            plan("orders is down\nsee INC-42").expect("it can be planned").summary,
            "post \"orders is down see INC-42\" to the channel"
        );
        assert_eq!(plan(" \n").map_err(|fault| fault.code).err(), Some("slack.empty".to_owned()));
    }

    #[test]
    fn an_error_answer_of_slack_is_in_the_fault() {
        assert_eq!(
            judge(200, "ok").map(|done| done.summary).ok(),
            Some("posted to slack".to_owned())
        );
        let fault = judge(404, "no_service").expect_err("the webhook is gone");
        assert_eq!(
            (fault.class, fault.message.as_str()),
            (FaultClass::Assertion, "slack answered 404: no_service")
        );
        assert_eq!(judge(429, "").expect_err("too fast").class, FaultClass::Transient);
    }
}
