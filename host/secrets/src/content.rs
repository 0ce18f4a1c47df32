//! The decrypted content of a store: TOML, so that a person can read and edit what `age -d` shows.
//!
//! ```toml
//! format = 1
//!
//! [secrets.orders-db]
//! value = "…"                          # or base64 = "…" for bytes that are not text
//! changed = "2026-11-20T22:00:00Z"
//! note = "owner: platform"
//! ```
//! The content is not read through `runbook-document`, whose diagnostics would quote lines with
//! secrets.

use crate::rotation::{KeptValue, Rotation};
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use zeroize::{Zeroize, Zeroizing};

/// The format that this program writes, and the only one that it reads.
pub(crate) const FORMAT: u32 = 1;

/// One secret with the time of its last change and its note.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) secret: Secret,
    pub(crate) changed: Timestamp,
    pub(crate) note: Option<String>,
    pub(crate) rotation: Rotation,
}

/// Why the content cannot be used. It quotes no text of the content but names of secrets.
pub(crate) enum ContentError {
    Format { found: u32 },
    Syntax { line: usize },
    Secret { name: String, reason: &'static str },
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStore {
    #[expect(
        dead_code,
        reason = "read by `Version`, and named here because unknown keys are refused"
    )]
    format: u32,
    #[serde(default)]
    secrets: BTreeMap<String, RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    value: Option<PlainText>,
    base64: Option<PlainText>,
    changed: Timestamp,
    note: Option<String>,
    /// A new value, which a rotation has not verified yet.
    pending: Option<PlainText>,
    /// The run and the step of the pending value.
    pending_by: Option<String>,
    /// The value before the last rotation.
    previous: Option<PlainText>,
    /// The run and the step of the last rotation.
    rotated_by: Option<String>,
}

/// Text that is wiped when dropped.
struct PlainText(Zeroizing<String>);

impl<'de> Deserialize<'de> for PlainText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = PlainText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<PlainText, E> {
                Ok(PlainText(Zeroizing::new(text.to_owned())))
            }
            fn visit_string<E: Error>(self, text: String) -> Result<PlainText, E> {
                Ok(PlainText(Zeroizing::new(text)))
            }
        }
        deserializer.deserialize_string(Text)
    }
}

impl PlainText {
    fn into_secret(mut self) -> Secret {
        Secret::new(std::mem::take(&mut *self.0).into_bytes())
    }
}

/// Parses the decrypted content of a store.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, Entry>, ContentError> {
    let syntax_error = |error: &toml::de::Error| {
        let start = error.span().map_or(0, |span| text.floor_char_boundary(span.start));
        ContentError::Syntax { line: text[..start].matches('\n').count() + 1 }
    };
    // The version is checked first: the keys of a newer format would be refused as unknown keys.
    let version: Version = toml::from_str(text).map_err(|error| syntax_error(&error))?;
    if version.format != FORMAT {
        return Err(ContentError::Format { found: version.format });
    }
    let raw: RawStore = toml::from_str(text).map_err(|error| syntax_error(&error))?;
    raw.secrets.into_iter().map(|(name, raw)| check_entry(name, raw)).collect()
}

fn check_entry(name: String, raw: RawEntry) -> Result<(String, Entry), ContentError> {
    if crate::source::check_name(&name).is_err() {
        return Err(ContentError::Secret {
            name,
            reason: "has a name with other characters than letters, digits, `-`, `_`, `.`",
        });
    }
    let secret = match (raw.value, raw.base64) {
        (Some(value), None) => Ok(value.into_secret()),
        (None, Some(value)) => STANDARD
            .decode(value.0.trim())
            .map(Secret::new)
            .map_err(|_| "has a `base64` that is not base64"),
        (None, None) => Err("has neither `value` nor `base64`"),
        (Some(_), Some(_)) => Err("has both `value` and `base64`; keep one"),
    };
    let kept = |value: Option<PlainText>, by: Option<String>| match (value, by) {
        (None, None) => Ok(None),
        (Some(value), Some(by)) => Ok(Some(KeptValue::new(value.into_secret(), by))),
        (Some(_), None) | (None, Some(_)) => Err(
            "has one of `pending` and `pending_by`, or one of `previous` and `rotated_by`, without \
             the other",
        ),
    };
    let pending = kept(raw.pending, raw.pending_by);
    let previous = kept(raw.previous, raw.rotated_by);
    let entry = secret.and_then(|secret| {
        let rotation = Rotation { pending: pending?, previous: previous? };
        Ok(Entry { secret, changed: raw.changed, note: raw.note, rotation })
    });
    match entry {
        Ok(entry) => Ok((name, entry)),
        Err(reason) => Err(ContentError::Secret { name, reason }),
    }
}

/// Writes the content to be encrypted.
pub(crate) fn render(entries: &BTreeMap<String, Entry>) -> Zeroizing<String> {
    // Capacity for the worst case (six bytes for each escaped byte), so that the string never grows
    // and leaves a copy of a secret behind.
    let size = |(name, entry): (&String, &Entry)| {
        let note = entry.note.as_ref().map_or(0, String::len);
        let rotation = entry.rotation.text_len();
        name.len() + 6 * (entry.secret.len() + note + rotation) + 256
    };
    let mut text =
        Zeroizing::new(String::with_capacity(64 + entries.iter().map(size).sum::<usize>()));
    write_content(&mut text, entries).expect("writing to a string cannot fail");
    text
}

fn write_content(text: &mut String, entries: &BTreeMap<String, Entry>) -> fmt::Result {
    writeln!(text, "format = {FORMAT}")?;
    for (name, entry) in entries {
        writeln!(text, "\n[secrets.\"{name}\"]")?;
        if let Some(value) = entry.secret.expose_text() {
            text.push_str("value = ");
            write_string(text, value)?;
        } else {
            let mut encoded = Zeroizing::new(STANDARD.encode(entry.secret.expose()));
            writeln!(text, "base64 = \"{}\"", *encoded)?;
            encoded.zeroize();
        }
        writeln!(text, "changed = \"{}\"", entry.changed)?;
        let Rotation { pending, previous } = &entry.rotation;
        for (key, by_key, kept) in
            [("pending", "pending_by", pending), ("previous", "rotated_by", previous)]
        {
            let Some(KeptValue { value, by }) = kept else { continue };
            write!(text, "{key} = ")?;
            write_string(text, value.expose_text().unwrap_or_default())?;
            write!(text, "{by_key} = ")?;
            write_string(text, by)?;
        }
        if let Some(note) = &entry.note {
            text.push_str("note = ");
            write_string(text, note)?;
        }
    }
    Ok(())
}

/// A basic string of TOML: quotes, backslashes and control characters escaped.
fn write_string(text: &mut String, value: &str) -> fmt::Result {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() => write!(text, "\\u{:04X}", u32::from(c))?,
            c => text.push(c),
        }
    }
    text.push_str("\"\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in proptest::collection::vec(any::<u8>(), 0..80), text in ".{0,40}", note in proptest::option::of(".{0,20}")) {
            let entry = |bytes: &[u8]| Entry { secret: Secret::new(bytes.to_vec()), changed: Timestamp::UNIX_EPOCH, note: note.clone(), rotation: Rotation::default() };
            let entries = BTreeMap::from([("bytes.1".to_owned(), entry(&value)), ("text".to_owned(), entry(text.as_bytes()))]);
            let rendered = render(&entries);
            let Ok(read) = parse(&rendered) else { panic!("unreadable: {}", *rendered) };
            for (name, entry) in &entries {
                prop_assert_eq!(read[name].secret.expose(), entry.secret.expose());
                prop_assert_eq!(&read[name].note, &note);
            }
        }
    }

    #[test]
    fn a_mistake_is_reported_with_its_line_and_not_quoted() {
        let result = |text: &str| match parse(text) {
            Err(ContentError::Syntax { line }) => format!("line {line}"),
            Err(ContentError::Format { found }) => format!("format {found}"),
            Err(ContentError::Secret { name, reason }) => format!("{name} {reason}"),
            Ok(_) => "read".to_owned(),
        };
        assert_eq!(result("format = 1\n[secrets.a]\nvalue = hunter2\n"), "line 3");
        assert_eq!(result("format = 2\nfuture = true\n"), "format 2");
        assert_eq!(
            result("format = 1\n[secrets.a]\nchanged = \"2026-01-01T00:00:00Z\"\n"),
            "a has neither `value` nor `base64`"
        );
        assert_eq!(result("format = 1\nsecret = 1\n"), "line 2");
    }
}
