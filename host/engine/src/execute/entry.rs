//! The entry points of the loop: a new run, a resumed run, and the undo of a finished run.

use super::calls::Calls;
use super::error::RunError;
use super::leases::Leases;
use super::recorder::Recorder;
use super::start::{Decision, not_begun};
use super::timers::Timers;
use super::{Options, Reporter, Runner};
use crate::cancel::CancelLevel;
use crate::clock::Clock;
use crate::event::{
    AfterAttempt, Cause, CorrectedText, LifecycleEvent, PauseReason, RunEnd, StepListing,
    UndoEvent, UndoResult,
};
use crate::frontier::Frontier;
use crate::journal::{Journal, RunHeader};
use crate::operate::Operate;
use crate::plan::Plan;
use crate::state::{EffectState, RemainingChanges, RunState, Stage, StepPhase, StepState};
use runbook_contract::{ErrorClass, Fault, StepId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tracing::Instrument as _;

/// Why the loop stopped: the run has ended, or it is paused.
#[derive(Debug, Clone, PartialEq)]
pub enum StopReason {
    /// The run has ended.
    Ended {
        /// How the run ended.
        end: RunEnd,
        /// Why, if it is not success.
        cause: Option<Cause>,
    },
    /// The run is paused; `resume` continues it.
    Paused {
        /// Why the run is paused.
        reason: PauseReason,
    },
}

/// The result of an execution.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOutcome {
    /// How the execution of the run stopped.
    pub stopped: StopReason,
    /// The state of the run.
    pub state: RunState,
}

/// What happens if the runbook or a plugin has changed since the run started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangePolicy {
    /// The run is refused.
    Refuse,
    /// The run continues, because the operator has accepted the difference. The steps must still
    /// have the same ids.
    Accept,
}

/// Which text of the runbook is used to undo a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoText {
    /// The text with which the run was executed.
    Recorded,
    /// Another text with a corrected undo, from which the plan was made. Its steps must be those of
    /// the run.
    Corrected,
}

/// A run, and what it needs from outside.
pub struct Run<'a, O, J, C> {
    /// The plan that the run carries out.
    pub plan: &'a Plan,
    /// Calls the operations of plugins.
    pub operate: &'a O,
    /// The journal in which all events are recorded.
    pub journal: &'a J,
    /// The source of time.
    pub clock: &'a C,
    /// The options of this execution.
    pub options: &'a Options,
}

impl<O: Operate, J: Journal, C: Clock> Run<'_, O, J, C> {
    /// Starts a new run and drives it until it ends or pauses.
    ///
    /// # Errors
    /// [`RunError::Journal`], [`RunError::Busy`].
    pub async fn execute(&self, reporter: &mut dyn Reporter) -> Result<RunOutcome, RunError> {
        let (plan, options) = (self.plan, self.options);
        let header = RunHeader {
            run: options.run,
            name: plan.name.clone(),
            title: plan.title.clone(),
            sources: plan.sources.clone(),
            digest: plan.digest.clone(),
            params: plan.params.clone(),
            environment: options.environment.clone(),
            operator: options.operator.clone(),
            started: self.clock.now(),
        };
        self.journal.create(&header).await.map_err(RunError::journal)?;
        let mut runner = Runner::new(self, reporter);
        runner.leases.take_run().await?;
        let started = LifecycleEvent::RunStarted {
            runbook: plan.name.clone(),
            title: plan.title.clone(),
            steps: plan.listing(),
            params: plan.params.clone(),
            retry_of: options.retry_of.clone(),
        };
        let begun = runner.record(started).await;
        runner.finish(begun).await
    }

    /// Continues a run after a crash, a pause or a lost lease. Finished steps are not run again.
    ///
    /// # Errors
    /// Every [`RunError`] but [`RunError::NotEnded`].
    pub async fn resume(
        &self,
        decisions: &BTreeMap<StepId, Decision>,
        changes: ChangePolicy,
        reporter: &mut dyn Reporter,
    ) -> Result<RunOutcome, RunError> {
        let mut runner = Runner::new(self, reporter);
        runner.leases.take_run().await?;
        let ready = match runner.load(changes).await {
            Ok(()) => runner.begin_resumed(decisions).await,
            Err(error) => Err(error),
        };
        runner.finish(ready).await
    }

    /// Undoes a run that has ended, from its journal. `decisions` are about undos that may have
    /// happened: [`Decision::Done`] (it happened), [`Decision::Retry`] (it did not; try it),
    /// [`Decision::NotDone`] (it did not; leave the step as it is), [`Decision::Fail`] (it stays
    /// unknown).
    ///
    /// # Errors
    /// Every [`RunError`] but [`RunError::AlreadyEnded`].
    pub async fn undo(
        &self,
        text: UndoText,
        decisions: &BTreeMap<StepId, Decision>,
        reporter: &mut dyn Reporter,
    ) -> Result<RunOutcome, RunError> {
        let mut runner = Runner::new(self, reporter);
        runner.leases.take_run().await?;
        let (changes, corrected) = match text {
            UndoText::Recorded => (ChangePolicy::Refuse, None),
            UndoText::Corrected => {
                let (sources, digest) = (self.plan.sources.clone(), self.plan.digest.clone());
                (ChangePolicy::Accept, Some(CorrectedText { sources, digest }))
            }
        };
        let ready = match runner.load(changes).await {
            Ok(()) => runner.request_undo(corrected, decisions).await,
            Err(error) => Err(error),
        };
        runner.finish(ready).await
    }
}

/// Checks that each decision is about a step that waits for one, or whose attempt was cut off so
/// that it will.
fn check_decisions(
    state: &RunState,
    decisions: &BTreeMap<StepId, Decision>,
) -> Result<(), RunError> {
    let awaits_decision =
        |step: &StepState| step.question.is_some() || step.phase == StepPhase::Running;
    for (step, decision) in decisions {
        let step_state = state.steps.get(step);
        if !step_state.is_some_and(awaits_decision) {
            let asked = state
                .steps
                .iter()
                .filter(|(_, step)| awaits_decision(step))
                .map(|(id, _)| id.clone())
                .collect();
            let step = step.clone();
            return Err(if step_state.is_some() {
                RunError::NoOpenDecision { step, asked }
            } else {
                RunError::NoStep { step, asked }
            });
        }
        if *decision == Decision::Retry && state.stage == Stage::Undo {
            return Err(RunError::RetryWhileUndoing { step: step.clone() });
        }
    }
    Ok(())
}

impl<'a, O: Operate, J: Journal, C: Clock> Runner<'a, O, J, C> {
    fn new(run: &Run<'a, O, J, C>, reporter: &'a mut dyn Reporter) -> Self {
        let Run { plan, operate, journal, clock, options } = *run;
        let plan = Arc::new(plan.clone());
        let leases = Leases::new(journal, clock, options);
        Self {
            operate,
            clock,
            options,
            starter: options.operator.clone(),
            recorder: Recorder::new(options.run, journal, clock, reporter),
            leases,
            timers: Timers::new(&plan, options.usual_duration, clock.monotonic()),
            calls: Calls::new(options.run, operate, clock),
            frontier: Frontier::default(),
            lock_wait: None,
            seen_cancel: CancelLevel::None,
            decisions: BTreeMap::new(),
            plan,
        }
    }

    /// Reads the state from the journal again, after a record that was not written.
    pub(super) async fn reload(&mut self) -> Result<(), RunError> {
        let (_, state) = self.recorder.read().await?;
        self.recorder.set_state(state);
        self.rebuild_frontier();
        Ok(())
    }

    /// Loads and folds the records, and checks that the plan is what the run started with.
    async fn load(&mut self, changes: ChangePolicy) -> Result<(), RunError> {
        let (stored, state) = self.recorder.read().await?;
        let differences = self.differences(&state, &stored.header, changes);
        if !differences.is_empty() {
            return Err(RunError::Changed { differences });
        }
        for (step, items) in &state.items {
            self.extend_plan(step, items)?;
        }
        self.timers.restore(&state, self.clock.monotonic(), self.clock.now());
        self.starter = stored.header.operator;
        self.recorder.set_state(state);
        self.rebuild_frontier();
        Ok(())
    }

    fn differences(
        &self,
        state: &RunState,
        header: &RunHeader,
        changes: ChangePolicy,
    ) -> Vec<String> {
        let listing = self.plan.listing();
        let recorded_steps: BTreeMap<&StepId, &StepListing> = state
            .order
            .iter()
            .chain(state.guards.values().map(|guard| &guard.listing))
            .map(|recorded| (&recorded.id, recorded))
            .collect();
        let present_ids: BTreeSet<&StepId> = listing.iter().map(|step| &step.id).collect();
        let gone = recorded_steps
            .keys()
            .filter(|id| !present_ids.contains(*id))
            .map(|id| format!("step `{id}` is gone"));
        let new = listing
            .iter()
            .filter(|step| !recorded_steps.contains_key(&step.id))
            .map(|step| format!("step `{}` is new", step.id));
        let mut differences: Vec<String> = gone.chain(new).collect();
        if changes == ChangePolicy::Accept {
            return differences;
        }
        if self.plan.digest != header.digest {
            differences.push("the text of the runbook".to_owned());
        }
        let differs = |step: &&StepListing| {
            recorded_steps.get(&step.id).is_some_and(|recorded| {
                recorded.digest != step.digest || recorded.uses != step.uses
            })
        };
        differences.extend(
            listing
                .iter()
                .filter(differs)
                .map(|step| format!("the plugin of step `{}` (`{}`)", step.id, step.uses)),
        );
        differences
    }

    async fn begin_resumed(
        &mut self,
        decisions: &BTreeMap<StepId, Decision>,
    ) -> Result<(), RunError> {
        let state = self.state();
        if let (Stage::Ended, Some(end)) = (state.stage, state.end) {
            return Err(RunError::AlreadyEnded { run: self.options.run, end });
        }
        check_decisions(state, decisions)?;
        let needs_locks = matches!(state.stage, Stage::Steps | Stage::Verify | Stage::Undo);
        let locks = if needs_locks { Some(self.retake_locks().await?) } else { None };
        self.decisions.clone_from(decisions);
        let (by, last_seen) = (self.operator_and_process(), self.leases.last_seen());
        let resumed = LifecycleEvent::Resumed { by, stage: Some(self.state().stage), last_seen };
        self.record(resumed).await?;
        if let Some(locks) = locks.filter(|locks| !locks.is_empty()) {
            self.record(LifecycleEvent::LocksRetaken { locks }).await?;
        }
        if self.state().stage <= Stage::Steps {
            self.check_window().await?;
        }
        self.apply_decisions().await
    }

    async fn request_undo(
        &mut self,
        corrected: Option<CorrectedText>,
        decisions: &BTreeMap<StepId, Decision>,
    ) -> Result<(), RunError> {
        if self.state().stage != Stage::Ended {
            return Err(RunError::NotEnded { run: self.options.run });
        }
        let remaining_changes = self.state().remaining_changes();
        self.check_undo(&remaining_changes, decisions)?;
        let locks = self.retake_locks().await?;
        self.timers.begin_undo();
        self.record(LifecycleEvent::UndoRequested { by: self.operator_and_process(), corrected })
            .await?;
        if !locks.is_empty() {
            self.record(LifecycleEvent::LocksRetaken { locks }).await?;
        }
        for (step, decision) in decisions {
            self.decide_undo(step, *decision).await?;
        }
        Ok(())
    }

    /// Checks that there is something to undo, and that each undo with an unknown outcome has a
    /// decision.
    fn check_undo(
        &self,
        remaining_changes: &RemainingChanges,
        decisions: &BTreeMap<StepId, Decision>,
    ) -> Result<(), RunError> {
        let state = self.state();
        let is_ambiguous = remaining_changes
            .possibly_changed
            .iter()
            .any(|id| state.step(id).effect == EffectState::Ambiguous);
        if remaining_changes.undoable.is_empty() && !is_ambiguous {
            let remaining: Vec<_> = remaining_changes
                .changed
                .iter()
                .chain(&remaining_changes.possibly_changed)
                .map(|step| format!("`{step}`"))
                .collect();
            let why = match (
                remaining.is_empty(),
                state.steps.values().any(|step| step.phase == StepPhase::Undone),
            ) {
                (false, _) => {
                    format!("{} stays, and has no undo that could be tried", remaining.join(", "))
                }
                (true, true) => "all that can be undone is undone".to_owned(),
                (true, false) => "no step has changed anything".to_owned(),
            };
            return Err(RunError::NothingToUndo { run: self.options.run, why });
        }
        if let Some(step) =
            decisions.keys().find(|step| !remaining_changes.undo_unclear.contains(step))
        {
            let asked = remaining_changes.undo_unclear.clone();
            let is_known = state.steps.contains_key(step);
            let step = step.clone();
            return Err(if is_known {
                RunError::NoUndoDecisionNeeded { step }
            } else {
                RunError::NoStep { step, asked }
            });
        }
        let steps: Vec<StepId> = remaining_changes
            .undo_unclear
            .iter()
            .filter(|step| !decisions.contains_key(*step))
            .cloned()
            .collect();
        if steps.is_empty() { Ok(()) } else { Err(RunError::UndoUnclear { steps }) }
    }

    async fn decide_undo(&mut self, step: &StepId, decision: Decision) -> Result<(), RunError> {
        let result = match decision {
            Decision::Retry => return Ok(()),
            Decision::Done => {
                UndoResult::Done { summary: "the operator says that it is undone".to_owned() }
            }
            Decision::NotDone => {
                let message = "the operator says that it is not undone, and is left as it is";
                UndoResult::Failed {
                    fault: not_begun(Fault::new(ErrorClass::Conflict, "engine.operator", message)),
                }
            }
            // The outcome stays unknown, so it is asked for again.
            Decision::Fail => {
                let message = "the operator says that it is left as it is; nobody has said whether it is \
                     undone";
                UndoResult::Failed {
                    fault: Fault::new(ErrorClass::Unknown, "engine.operator", message),
                }
            }
        };
        let attempt = self.state().step(step).undo.attempts + 1;
        self.record(UndoEvent::Started { attempt }.of(step.clone())).await?;
        let ended = UndoEvent::Ended { attempt, result, then: AfterAttempt::Final, duration_ms: 0 }
            .of(step.clone());
        self.record(ended).await
    }

    fn operator_and_process(&self) -> String {
        format!("{} (process {} on {})", self.options.operator, self.options.pid, self.options.host)
    }

    /// Drives the run if it is ready, and releases all leases in any case.
    async fn finish(mut self, ready: Result<(), RunError>) -> Result<RunOutcome, RunError> {
        let span = tracing::info_span!("run", id = %self.options.run, runbook = self.plan.name);
        let stopped = match ready {
            Ok(()) => self.drive().instrument(span).await,
            Err(error) => Err(error),
        };
        let stopped = match stopped {
            Err(error) => Err(self.with_unrecorded(error).await),
            stopped => stopped,
        };
        self.calls.clear();
        self.leases.release().await;
        Ok(RunOutcome { stopped: stopped?, state: self.recorder.into_state() })
    }
}
