//! Checks for programs: one JSON object with the time, the number of checks for each health, and
//! every check.

use super::{CheckResult, Checks, HEALTHS, Health};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The JSON object that programs read.
#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    at: Timestamp,
    worst: Health,
    totals: BTreeMap<&'static str, usize>,
    unhealthy_count: usize,
    checks: &'a [CheckResult],
}

/// The whole document, indented.
pub(super) fn render(checks: &Checks) -> String {
    let count =
        |wanted: Health| checks.results.iter().filter(|result| result.health == wanted).count();
    let unhealthy = |health: Health| !matches!(health, Health::Healthy | Health::Skipped);
    crate::single_line::json(&Document {
        format: 1,
        at: checks.at,
        worst: checks.worst(),
        totals: HEALTHS.iter().map(|(health, word, ..)| (*word, count(*health))).collect(),
        unhealthy_count: checks.results.iter().filter(|result| unhealthy(result.health)).count(),
        checks: &checks.results,
    })
}
