//! The result of a call, converted from the generated WIT types to those of `runbook-contract`. No
//! generated type leaves this crate.

use crate::bindings::runbook::plugin::types as wit;
use crate::fault::FaultClass;
use crate::host::HostCallCounts;
use runbook_authority::gate::Denial;
use runbook_contract::{Case, Effect, ErrorClass, Fault, LogLine, Outcome, Proposal, Response};

/// The outcome of one call of an operation.
#[derive(Debug)]
pub struct CallOutcome {
    /// The response, or the fault. The log of a fault is in `logs`.
    pub result: Result<Response, Fault>,
    /// What the plugin logged.
    pub logs: Vec<LogLine>,
    /// The calls that were denied, with the rules. For the operator, never for the plugin.
    pub denials: Vec<Denial>,
    /// The host calls that it made, counted by slot and verb.
    pub host_calls: Vec<HostCallCounts>,
}

impl From<FaultClass> for ErrorClass {
    fn from(class: FaultClass) -> Self {
        match class {
            FaultClass::Invalid => Self::Invalid,
            FaultClass::Denied => Self::Denied,
            FaultClass::NotFound => Self::NotFound,
            FaultClass::Conflict => Self::Conflict,
            FaultClass::Transient => Self::Transient,
            FaultClass::Timeout => Self::Timeout,
            FaultClass::Limit => Self::Limit,
            FaultClass::Assertion => Self::Assertion,
            FaultClass::Cancelled => Self::Cancelled,
            FaultClass::Unknown => Self::Unknown,
        }
    }
}

impl From<wit::Outcome> for Outcome {
    fn from(outcome: wit::Outcome) -> Self {
        match outcome {
            wit::Outcome::Pass => Self::Pass,
            wit::Outcome::Warn => Self::Warn,
            wit::Outcome::Fail => Self::Fail,
            wit::Outcome::Unknown => Self::Unknown,
        }
    }
}

impl From<wit::Verdict> for Case {
    fn from(verdict: wit::Verdict) -> Self {
        Self {
            name: verdict.name,
            outcome: verdict.outcome.into(),
            detail: verdict.detail,
            duration_ms: verdict.duration_ms,
        }
    }
}

impl From<wit::Effect> for Effect {
    fn from(effect: wit::Effect) -> Self {
        Self { verb: effect.verb, target: effect.target, summary: effect.summary }
    }
}

impl From<&Proposal> for wit::Proposal {
    fn from(proposal: &Proposal) -> Self {
        let effect = |effect: &Effect| wit::Effect {
            verb: effect.verb.clone(),
            target: effect.target.clone(),
            summary: effect.summary.clone(),
        };
        Self {
            effects: proposal.effects.iter().map(effect).collect(),
            summary: proposal.summary.clone(),
            before: proposal.before.to_string(),
        }
    }
}
