//! Parts of the events of a run: how it began, why it waits, how it ends.

use jiff::Timestamp;
use runbook_contract::{Json, RunId, StepId};
use serde::{Deserialize, Serialize};

/// A lock that a run holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HeldLock {
    /// The name of the lock, as `[locks]` has it.
    pub name: String,
    /// The fencing token, which grows with every acquisition of this name.
    pub token: u64,
    /// The previous holder, if the lease was taken over from a holder that is dead or silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
    /// The runs that held it since this run released it, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_between: Vec<RunId>,
}

/// The result of checking the window. `opens` is when it opens next, if that is soon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum WindowVerdict {
    /// The window is open.
    Open,
    /// The window is closed; the runbook only warns.
    Warned {
        /// When it opens next; `None` if that is not soon.
        opens: Option<Timestamp>,
    },
    /// The window is closed, and the operator runs the runbook nevertheless.
    Overridden {
        /// The name of the person, for people.
        by: String,
        /// When it opens next; `None` if that is not soon.
        opens: Option<Timestamp>,
    },
    /// The window is closed: no effect may begin.
    Refused {
        /// When it opens next; `None` if that is not soon.
        opens: Option<Timestamp>,
    },
}

/// That a run retries another one, from one of its steps on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RetryOf {
    /// The other run. Only `undo` of that run undoes what it has done.
    pub run: RunId,
    /// The steps that it has done and this run does not repeat.
    pub assumed: Vec<Assumed>,
}

/// A step that is taken as done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Assumed {
    /// The step that is not done again.
    pub step: StepId,
    /// The output that it had then.
    pub output: Json,
    /// The run that had the effect, and that alone undoes it: the retried run, or an earlier one
    /// that it retried.
    pub done_in: RunId,
}

/// The corrected text with which a run is undone, in place of its own text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CorrectedText {
    /// Name and text of the runbook and every file that it includes. The runbook is first.
    pub sources: Vec<(String, String)>,
    /// The digest of `sources`, `sha256:…`.
    pub digest: String,
}

/// Why a run does not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Cause {
    /// A preflight failed before the first effect.
    Preflight {
        /// The preflight that failed.
        step: StepId,
    },
    /// The window was closed before the first effect.
    OutsideWindow {
        /// When the window opens next; `None` if that is not soon.
        opens: Option<Timestamp>,
    },
    /// A lock was busy.
    LockBusy {
        /// The name of the lock.
        name: String,
        /// The run that holds it, for people.
        holder: String,
    },
    /// A step failed, and its `on_failure` ends the run.
    Step {
        /// The step that failed.
        step: StepId,
    },
    /// A verify failed.
    Verify {
        /// The verify that failed.
        step: StepId,
    },
    /// A guard was breached.
    Guard {
        /// The guard that was breached.
        guard: StepId,
    },
    /// The operator cancelled the run.
    Cancel,
    /// The run took longer than its `timeout`.
    Timeout,
    /// The operator asked to undo a finished run.
    Requested,
}

/// Who took a lock from a run that held it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TakenBy {
    /// The name of the person, for people.
    pub by: String,
    /// When the lock was taken.
    pub at: Timestamp,
    /// Why they took it, in their words.
    pub reason: String,
}

/// Why a run stopped without an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum PauseReason {
    /// It is unknown whether these attempts took effect; the operator decides.
    UnknownOutcome {
        /// The steps with such an attempt.
        steps: Vec<StepId>,
    },
    /// These steps have shown their plans and wait for approval.
    Approval {
        /// The steps that wait for approval.
        steps: Vec<StepId>,
    },
    /// These manual steps wait for a person.
    Manual {
        /// The steps that wait for a person.
        steps: Vec<StepId>,
    },
    /// A guard was breached, or its outcome is unknown; nothing was undone.
    Guard {
        /// The guard that was breached or whose outcome is unknown.
        guard: StepId,
        /// What it saw last, for people.
        why: String,
    },
    /// The lease on this lock was lost.
    LeaseLost {
        /// The name of the lock.
        name: String,
        /// The person who took it, if it was taken by hand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken_by: Option<TakenBy>,
    },
    /// The window closed while the run was stopped, and steps are left to do.
    OutsideWindow {
        /// When the window opens next; `None` if that is not soon.
        opens: Option<Timestamp>,
    },
    /// The operator cancelled twice.
    Interrupted,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunEnd {
    /// Everything was done, without warnings.
    Succeeded,
    /// Everything was done, with warnings.
    SucceededWithWarnings,
    /// Failed, and nothing had been changed.
    FailedClean,
    /// Failed, and all that can be undone is undone and verified.
    Undone,
    /// An undo failed, or an outcome is unknown, or changes were left as the runbook says: a person
    /// is needed.
    Dirty,
    /// Cancelled before anything had been changed.
    Cancelled,
}

impl RunEnd {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::SucceededWithWarnings => "succeeded-with-warnings",
            Self::FailedClean => "failed-clean",
            Self::Undone => "undone",
            Self::Dirty => "dirty",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The event that a notification is sent for.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The first step is about to run.
    Start,
    /// The run waits for a lock, or pauses for a person.
    Waiting,
    /// The run succeeded, with or without warnings.
    Succeeded,
    /// The run failed or was cancelled, and nothing had been changed.
    Failed,
    /// The run failed and was undone.
    Undone,
    /// A person has to look: the run is dirty.
    Dirty,
    /// The run takes more than twice as long as the usual time of earlier runs.
    Slow,
}

impl Trigger {
    /// All triggers, with their names in runbooks.
    pub const ALL: &[(Self, &str)] = &[
        (Self::Start, "start"),
        (Self::Waiting, "waiting"),
        (Self::Succeeded, "succeeded"),
        (Self::Failed, "failed"),
        (Self::Undone, "undone"),
        (Self::Dirty, "dirty"),
        (Self::Slow, "slow"),
    ];
}

/// The state of a run, as `runs` lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunPhase {
    /// It waits for a lock.
    Waiting,
    /// It runs. A run in this phase without a live lease was interrupted by a crash.
    Running,
    /// Completed steps are being undone.
    Undoing,
    /// It needs a decision, or was stopped by the operator.
    Paused,
    /// Paused during its undo: with any decision, the run then ends.
    PausedUndoing,
    /// The run has ended, in this way.
    Ended(RunEnd),
}

impl RunPhase {
    /// Every phase, each once, from waiting to ended.
    pub const ALL: &[Self] = &[
        Self::Waiting,
        Self::Running,
        Self::Undoing,
        Self::Paused,
        Self::PausedUndoing,
        Self::Ended(RunEnd::Succeeded),
        Self::Ended(RunEnd::SucceededWithWarnings),
        Self::Ended(RunEnd::FailedClean),
        Self::Ended(RunEnd::Undone),
        Self::Ended(RunEnd::Dirty),
        Self::Ended(RunEnd::Cancelled),
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Undoing => "undoing",
            Self::Paused => "paused",
            Self::PausedUndoing => "paused-undoing",
            Self::Ended(end) => end.name(),
        }
    }
}

/// The phase of a run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The preflights are checked, then the locks are taken.
    Preflight,
    /// The steps that act.
    Steps,
    /// The verifies run.
    Verify,
    /// Undo, then observing whether it worked.
    Undo,
    /// The `finally` steps, then notifications.
    Finally,
    /// The run has ended.
    Ended,
}
