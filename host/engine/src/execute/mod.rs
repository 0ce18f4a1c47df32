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
mod unwritten;
mod waiting;
mod window;

pub use entry::{Changes, Run, RunOutcome, Stopped, UndoText};
pub use error::RunError;
pub use leases::{HEARTBEAT, LEASE_TTL};
pub use scope::{describe_cause, describe_closed};
pub use start::Decision;
pub use unwritten::UnrecordedOutcome;
pub use window::OutsideWindow;

use crate::advance::{Action, Observed, advance};
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
use locks::LockWaiting;
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
    /// What tells this process from every other one, if the system says.
    pub process: Option<ProcessIdentity>,
    /// How long a lease lives without a renewal: [`LEASE_TTL`], but for tests.
    pub lease_ttl: Duration,
    /// The token by which the operator cancels the run.
    pub cancel: CancelToken,
    /// How long runs of this runbook take as a rule, if that is known: twice that is slow.
    pub usual: Option<Duration>,
    /// The run that a new run tries again, from one of its steps on.
    pub retry_of: Option<RetryOf>,
    /// Whether a closed window stops the run.
    pub outside_window: OutsideWindow,
    /// Whether the holder of a lease is proven dead as this process sees it ([`Holder::is_dead`]),
    /// so that its lease may be taken at once.
    pub is_dead: fn(Option<&ProcessIdentity>, &Holder) -> bool,
}

/// A run under way.
struct Runner<'a, O, J, C> {
    /// With a step for each item that is known so far.
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
    /// The lock that the run waits for.
    waiting: Option<LockWaiting>,
    /// The highest level of cancel that was acted on.
    seen_cancel: CancelLevel,
    /// What the operator decided about attempts with an unknown outcome.
    decisions: BTreeMap<StepId, Decision>,
}

/// Whether the loop goes on.
enum Flow {
    Continue,
    Stop(Stopped),
}

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    fn state(&self) -> &RunState {
        self.recorder.state()
    }

    /// Runs until the end, or until it must stop without one.
    async fn drive(&mut self) -> Result<Stopped, RunError> {
        self.rebuild_frontier();
        loop {
            match self.iterate().await {
                Ok(Flow::Continue) => {}
                Ok(Flow::Stop(stopped)) => return Ok(stopped),
                // Nothing was written and nothing begun; from here on nothing begins, and the run
                // pauses.
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

    /// One turn of the loop.
    async fn iterate(&mut self) -> Result<Flow, RunError> {
        self.leases.heartbeat().await?;
        self.decide_to_stop().await?;
        self.stop_overdue_calls();
        if let Flow::Stop(stopped) = self.apply_cancel_and_pause().await? {
            return Ok(Flow::Stop(stopped));
        }
        if !self.act().await? {
            self.notify_waiting().await?;
            if let Some(end) = self.ended() {
                return Ok(Flow::Stop(end));
            }
            self.wait().await?;
        }
        Ok(Flow::Continue)
    }

    fn ended(&self) -> Option<Stopped> {
        let state = self.state();
        state.ended.map(|_| Stopped::Ended {
            end: state.end.unwrap_or(RunEnd::Dirty),
            cause: state.cause.clone(),
        })
    }

    /// Does what `advance` says; whether there was anything.
    async fn act(&mut self) -> Result<bool, RunError> {
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
        let of_guards = |(id, call): (&StepId, &PendingCall)| (id.clone(), call.is_guard());
        let (probing, pending): (Vec<_>, Vec<_>) =
            self.calls.pending().map(of_guards).partition(|(_, is_guard)| *is_guard);
        let ids = |calls: Vec<(StepId, bool)>| {
            calls.into_iter().map(|(id, _)| id).collect::<BTreeSet<StepId>>()
        };
        let (pending, probing) = (ids(pending), ids(probing));
        let now = self.clock.monotonic();
        let is_due = |step: &StepId| self.timers.is_due(step, now);
        let is_overdue = |step: &PlannedStep| self.is_overdue(step);
        let observed = Observed {
            pending: &pending,
            probing_guards: &probing,
            is_due: &is_due,
            is_overdue: &is_overdue,
            stop: self.stop_cause(now),
            cleanup_expired: self.timers.is_cleanup_over(now),
            is_slow: self.timers.is_slow(now),
            waiting_for_lock: self.waiting.is_some(),
        };
        debug_assert!(
            self.plan.steps.len() > 64 || self.frontier == Frontier::new(&self.plan, state),
            "plan and state agree on what can continue"
        );
        advance(&self.plan, state, &self.frontier, &observed)
    }

    /// How long the run has been executed until now, in milliseconds: before this execution by its
    /// records, in it by the monotonic clock.
    pub(super) fn took_ms(&self) -> u64 {
        let here = u64::try_from(self.timers.executed(self.clock.monotonic()).as_millis())
            .unwrap_or(u64::MAX);
        self.recorder
            .known_state()
            .map_or(0, |state| state.executed.before_ms())
            .saturating_add(here)
    }

    fn stop_cause(&self, now: Duration) -> Option<Cause> {
        let decided = self.recorder.known_state().and_then(|state| state.stopping.clone());
        if self.seen_cancel > CancelLevel::None {
            Some(Cause::Cancel)
        } else if decided.is_some() {
            decided
        } else if let Some(cause) = self.guard_cause() {
            Some(cause)
        } else if self.timers.is_over(now) || self.is_group_over(now) {
            Some(Cause::Timeout)
        } else {
            None
        }
    }

    /// Records that the run will end before anything is stopped for it. Whoever resumes it must not
    /// take a stopped step for one that an operator cancelled.
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
        if self.timers.is_cleanup_over(now) {
            // People are told whatever else took long; that has a limit of its own.
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
        Ok(paused.map_or(Flow::Continue, |reason| Flow::Stop(Stopped::Paused { reason })))
    }

    /// Whether no call is under way but probes of guards, for which nothing waits.
    fn is_idle(&self) -> bool {
        self.calls.pending().all(|(_, call)| call.is_guard())
    }

    /// Stops every call under way. What is known of it by then is written down; the other attempts
    /// that had started have an unknown outcome, which `resume` clears up.
    async fn stop_now(&mut self, reason: PauseReason) -> Result<Stopped, RunError> {
        if reason == PauseReason::Interrupted {
            self.calls.abort_all();
            // A call that was stopped is over within a moment, whatever it does.
            while let Some(completed) = self.calls.next().await {
                self.settle_stopped(completed).await?;
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
        Ok(Stopped::Paused { reason })
    }

    /// Makes one record durable, folds it, and tells the reporter.
    fn record(&mut self, event: impl Into<RunEvent>) -> impl Future<Output = Result<(), RunError>> {
        self.record_event(event.into())
    }

    async fn record_event(&mut self, event: RunEvent) -> Result<(), RunError> {
        let record = self.recorder.dated(event);
        if let Err(error) = self.recorder.write(&record, &mut self.leases).await {
            self.note_unwritten(&record.event);
            return Err(error);
        }
        self.follow(&record.event);
        self.timers.note(&record.event, self.clock.monotonic());
        self.recorder.report(&record);
        Ok(())
    }

    /// Keeps up with what a record changed.
    fn follow(&mut self, event: &RunEvent) {
        let (state, plan) = (self.recorder.state(), &self.plan);
        match event {
            RunEvent::Step { step, .. } => self.frontier.update(plan, state, step),
            // The order in which steps are undone.
            RunEvent::Run(
                LifecycleEvent::UndoBegan { .. } | LifecycleEvent::UndoRequested { .. },
            ) => {
                self.frontier = Frontier::new(plan, state);
            }
            RunEvent::Run(_) | RunEvent::Guard { .. } | RunEvent::Notify { .. } => {}
        }
    }

    /// Waits for the first of: a call that completes, a delay that is over, a heartbeat, a
    /// deadline, a cancel.
    async fn wait(&mut self) -> Result<(), RunError> {
        let now = self.clock.monotonic();
        let pause = self.next_moment(now).saturating_sub(now);
        let completed = {
            let timer = pin!(self.clock.sleep(pause));
            let cancel = pin!(self.options.cancel.above(self.seen_cancel));
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

    /// The next moment at which something is due by itself.
    fn next_moment(&self, now: Duration) -> Duration {
        let leases =
            [self.leases.next_beat(), self.waiting.as_ref().map(|waiting| waiting.next_try)];
        let calls = self.calls.pending().filter_map(|(_, call)| call.slow_report_time());
        let moments =
            self.timers.moments(&self.plan).chain(leases.into_iter().flatten()).chain(calls);
        // With nothing due, an hour is as good as any: what else can happen wakes the loop.
        moments.filter(|moment| *moment > now).min().unwrap_or(now + Duration::from_hours(1))
    }
}
