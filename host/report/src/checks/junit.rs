//! Checks as JUnit XML: each check and each case of a smoke test is a test case.

use super::{CheckResult, Checks, case_result};
use crate::junit::{JunitCase, document, inner_cases};

/// The JUnit document.
pub(super) fn render(checks: &Checks) -> String {
    let cases = |result: &CheckResult| {
        let check_case = JunitCase {
            class: result.suite.clone(),
            name: result.check.clone(),
            duration_ms: result.duration_ms,
            result: case_result(result, checks.warnings),
        };
        let class = format!("{}.{}", result.suite, result.check);
        std::iter::once(check_case).chain(inner_cases(&class, &result.cases, checks.warnings))
    };
    let cases: Vec<_> = checks.results.iter().flat_map(cases).collect();
    document("checks", checks.at, None, &cases)
}
