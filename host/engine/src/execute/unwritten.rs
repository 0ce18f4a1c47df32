//! What a process knows of the attempts under way when its journal cannot be written any more: it
//! is told before the process ends, because nobody else will ever know it.

use super::calls::Purpose;
use super::{RunError, Runner};
use crate::clock::Clock;
use crate::event::{AttemptEvent, AttemptResult, RunEvent, StepEvent};
use crate::journal::Journal;
use crate::operate::Operate;
use runbook_contract::{Fault, FaultEffect, StepId};

/// What is known of an attempt whose end the journal does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwritten {
    /// The attempt took effect.
    Done,
    /// The attempt did not take effect.
    DidNotHappen,
    /// It is unknown whether the attempt took effect.
    Unclear,
}

impl Unwritten {
    fn of_fault(fault: &Fault) -> Self {
        if fault.effect == FaultEffect::None { Self::DidNotHappen } else { Self::Unclear }
    }
}

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Remembers what a record says that could not be written.
    pub(super) fn note_unwritten(&mut self, event: &RunEvent) {
        let RunEvent::Step { step, event: StepEvent::Attempt(AttemptEvent::Ended { result, .. }) } =
            event
        else {
            return;
        };
        let known = match result {
            AttemptResult::Succeeded { .. } => Unwritten::Done,
            AttemptResult::Failed { fault, .. } => Unwritten::of_fault(fault),
        };
        if self.acts(step) {
            self.recorder.keep_unwritten(step.clone(), known);
        }
    }

    /// The error with all that is known: what is under way is stopped, and says by that whether it
    /// happened.
    pub(super) async fn with_unwritten(&mut self, error: RunError) -> RunError {
        let RunError::Journal { source, .. } = error else { return error };
        self.calls.abort_all();
        while let Some(completed) = self.calls.next().await {
            if completed.purpose == Purpose::Attempt && self.acts(&completed.step) {
                let known =
                    completed.answer.as_ref().map_or_else(Unwritten::of_fault, |_| Unwritten::Done);
                self.recorder.keep_unwritten(completed.step, known);
            }
        }
        RunError::Journal { source, unwritten: self.recorder.take_unwritten() }
    }

    fn acts(&self, step: &StepId) -> bool {
        self.plan.step(step).is_some_and(|step| step.facts.writes)
    }
}
