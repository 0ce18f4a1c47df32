//! Questions to people about a step, and their answers.

use crate::event::{ApprovalVerdict, Recovery};
use jiff::Timestamp;
use runbook_contract::{Json, Proposal};
use serde::Serialize;

/// What the operator must say, because nobody can tell whether an attempt happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    /// What is known of it.
    pub known: String,
    /// What was there before.
    pub before: Json,
    /// What is there now, if it could be observed.
    pub now: Option<Json>,
}

impl Question {
    /// What a decision asks, if it asks.
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

/// What approval is asked for, and what was said.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ApprovalState {
    /// What is asked for, until it is done.
    pub asked: Option<ApprovalRequest>,
    /// What was said about it, or about what was asked before.
    pub answers: Vec<ApprovalRecord>,
}

/// What a person was asked to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ManualState {
    /// When they were asked first.
    pub asked: Timestamp,
    /// What they found, when they have done it.
    pub answer: Option<ManualAnswer>,
}

/// What a person found who did a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ManualAnswer {
    /// The name of the person.
    pub by: String,
    /// Fields of the form, and `choice`.
    pub values: Json,
}

/// The approval that a step asks for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApprovalRequest {
    /// The digest of what would be done, `sha256:…`.
    pub digest: String,
    /// The input of the step, with all templates filled in.
    pub input: Json,
    /// What would be done, and what is there before.
    pub proposal: Proposal,
    /// The targets that it would act on, each with its address.
    pub places: Vec<String>,
}

/// The verdict of a person about a step that asks for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalRecord {
    /// The digest of what they looked at, `sha256:…`.
    pub digest: String,
    /// The name of the person.
    pub by: String,
    /// When they said it.
    pub at: Timestamp,
    /// Whether they approved or rejected it.
    pub verdict: ApprovalVerdict,
}
