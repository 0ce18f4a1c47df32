//! Checks for CI: each is a test case, and so is each case of a smoke test.

use super::{CheckResult, Checks, ended};
use crate::junit::{Case, document, inner_cases};

/// The document, by the one writer that runs have, too.
pub(super) fn render(checks: &Checks) -> String {
    let cases = |result: &CheckResult| {
        let own = Case {
            class: result.suite.clone(),
            name: result.check.clone(),
            duration_ms: result.duration_ms,
            ended: ended(result, checks.warnings),
        };
        let class = format!("{}.{}", result.suite, result.check);
        std::iter::once(own).chain(inner_cases(&class, &result.cases, checks.warnings))
    };
    let cases: Vec<_> = checks.results.iter().flat_map(cases).collect();
    document("checks", checks.at, None, &cases)
}
