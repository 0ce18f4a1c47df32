//! The summary of a step.

use runbook_engine::{
    Case, Change, Effect, Fault, LogLine, Measurement, Outcome, RemainingEffect, Section,
};
use serde::Serialize;
use std::time::Duration;

/// The state of a step as every report shows it.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of a report for programs, each with a name of its own"
)]
pub struct StepSummary {
    /// The id of the step, such as `backup` or `copy[eu-1]`.
    pub id: String,
    /// The title of the step, or its id if it has none.
    pub title: String,
    /// The section of the runbook that the step stands in.
    pub section: Section,
    /// The operation that it runs, as `plugin:operation`.
    pub uses: String,
    /// The digest of the plugin's component, `sha256:…`.
    pub digest: String,
    /// The state of the step.
    pub state: StepStatus,
    /// How many attempts were made.
    pub attempts: u32,
    /// Time of all attempts, in milliseconds.
    pub duration_ms: u64,
    /// One line: the result of the step, or why it has none.
    pub summary: String,
    /// Why it failed.
    pub fault: Option<Fault>,
    /// The effects of its plan.
    pub effects: Vec<Effect>,
    /// Whether it changed anything.
    pub changed: bool,
    /// Whether a change of it is still there: `nothing`, `perhaps` (it failed half-way, or got no
    /// answer), or `surely`.
    pub remaining_effect: RemainingEffect,
    /// Whether it is a smoke test that wrote something and may not have removed it.
    pub may_have_left: bool,
    /// Whether it is shown as running only because of a call to `plan`.
    #[serde(skip)]
    pub(super) is_planning: bool,
    /// The output that later steps can refer to.
    pub output: serde_json::Value,
    /// The outcome of a check, if it got an answer.
    pub outcome: Option<Outcome>,
    /// Numbers that it measured.
    pub measurements: Vec<Measurement>,
    /// Cases of a smoke test.
    pub cases: Vec<Case>,
    /// The instructions of a manual step.
    pub instructions: Option<String>,
    /// The options that `runbook answer` needs for this step.
    pub answer_options: Vec<String>,
    /// One line: the result of its undo.
    pub undo: Option<String>,
    /// The log of its last attempt.
    pub logs: Vec<LogLine>,
    #[serde(skip)]
    pub(super) change: Change,
    /// Whether its undo was verified: the observed state is the state before the step.
    pub restored: bool,
    /// The people who approved it.
    pub approved_by: Vec<String>,
    /// Why the approval before is no longer valid: it was of an earlier plan, or is too old.
    pub approval_void_reason: Option<String>,
    /// The digest of the plan for which approval was asked last.
    #[serde(skip)]
    pub(super) plan_digest: Option<String>,
    /// The answers to a manual step: fields of the form, and `choice`.
    pub answers: Option<serde_json::Value>,
    /// The last request for approval.
    #[serde(skip)]
    pub(super) approval: Option<ApprovalSummary>,
    /// What became known later about whether the step took effect, if its result left that open.
    pub recovery: Option<String>,
    /// How many polls in a row gave the same result, without the first one.
    #[serde(skip)]
    pub(crate) repeated: u32,
}

/// A request for approval, and its result.
#[derive(Debug, Clone)]
pub(super) struct ApprovalSummary {
    pub(super) quorum: u32,
    pub(super) expires_ms: Option<u64>,
    pub(super) verdict: Option<ApprovalResult>,
}

/// The result of a request for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApprovalResult {
    Approved,
    Rejected,
}

/// The state of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepStatus {
    /// It has not begun.
    Pending,
    /// It is not executed.
    Skipped,
    /// It waits for a person: for approval, or for the answer to a manual step.
    WaitingForPerson,
    /// An attempt is under way, or the next one is due later.
    Running,
    /// Its last attempt succeeded.
    Succeeded,
    /// Its last attempt succeeded with a warning.
    Warned,
    /// It failed, and there is no further attempt.
    Failed,
    /// It is unknown whether it took effect.
    UnknownOutcome,
    /// It is being undone.
    Undoing,
    /// It was undone.
    Undone,
    /// Its undo failed, or the state observed after the undo differs from the state before.
    UndoFailed,
}

const STATES: &[(StepStatus, &str, &str)] = &[
    (StepStatus::Pending, "pending", "·"),
    (StepStatus::Skipped, "skipped", "-"),
    (StepStatus::WaitingForPerson, "waiting for a person", "?"),
    (StepStatus::Running, "running", "▸"),
    (StepStatus::Succeeded, "done", "✓"),
    (StepStatus::Warned, "warning", "!"),
    (StepStatus::Failed, "failed", "✗"),
    (StepStatus::UnknownOutcome, "unknown", "?"),
    (StepStatus::Undoing, "undoing", "↩"),
    (StepStatus::Undone, "undone", "↩"),
    (StepStatus::UndoFailed, "undo failed", "✗"),
];

impl StepStatus {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        STATES.iter().find(|(state, ..)| *state == self).map_or("", |(_, word, _)| word)
    }

    /// The sign before the word. It adds nothing to the word.
    pub fn sign(self) -> &'static str {
        STATES.iter().find(|(state, ..)| *state == self).map_or("", |(.., sign)| sign)
    }
}

impl StepSummary {
    /// Whether it was answered or its approval decided, so that it continues when the run is
    /// resumed.
    pub(super) fn is_answered(&self) -> bool {
        self.answers.is_some()
            || self.approval.as_ref().is_some_and(|approval| approval.verdict.is_some())
    }

    /// How long its attempts took.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    /// Whether it is a manual step that a person has to do now.
    pub fn is_for_a_person(&self) -> bool {
        self.state == StepStatus::WaitingForPerson && self.instructions.is_some()
    }

    /// Its title, if it has one, and its result or the result of its undo.
    pub fn title_and_result(&self) -> String {
        let result = self.undo.as_ref().unwrap_or(&self.summary);
        match (self.has_title(), result.as_str()) {
            (false, result) => result.to_owned(),
            (true, "") => self.title.clone(),
            (true, result) => format!("{}: {result}", self.title),
        }
    }

    /// Whether its title differs from its id.
    pub fn has_title(&self) -> bool {
        self.title != self.id && !self.id.ends_with(&format!(".{}", self.title))
    }

    /// Whether it is in a final state.
    pub fn is_over(&self) -> bool {
        match self.state {
            StepStatus::Pending
            | StepStatus::WaitingForPerson
            | StepStatus::Running
            | StepStatus::UnknownOutcome
            | StepStatus::Undoing => false,
            StepStatus::Skipped
            | StepStatus::Succeeded
            | StepStatus::Warned
            | StepStatus::Failed
            | StepStatus::Undone
            | StepStatus::UndoFailed => true,
        }
    }

    /// Whether it changed something and the runbook declares that it cannot be undone.
    pub fn is_irreversibly_changed(&self) -> bool {
        self.change.remaining() == RemainingEffect::Surely && self.change.is_irreversible()
    }
}
