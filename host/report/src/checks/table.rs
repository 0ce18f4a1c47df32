//! Checks for a person's terminal: a row a check, then how many there are of each health.

use super::{CheckResult, Checks, counts, took};
use crate::table::table;

/// The table with its heading, and the counts under it.
pub(super) fn render(checks: &Checks) -> String {
    let row = |result: &CheckResult| {
        let (_, word, sign, _) = result.health.row();
        vec![
            format!("{sign} {}", result.check),
            (*word).to_owned(),
            took(result),
            result.suite.clone(),
            result.summary.clone(),
        ]
    };
    let heading = ["check", "state", "time", "suite", "what was seen"].map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(heading).chain(checks.results.iter().map(row)).collect();
    runbook_text::printed(&format!("{}\n\n{}\n", table(&rows), counts(checks))).into_owned()
}
