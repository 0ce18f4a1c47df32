//! The mail server that the runbook bound to a slot, with the sender and the recipients.

use crate::bindings::runbook::mail::sender;
use crate::fault::Result;
use crate::native::host;
use crate::operation::{Effect, arguments_effect};
use crate::slot::Slot;

/// A slot that is bound to a mail server. The host holds the addresses, the password and the
/// certificates; a plugin chooses the subject and the text.
#[derive(Debug, Clone)]
pub struct Mailbox {
    slot: Slot,
}

/// What the server said when it took a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The `Message-ID`: the same for every attempt of a step to send the same message.
    pub message_id: String,
    /// The answer of the server, on one line.
    pub answer: String,
}

impl Mailbox {
    /// The mail server of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot }
    }

    /// Sends one message of plain text to all recipients of the target, or to none. It cannot be
    /// taken back.
    ///
    /// # Errors
    /// `denied` if the subject or the text has characters that no message can have, or if the call
    /// has sent as many messages as the target allows; `transient` if the server cannot be reached
    /// or takes nothing now; `invalid` if it refuses the login, a recipient or the message;
    /// `assertion` if it cannot be verified; `limit` if the message is too large; `unknown` or
    /// `timeout` if the whole message was sent and no answer came: it may be delivered.
    #[track_caller]
    pub fn send(&self, subject: &str, text: &str) -> Result<Receipt> {
        let receipt = host!("mail/sender.send", sender::send(self.slot.name(), subject, text))?;
        Ok(Receipt { message_id: receipt.message_id, answer: receipt.answer })
    }
}

/// One message that a step would send, shown word for word. If a person approves it, the host lets
/// exactly this message through, once for each time that it is shown.
pub fn message_effect(target: impl Into<String>, subject: &str, text: &str) -> Effect {
    arguments_effect("mail.send", target, &[subject.to_owned(), text.to_owned()])
}
