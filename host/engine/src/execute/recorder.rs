//! Records events: each is durable before it counts and before reporters receive it.

use super::Reporter;
use super::error::RunError;
use super::leases::Leases;
use super::unwritten::UnrecordedOutcome;
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
    /// What is known of attempts whose end could not be written down.
    unwritten: Vec<(StepId, UnrecordedOutcome)>,
}

impl<'a, J: Journal, C: Clock> Recorder<'a, J, C> {
    pub(super) fn new(
        run: RunId,
        journal: &'a J,
        clock: &'a C,
        reporter: &'a mut dyn Reporter,
    ) -> Self {
        Self { run, journal, clock, reporter, state: None, unwritten: Vec::new() }
    }

    /// The state, once there is a record.
    pub(super) fn state(&self) -> &RunState {
        self.state.as_ref().expect("the first record is written before anything else")
    }

    /// The same where there may be none.
    pub(super) fn known_state(&self) -> Option<&RunState> {
        self.state.as_ref()
    }

    /// The state of a run that stopped in order.
    pub(super) fn into_state(self) -> RunState {
        self.state.expect("a run that stopped in order has a state")
    }

    /// Reads what the journal has of the run, with the state that it makes. Nothing is taken over
    /// yet.
    pub(super) async fn read(&self) -> Result<(StoredRun, RunState), RunError> {
        let run = self.run;
        let stored = self.journal.load(run).await.map_err(RunError::journal)?;
        let state = fold(&stored.records)?.ok_or(RunError::Empty { run })?;
        Ok((stored, state))
    }

    /// Goes on from this state.
    pub(super) fn go_on_from(&mut self, state: RunState) {
        self.state = Some(state);
    }

    /// The next record, which is written nowhere yet.
    pub(super) fn dated(&self, event: RunEvent) -> Record {
        let seq = self.state.as_ref().map_or(0, |state| state.next_seq);
        Record { seq, at: self.clock.now(), event }
    }

    /// Makes a record durable and folds it into the state. Reporters are told by [`Self::report`].
    pub(super) async fn write(
        &mut self,
        record: &Record,
        leases: &mut Leases<'_, J, C>,
    ) -> Result<(), RunError> {
        // Folding first shows an illegal event before it is in the journal for ever.
        let state = next(self.state.take(), record)?;
        leases.append(record).await?;
        self.state = Some(state);
        Ok(())
    }

    /// Tells a record that is durable.
    pub(super) fn report(&mut self, record: &Record) {
        self.reporter.report(record);
    }

    /// Remembers what is known of an attempt whose end cannot be written down.
    pub(super) fn keep_unwritten(&mut self, step: StepId, known: UnrecordedOutcome) {
        self.unwritten.push((step, known));
    }

    /// All that is known and not written.
    pub(super) fn take_unwritten(&mut self) -> Vec<(StepId, UnrecordedOutcome)> {
        std::mem::take(&mut self.unwritten)
    }
}
