//! Makes one line of text from untrusted text, for reports.

use std::fmt;

/// The most bytes of one line. A longer line would push the rest of a report off the screen.
const MAX_LINE_BYTES: usize = 8 << 10;

/// Adds one line to a text. Line breaks in `line` become spaces.
pub fn push_line(text: &mut String, line: fmt::Arguments<'_>) {
    text.push_str(&one_line(&line.to_string()));
    text.push('\n');
}

/// The text as one line: line breaks become spaces, and characters that are not shown are replaced.
pub(crate) fn one_line(text: &str) -> String {
    runbook_text::shortened(&runbook_text::line(text), MAX_LINE_BYTES).into_owned()
}

/// A JSON value in one line. A string is shown without quotes; its control characters are not
/// escaped here.
pub fn value_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => runbook_text::json(&other.to_string()).into_owned(),
    }
}

/// A value as indented JSON. Control characters and invisible characters are escaped.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("what is reported has string keys only");
    runbook_text::json(&text).into_owned()
}
