//! Evaluates a response: expectations, thresholds, the worst of several cases. Pure.

use crate::event::AttemptResult;
use crate::plan::PlannedExpectation;
use crate::template;
use runbook_contract::{
    Case, Completion, ErrorClass, Fault, Json, Measurement, Outcome, Report, Response,
};

/// What a check found, expectations included.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub outcome: Outcome,
    pub summary: String,
    pub output: Json,
    pub changed: bool,
    pub measurements: Vec<Measurement>,
    pub cases: Vec<Case>,
    /// The expectations that do not hold, one each line.
    pub misses: Vec<String>,
    /// Whether it is a smoke test that wrote, and did not show that it removed what it made.
    pub may_have_left: bool,
}

/// The prefix of the names of cases that clean up after other cases of a smoke test.
const CLEANUP: &str = "cleanup: ";

/// Whether the cases of a smoke test show that it removed what it made: all cases pass, or all
/// cleanup cases do.
fn shows_cleanup(cases: &[Case]) -> bool {
    let good = |case: &Case| case.outcome <= Outcome::Warn;
    let mut cleanups = cases.iter().filter(|case| case.name.starts_with(CLEANUP)).peekable();
    if cleanups.peek().is_some() {
        cleanups.all(good)
    } else {
        !cases.is_empty() && cases.iter().all(good)
    }
}

/// Reads an answer to `check` or `apply` against the expectations, whose values are rendered
/// already.
///
/// # Errors
/// The answer does not fit the call: a bug in the plugin or the host.
pub(crate) fn read(answer: Response, expect: &[PlannedExpectation]) -> Result<Finding, Fault> {
    let mut finding = match answer {
        Response::Report(Report { outcome, summary, output, measurements }) => Finding {
            outcome,
            summary,
            output,
            changed: false,
            measurements,
            cases: Vec::new(),
            misses: Vec::new(),
            may_have_left: false,
        },
        Response::Cases(cases) => smoke_test(cases),
        Response::Completion(Completion { summary, output, changed, measurements }) => Finding {
            outcome: Outcome::Pass,
            summary,
            output,
            changed,
            measurements,
            cases: Vec::new(),
            misses: Vec::new(),
            may_have_left: false,
        },
        Response::Proposal(_) | Response::Observation(_) => {
            return Err(unexpected_response("a proposal or an observation"));
        }
    };
    if template::is_marked_cut(&finding.output) {
        finding.summary.push_str(" (cut: its output does not hold all)");
    }
    for expectation in expect {
        let (outcome, miss) = compare(expectation, &finding);
        finding.outcome = finding.outcome.max(outcome);
        finding.misses.extend(miss);
    }
    Ok(finding)
}

/// The fault of an answer that does not fit its call.
pub(crate) fn unexpected_response(found: &str) -> Fault {
    Fault::new(
        ErrorClass::Invalid,
        "engine.answer",
        format!("the plugin answered with {found}, which does not fit the call"),
    )
}

/// A smoke test without cases has tested nothing, so it is not a pass.
fn smoke_test(cases: Vec<Case>) -> Finding {
    let outcome = cases.iter().map(|case| case.outcome).max().unwrap_or(Outcome::Unknown);
    let good = cases.iter().filter(|case| case.outcome <= Outcome::Warn).count();
    let bad: Vec<String> = cases
        .iter()
        .filter(|case| case.outcome > Outcome::Warn)
        .map(|case| format!("case `{}`: {}", case.name, case.detail))
        .collect();
    Finding {
        outcome,
        summary: format!("{good} of {} cases pass", cases.len()),
        output: serde_json::json!({ "passed": good, "total": cases.len() }),
        changed: false,
        measurements: Vec::new(),
        may_have_left: !shows_cleanup(&cases),
        cases,
        misses: bad,
    }
}

fn compare(expectation: &PlannedExpectation, finding: &Finding) -> (Outcome, Option<String>) {
    match expectation {
        PlannedExpectation::Equals { path, value } => {
            let name = path.join(".");
            match lookup(&finding.output, path) {
                Some(found) if equal(found, value) => (Outcome::Pass, None),
                Some(found) => {
                    (Outcome::Fail, Some(format!("`{name}` is {found}, expected {value}")))
                }
                None => {
                    (Outcome::Fail, Some(format!("the output has no `{name}`, expected {value}")))
                }
            }
        }
        PlannedExpectation::Within { path, warn, crit } => {
            let name = if path.is_empty() { "value".to_owned() } else { path.join(".") };
            let Some(number) = number_at(finding, path) else {
                // No data is never a pass.
                return (Outcome::Unknown, Some(format!("the output has no number `{name}`")));
            };
            if crit.is_some_and(|range| range.is_breached_by(number)) {
                (Outcome::Fail, Some(format!("`{name}` is {number}, outside its critical range")))
            } else if warn.is_some_and(|range| range.is_breached_by(number)) {
                (Outcome::Warn, Some(format!("`{name}` is {number}, outside its warning range")))
            } else {
                (Outcome::Pass, None)
            }
        }
    }
}

fn number_at(finding: &Finding, path: &[String]) -> Option<f64> {
    if path.is_empty() {
        let value = finding.output.get("value").and_then(Json::as_f64);
        return value.or_else(|| finding.measurements.first().map(|measurement| measurement.value));
    }
    let measured = || {
        finding
            .measurements
            .iter()
            .find(|measurement| path == [measurement.label.clone()])
            .map(|found| found.value)
    };
    lookup(&finding.output, path).and_then(Json::as_f64).or_else(measured)
}

/// Follows keys, and numbers in lists.
fn lookup<'a>(value: &'a Json, path: &[String]) -> Option<&'a Json> {
    path.iter().try_fold(value, |value, key| match value {
        Json::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
        other => other.get(key),
    })
}

/// Numbers are equal by value: `200` equals `200.0`.
#[expect(clippy::float_cmp, reason = "equality is what the runbook asks for")]
fn equal(found: &Json, expected: &Json) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => found == expected,
        _ => found == expected,
    }
}

impl Finding {
    /// The result of the attempt.
    pub(crate) fn into_result(self) -> AttemptResult {
        let Self { outcome, summary, output, changed, measurements, cases, misses, may_have_left } =
            self;
        let class = match outcome {
            Outcome::Pass | Outcome::Warn => {
                let summary = if misses.is_empty() {
                    summary
                } else {
                    format!("{summary} ({})", misses.join("; "))
                };
                return AttemptResult::Succeeded {
                    outcome,
                    summary,
                    output,
                    changed,
                    measurements,
                    cases,
                };
            }
            Outcome::Fail => ErrorClass::Assertion,
            Outcome::Unknown => ErrorClass::Unknown,
        };
        let message = if misses.is_empty() { summary } else { misses.join("; ") };
        let fault = Fault::new(class, "engine.expect", message);
        AttemptResult::Failed {
            fault,
            outcome: Some(outcome),
            output: Some(output),
            measurements,
            cases,
            may_have_left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::Range;
    use serde_json::json;

    fn report(output: Json) -> Response {
        Response::Report(Report {
            outcome: Outcome::Pass,
            summary: "ok".to_owned(),
            output,
            measurements: Vec::new(),
        })
    }

    fn outcome(output: Json, expect: &[PlannedExpectation]) -> Outcome {
        read(report(output), expect).expect("a report fits").outcome
    }

    fn equals(path: &[&str], value: Json) -> PlannedExpectation {
        PlannedExpectation::Equals { path: path.iter().map(ToString::to_string).collect(), value }
    }

    fn within(path: &[&str], warn: &str, crit: &str) -> PlannedExpectation {
        let path = path.iter().map(ToString::to_string).collect();
        PlannedExpectation::Within { path, warn: Range::parse(warn), crit: Range::parse(crit) }
    }

    #[test]
    fn a_field_equals_by_value_and_a_missing_field_does_not() {
        assert_eq!(
            outcome(json!({"status": 200.0}), &[equals(&["status"], json!(200))]),
            Outcome::Pass
        );
        assert_eq!(
            outcome(json!({"status": 503}), &[equals(&["status"], json!(200))]),
            Outcome::Fail
        );
        assert_eq!(outcome(json!({}), &[equals(&["status"], json!(200))]), Outcome::Fail);
        assert_eq!(
            outcome(json!({"rows": [{"id": 7}]}), &[equals(&["rows", "0", "id"], json!(7))]),
            Outcome::Pass
        );
    }

    #[test]
    fn ranges_warn_and_fail_and_no_number_is_unknown() {
        let expect = [within(&["ms"], "100", "200")];
        assert_eq!(outcome(json!({"ms": 50}), &expect), Outcome::Pass);
        assert_eq!(outcome(json!({"ms": 150}), &expect), Outcome::Warn);
        assert_eq!(outcome(json!({"ms": 250}), &expect), Outcome::Fail);
        assert_eq!(outcome(json!({"ms": "fast"}), &expect), Outcome::Unknown);
    }

    #[test]
    fn a_smoke_test_without_cases_is_not_a_pass() {
        assert_eq!(
            read(Response::Cases(Vec::new()), &[]).expect("verdicts fit").outcome,
            Outcome::Unknown
        );
    }

    #[test]
    fn expectations_never_make_an_outcome_better() {
        let failed = Response::Report(Report {
            outcome: Outcome::Fail,
            summary: "no".to_owned(),
            output: json!({"a": 1}),
            measurements: Vec::new(),
        });
        assert_eq!(
            read(failed, &[equals(&["a"], json!(1))]).expect("a report fits").outcome,
            Outcome::Fail
        );
    }
}
