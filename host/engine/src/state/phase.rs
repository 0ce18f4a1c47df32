//! The phase of a step, as reports show it.

use crate::event::SkipReason;
use jiff::Timestamp;
use runbook_contract::ErrorClass;
use serde::Serialize;

/// The phase of a step, as reports show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepPhase {
    /// No attempt has begun.
    Pending,
    /// The step will not run.
    Skipped(SkipReason),
    /// Its items, or the steps of its nested file, run.
    Repeating,
    /// An attempt has started.
    Running,
    /// It waits for a person: for approval of what it would do, or for a manual step to be done.
    Asking,
    /// Another attempt will be made, after a delay.
    Waiting(Delay),
    /// It succeeded.
    Succeeded,
    /// It failed; the class of its fault says why.
    Failed(ErrorClass),
    /// An attempt started, and its result is unknown.
    Unknown,
    /// An undo has started.
    Undoing,
    /// An undo has failed, and is tried again after a delay.
    UndoWaiting(Delay),
    /// The step is undone.
    Undone,
    /// The undo failed for good.
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

    /// The delay for which the step waits; `None` if it waits for none.
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

/// The delay between two attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Delay {
    /// When the last attempt ended.
    pub since: Timestamp,
    /// How long the delay is, in milliseconds.
    pub ms: u64,
}
