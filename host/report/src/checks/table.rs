//! Checks for a terminal: a row for each check, then how many checks have which health.

use super::{CheckResult, Checks, count_text, duration_text};
use crate::table::table;

/// The table with its heading, and the counts under it.
pub(super) fn render(checks: &Checks) -> String {
    let row = |result: &CheckResult| {
        let (_, word, sign, _) = result.health.row();
        vec![
            format!("{sign} {}", result.check),
            (*word).to_owned(),
            duration_text(result),
            result.suite.clone(),
            result.summary.clone(),
        ]
    };
    let heading = ["check", "state", "time", "suite", "what was seen"].map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(heading).chain(checks.results.iter().map(row)).collect();
    runbook_text::for_terminal(&format!("{}\n\n{}\n", table(&rows), count_text(checks)))
        .into_owned()
}
