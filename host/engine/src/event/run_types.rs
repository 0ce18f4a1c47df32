//! The types in events of a run as a whole: locks, causes, pauses and ends.

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
    /// The previous holder, if its lease had expired or it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
    /// The runs that held it since this run released it, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_between: Vec<RunId>,
}

/// The result of checking the window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum WindowVerdict {
    /// The window is open.
    Open,
    /// The window is closed; by the runbook, the run continues with a warning.
    Warned {
        /// When it opens next; `None` if that is not soon.
        #[serde(rename = "opens")]
        opens_at: Option<Timestamp>,
    },
    /// The window is closed; the operator has overridden it.
    Overridden {
        /// The name of the person, for people.
        by: String,
        /// When it opens next; `None` if that is not soon.
        #[serde(rename = "opens")]
        opens_at: Option<Timestamp>,
    },
    /// The window is closed: no effect may begin.
    Refused {
        /// When it opens next; `None` if that is not soon.
        #[serde(rename = "opens")]
        opens_at: Option<Timestamp>,
    },
}

/// The run that a new run retries from one of its steps on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RetryOf {
    /// The retried run. Only `runbook undo` of that run undoes what it has done.
    pub run: RunId,
    /// The steps and items that it has done and that the new run does not repeat.
    pub assumed: Vec<AssumedStep>,
}

/// A step or item that a run assumes to be done, because another run has done it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AssumedStep {
    /// The step or item, which is not done again.
    pub step: StepId,
    /// The output that it had then.
    pub output: Json,
    /// The run that has done it, and that alone can undo it: the retried run, or an earlier run
    /// that that one had retried.
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
        #[serde(rename = "opens")]
        opens_at: Option<Timestamp>,
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
    /// These steps wait for approval of what they would do.
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
        /// The summary of its last observation.
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
    /// The window closed while the run was paused, and some steps are not done.
    OutsideWindow {
        /// When the window opens next; `None` if that is not soon.
        #[serde(rename = "opens")]
        opens_at: Option<Timestamp>,
    },
    /// The operator cancelled twice.
    Interrupted,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunEnd {
    /// All steps were done, without warnings.
    Succeeded,
    /// All steps were done, with warnings.
    SucceededWithWarnings,
    /// The run failed before it had changed anything.
    FailedClean,
    /// The run failed, and all that can be undone is undone and verified.
    Undone,
    /// An undo failed, an outcome is unknown, or changes were left as the runbook says: a person
    /// has to look.
    Dirty,
    /// The run was cancelled before it had changed anything.
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

/// The status of a run, as `runbook runs` lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// It waits for a lock.
    Waiting,
    /// It runs. A run with this status and no live lease was interrupted by a crash.
    Running,
    /// Completed steps are being undone.
    Undoing,
    /// It waits for a person, or was stopped by the operator.
    Paused,
    /// It was paused during its undo.
    PausedUndoing,
    /// It has ended, in this way.
    Ended(RunEnd),
}

impl RunStatus {
    /// Every status once, from waiting to ended.
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

/// The stage of a run. Stages follow each other in this order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The preflights are checked, then the locks are taken.
    Preflight,
    /// The steps run.
    Steps,
    /// The verifies run.
    Verify,
    /// Completed steps are undone, and observed afterwards.
    Undo,
    /// The `finally` steps run, then notifications are sent.
    Finally,
    /// The run has ended.
    Ended,
}
