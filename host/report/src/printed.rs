//! Lines of a text for people.

use std::fmt;

/// How many bytes of one line are shown: a longer line would push the rest off the screen.
const LONGEST: usize = 8 << 10;

/// Adds one line. A line break in a text within it cannot begin another line.
pub fn push_line(text: &mut String, line: fmt::Arguments<'_>) {
    text.push_str(&one_line(&line.to_string()));
    text.push('\n');
}

/// One line of text for people.
pub(crate) fn one_line(text: &str) -> String {
    runbook_text::shortened(&runbook_text::line(text), LONGEST).into_owned()
}

/// A value of JSON in one line, in which every character is seen.
pub fn value_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => runbook_text::json(&other.to_string()).into_owned(),
    }
}

/// A value as indented JSON in which no character can steer a terminal.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("what is reported has string keys only");
    runbook_text::json(&text).into_owned()
}
