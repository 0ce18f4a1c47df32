//! One execution of a run by this process, with its journal, plugins, signals and clock.

use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::interactive::{OperatorPrompt, PromptOutcome};
use crate::live::Live;
use crate::output_arguments::OutputArgs;
use crate::plugin_caller::PluginCaller;
use crate::process;
use crate::signals::CancelSignals;
use crate::system_clock::SystemClock;
use crate::telemetry;
use crate::ui;
use runbook_engine::{
    ChangePolicy, Decision, Journal, Options, OutsideWindow, Plan, Reporter, RetryOf, Run,
    RunError, RunId, RunOutcome, StepId, StopReason, Trigger, UndoText,
};
use runbook_journal::SqlJournal;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How often the journal is read for a request to cancel the run.
const CANCEL_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How many runs must have succeeded before a usual duration is computed.
const MIN_RUNS_FOR_USUAL: usize = 3;

/// How many of the last runs are read for the usual duration.
const MAX_RUNS_READ: usize = 21;

/// Which run is executed, and with what.
pub struct SessionConfig<'a, J> {
    /// The id of the run.
    pub run: RunId,
    /// The plan of the run.
    pub plan: &'a Plan,
    /// Calls the plugins of the run.
    pub caller: PluginCaller,
    /// The journal of the run.
    pub journal: J,
    /// The environment that `--env` chose, if any.
    pub environment: Option<&'a str>,
    /// Whether the run may begin outside its window.
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
    /// A session with signals that the caller shares with other sessions.
    pub fn with_signals(
        context: &'a Context,
        signals: &CancelSignals,
        config: SessionConfig<'a, J>,
    ) -> Self {
        let SessionConfig { run, plan, caller, journal, environment, outside } = config;
        signals.set_run(&run.short());
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
            usual_duration: None,
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

    /// The journal of the run.
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
    /// A session for a run that is kept in the journal. From here on a signal or `runbook cancel`
    /// cancels the run; a signal does not end the program.
    ///
    /// # Errors
    /// Signals cannot be listened to.
    pub fn open(
        context: &'a Context,
        config: SessionConfig<'a, SqlJournal>,
    ) -> Result<Self, Failure> {
        let session = Self::with_signals(context, &CancelSignals::new()?, config);
        session.watch_cancel_requests();
        Ok(session)
    }

    /// Marks the new run as a retry of another one.
    #[must_use]
    pub fn with_retry_of(mut self, retry_of: Option<RetryOf>) -> Self {
        self.options.retry_of = retry_of;
        self
    }

    /// Adds the usual duration of this runbook: the median of its last successful runs. It is read
    /// only if a notification is sent for slow runs.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn with_usual_duration(mut self) -> Result<Self, Failure> {
        if self.plan.notifies.iter().any(|notify| notify.on.contains(&Trigger::Slow)) {
            let mut durations = self
                .journal
                .durations(&self.plan.name, MAX_RUNS_READ)
                .await
                .map_err(Failure::engine)?;
            durations.sort_unstable();
            self.options.usual_duration =
                (durations.len() >= MIN_RUNS_FOR_USUAL).then(|| durations[durations.len() / 2]);
        }
        Ok(self)
    }

    /// Starts a task that cancels the run when `runbook cancel` requests it in the journal.
    fn watch_cancel_requests(&self) {
        let (journal, signals) = (self.journal.clone(), self.signals.clone());
        let (run, executor) = (self.options.run, self.options.executor);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(CANCEL_POLL_INTERVAL).await;
                // An error is ignored: where the engine needs the journal, it stops the run.
                if let Ok(Some(operator)) = journal.cancel_request(run, executor).await {
                    if !signals.is_cancelled() {
                        signals.cancel.cancel_for(&operator);
                    }
                    return;
                }
            }
        });
    }

    /// Cancels the run before it continues, so that no further step begins. The request is recorded
    /// too, so that another person who cancels the run sees who was first.
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

    /// Continues a run.
    pub async fn resume(
        &self,
        decisions: &BTreeMap<StepId, Decision>,
        changes: ChangePolicy,
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

    /// While the run is paused for a decision that the operator at the terminal can make: asks for
    /// it and continues the run.
    ///
    /// # Errors
    /// The decision cannot be recorded.
    pub async fn resume_with_operator(
        &self,
        mut outcome: Result<RunOutcome, RunError>,
        changes: ChangePolicy,
        live: &mut Live,
    ) -> Result<Result<RunOutcome, RunError>, Failure> {
        let Self { context, journal, plan, signals, options, .. } = self;
        let operator_prompt = OperatorPrompt { context, journal, run: options.run, plan, signals };
        while let Ok(RunOutcome { stopped: StopReason::Paused { .. }, state }) = &outcome {
            let next =
                signals.while_prompting(Box::pin(operator_prompt.ask(live, state.clone()))).await;
            let PromptOutcome::Resume(decisions) = next? else { break };
            outcome = self.resume(&decisions, changes, live).await;
        }
        Ok(outcome)
    }

    /// Shows the end of a run, writes its reports, and returns the exit status.
    ///
    /// # Errors
    /// The run could not be executed.
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
        // From here on a signal ends the program, because only output is left to do.
        self.signals.end_on_signal();
        live.flush();
        if !output.writes_to_stdout() {
            ui::warn_if_unwritten(live.conclude(), execution::REPORT_DESCRIPTION);
        }
        execution::write_reports(summary, &output.report);
        ui::flush();
        Ok(status)
    }
}
