//! The loop of a run: decide (`advance`), record the intent, act, record the result.
//!
//! Everything runs in one task; calls of parallel branches are futures of that task. The journal is
//! written before reporters are told, and before the effect that an intent announces.

mod calls;
mod completion;
mod entry;
mod error;
mod group;
mod guard;
mod items;
mod leases;
mod locks;
mod manual;
mod recorder;
pub(crate) mod scope;
mod start;
mod timers;
mod unrecorded;
mod waiting;
mod window;

pub use entry::{ChangePolicy, Run, RunOutcome, StopReason, UndoText};
pub use error::RunError;
pub use leases::{HEARTBEAT_INTERVAL, LEASE_TTL};
pub use scope::{describe_cause, describe_closed_window};
pub use start::Decision;
pub use unrecorded::UnrecordedOutcome;
pub use window::OutsideWindow;

use crate::advance::{Action, OutsideFacts, advance};
use crate::cancel::{CancelLevel, CancelToken};
use crate::clock::Clock;
use crate::event::{Cause, LifecycleEvent, PauseReason, Record, RetryOf, RunEnd, RunEvent};
use crate::frontier::Frontier;
use crate::journal::{Holder, Journal, ProcessIdentity};
use crate::operate::Operate;
use crate::plan::{Plan, PlannedStep};
use crate::state::{RunState, Stage};
use calls::{Calls, PendingCall};
use futures_util::future::{Either, select};
use leases::Leases;
use locks::LockWait;
use recorder::Recorder;
use runbook_contract::{RunId, StepId};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use timers::Timers;
use uuid::Uuid;

/// Receives every record after it is durable.
pub trait Reporter: Send {
    /// Receives the next record.
    fn report(&mut self, record: &Record);
}

impl<F: FnMut(&Record) + Send> Reporter for F {
    fn report(&mut self, record: &Record) {
        self(record);
    }
}

/// The options of one execution of a run.
pub struct Options {
    /// The id of the run.
    pub run: RunId,
    /// Who started it, for people.
    pub operator: String,
    /// `--env`, if one was given.
    pub environment: Option<String>,
    /// Identifies this execution; each resume has a new one.
    pub executor: Uuid,
    /// The name of this machine, which is shown to those who wait for a lock.
    pub host: String,
    /// The id of this process, as it sees it itself.
    pub pid: u32,
    /// The identity of this process; `None` if the system does not tell.
    pub process: Option<ProcessIdentity>,
    /// How long a lease lives without a renewal: [`LEASE_TTL`], but for tests.
    pub lease_ttl: Duration,
    /// The token by which the operator cancels the run.
    pub cancel: CancelToken,
    /// The usual duration of runs of this runbook, if it is known; a run is slow from twice that
    /// on.
    pub usual_duration: Option<Duration>,
    /// The run that a new run retries, from one of its steps on.
    pub retry_of: Option<RetryOf>,
    /// Whether a closed window stops the run.
    pub outside_window: OutsideWindow,
    /// Whether the holder of a lease is proven dead as this process sees it ([`Holder::is_dead`]),
    /// so that its lease may be taken at once.
    pub is_dead: fn(Option<&ProcessIdentity>, &Holder) -> bool,
}

/// A run under way.
struct Runner<'a, O, J, C> {
    /// The plan, with a step for each item that is known so far.
    plan: Arc<Plan>,
    operate: &'a O,
    clock: &'a C,
    options: &'a Options,
    /// The name of the person who started the run: the operator, unless it is resumed.
    starter: String,
    recorder: Recorder<'a, J, C>,
    leases: Leases<'a, J, C>,
    timers: Timers,
    calls: Calls<'a, O, C>,
    /// Derived from plan and state.
    frontier: Frontier,
    /// The wait for a busy lock, if there is one.
    lock_wait: Option<LockWait>,
    /// The highest level of cancel that was acted on.
    seen_cancel: CancelLevel,
    /// What the operator decided about attempts with an unknown outcome.
    decisions: BTreeMap<StepId, Decision>,
}

/// Whether the loop goes on.
enum Flow {
    Continue,
    Stop(StopReason),
}

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    fn state(&self) -> &RunState {
        self.recorder.state()
    }

    /// Runs until the end, or until it must stop without one.
    async fn drive(&mut self) -> Result<StopReason, RunError> {
        self.rebuild_frontier();
        loop {
            match self.iterate().await {
                Ok(Flow::Continue) => {}
                Ok(Flow::Stop(stopped)) => return Ok(stopped),
                // No record was written and no effect began. No effect begins from here on, and the
                // run pauses.
                Err(RunError::LockLost { .. }) => self.reload().await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Computes the frontier from every step: when a run begins or is resumed, and when its plan or
    /// the order of its undo changed.
    pub(super) fn rebuild_frontier(&mut self) {
        self.frontier = Frontier::new(&self.plan, self.state());
    }

    /// One iteration of the loop.
    async fn iterate(&mut self) -> Result<Flow, RunError> {
        self.leases.heartbeat().await?;
        self.decide_to_stop().await?;
        self.stop_overdue_calls();
        if let Flow::Stop(stopped) = self.apply_cancel_and_pause().await? {
            return Ok(Flow::Stop(stopped));
        }
        if !self.carry_out_actions().await? {
            self.notify_waiting().await?;
            if let Some(end) = self.ended() {
                return Ok(Flow::Stop(end));
            }
            self.wait().await?;
        }
        Ok(Flow::Continue)
    }

    fn ended(&self) -> Option<StopReason> {
        let state = self.state();
        state.ended.map(|_| StopReason::Ended {
            end: state.end.unwrap_or(RunEnd::Dirty),
            cause: state.cause.clone(),
        })
    }

    /// Carries out what `advance` decided. Returns whether there was anything to do.
    async fn carry_out_actions(&mut self) -> Result<bool, RunError> {
        let mut acted = false;
        for action in self.decide() {
            acted |= self.begin(action).await?;
            if self.state().paused.is_some() {
                return Ok(true);
            }
        }
        Ok(acted)
    }

    fn decide(&self) -> Vec<Action> {
        if self.leases.lost().is_some() {
            // Somebody else may hold the lock by now: no new effect.
            return Vec::new();
        }
        let state = self.state();
        let with_is_guard = |(id, call): (&StepId, &PendingCall)| (id.clone(), call.is_guard());
        let (probing, pending): (Vec<_>, Vec<_>) =
            self.calls.pending().map(with_is_guard).partition(|(_, is_guard)| *is_guard);
        let ids = |calls: Vec<(StepId, bool)>| {
            calls.into_iter().map(|(id, _)| id).collect::<BTreeSet<StepId>>()
        };
        let (pending, probing) = (ids(pending), ids(probing));
        let now = self.clock.monotonic();
        let is_due = |step: &StepId| self.timers.is_due(step, now);
        let is_overdue = |step: &PlannedStep| self.is_overdue(step);
        let facts = OutsideFacts {
            pending: &pending,
            probing_guards: &probing,
            is_due: &is_due,
            is_overdue: &is_overdue,
            stop: self.stop_cause(now),
            cleanup_timed_out: self.timers.is_cleanup_timed_out(now),
            is_slow: self.timers.is_slow(now),
            waiting_for_lock: self.lock_wait.is_some(),
        };
        debug_assert!(
            self.plan.steps.len() > 64 || self.frontier == Frontier::new(&self.plan, state),
            "plan and state agree on what can continue"
        );
        advance(&self.plan, state, &self.frontier, &facts)
    }

    /// How long the run has been executed until now, in milliseconds: before this execution by its
    /// records, in it by the monotonic clock.
    pub(super) fn took_ms(&self) -> u64 {
        let this_execution_ms =
            u64::try_from(self.timers.execution_time(self.clock.monotonic()).as_millis())
                .unwrap_or(u64::MAX);
        self.recorder
            .state_if_loaded()
            .map_or(0, |state| state.execution_time.before_ms())
            .saturating_add(this_execution_ms)
    }

    fn stop_cause(&self, now: Duration) -> Option<Cause> {
        let recorded_cause =
            self.recorder.state_if_loaded().and_then(|state| state.stopping.clone());
        if self.seen_cancel > CancelLevel::None {
            Some(Cause::Cancel)
        } else if recorded_cause.is_some() {
            recorded_cause
        } else if let Some(cause) = self.guard_cause() {
            Some(cause)
        } else if self.timers.is_timed_out(now) || self.is_group_timed_out(now) {
            Some(Cause::Timeout)
        } else {
            None
        }
    }

    /// Records that the run will end, before any call is stopped for that reason. Whoever resumes
    /// the run must not take a stopped step for one that an operator cancelled.
    async fn decide_to_stop(&mut self) -> Result<(), RunError> {
        let state = self.state();
        if state.stage > Stage::Verify || state.stopping.is_some() {
            return Ok(());
        }
        match self.stop_cause(self.clock.monotonic()) {
            Some(cause @ (Cause::Timeout | Cause::Guard { .. })) => {
                self.record(LifecycleEvent::Stopping { cause }).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Stops calls whose time is over, and all calls of a run that is to stop.
    fn stop_overdue_calls(&mut self) {
        let now = self.clock.monotonic();
        if self.stop_cause(now).is_some() {
            self.abort_steps();
        }
        if self.timers.is_cleanup_timed_out(now) {
            // Notifications are sent even then: they have a timeout of their own.
            self.calls
                .pending()
                .filter(|(_, call)| !call.is_notification())
                .for_each(|(_, call)| call.abort());
        }
    }

    /// Acts on a cancel, a lost lease and a pause.
    async fn apply_cancel_and_pause(&mut self) -> Result<Flow, RunError> {
        let level = self.options.cancel.level();
        if level > self.seen_cancel {
            self.seen_cancel = level;
            if level == CancelLevel::Orderly {
                self.abort_steps();
                let state = self.state();
                if state.paused.is_none() && state.ended.is_none() {
                    let by = self.options.cancel.by().unwrap_or(&self.options.operator).to_owned();
                    self.record(LifecycleEvent::CancelRequested { by }).await?;
                }
            }
        }
        if self.state().paused.is_none() {
            if self.seen_cancel == CancelLevel::Now && self.state().ended.is_none() {
                return self.stop_now(PauseReason::Interrupted).await.map(Flow::Stop);
            }
            if let (Some(name), true) = (self.leases.lost().map(str::to_owned), self.is_idle()) {
                let taken_by = self.leases.taken_by(&name).await;
                let reason = PauseReason::LeaseLost { name, taken_by };
                return self.stop_now(reason).await.map(Flow::Stop);
            }
        }
        let paused = self.state().paused.clone();
        Ok(paused.map_or(Flow::Continue, |reason| Flow::Stop(StopReason::Paused { reason })))
    }

    /// Whether no call is under way, except for probes of guards, for which nothing waits.
    fn is_idle(&self) -> bool {
        self.calls.pending().all(|(_, call)| call.is_guard())
    }

    /// Stops every call under way, and records the outcomes that are certain. All other attempts
    /// that had started have an unknown outcome, which `resume` clears up.
    async fn stop_now(&mut self, reason: PauseReason) -> Result<StopReason, RunError> {
        if reason == PauseReason::Interrupted {
            self.calls.abort_all();
            // A stopped call ends within the grace period, whatever it does.
            while let Some(completed) = self.calls.next().await {
                self.record_stopped_call(completed).await?;
            }
        }
        self.calls.clear();
        let took_ms = Some(self.took_ms());
        self.record(LifecycleEvent::Paused {
            reason: reason.clone(),
            took_ms,
            stage: Some(self.state().stage),
        })
        .await?;
        Ok(StopReason::Paused { reason })
    }

    /// Makes one record durable, folds it, and tells the reporter.
    fn record(&mut self, event: impl Into<RunEvent>) -> impl Future<Output = Result<(), RunError>> {
        self.record_event(event.into())
    }

    async fn record_event(&mut self, event: RunEvent) -> Result<(), RunError> {
        let record = self.recorder.next_record(event);
        if let Err(error) = self.recorder.write(&record, &mut self.leases).await {
            self.note_unrecorded(&record.event);
            return Err(error);
        }
        self.update_frontier(&record.event);
        self.timers.note(&record.event, self.clock.monotonic());
        self.recorder.report(&record);
        Ok(())
    }

    /// Updates the frontier after a record.
    fn update_frontier(&mut self, event: &RunEvent) {
        let (state, plan) = (self.recorder.state(), &self.plan);
        match event {
            RunEvent::Step { step, .. } => self.frontier.update(plan, state, step),
            // The order of the undo has changed.
            RunEvent::Run(
                LifecycleEvent::UndoBegan { .. } | LifecycleEvent::UndoRequested { .. },
            ) => {
                self.frontier = Frontier::new(plan, state);
            }
            RunEvent::Run(_) | RunEvent::Guard { .. } | RunEvent::Notify { .. } => {}
        }
    }

    /// Waits for the first of: a call that ends, a delay, a heartbeat, a deadline, a cancel.
    async fn wait(&mut self) -> Result<(), RunError> {
        let now = self.clock.monotonic();
        let pause = self.next_wakeup(now).saturating_sub(now);
        let completed = {
            let timer = pin!(self.clock.sleep(pause));
            let cancel = pin!(self.options.cancel.raised_above(self.seen_cancel));
            let interrupt = select(timer, cancel);
            if self.calls.is_empty() {
                interrupt.await;
                None
            } else {
                match select(pin!(self.calls.next()), interrupt).await {
                    Either::Left((completed, _)) => completed,
                    Either::Right(_) => None,
                }
            }
        };
        match completed {
            Some(completed) => self.on_completed(completed).await,
            None => Ok(()),
        }
    }

    /// When the loop must wake up although no call has ended: a delay, a heartbeat or a deadline is
    /// over.
    fn next_wakeup(&self, now: Duration) -> Duration {
        let lease_times =
            [self.leases.next_beat(), self.lock_wait.as_ref().map(|wait| wait.next_try)];
        let call_times = self.calls.pending().filter_map(|(_, call)| call.slow_report_time());
        let wakeup_times = self
            .timers
            .wakeup_times(&self.plan)
            .chain(lease_times.into_iter().flatten())
            .chain(call_times);
        // An hour if nothing is due: calls and cancels wake the loop by themselves.
        wakeup_times.filter(|moment| *moment > now).min().unwrap_or(now + Duration::from_hours(1))
    }
}
