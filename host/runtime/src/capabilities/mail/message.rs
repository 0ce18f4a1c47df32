//! The message as it is sent: headers and text in ASCII, in lines that end with CR LF.

use crate::fault::{Fault, FaultClass};
use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, MessageBuilder};
use runbook_authority::gate::MailMessage;
use runbook_authority::targets::MailTarget;
use sha2::{Digest as _, Sha256};

/// The largest number of bytes of a line, without its end.
const MAX_LINE: usize = 998;

/// A message, and between whom it goes.
pub(super) struct Envelope<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a [String],
    message: Vec<u8>,
}

impl<'a> Envelope<'a> {
    /// The message that a plugin asks for, from the sender to the recipients of the target.
    ///
    /// # Errors
    /// The message is larger than the target allows, or cannot be written.
    pub(super) fn write(
        mail: &'a MailTarget,
        message: &MailMessage<'_>,
        message_id: &str,
    ) -> Result<Self, Fault> {
        let message = write(mail, message, message_id)
            .and_then(|message| {
                if is_transmissible(&message) { Ok(message) } else { Err("a line is wrong".into()) }
            })
            .map_err(|error| {
                let text = format!("the message cannot be written: {error}");
                Fault::new(FaultClass::Invalid, "mail.message", text)
            })?;
        let limit = usize::try_from(mail.max_bytes.0).unwrap_or(usize::MAX);
        if message.len() > limit {
            let text = format!(
                "the message has {} bytes, more than {limit}, `max_bytes` of the target",
                message.len()
            );
            return Err(Fault::new(FaultClass::Limit, "mail.message-too-large", text));
        }
        Ok(Self { from: &mail.from, to: &mail.to, message })
    }

    /// How many bytes the message has.
    pub(super) fn len(&self) -> usize {
        self.message.len()
    }

    /// The message as it follows `DATA`, without the line of one dot that ends it: another dot is
    /// put before each line that begins with one.
    pub(super) fn stuffed(&self) -> Vec<u8> {
        let mut stuffed = Vec::with_capacity(self.message.len() + 64);
        for line in self.message.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                stuffed.push(b'.');
            }
            stuffed.extend_from_slice(line);
        }
        stuffed
    }
}

/// The id of a message. A later attempt of the same step gives the same message the same id.
pub(super) fn message_id(
    mail: &MailTarget,
    run: &str,
    step: &str,
    slot: &str,
    number: u32,
) -> String {
    let named = serde_json::json!([run, step, slot, number]).to_string();
    let digest = Sha256::digest(named.as_bytes());
    let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let domain = mail.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    format!("<{name}@{domain}>")
}

fn write(
    mail: &MailTarget,
    message: &MailMessage<'_>,
    message_id: &str,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mailbox = |address: &str| address.parse().map(|address| Mailbox::new(None, address));
    let mut builder: MessageBuilder = Message::builder().from(mailbox(&mail.from)?);
    for recipient in &mail.to {
        builder = builder.to(mailbox(recipient)?);
    }
    // Programs that answer mail by themselves do not answer this one (RFC 3834).
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    let written = builder
        .subject(message.subject)
        .message_id(Some(message_id.to_owned()))
        .raw_header(HeaderValue::new(name, "auto-generated".to_owned()))
        .header(MIME_VERSION_1_0)
        .header(ContentType::TEXT_PLAIN)
        .body(with_line_ends(message.text))?;
    let mut bytes = written.formatted();
    if !bytes.ends_with(b"\r\n") {
        bytes.extend(b"\r\n");
    }
    Ok(bytes)
}

/// A text whose lines all end with LF. A CR alone, which some servers take for the end of a line,
/// becomes one.
fn with_line_ends(text: &str) -> String {
    let mut text = text.replace("\r\n", "\n").replace('\r', "\n");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Whether every server reads the same lines in a message: CR and LF stand only together, each
/// line is short enough, and all is printable ASCII.
fn is_transmissible(message: &[u8]) -> bool {
    message.split_inclusive(|byte| *byte == b'\n').all(|line| {
        line.strip_suffix(b"\r\n").is_some_and(|line| {
            line.len() <= MAX_LINE && line.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::effective_grants;
    use proptest::prelude::*;
    use runbook_authority::Target;
    use std::path::Path;
    use std::sync::Arc;

    fn target(more: &str) -> Arc<Target> {
        let targets = format!(
            "[targets.t]\nmail = \"mail.example\"\nfrom = \"checks@a.example\"\n\
             to = [\"ops@a.example\", \"root@b.example\"]\n{more}"
        );
        let grants = effective_grants(&[("s", &["mail.send"], "t")], &targets, Path::new("/"));
        Arc::clone(&grants.get("s").expect("granted").target)
    }

    fn written(subject: &str, text: &str) -> Vec<u8> {
        let target = target("max_bytes = \"10MiB\"");
        let message = MailMessage { subject, text, number: 1 };
        let mail = target.mail().expect("mail");
        Envelope::write(mail, &message, "<a@b.example>").expect("written").stuffed()
    }

    fn shown(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).expect("ASCII")
    }

    /// The header lines of a message, without those that continue another.
    fn header_names(message: &str) -> Vec<String> {
        let (headers, _) = message.split_once("\r\n\r\n").expect("a text");
        let begins = |line: &&str| !line.starts_with([' ', '\t']);
        let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
        headers.split("\r\n").filter(begins).map(name).collect()
    }

    const HEADERS: [&str; 9] = [
        "From",
        "To",
        "Subject",
        "Message-ID",
        "Auto-Submitted",
        "Content-Type",
        "MIME-Version",
        "Content-Transfer-Encoding",
        "Date",
    ];

    fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort();
        names
    }

    #[test]
    fn a_message_has_the_headers_of_the_host_and_the_text_of_the_plugin() {
        let message = shown(&written("orders is down", "see\n.\n..\nINC-42"));
        assert!(message.contains("From: checks@a.example\r\n"), "{message}");
        assert!(message.contains("To: ops@a.example, root@b.example\r\n"), "{message}");
        assert!(message.contains("Subject: orders is down\r\n"), "{message}");
        assert!(message.contains("Message-ID: <a@b.example>\r\n"), "{message}");
        assert!(message.contains("Auto-Submitted: auto-generated\r\n"), "{message}");
        assert!(message.contains("Content-Type: text/plain; charset=utf-8\r\n"), "{message}");
        // Each line that begins with a dot has one more.
        assert!(message.ends_with("\r\n\r\nsee\r\n..\r\n...\r\nINC-42\r\n"), "{message}");
        assert_eq!(sorted(header_names(&message)), sorted(HEADERS.map(str::to_owned)));
    }

    #[test]
    fn a_message_that_is_sent_again_has_the_same_id_and_no_other_has() {
        let target = target("");
        let id = |run: &str, step: &str, slot: &str, number: u32| {
            message_id(target.mail().expect("mail"), run, step, slot, number)
        };
        let first = id("r", "s", "m", 1);
        assert_eq!(first, id("r", "s", "m", 1));
        assert!(first.ends_with("@a.example>"), "{first}");
        for other in [
            id("r2", "s", "m", 1),
            id("r", "s2", "m", 1),
            id("r", "s", "m", 2),
            id("rs", "", "m", 1),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_cr_alone_ends_no_line_that_only_some_servers_see() {
        for text in ["a\r.\rb", "a\n.\nb", "a\r\n.\r\nb", "a\r.\nb", "a\n.\rb"] {
            assert!(shown(&written("a", text)).ends_with("\r\n\r\na\r\n..\r\nb\r\n"), "{text:?}");
        }
    }

    proptest! {
        /// Whatever a plugin writes: no further header, no end of the message, no long line.
        #[test]
        fn no_subject_and_no_text_leaves_its_place(
            subject in "[^\\p{Cc}\\u{2028}\\u{2029}]{1,200}",
            text in "(\\PC|[\r\n\t.]){0,2000}",
        ) {
            let message = shown(&written(&subject, &text));
            prop_assert_eq!(sorted(header_names(&message)), sorted(HEADERS.map(str::to_owned)));
            prop_assert!(message.split("\r\n").all(|line| line.len() <= MAX_LINE && line != "."));
            prop_assert!(!message.replace("\r\n", "").contains(['\r', '\n', '\0']));
        }
    }
}
