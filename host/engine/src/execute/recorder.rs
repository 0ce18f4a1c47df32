//! Records events: each is durable before it counts and before reporters receive it.

use super::Reporter;
use super::error::RunError;
use super::leases::Leases;
use super::unrecorded::UnrecordedOutcome;
use crate::clock::Clock;
use crate::event::{Record, RunEvent};
use crate::journal::{Journal, StoredRun};
use crate::state::{RunState, fold, next};
use runbook_contract::{RunId, StepId};

/// The state of a run, and the only way to change it.
pub(super) struct Recorder<'a, J, C> {
    run: RunId,
    journal: &'a J,
    clock: &'a C,
    reporter: &'a mut dyn Reporter,
    /// `None` before the first record, and after one that could not be written.
    state: Option<RunState>,
    /// The outcomes of attempts whose end could not be recorded.
    unrecorded: Vec<(StepId, UnrecordedOutcome)>,
}

impl<'a, J: Journal, C: Clock> Recorder<'a, J, C> {
    pub(super) fn new(
        run: RunId,
        journal: &'a J,
        clock: &'a C,
        reporter: &'a mut dyn Reporter,
    ) -> Self {
        Self { run, journal, clock, reporter, state: None, unrecorded: Vec::new() }
    }

    /// The state after the first record.
    pub(super) fn state(&self) -> &RunState {
        self.state.as_ref().expect("the first record is written before anything else")
    }

    /// The state; `None` before the first record, and after one that could not be written.
    pub(super) fn state_if_loaded(&self) -> Option<&RunState> {
        self.state.as_ref()
    }

    /// The state of a run that stopped in order.
    pub(super) fn into_state(self) -> RunState {
        self.state.expect("a run that stopped in order has a state")
    }

    /// Reads the run from the journal, and folds its records. The state of this recorder is not
    /// changed.
    pub(super) async fn read(&self) -> Result<(StoredRun, RunState), RunError> {
        let run = self.run;
        let stored = self.journal.load(run).await.map_err(RunError::journal)?;
        let state = fold(&stored.records)?.ok_or(RunError::Empty { run })?;
        Ok((stored, state))
    }

    /// Replaces the state.
    pub(super) fn set_state(&mut self, state: RunState) {
        self.state = Some(state);
    }

    /// The next record with this event, its number and the time. It is not written.
    pub(super) fn next_record(&self, event: RunEvent) -> Record {
        let seq = self.state.as_ref().map_or(0, |state| state.next_seq);
        Record { seq, at: self.clock.now(), event }
    }

    /// Makes a record durable and folds it into the state. [`Self::report`] passes it to the
    /// reporter.
    pub(super) async fn write(
        &mut self,
        record: &Record,
        leases: &mut Leases<'_, J, C>,
    ) -> Result<(), RunError> {
        // Folded first, so that an illegal event never gets into the journal.
        let state = next(self.state.take(), record)?;
        leases.append(record).await?;
        self.state = Some(state);
        Ok(())
    }

    /// Passes a durable record to the reporter.
    pub(super) fn report(&mut self, record: &Record) {
        self.reporter.report(record);
    }

    /// Remembers the outcome of an attempt whose end cannot be recorded.
    pub(super) fn add_unrecorded(&mut self, step: StepId, known: UnrecordedOutcome) {
        self.unrecorded.push((step, known));
    }

    /// Takes all unrecorded outcomes.
    pub(super) fn take_unrecorded(&mut self) -> Vec<(StepId, UnrecordedOutcome)> {
        std::mem::take(&mut self.unrecorded)
    }
}
