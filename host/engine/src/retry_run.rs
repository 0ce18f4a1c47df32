//! A new run that begins at a step of one that has ended: what that run has done, and not undone, is taken as done.

use crate::event::{Assumed, RetryOf, Section, SkipReason};
use crate::graph::Graph;
use crate::ids::{RunId, StepId};
use crate::plan::{Plan, PlannedStep};
use crate::state::{RunState, StepPhase};

/// Why a run cannot be begun at a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// It goes on, or waits.
    #[error("the run has not ended, so it is not tried again but continued")]
    NotEnded,
    /// There is no such step, or it is part of another one.
    #[error("`{step}` is not a `[[step]]` of the runbook; it has: {}", known.join(", "))]
    NoStep {
        /// What was asked for.
        step: StepId,
        /// What there is.
        known: Vec<String>,
    },
    /// What the step needs is not done.
    #[error("step `{needed}`, which `{step}` needs, is not done: it is {phase}")]
    NotDone {
        /// Where to begin.
        step: StepId,
        /// What it needs.
        needed: StepId,
        /// Where that stands.
        phase: &'static str,
    },
    /// What is done is not what the plan would do.
    #[error("step `{step}` was `{was}` in that run and is `{is}` now")]
    Other {
        /// The step.
        step: StepId,
        /// What it used.
        was: String,
        /// What it uses.
        is: String,
    },
}

/// What a new run takes as done that begins at `from`: each step that is done in the old run and is neither `from` nor after it.
///
/// # Errors
/// Every [`RetryError`].
pub fn retry_of(plan: &Plan, run: RunId, old: &RunState, from: &StepId) -> Result<RetryOf, RetryError> {
    if old.end.is_none() {
        return Err(RetryError::NotEnded);
    }
    let own: Vec<&PlannedStep> = plan.section(Section::Step).filter(|step| step.group.is_none() && step.item.is_none()).collect();
    let Some(first) = own.iter().position(|step| step.id == *from) else {
        let known = own.iter().map(|step| step.id.to_string()).collect();
        return Err(RetryError::NoStep { step: from.clone(), known });
    };
    let graph = Graph::new(&own.iter().map(|step| (step.id.clone(), Some(step.needs.clone()))).collect::<Vec<_>>());
    let before = graph.ancestors(first);
    let mut assumed = Vec::new();
    for (number, step) in own.iter().enumerate() {
        if number == first || graph.ancestors(number).contains(&first) {
            continue;
        }
        let is_needed = before.contains(&number);
        let Some(found) = old.steps.get(&step.id) else {
            if is_needed {
                return Err(not_done(from, &step.id, "no part of that run"));
            }
            continue;
        };
        match found.phase {
            StepPhase::Succeeded | StepPhase::Skipped(SkipReason::Assumed | SkipReason::Operator) => {
                let was = old.order.iter().find(|listing| listing.id == step.id).map(|listing| listing.uses.clone());
                if let Some(was) = was.filter(|was| *was != step.uses) {
                    return Err(RetryError::Other { step: step.id.clone(), was, is: step.uses.clone() });
                }
                assumed.push(Assumed { step: step.id.clone(), output: found.output.clone().unwrap_or_default() });
            }
            // Its `when` is asked again.
            StepPhase::Skipped(SkipReason::Condition) => {}
            StepPhase::Pending
            | StepPhase::Skipped(SkipReason::Dependency | SkipReason::TimeIsUp)
            | StepPhase::Repeating
            | StepPhase::Running
            | StepPhase::Asking
            | StepPhase::Waiting
            | StepPhase::Failed(_)
            | StepPhase::Unknown
            | StepPhase::Undoing
            | StepPhase::Undone
            | StepPhase::UndoFailed => {
                if is_needed {
                    return Err(not_done(from, &step.id, found.phase.name()));
                }
            }
        }
    }
    Ok(RetryOf { run, assumed })
}

fn not_done(from: &StepId, needed: &StepId, phase: &'static str) -> RetryError {
    RetryError::NotDone { step: from.clone(), needed: needed.clone(), phase }
}
