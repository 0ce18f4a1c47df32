//! Checks in the Test Anything Protocol, version 13.

use super::{Checks, Health, ended};
use crate::junit::Ended;
use crate::printed::one_line;
use std::fmt::Write as _;

/// The plan, then a line for each check.
pub(super) fn render(checks: &Checks) -> String {
    let mut text = format!("TAP version 13\n1..{}\n", checks.results.len());
    for (index, result) in checks.results.iter().enumerate() {
        let good = match ended(result, checks.warnings) {
            Ended::Good | Ended::Skipped(_) => "ok",
            Ended::Failed(_) | Ended::Unknown(_) => "not ok",
        };
        let said = format!(
            "{}/{}: {}, {}",
            result.suite,
            result.check,
            result.health.word(),
            result.summary
        );
        // `#` begins a directive.
        let said = said.replace('#', "＃");
        let directive = if result.health == Health::Skipped { " # SKIP" } else { "" };
        let _ = writeln!(text, "{good} {} - {}{directive}", index + 1, one_line(&said));
    }
    text
}
