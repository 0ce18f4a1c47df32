//! Checks for programs that read line by line: one JSON object a check.

use super::{CheckResult, Checks};

/// One line of JSON for each check, in order.
pub(super) fn render(checks: &Checks) -> String {
    let line = |result: &CheckResult| {
        serde_json::to_string(result).expect("a result has string keys only")
    };
    runbook_text::json(&checks.results.iter().map(line).collect::<Vec<_>>().join("\n")).into_owned()
}
