//! Hostile texts of plugins, servers and files, in every field and every format: no control
//! character leaves, and the structure of the report is the same as with a harmless text.
#![allow(clippy::unwrap_used, reason = "tests")]

mod access_report;
mod checks;
mod run;
mod structure;

/// What stands in a field where nothing is tried.
const HARMLESS: &str = "harmless";

/// All hostile texts in one, for the tests that go through the fields one by one.
fn all_at_once() -> String {
    let short = runbook_tests::hostile_text::texts().into_iter().filter(|text| text.len() < 500);
    short.collect::<Vec<_>>().join("\n")
}

/// Each hostile text, and all at once.
fn each() -> Vec<String> {
    let mut texts = runbook_tests::hostile_text::texts();
    texts.push(all_at_once());
    texts
}
