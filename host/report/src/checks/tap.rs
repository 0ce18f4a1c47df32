//! Checks in the Test Anything Protocol, version 13.

use super::{Checks, Health, case_result};
use crate::junit::CaseResult;
use crate::single_line::one_line;
use std::fmt::Write as _;

/// The plan, then a line for each check.
pub(super) fn render(checks: &Checks) -> String {
    let mut text = format!("TAP version 13\n1..{}\n", checks.results.len());
    for (index, result) in checks.results.iter().enumerate() {
        let status = match case_result(result, checks.warnings) {
            CaseResult::Passed | CaseResult::Skipped(_) => "ok",
            CaseResult::Failed(_) | CaseResult::Unknown(_) => "not ok",
        };
        let description = format!(
            "{}/{}: {}, {}",
            result.suite,
            result.check,
            result.health.word(),
            result.summary
        );
        // `#` begins a directive.
        let description = description.replace('#', "＃");
        let directive = if result.health == Health::Skipped { " # SKIP" } else { "" };
        let _ = writeln!(text, "{status} {} - {}{directive}", index + 1, one_line(&description));
    }
    text
}
