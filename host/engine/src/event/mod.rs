//! What happened in a run. The state of a run is the fold of its records; live view, resume, replay
//! and report fold the same.

mod parts;
mod run_parts;

pub use parts::*;
pub use run_parts::*;

use jiff::Timestamp;
use runbook_contract::{Fault, Json, LogLine, Proposal, StepId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Record {
    /// Counted from 0 without gaps. The journal refuses a number that exists already, which reveals
    /// a second executor of the same run.
    pub seq: u64,
    /// The time of the record, by the wall clock.
    pub at: Timestamp,
    /// The event itself.
    pub event: RunEvent,
}

/// What happened, by subject.
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
    /// The run exists. Always record 0.
    RunStarted {
        /// `name` of the runbook.
        runbook: String,
        /// `title` of the runbook.
        title: String,
        /// Every call site that can ever have a state, in file order, with the digest of its
        /// component.
        steps: Vec<StepListing>,
        /// Parameters as typed JSON.
        params: serde_json::Map<String, Json>,
        /// The run that this one retries. It is part of this record, because the steps that count
        /// as done must be known before anything is done.
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
        /// What follows for the run.
        verdict: WindowVerdict,
    },
    /// Preflights have passed and locks are held: the first effect may happen.
    StepsBegan {
        /// The locks that the run holds, with their fencing tokens.
        locks: Vec<HeldLock>,
    },
    /// Locks were taken again by a resumed run.
    LocksRetaken {
        /// The locks that the run holds now.
        locks: Vec<HeldLock>,
    },
    /// Somebody asked that the run be ended in order. What follows depends on how far it is: what
    /// was done is undone as the runbook says, is being undone already, or stays, because all steps
    /// are over.
    CancelRequested {
        /// The name of the person, for people.
        by: String,
    },
    /// Running steps are stopped now, and the run will end: its time is over, or a guard was
    /// breached.
    Stopping {
        /// Why the run stops.
        cause: Cause,
    },
    /// All steps are done; the verifies run now.
    VerifyBegan,
    /// A failure, or a request of the operator: the completed steps are undone now, in this order.
    UndoBegan {
        /// Why what was done is undone.
        cause: Cause,
        /// The steps to undo, first to be undone first.
        order: Vec<StepId>,
    },
    /// The `finally` steps begin; the result of the run is known except for warnings.
    FinallyBegan {
        /// The result that the run will have.
        end: RunEnd,
        /// Why, if it is not success.
        cause: Option<Cause>,
    },
    /// The run stopped without an end; `resume` continues it.
    Paused {
        /// Why the run stopped.
        reason: PauseReason,
        /// The total time of execution until now, without pauses, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        took_ms: Option<u64>,
        /// How far it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stage: Option<Stage>,
    },
    /// The run goes on.
    Resumed {
        /// The person and machine that resumed it, for people.
        by: String,
        /// The state in which it continues.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stage: Option<Stage>,
        /// When the previous execution was last seen alive, if it did not end in order.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_seen: Option<Timestamp>,
    },
    /// The operator asks that a finished run be undone.
    UndoRequested {
        /// The person and machine that asked for it, for people.
        by: String,
        /// The corrected text with which it is undone, if it is not that of the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mended: Option<Mended>,
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

/// What happened to a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum StepEvent {
    /// A step will not run.
    StepSkipped {
        /// Why it will not run.
        reason: SkipReason,
    },
    /// The items of a step with `for_each` are known; each is done and journaled as a step
    /// `STEP[KEY]` of its own.
    ItemsListed {
        /// In the order in which they are done. May be empty.
        items: Vec<Item>,
    },
    /// The steps of a nested file begin; each is journaled as a step `STEP.ID` of its own.
    GroupBegan {
        /// What the steps of the file see as `params`.
        params: serde_json::Map<String, Json>,
        /// The parameters that come from an output which was cut off, with the name of that output.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        cut: BTreeMap<String, String>,
    },
    /// All items of a step, or all steps of its nested file, are done, or no more will be.
    ItemsEnded {
        /// The combined result; the output is a map of the items' outputs by key.
        result: AttemptResult,
        /// What the run does next with the step.
        then: AfterAttempt,
    },
    /// A step has shown its plan and waits for approval by other people.
    ApprovalAsked {
        /// `sha256:…` of the plan: the approval is for exactly this plan.
        digest: String,
        /// The input of the step, with all templates filled in.
        input: Json,
        /// The proposal of the plugin: the effects, and the state before.
        proposal: Proposal,
        /// How many people must approve.
        quorum: u32,
        /// How long an approval is valid, in milliseconds.
        expires_ms: Option<u64>,
        /// The targets that it would act on, each with its address.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        places: Vec<String>,
    },
    /// Somebody has approved or rejected it.
    ApprovalGiven {
        /// The digest of what they looked at, `sha256:…`.
        digest: String,
        /// The name of the person.
        by: String,
        /// Whether they approved or rejected it.
        verdict: ApprovalVerdict,
    },
    /// A manual step waits until a person reports that it is done.
    ManualAsked {
        /// What the person is asked to do.
        instructions: String,
        /// The options that `runbook answer` needs, such as `--set rows=INT` and `--choice yes|no`.
        options: Vec<String>,
    },
    /// A person has reported that it is done, with their answers.
    ManualAnswered {
        /// The name of the person.
        by: String,
        /// The answers: fields of the form, and `choice`.
        values: Json,
    },
    /// Intent: an attempt is about to be made.
    AttemptStarted {
        /// The number of the attempt, counted from 1.
        attempt: u32,
        /// The input of the attempt, with all templates filled in.
        input: Json,
        /// `sha256:…` of the input's JSON.
        input_digest: String,
        /// The proposal of the plugin: the effects, and the state before; `None` for checks.
        proposal: Option<Proposal>,
        /// What undoes it, registered before the effect.
        undo: UndoPlan,
    },
    /// An attempt failed before it could have any effect: its input could not be rendered, or
    /// `plan` failed.
    AttemptRefused {
        /// The number of the attempt, counted from 1.
        attempt: u32,
        /// Why the attempt failed.
        fault: Fault,
        /// What the run does next with the step.
        then: AfterAttempt,
    },
    /// A call without a record of its own takes long, or a pausing run still waits for a call.
    StillWaiting {
        /// What the call was made for.
        call: CallPurpose,
        /// How long it has been under way, by the monotonic clock, in milliseconds.
        waited_ms: u64,
        /// How long it may take, in milliseconds.
        at_most_ms: u64,
        /// What the run does when the call has ended.
        then: AfterWait,
    },
    /// The result of an attempt.
    AttemptEnded {
        /// The attempt that was started.
        attempt: u32,
        /// How the attempt ended, with what it returned.
        result: AttemptResult,
        /// What the run does next with the step.
        then: AfterAttempt,
        /// Time from intent to result by the monotonic clock, in milliseconds.
        duration_ms: u64,
        /// What the plugin logged.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        logs: Vec<LogLine>,
    },
    /// The decision about an attempt that had started and had no result when the run was resumed.
    Recovered {
        /// The attempt that had no result.
        attempt: u32,
        /// What was decided about it.
        decision: Recovery,
    },
    /// Intent: an undo is about to be tried.
    UndoStarted {
        /// The number of the undo, counted from 1.
        attempt: u32,
    },
    /// The result of an undo.
    UndoEnded {
        /// The number of the undo, counted from 1.
        attempt: u32,
        /// How the undo ended.
        result: UndoResult,
        /// What the run does next with the step.
        then: AfterAttempt,
        /// Time from intent to result, in milliseconds.
        duration_ms: u64,
    },
    /// It was observed again after an undo.
    UndoChecked {
        /// How the observed state compares with the state before the step.
        finding: UndoFinding,
    },
}

/// What happened to a guard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum GuardEvent {
    /// The guard was probed. Recorded for the first probe, for each failed one, and for the first
    /// good one after that.
    GuardLooked {
        /// What the guard saw.
        look: Look,
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

impl StepEvent {
    /// As what happened to this step.
    pub fn of(self, step: StepId) -> RunEvent {
        RunEvent::Step { step, event: self }
    }
}

impl GuardEvent {
    /// As what happened to this guard.
    pub fn of(self, guard: StepId) -> RunEvent {
        RunEvent::Guard { guard, event: self }
    }
}

impl RunEvent {
    /// The run's phase after this event, if the event changes it. A journal keeps it in a column,
    /// so that `runs` needs no fold.
    pub fn phase(&self) -> Option<RunPhase> {
        match self {
            Self::Run(event) => event.phase(),
            Self::Step { .. } | Self::Guard { .. } | Self::Notify { .. } => None,
        }
    }

    /// Whether an effect follows this record: of a plugin, or of a person who is asked for it.
    pub fn begins_effect(&self) -> bool {
        match self {
            Self::Step { event, .. } => event.begins_effect(),
            Self::Notify { event, .. } => *event == NotifyEvent::NotifyStarted,
            Self::Run(_) | Self::Guard { .. } => false,
        }
    }
}

impl LifecycleEvent {
    fn phase(&self) -> Option<RunPhase> {
        match self {
            Self::LockWaiting { .. } => Some(RunPhase::Waiting),
            Self::UndoBegan { .. } | Self::Resumed { stage: Some(Stage::Undo), .. } => {
                Some(RunPhase::Undoing)
            }
            Self::RunStarted { .. }
            | Self::StepsBegan { .. }
            | Self::Resumed { .. }
            | Self::FinallyBegan { .. } => Some(RunPhase::Running),
            Self::Paused { stage: Some(Stage::Undo), .. } => Some(RunPhase::PausedUndoing),
            Self::Paused { .. } => Some(RunPhase::Paused),
            Self::RunEnded { end, .. } => Some(RunPhase::Ended(*end)),
            Self::LocksRetaken { .. }
            | Self::WindowChecked { .. }
            | Self::CancelRequested { .. }
            | Self::Stopping { .. }
            | Self::VerifyBegan
            | Self::UndoRequested { .. } => None,
        }
    }
}

impl StepEvent {
    fn begins_effect(&self) -> bool {
        match self {
            Self::AttemptStarted { .. } | Self::UndoStarted { .. } | Self::ManualAsked { .. } => {
                true
            }
            Self::StepSkipped { .. }
            | Self::ItemsListed { .. }
            | Self::GroupBegan { .. }
            | Self::ItemsEnded { .. }
            | Self::ApprovalAsked { .. }
            | Self::ApprovalGiven { .. }
            | Self::ManualAnswered { .. }
            | Self::AttemptRefused { .. }
            | Self::StillWaiting { .. }
            | Self::AttemptEnded { .. }
            | Self::Recovered { .. }
            | Self::UndoEnded { .. }
            | Self::UndoChecked { .. } => false,
        }
    }
}
