//! The words of events: why, how, and what follows.

use jiff::Timestamp;
use runbook_contract::{Case, Fault, Json, Measurement, Outcome, RunId, StepId};
use serde::{Deserialize, Serialize};

/// A call site as it is listed when the run starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StepListing {
    /// Its id.
    pub id: StepId,
    /// What to call it: the `title`, or the id.
    pub title: String,
    /// In which part of the file it stands.
    pub section: Section,
    /// `plugin:operation`.
    pub uses: String,
    /// The component's digest.
    pub digest: String,
}

/// One item of a step with `for_each`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Item {
    /// Unique in its step.
    pub key: String,
    /// What templates see: a value of the list, or `{ key, value }` of the map.
    pub value: Json,
}

/// The part of the file in which a call site stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// `[[preflight]]`
    Preflight,
    /// `[[step]]`
    Step,
    /// `[[verify]]`
    Verify,
    /// `[[finally]]`
    Finally,
    /// `[[guard]]`
    Guard,
    /// `[[check]]` of a suite
    Check,
    /// The explicit undo of a step.
    Undo,
    /// `[[notify]]`
    Notify,
}

/// A lock that a run holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HeldLock {
    /// Its name.
    pub name: String,
    /// Grows with every acquisition of this name.
    pub token: u64,
    /// Whose lease it was, if it was taken over from a holder that is dead or silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
}

/// What follows from the window of a runbook. `opens` is when it opens next, if that is soon enough to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum WindowVerdict {
    /// It is open.
    Open,
    /// It is closed; the runbook only warns.
    Warned {
        /// When it opens.
        opens: Option<Timestamp>,
    },
    /// It is closed, and the operator runs it nevertheless.
    Overridden {
        /// Who, for people.
        by: String,
        /// When it opens.
        opens: Option<Timestamp>,
    },
    /// It is closed: no effect may begin.
    Refused {
        /// When it opens.
        opens: Option<Timestamp>,
    },
}

/// One look of a guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Look {
    /// What follows from it.
    pub verdict: LookVerdict,
    /// One line: what was seen, or why nothing was.
    pub summary: String,
}

/// What follows from a look of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LookVerdict {
    /// As it should be, or a warning.
    Holds,
    /// Not as it should be.
    Breached,
    /// It could not be told: no answer, no data. Never a reason to undo, and never as it should be.
    Blind,
}

/// That a run tries another one again, from one of its steps on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RetryOf {
    /// The other run. What it has done is undone by it alone.
    pub run: RunId,
    /// What it has done, and this one does not do again.
    pub assumed: Vec<Assumed>,
}

/// A step that is taken as done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Assumed {
    /// The step.
    pub step: StepId,
    /// What it produced then.
    pub output: Json,
    /// The run that had its effect, and alone undoes it: the one that is tried again, or one that that one tried again.
    pub done_in: RunId,
}

/// The text of a runbook by which a run is undone, in place of the text with which it was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Mended {
    /// Name and text of the runbook and every file that it includes. The runbook is first.
    pub sources: Vec<(String, String)>,
    /// `sha256:…` over `sources`.
    pub digest: String,
}

/// Why a step does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// `when` is false.
    Condition,
    /// A step that it needs did not run or failed.
    Dependency,
    /// The operator decided so on resume.
    Operator,
    /// `cleanup_timeout` is over.
    TimeIsUp,
    /// The run that this one tries again has done it.
    Assumed,
}

/// What undoes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UndoPlan {
    /// Nothing is needed: it changes nothing.
    NotNeeded,
    /// The plugin's own undo, with the `before` of the proposal.
    Auto,
    /// The operation that the runbook names, which does harm when it is made twice.
    Explicit,
    /// The operation that the runbook names, and says that it may be made again.
    Idempotent,
    /// Nothing can; the runbook says why.
    Irreversible,
}

impl UndoPlan {
    /// Whether there is one to try.
    pub fn can_be_tried(self) -> bool {
        match self {
            Self::Auto | Self::Explicit | Self::Idempotent => true,
            Self::NotNeeded | Self::Irreversible => false,
        }
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum AttemptResult {
    /// It worked.
    Succeeded {
        /// `Warn` if a threshold was passed.
        outcome: Outcome,
        /// One line.
        summary: String,
        /// What later steps can refer to.
        output: Json,
        /// Whether anything was changed.
        changed: bool,
        /// Numbers.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        measurements: Vec<Measurement>,
        /// Cases of a smoke test.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cases: Vec<Case>,
    },
    /// It did not.
    Failed {
        /// Why.
        fault: Fault,
        /// What a check found, if it could look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<Outcome>,
        /// What a check saw, if it could look.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Json>,
        /// Numbers.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        measurements: Vec<Measurement>,
        /// Cases of a smoke test.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cases: Vec<Case>,
        /// Whether it is a smoke test that wrote, and did not show that it removed what it made.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        may_have_left: bool,
    },
}

/// What a call that is waited for is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CallPurpose {
    /// What a step would do.
    Plan,
    /// To do it, or to look.
    Attempt,
    /// What is there now.
    Observe,
    /// To undo it.
    Undo,
}

/// What a run does when a call that it waits for has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AfterWait {
    /// It goes on.
    GoesOn,
    /// It pauses.
    Pauses,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum AfterAttempt {
    /// Nothing: the result stands.
    Final,
    /// The result stands, it is a failure, and the run goes on: `on_failure = "continue"`.
    Continue,
    /// Another attempt, because this one failed.
    Retry {
        /// In milliseconds from the record's time.
        delay_ms: u64,
    },
    /// Another attempt, because `until` does not hold yet.
    Poll {
        /// In milliseconds from the record's time.
        delay_ms: u64,
    },
}

/// What is done about an attempt with an unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Recovery {
    /// The operation is idempotent, or only looks: run it again.
    Repeat,
    /// What is observed equals what was there before: it did not happen, so run it again.
    DidNotHappen,
    /// The operator says: it did not happen; run it again.
    OperatorRetry,
    /// The operator says: it happened.
    OperatorDone,
    /// The operator says: it did not happen; it failed, and there is nothing of it to undo.
    OperatorNotDone,
    /// The operator says: treat it as failed, and undo it as if it had happened.
    OperatorFail,
    /// Nobody can tell; the run pauses for a decision.
    AskOperator {
        /// What is known, for people.
        known: String,
        /// What was there before the attempt.
        before: Json,
        /// What is there now, if it could be observed.
        now: Option<Json>,
    },
}

/// What somebody said about a step that asks for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum ApprovalVerdict {
    /// It may happen as planned.
    Approved,
    /// It must not.
    Rejected {
        /// Why, for people.
        reason: String,
    },
}

/// What came of an undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum UndoResult {
    /// The plugin says that it is undone.
    Done {
        /// One line.
        summary: String,
    },
    /// It is not.
    Failed {
        /// Why.
        fault: Fault,
    },
}

/// What was found when an undone step was observed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum UndoFinding {
    /// As it was before.
    Restored,
    /// Different from before: it took effect, and stays, because the runbook says that it cannot be undone.
    TookEffect {
        /// What was there before.
        before: Json,
        /// What is there now.
        now: Json,
    },
    /// Different from before.
    Drifted {
        /// What was there before.
        before: Json,
        /// What is there now.
        now: Json,
    },
    /// It could not be observed.
    Unknown {
        /// Why.
        fault: Fault,
    },
}

/// Why a run does not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Cause {
    /// A preflight failed.
    Preflight {
        /// Which.
        step: StepId,
    },
    /// The window was closed before the first effect.
    OutsideWindow {
        /// When it opens.
        opens: Option<Timestamp>,
    },
    /// A lock was busy.
    LockBusy {
        /// Which.
        name: String,
        /// Who holds it, for people.
        holder: String,
    },
    /// A step failed.
    Step {
        /// Which.
        step: StepId,
    },
    /// A post-condition does not hold.
    Verify {
        /// Which.
        step: StepId,
    },
    /// A guard was breached.
    Guard {
        /// Which.
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
    /// Who, for people.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, in their words.
    pub reason: String,
}

/// Why a run stopped without an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum PauseReason {
    /// It cannot be told whether these attempts took effect; the operator decides.
    UnknownOutcome {
        /// The steps.
        steps: Vec<StepId>,
    },
    /// These steps have said what they would do, and wait for approval.
    Approval {
        /// The steps.
        steps: Vec<StepId>,
    },
    /// These steps are a person's to do.
    Manual {
        /// The steps.
        steps: Vec<StepId>,
    },
    /// A guard was breached, or sees nothing; nothing was undone.
    Guard {
        /// Which.
        guard: StepId,
        /// What it saw last, for people.
        why: String,
    },
    /// The lease on this lock was lost.
    LeaseLost {
        /// The lock.
        name: String,
        /// Who took it, if it was taken by hand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken_by: Option<TakenBy>,
    },
    /// The window closed while the run was stopped, and steps are left to do.
    OutsideWindow {
        /// When it opens.
        opens: Option<Timestamp>,
    },
    /// The operator cancelled twice.
    Interrupted,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunEnd {
    /// All done, all well.
    Succeeded,
    /// Done; somebody should look at the warnings.
    SucceededWithWarnings,
    /// Failed, and nothing had been changed.
    FailedClean,
    /// Failed, and all that can be undone is undone and verified.
    Undone,
    /// An undo failed, or an outcome is unknown, or changes were left as the runbook says: a person is needed.
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

/// What a notification is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The first step is about to run.
    Start,
    /// The run waits for a lock, or pauses because a person must do or say something.
    Waiting,
    /// The run succeeded, with or without warnings.
    Succeeded,
    /// The run failed or was cancelled, and nothing had been changed.
    Failed,
    /// The run failed and was undone.
    Undone,
    /// A person is needed.
    Dirty,
    /// The run takes more than twice as long as those before it.
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

/// Where a run stands, as `runs` lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunPhase {
    /// It waits for a lock.
    Waiting,
    /// It runs. A run in this phase without a live lease was interrupted by a crash.
    Running,
    /// What was done is being undone.
    Undoing,
    /// It needs a decision, or was stopped by the operator.
    Paused,
    /// It has ended.
    Ended(RunEnd),
}

impl RunPhase {
    /// Every phase.
    pub const ALL: &[Self] = &[
        Self::Waiting,
        Self::Running,
        Self::Undoing,
        Self::Paused,
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
            Self::Ended(end) => end.name(),
        }
    }
}
