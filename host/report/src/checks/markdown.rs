//! Checks as Markdown, to paste into an incident.

use super::{Checks, count_text, duration_text};
use std::fmt::Write as _;

/// The counts, then a table.
pub(super) fn render(checks: &Checks) -> String {
    let mut text = format!(
        "**{}**, {}\n\n| check | state | time | what |\n| --- | --- | --- | --- |\n",
        count_text(checks),
        checks.at
    );
    for result in &checks.results {
        let cells =
            [result.check.as_str(), result.health.word(), &duration_text(result), &result.summary]
                .map(crate::markdown::escape);
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}
