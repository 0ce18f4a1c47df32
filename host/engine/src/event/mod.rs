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
    /// Counted from 0 without gaps. The journal refuses a number that is there already: that is how
    /// a second executor of the same run is noticed.
    pub seq: u64,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// The event itself.
    pub event: RunEvent,
}

/// What happened, by what it happened to.
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
        /// The step that it happened to.
        step: StepId,
        /// What happened to it.
        #[serde(flatten)]
        event: StepEvent,
    },
    /// One guard, which watches while the run changes things.
    Guard {
        /// The guard that it happened to.
        guard: StepId,
        /// What happened to it.
        #[serde(flatten)]
        event: GuardEvent,
    },
    /// One notification, which tells others of the run.
    Notify {
        /// The id of the notification, `notify/N`.
        notify: StepId,
        /// The event of the run that it tells of.
        on: Trigger,
        /// What happened to it.
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
        /// The run that this one tries again. In this record, because what is taken as done must be
        /// known before anything is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_of: Option<RetryOf>,
    },
    /// A lock is held by somebody else; the run waits for it.
    LockWaiting {
        /// The name of the lock.
        name: String,
        /// The run that holds it, for people.
        holder: String,
    },
    /// The clock was compared with the window of the runbook: before the first preflight, when the
    /// locks are held, and when a run is resumed that may still have an effect.
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
    /// What runs is stopped now, and the run will end: its time is over, or a guard was breached.
    Stopping {
        /// Why the run stops.
        cause: Cause,
    },
    /// All steps are done; post-conditions are checked now.
    VerifyBegan,
    /// Something went wrong, or the operator asked for it: what was done is undone now, in this
    /// order.
    UndoBegan {
        /// Why what was done is undone.
        cause: Cause,
        /// The steps to undo, first to be undone first.
        order: Vec<StepId>,
    },
    /// What always runs begins; the result of the run is known but for warnings.
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
        /// How long the run was executed in all until now, without its pauses, in milliseconds.
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
        /// Where it goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stage: Option<Stage>,
        /// When the execution before it was seen last, if it did not end in order.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_seen: Option<Timestamp>,
    },
    /// The operator asks that a finished run be undone.
    UndoRequested {
        /// The person and machine that asked for it, for people.
        by: String,
        /// The text by which it is undone, if it is not that of the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mended: Option<Mended>,
    },
    /// The run has ended.
    RunEnded {
        /// How the run ended.
        end: RunEnd,
        /// Why, if it is not success.
        cause: Option<Cause>,
        /// How long the run was executed in all until now, without its pauses, in milliseconds.
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
        /// What they see as `params`.
        params: serde_json::Map<String, Json>,
        /// Those that come from an output which is not whole, with what they come from.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        cut: BTreeMap<String, String>,
    },
    /// All items of a step, or all steps of the file that it stands for, are done, or no more will
    /// be.
    ItemsEnded {
        /// What came of all of them; the output is a map of the items' outputs by key.
        result: AttemptResult,
        /// What the run does next with the step.
        then: AfterAttempt,
    },
    /// A step has said what it would do, and waits until somebody else says that it may.
    ApprovalAsked {
        /// `sha256:…` of what would be done: what is approved is this and nothing else.
        digest: String,
        /// The input of the step, with all templates filled in.
        input: Json,
        /// What the plugin says it will do and what is there before.
        proposal: Proposal,
        /// How many people must approve.
        quorum: u32,
        /// How long an approval is good, in milliseconds.
        expires_ms: Option<u64>,
        /// The targets where it would be done, each with what it is bound to.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        places: Vec<String>,
    },
    /// Somebody has said whether it may.
    ApprovalGiven {
        /// What was looked at.
        digest: String,
        /// The name of the person.
        by: String,
        /// Whether they approved or rejected it.
        verdict: ApprovalVerdict,
    },
    /// A step is a person's to do, and waits until somebody says that it is done.
    ManualAsked {
        /// What the person is asked to do.
        instructions: String,
        /// The options that `runbook answer` needs, such as `--set rows=INT` and `--choice yes|no`.
        options: Vec<String>,
    },
    /// Somebody has said that it is done, and what they found.
    ManualAnswered {
        /// The name of the person.
        by: String,
        /// What was given: fields of the form, and `choice`.
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
        /// What the plugin says it will do and what is there before; `None` for checks.
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
    /// A call that is not in the journal by itself takes long, or the run would pause and waits for
    /// a call.
    StillWaiting {
        /// What the call was made for.
        call: CallPurpose,
        /// How long ago, by the monotonic clock, in milliseconds.
        waited_ms: u64,
        /// How long it may take, in milliseconds.
        at_most_ms: u64,
        /// What the run does when it has ended.
        then: AfterWait,
    },
    /// The result of an attempt.
    AttemptEnded {
        /// The attempt that was started.
        attempt: u32,
        /// What came of it.
        result: AttemptResult,
        /// What the run does next with the step.
        then: AfterAttempt,
        /// Time from intent to result by the monotonic clock, in milliseconds.
        duration_ms: u64,
        /// What the plugin logged.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        logs: Vec<LogLine>,
    },
    /// What was decided about an attempt that had started and had no result when the run was
    /// resumed.
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
        /// What came of it.
        result: UndoResult,
        /// What the run does next with the step.
        then: AfterAttempt,
        /// Time from intent to result, in milliseconds.
        duration_ms: u64,
    },
    /// After an undo it was observed again.
    UndoChecked {
        /// How what was found compares with what was there before.
        finding: UndoFinding,
    },
}

/// What happened to a guard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum GuardEvent {
    /// It was looked at: the first time, whenever it is not as it should be, and when it is again.
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
