//! The report for programs.

use crate::summary::Summary;

/// The report of a run, as one JSON object.
pub(crate) fn render(summary: &Summary) -> String {
    let mut text = serde_json::to_string_pretty(summary).expect("a summary has string keys only");
    text.push('\n');
    text
}
