//! One execution of a run by this process: its journal, its plugins, its signals and its clock,
//! opened once.

use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::interactive::{Next, OperatorPrompt};
use crate::live::Live;
use crate::output_arguments::OutputArgs;
use crate::plugin_caller::PluginCaller;
use crate::process;
use crate::signals::CancelSignals;
use crate::system_clock::SystemClock;
use crate::telemetry;
use crate::ui;
use runbook_engine::{
    Changes, Decision, Journal, Options, OutsideWindow, Plan, Reporter, RetryOf, Run, RunError,
    RunId, RunOutcome, StepId, Stopped, Trigger, UndoText,
};
use runbook_journal::SqlJournal;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How often the journal is read for a request to end the run.
const CANCEL_LOOK: Duration = Duration::from_millis(500);

/// How many runs must have succeeded before it is known what is usual.
const ENOUGH_RUNS: usize = 3;

/// How many of the last runs are read for the usual duration.
const LOOKED_AT: usize = 21;

/// Which run is executed, and with what.
pub struct SessionParts<'a, J> {
    /// The id of the run.
    pub run: RunId,
    /// The plan of the run.
    pub plan: &'a Plan,
    /// What calls its plugins.
    pub caller: PluginCaller,
    /// Where it is written down.
    pub journal: J,
    /// The environment that `--env` chose, if any.
    pub environment: Option<&'a str>,
    /// Whether it may run outside its window.
    pub outside: OutsideWindow,
}

/// One execution of a run by this process.
pub struct Session<'a, J> {
    context: &'a Context,
    plan: &'a Plan,
    caller: PluginCaller,
    journal: J,
    signals: CancelSignals,
    clock: SystemClock,
    options: Options,
}

impl<'a, J: Journal> Session<'a, J> {
    /// Opens it with signals that others look at too.
    pub fn with_signals(
        context: &'a Context,
        signals: &CancelSignals,
        opening: SessionParts<'a, J>,
    ) -> Self {
        let SessionParts { run, plan, caller, journal, environment, outside } = opening;
        signals.is_of(&run.short());
        let options = Options {
            run,
            operator: context.operator.clone(),
            environment: environment.map(str::to_owned),
            executor: Uuid::now_v7(),
            host: context.host.clone(),
            pid: std::process::id(),
            process: context.process.clone(),
            lease_ttl: execution::lease_ttl(),
            cancel: signals.cancel.clone(),
            usual: None,
            retry_of: None,
            outside_window: outside,
            is_dead: process::is_dead,
        };
        Self {
            context,
            plan,
            caller,
            journal,
            signals: signals.clone(),
            clock: SystemClock::new(),
            options,
        }
    }

    /// Where the run is written down.
    pub fn journal(&self) -> &J {
        &self.journal
    }

    fn run(&self) -> Run<'_, PluginCaller, J, SystemClock> {
        let Self { plan, caller, journal, clock, options, .. } = self;
        Run { plan, operate: caller, journal, clock, options }
    }

    /// Executes a new run.
    pub async fn execute(&self, reporter: &mut dyn Reporter) -> Result<RunOutcome, RunError> {
        self.run().execute(reporter).await
    }
}

impl<'a> Session<'a, SqlJournal> {
    /// Opens it for a run that is kept. From here on a signal ends the run and not the program, and
    /// so does `runbook cancel`.
    ///
    /// # Errors
    /// Signals cannot be listened to.
    pub fn open(
        context: &'a Context,
        opening: SessionParts<'a, SqlJournal>,
    ) -> Result<Self, Failure> {
        let session = Self::with_signals(context, &CancelSignals::new()?, opening);
        session.heed_cancel();
        Ok(session)
    }

    /// The same session, whose new run tries another one again.
    #[must_use]
    pub fn trying_again(mut self, retry_of: Option<RetryOf>) -> Self {
        self.options.retry_of = retry_of;
        self
    }

    /// The same session, which knows how long runs of this runbook take as a rule: the median of
    /// those that succeeded. It is read only if slow runs are to be reported.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn knowing_usual(mut self) -> Result<Self, Failure> {
        if self.plan.notifies.iter().any(|notify| notify.on.contains(&Trigger::Slow)) {
            let mut took = self
                .journal
                .durations(&self.plan.name, LOOKED_AT)
                .await
                .map_err(Failure::engine)?;
            took.sort_unstable();
            self.options.usual = (took.len() >= ENOUGH_RUNS).then(|| took[took.len() / 2]);
        }
        Ok(self)
    }

    /// Ends the run when `runbook cancel` asks for the end of this execution.
    fn heed_cancel(&self) {
        let (journal, signals) = (self.journal.clone(), self.signals.clone());
        let (run, executor) = (self.options.run, self.options.executor);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(CANCEL_LOOK).await;
                // A journal that cannot be read now stops the run elsewhere, if it must.
                if let Ok(Some(operator)) = journal.cancel_request(run, executor).await {
                    if !signals.is_cancelled() {
                        signals.cancel.cancel_for(&operator);
                    }
                    return;
                }
            }
        });
    }

    /// Cancels the run before it goes on, so that it is only ended. Another person who cancels it
    /// at the same moment is told who does already.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub async fn cancel(&self) -> Result<(), Failure> {
        let operator = &self.context.operator;
        self.signals.cancel.cancel_for(operator);
        let Options { run, executor, .. } = self.options;
        self.journal
            .request_cancel(run, executor, operator, jiff::Timestamp::now())
            .await
            .map_err(Failure::engine)?;
        Ok(())
    }

    /// Goes on with a run.
    pub async fn resume(
        &self,
        decisions: &BTreeMap<StepId, Decision>,
        changes: Changes,
        live: &mut Live,
    ) -> Result<RunOutcome, RunError> {
        self.run().resume(decisions, changes, live).await
    }

    /// Undoes a run that has ended.
    pub async fn undo(
        &self,
        text: UndoText,
        decisions: &BTreeMap<StepId, Decision>,
        live: &mut Live,
    ) -> Result<RunOutcome, RunError> {
        self.run().undo(text, decisions, live).await
    }

    /// Goes on with a run as long as it waits for something that a person at the terminal can say.
    ///
    /// # Errors
    /// What they said cannot be written down.
    pub async fn with_person(
        &self,
        mut outcome: Result<RunOutcome, RunError>,
        changes: Changes,
        live: &mut Live,
    ) -> Result<Result<RunOutcome, RunError>, Failure> {
        let Self { context, journal, plan, signals, options, .. } = self;
        let person = OperatorPrompt { context, journal, run: options.run, plan, signals };
        while let Ok(RunOutcome { stopped: Stopped::Paused { .. }, state }) = &outcome {
            let next = signals.while_prompting(Box::pin(person.ask(live, state.clone()))).await;
            let Next::GoOn(decisions) = next? else { break };
            outcome = self.resume(&decisions, changes, live).await;
        }
        Ok(outcome)
    }

    /// Shows the end of a run and says how the program ends.
    ///
    /// # Errors
    /// Why the run could not be executed.
    pub async fn conclude(
        &self,
        outcome: Result<RunOutcome, RunError>,
        live: &Live,
        output: &OutputArgs,
    ) -> Result<ExitStatus, Failure> {
        let outcome = outcome.map_err(|error| execution::run_failure(error, live.summary()))?;
        let status = execution::status_of(&outcome.stopped, self.signals.status());
        let summary = live.summary();
        telemetry::send(summary).await;
        // From here on a signal ends the program: nothing is left but to say how it was.
        self.signals.release();
        live.flush();
        if !output.has_stdout() {
            ui::warn_if_unwritten(live.conclude(), execution::REPORT);
        }
        execution::write_reports(summary, &output.report);
        ui::flush();
        Ok(status)
    }
}
