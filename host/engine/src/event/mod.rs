//! The events of a run. The state of a run is the fold of its records; live view, resume, replay
//! and report fold the same records.

mod run_types;
mod step;
mod step_types;

pub use run_types::*;
pub use step::*;
pub use step_types::*;

use jiff::Timestamp;
use runbook_contract::{Fault, Json, StepId};
use serde::{Deserialize, Serialize};

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Record {
    /// The number of the record, counted from 0 without gaps. The journal refuses a number that it
    /// has already, so that two processes cannot both execute a run.
    pub seq: u64,
    /// The time of the record, by the wall clock.
    pub at: Timestamp,
    /// The event itself.
    pub event: RunEvent,
}

/// An event, grouped by what it is about.
///
/// The order around every effect is: the `…Started` event is durable, then the effect, then the
/// `…Ended` event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "of")]
pub enum RunEvent {
    /// The run as a whole.
    Run(LifecycleEvent),
    /// One step, an item of one, or a step of a nested file.
    Step {
        /// The step that the event is about.
        step: StepId,
        /// What happened to the step.
        #[serde(flatten)]
        event: StepEvent,
    },
    /// One guard, which watches while the run changes things.
    Guard {
        /// The guard that the event is about.
        guard: StepId,
        /// What happened to the guard.
        #[serde(flatten)]
        event: GuardEvent,
    },
    /// One notification, which tells others of the run.
    Notify {
        /// The id of the notification, `notify/N`.
        notify: StepId,
        /// The event that triggers it.
        on: Trigger,
        /// What happened to the notification.
        #[serde(flatten)]
        event: NotifyEvent,
    },
}

/// What happened to a run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum LifecycleEvent {
    /// The run has started. Always record 0.
    RunStarted {
        /// `name` of the runbook.
        runbook: String,
        /// `title` of the runbook.
        title: String,
        /// Every step and guard of the runbook, in file order, with the digest of its component.
        steps: Vec<StepListing>,
        /// Parameters as typed JSON.
        params: serde_json::Map<String, Json>,
        /// The run that this one retries. It is part of the first record, because the steps that
        /// are assumed to be done must be known before the first attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_of: Option<RetryOf>,
    },
    /// Another run holds a lock; this run waits for it.
    LockWaiting {
        /// The name of the lock.
        name: String,
        /// The run that holds it, for people.
        holder: String,
    },
    /// The window of the runbook was checked: before the first preflight, when the locks are held,
    /// and when a run that may still have an effect is resumed.
    WindowChecked {
        /// The result of the check.
        verdict: WindowVerdict,
    },
    /// Preflights have passed and the locks are held: the first effect may happen.
    StepsBegan {
        /// The locks that the run holds, with their fencing tokens.
        locks: Vec<HeldLock>,
    },
    /// Locks were taken again by a resumed run.
    LocksRetaken {
        /// The locks that the run holds now.
        locks: Vec<HeldLock>,
    },
    /// Somebody asked to cancel the run. If steps still run, they are stopped, and completed steps
    /// are undone as the runbook says. If the run is being undone already, or all steps are over,
    /// nothing changes.
    CancelRequested {
        /// The name of the person, for people.
        by: String,
    },
    /// The run will end, because its time is over or a guard was breached: running steps are
    /// stopped now.
    Stopping {
        /// Why the run stops.
        cause: Cause,
    },
    /// All steps are done; the verifies run now.
    VerifyBegan,
    /// A failure, or a request of the operator: the completed steps are undone now, in this order.
    UndoBegan {
        /// Why the run is undone.
        cause: Cause,
        /// The steps to undo, in this order.
        order: Vec<StepId>,
    },
    /// The `finally` steps begin; the result of the run is known except for warnings.
    FinallyBegan {
        /// The result that the run will have.
        end: RunEnd,
        /// Why, if it is not success.
        cause: Option<Cause>,
    },
    /// The run was paused; `resume` continues it.
    Paused {
        /// Why the run was paused.
        reason: PauseReason,
        /// The total time of execution until now, without pauses, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        took_ms: Option<u64>,
        /// The stage in which it was paused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stage: Option<Stage>,
    },
    /// The run was resumed.
    Resumed {
        /// The person and machine that resumed it, for people.
        by: String,
        /// The stage in which it continues.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stage: Option<Stage>,
        /// When the previous execution last renewed its lease, if it did not end in order.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_seen: Option<Timestamp>,
    },
    /// The operator asked to undo a run that had ended.
    UndoRequested {
        /// The person and machine that asked for it, for people.
        by: String,
        /// The corrected text with which it is undone, if it is not that of the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        corrected: Option<CorrectedText>,
    },
    /// The run has ended.
    RunEnded {
        /// How the run ended.
        end: RunEnd,
        /// Why, if it is not success.
        cause: Option<Cause>,
        /// The total time of execution until now, without pauses, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        took_ms: Option<u64>,
    },
}

/// What happened to a guard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum GuardEvent {
    /// The guard was probed. Recorded for the first probe, for each failed one, and for the first
    /// good one after that.
    GuardObserved {
        /// What the guard saw.
        observation: GuardObservation,
    },
}

/// What happened to a notification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum NotifyEvent {
    /// Intent: it is about to be sent.
    NotifyStarted,
    /// It was sent, or not.
    NotifyEnded {
        /// Why it could not be sent.
        fault: Option<Fault>,
    },
}

impl From<LifecycleEvent> for RunEvent {
    fn from(event: LifecycleEvent) -> Self {
        Self::Run(event)
    }
}

impl GuardEvent {
    /// The event of this guard.
    pub fn of(self, guard: StepId) -> RunEvent {
        RunEvent::Guard { guard, event: self }
    }
}

impl RunEvent {
    /// The run's status after this event, if the event changes it. A journal keeps it in a column,
    /// so that `runbook runs` does not have to fold all records.
    pub fn status(&self) -> Option<RunStatus> {
        match self {
            Self::Run(event) => event.status(),
            Self::Step { .. } | Self::Guard { .. } | Self::Notify { .. } => None,
        }
    }

    /// Whether an effect follows this record: by a plugin, or by a person who is asked for it.
    pub fn begins_effect(&self) -> bool {
        match self {
            Self::Step { event, .. } => event.begins_effect(),
            Self::Notify { event, .. } => *event == NotifyEvent::NotifyStarted,
            Self::Run(_) | Self::Guard { .. } => false,
        }
    }
}

impl LifecycleEvent {
    fn status(&self) -> Option<RunStatus> {
        match self {
            Self::LockWaiting { .. } => Some(RunStatus::Waiting),
            Self::UndoBegan { .. } | Self::Resumed { stage: Some(Stage::Undo), .. } => {
                Some(RunStatus::Undoing)
            }
            Self::RunStarted { .. }
            | Self::StepsBegan { .. }
            | Self::Resumed { .. }
            | Self::FinallyBegan { .. } => Some(RunStatus::Running),
            Self::Paused { stage: Some(Stage::Undo), .. } => Some(RunStatus::PausedUndoing),
            Self::Paused { .. } => Some(RunStatus::Paused),
            Self::RunEnded { end, .. } => Some(RunStatus::Ended(*end)),
            Self::LocksRetaken { .. }
            | Self::WindowChecked { .. }
            | Self::CancelRequested { .. }
            | Self::Stopping { .. }
            | Self::VerifyBegan
            | Self::UndoRequested { .. } => None,
        }
    }
}
