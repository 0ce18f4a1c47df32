//! The report for CI: JUnit XML as Jenkins and GitLab read it. One writer and one mapping, for runs
//! and for checks.

use crate::printed::one_line;
use crate::summary::{RunVerdict, StepStatus, StepSummary, Summary};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use runbook_engine::{Case as SmokeCase, Outcome};
use std::time::Duration;

/// How a test case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It ended as it should.
    Good,
    /// It did not run, or waits for a person.
    Skipped(String),
    /// It failed: a check got a wrong answer, or a step did not succeed.
    Failed(String),
    /// Unknown: no answer or no data.
    Unknown(String),
}

impl Ended {
    /// The one mapping from what a check found.
    pub(crate) fn of(outcome: Outcome, why: &str, warnings: Warnings) -> Self {
        match (outcome, warnings) {
            (Outcome::Pass, _) | (Outcome::Warn, Warnings::Pass) => Self::Good,
            (Outcome::Warn, Warnings::Fail) | (Outcome::Fail, _) => Self::Failed(why.to_owned()),
            (Outcome::Unknown, _) => Self::Unknown(why.to_owned()),
        }
    }

    fn status(&self) -> TestCaseStatus {
        let (kind, why) = match self {
            Self::Good => return TestCaseStatus::success(),
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
pub enum Warnings {
    /// It passes: a run succeeds with warnings, and so do checks with `--fail-on critical`.
    Pass,
    /// It counts as failed; the default for checks.
    Fail,
}

/// One test case of a JUnit file.
pub(crate) struct Case {
    pub(crate) class: String,
    pub(crate) name: String,
    pub(crate) duration_ms: u64,
    pub(crate) ended: Ended,
}

/// A document with one test suite.
pub(crate) fn document(
    name: &str,
    at: jiff::Timestamp,
    duration_ms: Option<u64>,
    cases: &[Case],
) -> String {
    let mut suite = TestSuite::new(one_line(name));
    if let Some(at) = chrono::DateTime::from_timestamp_millis(at.as_millisecond()) {
        suite.set_timestamp(at);
    }
    if let Some(duration_ms) = duration_ms {
        suite.set_time(Duration::from_millis(duration_ms));
    }
    for Case { class, name, duration_ms, ended } in cases {
        let mut case = TestCase::new(one_line(name), ended.status());
        case.set_classname(one_line(class)).set_time(Duration::from_millis(*duration_ms));
        suite.add_test_case(case);
    }
    let mut report = Report::new("runbook");
    report.add_test_suite(suite);
    let text = report.to_string().expect(
        "what is written into a string is always written, and every text of it is one line of text",
    );
    // The log of a CI service is read for commands: `::error::`, `##[error]`, `##vso[…]`. To a
    // reader of XML these are the same.
    text.replace("##", "&#35;&#35;").replace("::", "&#58;:")
}

/// The report of a run: a test suite whose test cases are the run itself, its steps, and the cases
/// of its smoke tests.
pub(crate) fn render(summary: &Summary) -> String {
    let shown =
        summary.steps.iter().filter(|step| step.attempts > 0 || step.state != StepStatus::Pending);
    let cases: Vec<_> =
        std::iter::once(run_case(summary)).chain(shown.flat_map(step_cases)).collect();
    document(&summary.name, summary.started, Some(summary.duration_ms), &cases)
}

/// The run has a test case of its own, because its steps do not say whether it succeeded: it may
/// wait, be cancelled between two steps, or still run.
fn run_case(summary: &Summary) -> Case {
    let cause =
        summary.cause.as_ref().map(|cause| format!(" Because {cause}.")).unwrap_or_default();
    let why = format!("{}{cause}", summary.standing_text());
    let ended = match summary.verdict() {
        RunVerdict::Good => Ended::Good,
        RunVerdict::Waiting => Ended::Skipped(why),
        RunVerdict::Open => Ended::Unknown(why),
        RunVerdict::Bad => Ended::Failed(why),
    };
    Case {
        class: "runbook".to_owned(),
        name: format!("run {}", summary.name),
        duration_ms: summary.duration_ms,
        ended,
    }
}

fn step_cases(step: &StepSummary) -> Vec<Case> {
    let undo = step.undo.as_ref().filter(|_| step.state == StepStatus::UndoFailed);
    let why = undo.unwrap_or(&step.summary).clone();
    let not_yet = || format!("{}: {}", step.state.word(), step.summary);
    let ended = match step.state {
        StepStatus::Skipped => Ended::Skipped(why),
        StepStatus::UnknownOutcome => Ended::Unknown(why),
        StepStatus::Failed | StepStatus::UndoFailed => Ended::Failed(why),
        StepStatus::WaitingForPerson => Ended::Skipped(not_yet()),
        StepStatus::Pending | StepStatus::Running | StepStatus::Undoing => {
            Ended::Unknown(not_yet())
        }
        StepStatus::Succeeded | StepStatus::Warned | StepStatus::Undone if step.fault.is_some() => {
            Ended::Failed(why)
        }
        StepStatus::Undone => {
            Ended::Skipped(format!("it was undone: {}", step.undo.as_deref().unwrap_or_default()))
        }
        StepStatus::Succeeded | StepStatus::Warned => Ended::Good,
    };
    let own = Case {
        class: step.uses.clone(),
        name: step.id.clone(),
        duration_ms: step.duration_ms,
        ended,
    };
    let class = format!("{}.{}", step.uses, step.id);
    std::iter::once(own).chain(inner_cases(&class, &step.cases, Warnings::Pass)).collect()
}

/// The cases of a smoke test.
pub(crate) fn inner_cases(class: &str, cases: &[SmokeCase], warnings: Warnings) -> Vec<Case> {
    let case = |case: &SmokeCase| Case {
        class: class.to_owned(),
        name: case.name.clone(),
        duration_ms: case.duration_ms,
        ended: Ended::of(case.outcome, &case.detail, warnings),
    };
    cases.iter().map(case).collect()
}
