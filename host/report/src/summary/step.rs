//! The summary of a step.

use runbook_engine::{
    Case, Change, Effect, Fault, LogLine, Measurement, Outcome, RemainingEffect, Section,
};
use serde::Serialize;
use std::time::Duration;

/// What there is to say about a step.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of a report for programs, each with a name of its own"
)]
pub struct StepSummary {
    /// The id of the step, such as `backup` or `copy[eu-1]`.
    pub id: String,
    /// What to call it.
    pub title: String,
    /// The part of the file.
    pub section: Section,
    /// The operation that it runs, as `plugin:operation`.
    pub uses: String,
    /// The digest of the plugin's component, `sha256:…`.
    pub digest: String,
    /// Where it stands.
    pub state: StepStatus,
    /// How many attempts were made.
    pub attempts: u32,
    /// Time of all attempts, in milliseconds.
    pub duration_ms: u64,
    /// One line: what came of it.
    pub summary: String,
    /// Why it failed.
    pub fault: Option<Fault>,
    /// What it said that it would do.
    pub effects: Vec<Effect>,
    /// Whether it changed anything.
    pub changed: bool,
    /// What is left of what it changed: nothing, perhaps something (it failed half-way, or got no
    /// answer), or surely something.
    pub left: RemainingEffect,
    /// Whether it is a smoke test that wrote, and did not show that it removed what it made.
    pub may_have_left: bool,
    /// Whether it counts as begun only because it was asked what it would do.
    #[serde(skip)]
    pub(super) asked: bool,
    /// The output that later steps can refer to.
    pub output: serde_json::Value,
    /// The outcome of a check, if it got an answer.
    pub outcome: Option<Outcome>,
    /// Numbers that it measured.
    pub measurements: Vec<Measurement>,
    /// Cases of a smoke test.
    pub cases: Vec<Case>,
    /// All lines of what a person is asked to do.
    pub instructions: Option<String>,
    /// The options of `runbook answer` that say that it is done.
    pub answer_options: Vec<String>,
    /// One line: what came of its undo.
    pub undo: Option<String>,
    /// The log of its last attempt.
    pub logs: Vec<LogLine>,
    #[serde(skip)]
    pub(super) change: Change,
    /// Whether it was observed after its undo, and was as before.
    pub restored: bool,
    /// The people who approved it.
    pub approved_by: Vec<String>,
    /// Why what was said before counts no more: it was of another plan, or is too old.
    pub approval_void: Option<String>,
    /// What approval was asked for last.
    #[serde(skip)]
    pub(super) asked_digest: Option<String>,
    /// What a person answered: fields of the form, and `choice`.
    pub answers: Option<serde_json::Value>,
    /// Who is asked for approval, and what was said.
    #[serde(skip)]
    pub(super) asked_of: Option<ApprovalSummary>,
    /// What was seen or said later of whether it happened, if its result left that open.
    pub doubt: Option<String>,
    /// How often in a row it was not yet so for the same reason, after the first time.
    #[serde(skip)]
    pub(crate) repeated: u32,
}

/// Who is asked for approval, and what came of it.
#[derive(Debug, Clone)]
pub(super) struct ApprovalSummary {
    pub(super) quorum: u32,
    pub(super) expires_ms: Option<u64>,
    pub(super) verdict: Option<ApprovalResult>,
}

/// What was said about a step that asks for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApprovalResult {
    Approved,
    Rejected,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepStatus {
    /// Its turn has not come.
    Pending,
    /// It does not run.
    Skipped,
    /// It waits for a person: for approval of what it would do, or for what a person does.
    WaitingForPerson,
    /// An attempt is under way, or the next one is awaited.
    Running,
    /// It did what it should.
    Succeeded,
    /// It worked, and a threshold was passed.
    Warned,
    /// It did not do what it should, and is not tried again.
    Failed,
    /// It is unknown whether it took effect.
    UnknownOutcome,
    /// It is being undone.
    Undoing,
    /// What it did was undone.
    Undone,
    /// Its undo failed, or something else was found after it.
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

    /// The sign before the word. The word alone says all.
    pub fn sign(self) -> &'static str {
        STATES.iter().find(|(state, ..)| *state == self).map_or("", |(.., sign)| sign)
    }
}

impl StepSummary {
    /// Whether the answer is there, so that the step goes on when the run is resumed.
    pub(super) fn is_answered(&self) -> bool {
        self.answers.is_some()
            || self.asked_of.as_ref().is_some_and(|asked| asked.verdict.is_some())
    }

    /// How long its attempts took.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    /// Whether a person has to do it now. All that is to be done is then shown.
    pub fn is_for_a_person(&self) -> bool {
        self.state == StepStatus::WaitingForPerson && self.instructions.is_some()
    }

    /// What people call it, and what came of it or of its undo. Most steps have no title of their
    /// own.
    pub fn titled(&self) -> String {
        let said = self.undo.as_ref().unwrap_or(&self.summary);
        match (self.has_title(), said.as_str()) {
            (false, said) => said.to_owned(),
            (true, "") => self.title.clone(),
            (true, said) => format!("{}: {said}", self.title),
        }
    }

    /// Whether people call it something else than its id.
    pub fn has_title(&self) -> bool {
        self.title != self.id && !self.id.ends_with(&format!(".{}", self.title))
    }

    /// Whether nothing more is to be done about it.
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

    /// Whether it was changed and the runbook says that this cannot be undone.
    pub fn stays(&self) -> bool {
        self.change.left() == RemainingEffect::Surely && self.change.is_irreversible()
    }
}
