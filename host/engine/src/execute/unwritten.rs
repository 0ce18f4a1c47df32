//! What a process knows of running attempts when its journal cannot be written any more. It is
//! reported before the process ends, because no other process can know it.

use super::calls::Purpose;
use super::{RunError, Runner};
use crate::clock::Clock;
use crate::event::{AttemptEvent, AttemptResult, RunEvent, StepEvent};
use crate::journal::Journal;
use crate::operate::Operate;
use runbook_contract::{Fault, FaultEffect, StepId};

/// What is known of an attempt whose end the journal does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnrecordedOutcome {
    /// The attempt took effect.
    Done,
    /// The attempt did not take effect.
    DidNotHappen,
    /// It is unknown whether the attempt took effect.
    Unclear,
}

impl UnrecordedOutcome {
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
            AttemptResult::Succeeded { .. } => UnrecordedOutcome::Done,
            AttemptResult::Failed { fault, .. } => UnrecordedOutcome::of_fault(fault),
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
                let known = completed
                    .answer
                    .as_ref()
                    .map_or_else(UnrecordedOutcome::of_fault, |_| UnrecordedOutcome::Done);
                self.recorder.keep_unwritten(completed.step, known);
            }
        }
        RunError::Journal { source, unwritten: self.recorder.take_unwritten() }
    }

    fn acts(&self, step: &StepId) -> bool {
        self.plan.step(step).is_some_and(|step| step.facts.writes)
    }
}
