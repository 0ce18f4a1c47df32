//! The bundled plugin `mail`: sends a message to the recipients of a target.

use runbook_sdk::assertion::start_of;
use runbook_sdk::prelude::*;

/// The message that is sent.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The subject, on one line.
    subject: String,
    /// The text.
    text: String,
}

/// What the server answered.
#[derive(Debug, Serialize, JsonSchema)]
struct Output {
    /// The `Message-ID` of the message.
    message_id: String,
    /// The answer of the server that took it.
    answer: String,
}

struct Send;

impl Step for Send {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        if input.subject.trim().is_empty() {
            return Err(Fault::invalid("mail.empty", "the subject is empty"));
        }
        Ok(Proposal {
            effects: vec![mail::message_effect("the recipients", &input.subject, &input.text)],
            summary: format!("send \"{}\", which cannot be taken back", start_of(&input.subject)),
            before: Json::Null,
        })
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let receipt = mail::Mailbox::slot(slot!("mailbox")).send(&input.subject, &input.text)?;
        let output = Output { message_id: receipt.message_id, answer: receipt.answer };
        Ok(Completion::changed("the server has taken the message", output))
    }
}

runbook_sdk::plugin! { steps: { "send" => Send } }

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(subject: &str) -> Result<Proposal> {
        let job = Job {
            run_id: String::new(),
            step: "tell".to_owned(),
            attempt: 1,
            deadline_ms: 0,
            dry_run: false,
            unanswered: None,
        };
        Send::plan(&job, &Input { subject: subject.to_owned(), text: "a\n\"b\"".to_owned() })
    }

    #[test]
    fn the_plan_shows_the_whole_message_and_that_it_cannot_be_taken_back() {
        let proposal = plan("orders is down").expect("it can be planned");
        assert_eq!(proposal.summary, "send \"orders is down\", which cannot be taken back");
        assert_eq!(proposal.effects[0].summary, r#"`["orders is down","a\n\"b\""]`"#);
        assert_eq!(plan(" \n").map_err(|fault| fault.code).err(), Some("mail.empty".to_owned()));
    }
}
