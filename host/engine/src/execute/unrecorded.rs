//! The outcomes of attempts that end after the journal has become unwritable. The process reports
//! them before it ends, because no other process can know them.

use super::calls::Purpose;
use super::{RunError, Runner};
use crate::clock::Clock;
use crate::event::{AttemptEvent, AttemptResult, RunEvent, StepEvent};
use crate::journal::Journal;
use crate::operate::Operate;
use runbook_contract::{Fault, FaultEffect, StepId};

/// The outcome of an attempt whose end is not in the journal.
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
    /// Remembers the outcome of an attempt whose record could not be written.
    pub(super) fn note_unrecorded(&mut self, event: &RunEvent) {
        let RunEvent::Step { step, event: StepEvent::Attempt(AttemptEvent::Ended { result, .. }) } =
            event
        else {
            return;
        };
        let known = match result {
            AttemptResult::Succeeded { .. } => UnrecordedOutcome::Done,
            AttemptResult::Failed { fault, .. } => UnrecordedOutcome::of_fault(fault),
        };
        if self.can_write(step) {
            self.recorder.add_unrecorded(step.clone(), known);
        }
    }

    /// Stops the calls under way, and adds all unrecorded outcomes to an error of the journal.
    /// Other errors are returned as they are.
    pub(super) async fn with_unrecorded(&mut self, error: RunError) -> RunError {
        let RunError::Journal { source, .. } = error else { return error };
        self.calls.abort_all();
        while let Some(completed) = self.calls.next().await {
            if completed.purpose == Purpose::Attempt && self.can_write(&completed.step) {
                let known = completed
                    .answer
                    .as_ref()
                    .map_or_else(UnrecordedOutcome::of_fault, |_| UnrecordedOutcome::Done);
                self.recorder.add_unrecorded(completed.step, known);
            }
        }
        RunError::Journal { source, unrecorded: self.recorder.take_unrecorded() }
    }

    fn can_write(&self, step: &StepId) -> bool {
        self.plan.step(step).is_some_and(|step| step.facts.writes)
    }
}
