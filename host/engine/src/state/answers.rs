//! Questions to people about a step, and their answers.

use crate::event::{ApprovalVerdict, Recovery};
use jiff::Timestamp;
use runbook_contract::{Json, Proposal};
use serde::Serialize;

/// A question to the operator: did an attempt with an unknown outcome take effect?
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    /// What is known about the attempt, for people.
    pub known: String,
    /// The state before the attempt.
    pub before: Json,
    /// The present state; `None` if it could not be observed.
    pub now: Option<Json>,
}

impl Question {
    /// The question in a decision; `None` if the decision is no question.
    pub(super) fn of(decision: &Recovery) -> Option<Self> {
        match decision {
            Recovery::AskOperator { known, before, now } => {
                Some(Self { known: known.clone(), before: before.clone(), now: now.clone() })
            }
            Recovery::Repeat
            | Recovery::DidNotHappen
            | Recovery::OperatorDone
            | Recovery::OperatorNotDone
            | Recovery::OperatorRetry
            | Recovery::OperatorFail => None,
        }
    }
}

/// The approval request of a step, and the answers to it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ApprovalState {
    /// The present request; `None` before the first one, and once an attempt has started.
    pub asked: Option<ApprovalRequest>,
    /// The answers to the last request.
    pub answers: Vec<ApprovalRecord>,
}

/// A request to a person to do a manual step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ManualState {
    /// When the person was first asked.
    pub asked: Timestamp,
    /// The answer; `None` until there is one.
    pub answer: Option<ManualAnswer>,
}

/// The answer of a person who has done a manual step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ManualAnswer {
    /// The name of the person.
    pub by: String,
    /// The fields of the form, and `choice`.
    pub values: Json,
}

/// The approval that a step asks for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApprovalRequest {
    /// The digest of what would be done, `sha256:…`.
    pub digest: String,
    /// The input of the step, with all templates filled in.
    pub input: Json,
    /// What would be done, and the state before.
    pub proposal: Proposal,
    /// The targets on which the step would act, each with its address.
    pub places: Vec<String>,
}

/// The verdict of a person about a step that asks for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalRecord {
    /// The digest of the request that they answered, `sha256:…`.
    pub digest: String,
    /// The name of the person.
    pub by: String,
    /// When they answered.
    pub at: Timestamp,
    /// Whether they approved or rejected it.
    pub verdict: ApprovalVerdict,
}
