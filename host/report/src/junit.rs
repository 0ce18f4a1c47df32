//! The report for CI: JUnit XML as Jenkins and GitLab read it.

use crate::summary::{StepState, StepSummary, Summary};
use runbook_engine::Outcome;
use std::fmt::Write as _;

/// The report of a run as JUnit XML: a test suite whose test cases are the steps, and the cases of its smoke tests.
pub(crate) fn render(summary: &Summary) -> String {
    let cases: Vec<_> =
        summary.steps.iter().filter(|step| step.attempts > 0 || step.state == StepState::Skipped).flat_map(step_cases).collect();
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let skipped = cases.iter().filter(|case| case.skipped).count();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let _ = writeln!(
        text,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{}\" timestamp=\"{}\">",
        escape(&summary.name),
        cases.len(),
        seconds(summary.duration_ms),
        summary.started.strftime("%Y-%m-%dT%H:%M:%S")
    );
    for case in &cases {
        let _ = write!(
            text,
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
            escape(&case.class),
            escape(&case.name),
            seconds(case.duration_ms)
        );
        match (&case.failure, case.skipped) {
            (Some(failure), _) => {
                let _ = writeln!(text, ">\n      <failure message=\"{0}\">{0}</failure>\n    </testcase>", escape(failure));
            }
            (None, true) => text.push_str(">\n      <skipped/>\n    </testcase>\n"),
            (None, false) => text.push_str("/>\n"),
        }
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

struct Case {
    class: String,
    name: String,
    duration_ms: u64,
    failure: Option<String>,
    skipped: bool,
}

fn step_cases(step: &StepSummary) -> Vec<Case> {
    let failed =
        step.fault.is_some() || matches!(step.state, StepState::Failed | StepState::UndoFailed | StepState::UnknownOutcome);
    let own = Case {
        class: step.uses.clone(),
        name: step.id.clone(),
        duration_ms: step.duration_ms,
        failure: failed
            .then(|| step.undo.clone().filter(|_| step.state == StepState::UndoFailed).unwrap_or_else(|| step.summary.clone())),
        skipped: step.state == StepState::Skipped,
    };
    let inner = step.cases.iter().map(|case| Case {
        class: format!("{}.{}", step.uses, step.id),
        name: case.name.clone(),
        duration_ms: case.duration_ms,
        failure: (case.outcome != Outcome::Pass).then(|| case.detail.clone()),
        skipped: false,
    });
    std::iter::once(own).chain(inner).collect()
}

fn seconds(duration_ms: u64) -> String {
    format!("{}.{:03}", duration_ms / 1_000, duration_ms % 1_000)
}

/// XML text: markup escaped, characters that XML 1.0 forbids dropped.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\r' | '\t' => escaped.push(' '),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}
