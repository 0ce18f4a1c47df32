//! Messages of mail.

use super::{Judgment, MailMessage, Rule};
use crate::targets::MailTarget;

/// The largest number of characters of a subject.
const MAX_SUBJECT: usize = 200;

/// Judges what a plugin wants to send: how many messages there are, and whether each of its
/// characters can be in a message.
pub(super) fn judge_message(target: &MailTarget, message: &MailMessage<'_>) -> Judgment {
    let MailMessage { subject, text, number } = *message;
    if number > target.max_messages {
        let reason =
            format!("this is message {number} of the call, of {} at most", target.max_messages);
        return Err((Rule::Messages, reason));
    }
    if subject.trim().is_empty() || subject.chars().count() > MAX_SUBJECT {
        let reason = format!("a subject has 1 to {MAX_SUBJECT} characters");
        return Err((Rule::Message, reason));
    }
    if let Some(found) = subject.chars().find(|c| !is_of_one_line(*c)) {
        let reason = format!("the subject has the character {}", found.escape_unicode());
        return Err((Rule::Message, reason));
    }
    match text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        Some(found) => {
            Err((Rule::Message, format!("the text has the character {}", found.escape_unicode())))
        }
        None => Ok(()),
    }
}

/// Whether a character can be in a subject: it does not end a line, and does not change in which
/// direction the rest is read.
fn is_of_one_line(c: char) -> bool {
    let separates_lines = matches!(c, '\u{2028}' | '\u{2029}');
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !(c.is_control() || separates_lines || turns)
}
