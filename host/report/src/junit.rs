//! The report for CI: JUnit XML as Jenkins and GitLab read it. Runs and checks share the writer and
//! the mapping of results.

use crate::single_line::one_line;
use crate::summary::{RunVerdict, StepStatus, StepSummary, Summary};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use runbook_engine::{Case, Outcome};
use std::time::Duration;

/// How a test case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CaseResult {
    /// It passed.
    Passed,
    /// It did not run, or waits for a person.
    Skipped(String),
    /// It failed: a check got a wrong answer, or a step did not succeed.
    Failed(String),
    /// Unknown: no answer or no data.
    Unknown(String),
}

impl CaseResult {
    /// The result for the outcome of a check or of a case.
    pub(crate) fn of(outcome: Outcome, why: &str, warnings: WarningPolicy) -> Self {
        match (outcome, warnings) {
            (Outcome::Pass, _) | (Outcome::Warn, WarningPolicy::Pass) => Self::Passed,
            (Outcome::Warn, WarningPolicy::Fail) | (Outcome::Fail, _) => {
                Self::Failed(why.to_owned())
            }
            (Outcome::Unknown, _) => Self::Unknown(why.to_owned()),
        }
    }

    fn status(&self) -> TestCaseStatus {
        let (kind, why) = match self {
            Self::Passed => return TestCaseStatus::success(),
            Self::Skipped(why) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(one_line(why));
                return status;
            }
            Self::Failed(why) => (NonSuccessKind::Failure, why),
            Self::Unknown(why) => (NonSuccessKind::Error, why),
        };
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(one_line(why)).set_description(one_line(why));
        status
    }
}

/// What a warning counts as in formats that know only passed and failed: the same as for the exit
/// code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarningPolicy {
    /// It passes: a run succeeds with warnings, and so do checks with `--fail-on critical`.
    Pass,
    /// It counts as failed; the default for checks.
    Fail,
}

/// One test case of a JUnit file.
pub(crate) struct JunitCase {
    pub(crate) class: String,
    pub(crate) name: String,
    pub(crate) duration_ms: u64,
    pub(crate) result: CaseResult,
}

/// A document with one test suite.
pub(crate) fn document(
    name: &str,
    at: jiff::Timestamp,
    duration_ms: Option<u64>,
    cases: &[JunitCase],
) -> String {
    let mut suite = TestSuite::new(one_line(name));
    if let Some(at) = chrono::DateTime::from_timestamp_millis(at.as_millisecond()) {
        suite.set_timestamp(at);
    }
    if let Some(duration_ms) = duration_ms {
        suite.set_time(Duration::from_millis(duration_ms));
    }
    for JunitCase { class, name, duration_ms, result } in cases {
        let mut case = TestCase::new(one_line(name), result.status());
        case.set_classname(one_line(class)).set_time(Duration::from_millis(*duration_ms));
        suite.add_test_case(case);
    }
    let mut report = Report::new("runbook");
    report.add_test_suite(suite);
    let text = report
        .to_string()
        .expect("writing to a string cannot fail, and no text has a control character");
    // CI services search their logs for commands: `::error::`, `##[error]`, `##vso[…]`. The
    // character references below mean the same to a reader of XML.
    text.replace("##", "&#35;&#35;").replace("::", "&#58;:")
}

/// The report of a run: a test suite whose test cases are the run itself, its steps, and the cases
/// of its smoke tests.
pub(crate) fn render(summary: &Summary) -> String {
    let reported_steps =
        summary.steps.iter().filter(|step| step.attempts > 0 || step.state != StepStatus::Pending);
    let cases: Vec<_> =
        std::iter::once(run_case(summary)).chain(reported_steps.flat_map(step_cases)).collect();
    document(&summary.name, summary.started, Some(summary.duration_ms), &cases)
}

/// The run has a test case of its own, because its steps do not say whether it succeeded: it may
/// wait, be cancelled between two steps, or still run.
fn run_case(summary: &Summary) -> JunitCase {
    let cause =
        summary.cause.as_ref().map(|cause| format!(" Because {cause}.")).unwrap_or_default();
    let why = format!("{}{cause}", summary.status_text());
    let result = match summary.verdict() {
        RunVerdict::Good => CaseResult::Passed,
        RunVerdict::Waiting => CaseResult::Skipped(why),
        RunVerdict::Open => CaseResult::Unknown(why),
        RunVerdict::Bad => CaseResult::Failed(why),
    };
    JunitCase {
        class: "runbook".to_owned(),
        name: format!("run {}", summary.name),
        duration_ms: summary.duration_ms,
        result,
    }
}

fn step_cases(step: &StepSummary) -> Vec<JunitCase> {
    let undo = step.undo.as_ref().filter(|_| step.state == StepStatus::UndoFailed);
    let why = undo.unwrap_or(&step.summary).clone();
    let state_and_summary = || format!("{}: {}", step.state.word(), step.summary);
    let result = match step.state {
        StepStatus::Skipped => CaseResult::Skipped(why),
        StepStatus::UnknownOutcome => CaseResult::Unknown(why),
        StepStatus::Failed | StepStatus::UndoFailed => CaseResult::Failed(why),
        StepStatus::WaitingForPerson => CaseResult::Skipped(state_and_summary()),
        StepStatus::Pending | StepStatus::Running | StepStatus::Undoing => {
            CaseResult::Unknown(state_and_summary())
        }
        StepStatus::Succeeded | StepStatus::Warned | StepStatus::Undone if step.fault.is_some() => {
            CaseResult::Failed(why)
        }
        StepStatus::Undone => CaseResult::Skipped(format!(
            "it was undone: {}",
            step.undo.as_deref().unwrap_or_default()
        )),
        StepStatus::Succeeded | StepStatus::Warned => CaseResult::Passed,
    };
    let step_case = JunitCase {
        class: step.uses.clone(),
        name: step.id.clone(),
        duration_ms: step.duration_ms,
        result,
    };
    let class = format!("{}.{}", step.uses, step.id);
    std::iter::once(step_case)
        .chain(inner_cases(&class, &step.cases, WarningPolicy::Pass))
        .collect()
}

/// The cases of a smoke test.
pub(crate) fn inner_cases(class: &str, cases: &[Case], warnings: WarningPolicy) -> Vec<JunitCase> {
    let case = |case: &Case| JunitCase {
        class: class.to_owned(),
        name: case.name.clone(),
        duration_ms: case.duration_ms,
        result: CaseResult::of(case.outcome, &case.detail, warnings),
    };
    cases.iter().map(case).collect()
}
