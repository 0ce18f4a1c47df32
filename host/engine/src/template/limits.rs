//! Limits the memory and the time of a template, because the author of a runbook can make mistakes.

use minijinja::value::{Rest, Value};
use minijinja::{Environment, Error, ErrorKind};
use std::io;

/// The longest text that a template may produce, in bytes. No statement and no message is that
/// long; an input of this size belongs in a file.
pub(super) const MAX_TEXT_LENGTH: usize = 16 << 20;
/// The most steps that a template may take.
const MAX_TEMPLATE_STEPS: u64 = 1_000_000;

/// Sets the limits of an environment. Filters that can make a text much longer are removed, or
/// replaced by ones that check the length first.
pub(super) fn apply_limits(environment: &mut Environment<'_>) {
    environment.set_fuel(Some(MAX_TEMPLATE_STEPS));
    // They pad texts to any width, and no runbook needs them.
    for filter in ["format", "pprint", "indent"] {
        environment.remove_filter(filter);
    }
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    for filter in ["escape", "e"] {
        environment.add_filter(filter, escape);
    }
    environment.add_filter("tojson", to_json);
}

fn too_long() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("the text would be longer than {} MiB", MAX_TEXT_LENGTH >> 20),
    )
}

/// Returns the text.
///
/// # Errors
/// The text is too long.
pub(super) fn check_length(text: String) -> Result<String, Error> {
    if text.len() > MAX_TEXT_LENGTH { Err(too_long()) } else { Ok(text) }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of minijinja filters")]
fn replace(text: String, from: String, to: String) -> Result<String, Error> {
    let added_length = text.matches(&from).count().saturating_mul(to.len());
    if text.len().saturating_add(added_length) > MAX_TEXT_LENGTH {
        Err(too_long())
    } else {
        Ok(text.replace(&from, &to))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of minijinja filters")]
fn join(items: Value, separator: Option<String>) -> Result<String, Error> {
    let separator = separator.unwrap_or_default();
    let mut joined = String::new();
    for (number, item) in items.try_iter()?.enumerate() {
        if number > 0 {
            joined.push_str(&separator);
        }
        match item.as_str() {
            Some(text) => joined.push_str(text),
            None => joined.push_str(&item.to_string()),
        }
        joined = check_length(joined)?;
    }
    Ok(joined)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of minijinja filters")]
fn escape(text: Value) -> Result<String, Error> {
    let text = check_length(text.to_string())?;
    check_length(minijinja::HtmlEscape(&text).to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of minijinja filters")]
fn to_json(value: Value, _layout: Rest<Value>) -> Result<String, Error> {
    let text = serde_json::to_string(&value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    check_length(text)
}

/// The text that a template prints, up to [`MAX_TEXT_LENGTH`].
#[derive(Debug, Default)]
pub(super) struct BoundedOutput(Vec<u8>);

impl BoundedOutput {
    pub(super) fn into_text(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl io::Write for &mut BoundedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_TEXT_LENGTH {
            return Err(io::Error::other(too_long().detail().unwrap_or_default().to_owned()));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
