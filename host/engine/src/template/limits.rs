//! Limits that keep a template from taking all memory or all time: the author of a runbook can make
//! mistakes, too.

use minijinja::value::{Rest, Value};
use minijinja::{Environment, Error, ErrorKind};
use std::io;

/// No text is longer. A statement or a message is never that long; an input of this size is a file.
pub(super) const MAX_TEXT: usize = 16 << 20;
/// No template takes more steps.
const MAX_STEPS: u64 = 1_000_000;

/// Sets the limits of an environment. Only a filter can make a text much longer than what stands in
/// the runbook: those that can are asked before they do.
pub(super) fn limit(environment: &mut Environment<'_>) {
    environment.set_fuel(Some(MAX_STEPS));
    // They make texts as wide as somebody says, and no runbook needs them.
    for wide in ["format", "pprint", "indent"] {
        environment.remove_filter(wide);
    }
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    for escaping in ["escape", "e"] {
        environment.add_filter(escaping, escape);
    }
    environment.add_filter("tojson", to_json);
}

fn too_long() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("the text would be longer than {} MiB", MAX_TEXT >> 20),
    )
}

/// The text, if it is not too long.
pub(super) fn check(text: String) -> Result<String, Error> {
    if text.len() > MAX_TEXT { Err(too_long()) } else { Ok(text) }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of minijinja filters")]
fn replace(text: String, from: String, to: String) -> Result<String, Error> {
    let more = text.matches(&from).count().saturating_mul(to.len());
    if text.len().saturating_add(more) > MAX_TEXT {
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
        joined = check(joined)?;
    }
    Ok(joined)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of minijinja filters")]
fn escape(text: Value) -> Result<String, Error> {
    let text = check(text.to_string())?;
    check(minijinja::HtmlEscape(&text).to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of minijinja filters")]
fn to_json(value: Value, _layout: Rest<Value>) -> Result<String, Error> {
    let text = serde_json::to_string(&value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    check(text)
}

/// Takes in what a template prints.
#[derive(Debug, Default)]
pub(super) struct Printed(Vec<u8>);

impl Printed {
    pub(super) fn into_text(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl io::Write for &mut Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_TEXT {
            return Err(io::Error::other(too_long().detail().unwrap_or_default().to_owned()));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
