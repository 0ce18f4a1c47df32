//! Evaluates the response of a plugin: expectations, thresholds, the worst of several cases. Pure.

use crate::event::AttemptResult;
use crate::plan::PlannedExpectation;
use crate::template;
use runbook_contract::{
    Case, Completion, ErrorClass, Fault, Json, Measurement, Outcome, Report, Response,
};

/// The response of a plugin after its expectations were evaluated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EvaluatedResponse {
    pub outcome: Outcome,
    pub summary: String,
    pub output: Json,
    pub changed: bool,
    pub measurements: Vec<Measurement>,
    pub cases: Vec<Case>,
    /// Expectations that do not hold, failed cases and other problems, one line each.
    pub problems: Vec<String>,
    /// Whether a smoke test did not show that it removed what it made. The caller clears it if the
    /// test wrote nothing.
    pub may_have_left: bool,
}

/// The prefix of the names of cases that clean up after other cases of a smoke test.
const CLEANUP: &str = "cleanup: ";

/// Whether the cases of a smoke test show that it removed what it made: all cases pass, or all
/// cleanup cases do.
fn shows_cleanup(cases: &[Case]) -> bool {
    let is_good = |case: &Case| case.outcome <= Outcome::Warn;
    let mut cleanups = cases.iter().filter(|case| case.name.starts_with(CLEANUP)).peekable();
    if cleanups.peek().is_some() {
        cleanups.all(is_good)
    } else {
        !cases.is_empty() && cases.iter().all(is_good)
    }
}

/// Evaluates a response to `check` or `apply` by the expectations, whose values are already
/// rendered.
///
/// # Errors
/// The response does not fit the call: a bug in the plugin or the host.
pub(crate) fn evaluate_response(
    answer: Response,
    expect: &[PlannedExpectation],
) -> Result<EvaluatedResponse, Fault> {
    let mut evaluated = match answer {
        Response::Report(Report { outcome, summary, output, measurements }) => EvaluatedResponse {
            outcome,
            summary,
            output,
            changed: false,
            measurements,
            cases: Vec::new(),
            problems: Vec::new(),
            may_have_left: false,
        },
        Response::Cases(cases) => smoke_test(cases),
        Response::Completion(Completion { summary, output, changed, measurements }) => {
            EvaluatedResponse {
                outcome: Outcome::Pass,
                summary,
                output,
                changed,
                measurements,
                cases: Vec::new(),
                problems: Vec::new(),
                may_have_left: false,
            }
        }
        Response::Proposal(_) | Response::Observation(_) => {
            return Err(unexpected_response("a proposal or an observation"));
        }
    };
    if template::is_marked_truncated(&evaluated.output) {
        evaluated.summary.push_str(" (cut: its output does not hold all)");
    }
    for expectation in expect {
        let (outcome, problem) = compare(expectation, &evaluated);
        evaluated.outcome = evaluated.outcome.max(outcome);
        evaluated.problems.extend(problem);
    }
    Ok(evaluated)
}

/// The fault of a response that does not fit its call.
pub(crate) fn unexpected_response(found: &str) -> Fault {
    Fault::new(
        ErrorClass::Invalid,
        "engine.answer",
        format!("the plugin answered with {found}, which does not fit the call"),
    )
}

/// Evaluates the cases of a smoke test. Without cases nothing was tested, so the outcome is
/// unknown.
fn smoke_test(cases: Vec<Case>) -> EvaluatedResponse {
    let outcome = cases.iter().map(|case| case.outcome).max().unwrap_or(Outcome::Unknown);
    let n_good = cases.iter().filter(|case| case.outcome <= Outcome::Warn).count();
    let failed_cases: Vec<String> = cases
        .iter()
        .filter(|case| case.outcome > Outcome::Warn)
        .map(|case| format!("case `{}`: {}", case.name, case.detail))
        .collect();
    EvaluatedResponse {
        outcome,
        summary: format!("{n_good} of {} cases pass", cases.len()),
        output: serde_json::json!({ "passed": n_good, "total": cases.len() }),
        changed: false,
        measurements: Vec::new(),
        may_have_left: !shows_cleanup(&cases),
        cases,
        problems: failed_cases,
    }
}

fn compare(
    expectation: &PlannedExpectation,
    evaluated: &EvaluatedResponse,
) -> (Outcome, Option<String>) {
    match expectation {
        PlannedExpectation::Equals { path, value } => {
            let name = path.join(".");
            match lookup(&evaluated.output, path) {
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
            let Some(number) = number_at(evaluated, path) else {
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

fn number_at(evaluated: &EvaluatedResponse, path: &[String]) -> Option<f64> {
    if path.is_empty() {
        let value = evaluated.output.get("value").and_then(Json::as_f64);
        return value
            .or_else(|| evaluated.measurements.first().map(|measurement| measurement.value));
    }
    let labeled_measurement = || {
        evaluated
            .measurements
            .iter()
            .find(|measurement| path == [measurement.label.clone()])
            .map(|found| found.value)
    };
    lookup(&evaluated.output, path).and_then(Json::as_f64).or_else(labeled_measurement)
}

/// The value at a path of keys; in a list, a key is the index of an item.
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

impl EvaluatedResponse {
    /// The result of the attempt.
    pub(crate) fn into_result(self) -> AttemptResult {
        let Self {
            outcome,
            summary,
            output,
            changed,
            measurements,
            cases,
            problems,
            may_have_left,
        } = self;
        let class = match outcome {
            Outcome::Pass | Outcome::Warn => {
                let summary = if problems.is_empty() {
                    summary
                } else {
                    format!("{summary} ({})", problems.join("; "))
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
        let message = if problems.is_empty() { summary } else { problems.join("; ") };
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
        evaluate_response(report(output), expect).expect("a report fits").outcome
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
            evaluate_response(Response::Cases(Vec::new()), &[]).expect("verdicts fit").outcome,
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
            evaluate_response(failed, &[equals(&["a"], json!(1))]).expect("a report fits").outcome,
            Outcome::Fail
        );
    }
}
