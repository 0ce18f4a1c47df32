//! Parsers for values on the command line.

use runbook_engine::RunId;
use runbook_report::checks::CheckFormat;
use std::path::PathBuf;
use std::time::Duration;

/// Parses `NAME=VALUE`. The value may contain further equals signs.
pub fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Parses `STEP=DECISION`. The step may contain `=` in the key of an item.
pub fn decision(text: &str) -> Result<(String, String), String> {
    let (step, decision) = text.rsplit_once('=').ok_or("write STEP=DECISION")?;
    Ok((step.to_owned(), decision.to_owned()))
}

/// Parses a UUID. One whose digits are all 0 or all f is refused.
pub fn run_id(text: &str) -> Result<RunId, String> {
    let run =
        RunId::parse(text).ok_or_else(|| format!("`{text}` is not a UUID; `uuidgen` makes one"))?;
    // A generator that fails gives such an id, and so would those of other people.
    let digits: Vec<char> = run.to_string().chars().filter(|digit| *digit != '-').collect();
    if digits.iter().all(|digit| *digit == '0') || digits.iter().all(|digit| *digit == 'f') {
        return Err(format!("`{text}` names no run of yours; `uuidgen` makes an id"));
    }
    Ok(run)
}

/// Parses the name of a report format.
pub fn format(text: &str) -> Result<runbook_report::Format, String> {
    let known: Vec<_> = runbook_report::FORMATS.iter().map(|(_, name, ..)| *name).collect();
    one_of(runbook_report::Format::find(text), text, &known)
}

/// Parses a duration, such as `90d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    runbook_document::parse_duration(text).ok_or_else(|| {
        format!("`{text}` is not a time; write a number with its unit, such as `90d`")
    })
}

/// Parses the name of an output format of checks.
pub fn check_format(text: &str) -> Result<CheckFormat, String> {
    let known: Vec<_> =
        runbook_report::checks::CHECK_FORMATS.iter().map(|(_, name)| *name).collect();
    one_of(CheckFormat::find(text), text, &known)
}

/// The format that was found, or a message with the known names.
pub fn one_of<T>(found: Option<T>, text: &str, known: &[&str]) -> Result<T, String> {
    found.ok_or_else(|| format!("`{text}` is not a format; known: {}", known.join(", ")))
}

/// Parses `FORMAT=PATH`, such as `junit=report.xml`.
pub fn report(text: &str) -> Result<(runbook_report::Format, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write FORMAT=PATH, such as junit=report.xml")?;
    Ok((format(name)?, PathBuf::from(path)))
}
