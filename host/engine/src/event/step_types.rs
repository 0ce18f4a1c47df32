//! The types in events of steps and guards: reasons, results and decisions.

use runbook_contract::{Case, Fault, Json, Measurement, Outcome, StepId};
use serde::{Deserialize, Serialize};

/// A call site as it is listed when the run starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StepListing {
    /// The id of the call site.
    pub id: StepId,
    /// Its title, for people; the id if it has no title.
    pub title: String,
    /// The part of the file that it is in.
    pub section: Section,
    /// The operation that it calls, as `plugin:operation`.
    pub uses: String,
    /// The digest of the plugin's component, `sha256:…`.
    pub digest: String,
}

/// One item of a step with `for_each`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Item {
    /// The key of the item, unique in its step.
    pub key: String,
    /// The value of the item in templates: a value of the list, or `{ key, value }` of the map.
    pub value: Json,
}

/// The part of the file that a call site is in.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// A `[[preflight]]`, which must pass before the first effect.
    Preflight,
    /// A `[[step]]`, which may change something.
    Step,
    /// A `[[verify]]`, which must pass after all steps.
    Verify,
    /// A `[[finally]]`, which runs whatever happened before.
    Finally,
    /// A `[[guard]]`, which watches while the run changes things.
    Guard,
    /// A `[[check]]` of a suite.
    Check,
    /// The explicit undo of a step.
    Undo,
    /// A `[[notify]]`, which tells others of the run.
    Notify,
}

/// One probe of a guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct GuardObservation {
    /// The result of the probe.
    pub verdict: GuardVerdict,
    /// One line: what the probe found, or why it found nothing.
    pub summary: String,
}

/// The verdict of one probe of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GuardVerdict {
    /// The condition holds, or holds with a warning.
    Holds,
    /// The condition does not hold.
    Breached,
    /// It is unknown whether the condition holds: the probe got no answer or no data. The run is
    /// never undone for this, and no step begins.
    Blind,
}

/// Why a step does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// The `when` of the step is false.
    Condition,
    /// A step that it needs did not run or failed.
    Dependency,
    /// The operator decided on resume that it is done.
    Operator,
    /// The time of `cleanup_timeout` is over.
    TimeIsUp,
    /// The retried run has done it.
    Assumed,
}

/// What undoes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UndoPlan {
    /// No undo is needed: the step changes nothing.
    NotNeeded,
    /// The plugin's own undo, with the `before` of the proposal.
    Auto,
    /// The operation that the runbook names, which is not idempotent.
    Explicit,
    /// The operation that the runbook names and declares idempotent.
    Idempotent,
    /// The step cannot be undone; the runbook says why that is acceptable.
    Irreversible,
}

impl UndoPlan {
    /// Whether there is an undo to try.
    pub fn can_be_tried(self) -> bool {
        match self {
            Self::Auto | Self::Explicit | Self::Idempotent => true,
            Self::NotNeeded | Self::Irreversible => false,
        }
    }
}

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum AttemptResult {
    /// The attempt succeeded.
    Succeeded {
        /// `Warn` if a threshold was passed.
        outcome: Outcome,
        /// One line that tells what was done or found.
        summary: String,
        /// The output, which later steps can refer to.
        output: Json,
        /// Whether anything was changed.
        changed: bool,
        /// Numbers that it measured.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        measurements: Vec<Measurement>,
        /// Cases of a smoke test.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cases: Vec<Case>,
    },
    /// The attempt failed.
    Failed {
        /// Why the attempt failed.
        fault: Fault,
        /// The outcome of a check, if it got an answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<Outcome>,
        /// The output of a check, if it got an answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Json>,
        /// Numbers that it measured.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        measurements: Vec<Measurement>,
        /// Cases of a smoke test.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cases: Vec<Case>,
        /// Whether a smoke test wrote and did not show that it removed what it made.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        may_have_left: bool,
    },
}

/// The purpose of a call that the run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CallPurpose {
    /// To ask what a step would do.
    Plan,
    /// To carry out the step, or to check.
    Attempt,
    /// To observe the state that the step changes: in recovery, or after an undo. The probe of a
    /// guard is an attempt.
    Observe,
    /// To undo a step.
    Undo,
}

/// What a run does when a call that it waits for has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AfterWait {
    /// It continues.
    GoesOn,
    /// It pauses, and can be resumed.
    Pauses,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum AfterAttempt {
    /// No further attempt: the result is final.
    Final,
    /// No further attempt: the failure is final, and the run continues: `on_failure = "continue"`.
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

/// The decision about an attempt with an unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Recovery {
    /// The operation is idempotent or only reads: it runs again.
    Repeat,
    /// The observed state equals the state before: the attempt had no effect, and runs again.
    DidNotHappen,
    /// The operator says that the attempt had no effect: it runs again.
    OperatorRetry,
    /// The operator says that the attempt took effect.
    OperatorDone,
    /// The operator says that the attempt had no effect: it has failed, and is not undone.
    OperatorNotDone,
    /// The operator says that the attempt counts as failed: it is undone as if it had taken effect.
    OperatorFail,
    /// The outcome is unknown; the run pauses for a decision.
    AskOperator {
        /// What is known, for people.
        known: String,
        /// The state before the attempt.
        before: Json,
        /// The present state; `None` if it could not be observed.
        now: Option<Json>,
    },
}

/// The verdict of a person about a step that asks for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum ApprovalVerdict {
    /// They approved what the step would do.
    Approved,
    /// They rejected what the step would do.
    Rejected {
        /// Why they rejected it, in their words.
        reason: String,
    },
}

/// The result of an undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum UndoResult {
    /// The plugin says that it is undone.
    Done {
        /// One line that tells what was undone.
        summary: String,
    },
    /// The step is not undone.
    Failed {
        /// Why the undo failed.
        fault: Fault,
    },
}

/// The result of observing an undone step again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum UndoFinding {
    /// The observed state is the one before the step.
    Restored,
    /// The observed state differs from the one before the step: the step took effect, and its
    /// change stays, because the runbook says that it cannot be undone.
    TookEffect {
        /// What was there before.
        before: Json,
        /// What is there now.
        now: Json,
    },
    /// The observed state differs from the one before the step, although the step was undone.
    Drifted {
        /// What was there before.
        before: Json,
        /// What is there now.
        now: Json,
    },
    /// The state could not be observed.
    Unknown {
        /// Why it could not be observed.
        fault: Fault,
    },
}
