//! Messages of mail.

use super::{grants, rule};
use crate::capability::Verb;
use crate::gate::{GateRequest, MailMessage};

const TARGET: &str = "mail = \"h\"\nfrom = \"checks@a.example\"\nto = [\"ops@a.example\"]";

fn judged(more: &str, subject: &str, text: &str, number: u32) -> Option<&'static str> {
    let message = MailMessage { subject, text, number };
    let request = GateRequest::Mail { slot: "s", verb: Verb::MailSend, message };
    rule(&grants("mail", &format!("{TARGET}\n{more}")), &request)
}

#[test]
fn no_character_that_ends_a_line_or_turns_it_is_in_a_subject() {
    for subject in ["a", "Größe: 5 %", "✓ done", "a\u{301}", "\u{1f600}", &"a".repeat(200)] {
        assert_eq!(judged("", subject, "x", 1), None, "{subject}");
    }
    let separators = ['\u{85}', '\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}', '\u{200f}'];
    for refused in (0..0x20).filter_map(char::from_u32).chain(['\u{7f}']).chain(separators) {
        for subject in [format!("a{refused}Bcc: x@y.example"), format!("a{refused}")] {
            assert_eq!(judged("", &subject, "x", 1), Some("message"), "{subject:?}");
        }
    }
    for subject in ["", " ", &"a".repeat(201)] {
        assert_eq!(judged("", subject, "x", 1), Some("message"), "{subject:?}");
    }
}

#[test]
fn a_text_has_lines_and_tabs_and_no_other_control_characters() {
    for text in ["", "a\nb\r\nc\rd\te", ".\r\nQUIT", "Größe ✓"] {
        assert_eq!(judged("", "a", text, 1), None, "{text:?}");
    }
    for refused in (0..0xa0).filter_map(char::from_u32).filter(|c| c.is_control()) {
        let expected = (!matches!(refused, '\n' | '\r' | '\t')).then_some("message");
        assert_eq!(judged("", "a", &format!("x{refused}y"), 1), expected, "{refused:?}");
    }
}

#[test]
fn a_call_sends_as_many_messages_as_the_target_says() {
    for (more, number, expected) in [
        ("", 1, None),
        ("", 2, Some("messages")),
        ("max_messages = 3", 3, None),
        ("max_messages = 3", 4, Some("messages")),
        ("max_messages = 3", u32::MAX, Some("messages")),
    ] {
        assert_eq!(judged(more, "a", "x", number), expected, "{more} {number}");
    }
}
