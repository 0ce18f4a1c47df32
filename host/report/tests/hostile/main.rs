//! Hostile texts of plugins, servers and files, in every field and every format: no control
//! character leaves, and the structure of the report is the same as with a harmless text.
#![allow(clippy::unwrap_used, reason = "tests")]

mod access_report;
mod checks;
mod run;
mod structure;

/// The text of a field in which no hostile text is tried.
const HARMLESS: &str = "harmless";

/// All hostile texts in one, for the tests that go through the fields one by one.
fn joined_hostile_texts() -> String {
    let short = runbook_tests::hostile_text::texts().into_iter().filter(|text| text.len() < 500);
    short.collect::<Vec<_>>().join("\n")
}

/// Each hostile text, and all at once.
fn hostile_texts() -> Vec<String> {
    let mut texts = runbook_tests::hostile_text::texts();
    texts.push(joined_hostile_texts());
    texts
}
