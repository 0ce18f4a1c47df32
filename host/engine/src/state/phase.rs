//! The phase of a step, as people see it.

use crate::event::SkipReason;
use jiff::Timestamp;
use runbook_contract::ErrorClass;
use serde::Serialize;

/// The state of a step, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepPhase {
    /// No attempt has begun.
    Pending,
    /// It will not run.
    Skipped(SkipReason),
    /// Its items are being done.
    Repeating,
    /// An attempt has started.
    Running,
    /// It waits for a person: for approval of what it said it would do, or for what a person does.
    Asking,
    /// Another attempt will be made, after a delay.
    Waiting(Delay),
    /// It did what it should.
    Succeeded,
    /// It did not do what it should; the class of its fault says why.
    Failed(ErrorClass),
    /// An attempt started, and its result is unknown.
    Unknown,
    /// An undo has started.
    Undoing,
    /// An undo has failed, and is tried again after a delay.
    UndoWaiting(Delay),
    /// What the step did is undone.
    Undone,
    /// The undo did not work.
    UndoFailed,
}

impl StepPhase {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Skipped(_) => "skipped",
            Self::Running | Self::Repeating => "running",
            Self::Asking => "waiting-for-a-person",
            Self::Waiting(_) => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Unknown => "unknown-outcome",
            Self::Undoing | Self::UndoWaiting(_) => "undoing",
            Self::Undone => "undone",
            Self::UndoFailed => "undo-failed",
        }
    }

    /// Whether nothing more will happen to the step before an undo.
    pub fn is_settled(self) -> bool {
        match self {
            Self::Skipped(_)
            | Self::Succeeded
            | Self::Failed(_)
            | Self::Undone
            | Self::UndoFailed => true,
            Self::Pending
            | Self::Repeating
            | Self::Running
            | Self::Asking
            | Self::Waiting(_)
            | Self::Unknown
            | Self::Undoing
            | Self::UndoWaiting(_) => false,
        }
    }

    /// The delay that must pass before anything more is done, if it waits for one.
    pub(crate) fn delay(self) -> Option<Delay> {
        match self {
            Self::Waiting(delay) | Self::UndoWaiting(delay) => Some(delay),
            Self::Pending
            | Self::Skipped(_)
            | Self::Repeating
            | Self::Running
            | Self::Asking
            | Self::Succeeded
            | Self::Failed(_)
            | Self::Unknown
            | Self::Undoing
            | Self::Undone
            | Self::UndoFailed => None,
        }
    }
}

/// Between two attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Delay {
    /// When the last attempt ended.
    pub since: Timestamp,
    /// How long nothing is done after that, in milliseconds.
    pub ms: u64,
}
