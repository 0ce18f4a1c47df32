//! The calls of plugins: those under way, and their results.

use super::Runner;
use super::waiting::TELL_AFTER;
use crate::call_stop::CallStop;
use crate::clock::Clock;
use crate::event::{AfterWait, CallPurpose, Trigger};
use crate::journal::Journal;
use crate::lease_watch::LeaseWatch;
use crate::model::OnCancel;
use crate::operate::Operate;
use crate::{evaluate, event::Section};
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use runbook_contract::{
    Call, CallReturn, Drift, ErrorClass, Fault, FaultEffect, Json, Kind, Mode, Phase, Proposal,
    Response, RunId, StepId,
};
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::time::Duration;
use tracing::Instrument as _;

/// The engine drops a call that the host itself has not ended by then.
const GRACE: Duration = Duration::from_secs(1);

/// A call that will complete.
type CallFuture<'a> = Pin<Box<dyn Future<Output = CallCompleted> + Send + 'a>>;

/// The purpose of a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Purpose {
    /// `plan` before an attempt, with the rendered input.
    Plan { input: Json },
    /// `check` or `apply`: the attempt itself.
    Attempt,
    /// `observe`, to learn whether an attempt without result took effect.
    Recover,
    /// An attempt to undo a step.
    Undo,
    /// `observe` after an undo.
    ObserveAfterUndo,
    /// A probe of a guard.
    ObserveGuard,
    /// A notification that is sent.
    Notify { on: Trigger },
}

impl Purpose {
    /// Its name in the program's log.
    fn name(&self) -> &'static str {
        match self {
            Self::Plan { .. } => "plan",
            Self::Attempt => "attempt",
            Self::Recover => "recover",
            Self::Undo => "undo",
            Self::ObserveAfterUndo => "observe-after-undo",
            Self::ObserveGuard => "guard",
            Self::Notify { .. } => "notify",
        }
    }
}

/// A call that is under way.
pub(super) struct PendingCall {
    stop: CallStop,
    purpose: Purpose,
    /// When the call began, by the monotonic clock.
    began: Duration,
    /// How long it may take.
    timeout: Duration,
    /// What the journal already records about waiting for it.
    told: Option<AfterWait>,
}

impl PendingCall {
    /// Whether it belongs to a guard, for which nothing ever waits.
    pub(super) fn is_guard(&self) -> bool {
        match self.purpose {
            Purpose::ObserveGuard => true,
            Purpose::Plan { .. }
            | Purpose::Attempt
            | Purpose::Recover
            | Purpose::Undo
            | Purpose::ObserveAfterUndo
            | Purpose::Notify { .. } => false,
        }
    }

    /// Whether it is a notification.
    pub(super) fn is_notification(&self) -> bool {
        match self.purpose {
            Purpose::Notify { .. } => true,
            Purpose::Plan { .. }
            | Purpose::Attempt
            | Purpose::Recover
            | Purpose::Undo
            | Purpose::ObserveAfterUndo
            | Purpose::ObserveGuard => false,
        }
    }

    /// Whether it is an attempt of a step, or its plan.
    fn is_forward(&self) -> bool {
        match self.purpose {
            Purpose::Plan { .. } | Purpose::Attempt => true,
            Purpose::Recover
            | Purpose::Undo
            | Purpose::ObserveAfterUndo
            | Purpose::ObserveGuard
            | Purpose::Notify { .. } => false,
        }
    }

    /// When it began, by the monotonic clock.
    pub(super) fn began(&self) -> Duration {
        self.began
    }

    /// How long it may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The purpose, if it is a step that the run waits for, and whether the journal has a record of
    /// the call itself.
    fn call(&self) -> Option<(CallPurpose, Journaled)> {
        match self.purpose {
            Purpose::Plan { .. } => Some((CallPurpose::Plan, Journaled::No)),
            Purpose::Attempt => Some((CallPurpose::Attempt, Journaled::Yes)),
            Purpose::Recover | Purpose::ObserveAfterUndo => {
                Some((CallPurpose::Observe, Journaled::No))
            }
            Purpose::Undo => Some((CallPurpose::Undo, Journaled::Yes)),
            Purpose::ObserveGuard | Purpose::Notify { .. } => None,
        }
    }

    /// When to record that it takes long; `None` if that is recorded already.
    pub(super) fn slow_report_time(&self) -> Option<Duration> {
        let (_, journaled) = self.call()?;
        (self.told.is_none() && journaled == Journaled::No).then_some(self.began + TELL_AFTER)
    }

    /// Whether to record it now; it then counts as recorded.
    pub(super) fn tell(&mut self, then: AfterWait, now: Duration) -> Option<CallPurpose> {
        let (call, _) = self.call()?;
        let is_news = match then {
            AfterWait::Pauses => self.told != Some(AfterWait::Pauses),
            AfterWait::GoesOn => self.slow_report_time().is_some_and(|at| at <= now),
        };
        is_news.then(|| {
            self.told = Some(then);
            call
        })
    }

    /// Stops the call. It has a short time to report what it has done.
    pub(super) fn abort(&self) {
        self.stop.ask();
    }
}

/// Whether the journal has a record of the call itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Journaled {
    Yes,
    No,
}

/// A call that has ended.
pub(super) struct CallCompleted {
    pub(super) step: StepId,
    pub(super) purpose: Purpose,
    pub(super) answer: Result<CallReturn, Fault>,
    pub(super) duration: Duration,
}

/// One call to make: a step operation is asked for its plan first, unless it was asked already.
pub(super) struct Launch {
    /// The step that the call is made for.
    pub(super) step: StepId,
    /// The call site that is called: the step as written, `STEP/undo`, `notify/N`.
    pub(super) site: StepId,
    /// The identity that the plugin sees: the call site, and the item.
    pub(super) caller: StepId,
    pub(super) purpose: Purpose,
    pub(super) phase: LaunchPhase,
    pub(super) attempt: u32,
    pub(super) input: Json,
    pub(super) timeout: Duration,
    /// How long ago an attempt began that got no answer.
    pub(super) unanswered: Option<Duration>,
}

/// Which calls of a plugin are made, one after the other.
pub(super) enum LaunchPhase {
    /// One call of this phase.
    One(Phase),
    /// `plan`, then `apply` with its proposal: for undos and notifications, whose intent is in the
    /// journal already.
    PlanAndApply,
}

impl LaunchPhase {
    /// All phases of an operation that has no attempt of its own in the journal.
    pub(super) fn whole(kind: Kind) -> Self {
        match kind {
            Kind::Step => Self::PlanAndApply,
            Kind::Probe | Kind::SmokeTest => Self::One(Phase::Check),
        }
    }
}

/// The limits of a call.
pub(super) struct CallBounds {
    /// The leases under which it is made.
    pub(super) leases: LeaseWatch,
    /// What it can have done when it is stopped: a call that only reads has no effect that could be
    /// unknown.
    pub(super) effect: FaultEffect,
}

/// The calls under way, one a step at most.
pub(super) struct Calls<'a, O, C> {
    operate: &'a O,
    clock: &'a C,
    run: RunId,
    futures: FuturesUnordered<CallFuture<'a>>,
    pending: BTreeMap<StepId, PendingCall>,
}

impl<'a, O: Operate, C: Clock> Calls<'a, O, C> {
    /// The calls of a run that has made none yet.
    pub(super) fn new(run: RunId, operate: &'a O, clock: &'a C) -> Self {
        Self { operate, clock, run, futures: FuturesUnordered::new(), pending: BTreeMap::new() }
    }

    /// Starts a call; [`Self::next`] returns its result.
    pub(super) fn launch(&mut self, launch: Launch, heed: CallBounds) {
        let (clock, began) = (self.clock, self.clock.monotonic());
        let (step, purpose, timeout) =
            (launch.step.clone(), launch.purpose.clone(), launch.timeout);
        let halt = CallStop::default();
        let (key, aim, stopped, effect) =
            (step.clone(), purpose.clone(), halt.clone(), heed.effect);
        let work = self.work(launch, heed.leases.of_call(halt.clone()));
        self.futures.push(Box::pin(async move {
            if stopped.is_asked() {
                let message = "the call was stopped before it began, so it did not happen";
                let fault = Fault::new(ErrorClass::Cancelled, "engine.cancelled", message);
                let answer = Err(Fault { effect: FaultEffect::None, ..fault });
                return CallCompleted { step: key, purpose: aim, answer, duration: Duration::ZERO };
            }
            let over = pin!(async {
                stopped.asked().await;
                match effect {
                    FaultEffect::None => {}
                    // The host knows whether what was begun was made final.
                    FaultEffect::Possible => clock.sleep(GRACE).await,
                }
            });
            let answer = match select(pin!(work), over).await {
                Either::Left((answer, _)) if stopped.is_asked() => {
                    answer.map_err(|fault| stopped_fault(fault, effect))
                }
                Either::Left((answer, _)) => answer,
                Either::Right(_) => {
                    let fault = Fault::new(
                        ErrorClass::Cancelled,
                        "engine.cancelled",
                        "the call was stopped",
                    );
                    Err(stopped_fault(fault, effect))
                }
            };
            CallCompleted {
                step: key,
                purpose: aim,
                answer,
                duration: clock.monotonic().saturating_sub(began),
            }
        }));
        self.pending.insert(step, PendingCall { stop: halt, purpose, began, timeout, told: None });
    }

    /// The calls of one launch, one after another.
    fn work(
        &self,
        launch: Launch,
        leases: LeaseWatch,
    ) -> impl Future<Output = Result<CallReturn, Fault>> + Send + use<'a, O, C> {
        let (operate, clock, run) = (self.operate, self.clock, self.run);
        let Launch { step, site, caller, purpose, phase, attempt, input, timeout, unanswered } =
            launch;
        let span = tracing::info_span!("call", step = %step, purpose = purpose.name(), attempt);
        let call = move |phase: Phase| {
            // Only these phases have a reason to change something.
            let mode = match phase {
                Phase::Apply { .. } | Phase::Undo { .. } | Phase::Check => Mode::Effects,
                Phase::Plan | Phase::Observe => Mode::ReadOnly,
            };
            let (site, step, input) = (site.clone(), caller.clone(), input.clone());
            Call { run, site, step, phase, attempt, input, mode, timeout, unanswered }
        };
        let work = async move {
            match phase {
                LaunchPhase::One(phase) => bounded(operate, clock, call(phase), leases).await,
                LaunchPhase::PlanAndApply => {
                    let planned = bounded(operate, clock, call(Phase::Plan), leases.clone()).await;
                    // It only looks, and nothing else was called.
                    let proposal = proposal_of(planned)
                        .map_err(|fault| Fault { effect: FaultEffect::None, ..fault })?;
                    bounded(
                        operate,
                        clock,
                        call(Phase::Apply { proposal, drift: Drift::Told }),
                        leases,
                    )
                    .await
                }
            }
        };
        work.instrument(span)
    }

    /// The next call that ends; `None` if none is under way.
    pub(super) async fn next(&mut self) -> Option<CallCompleted> {
        let completed = self.futures.next().await?;
        self.pending.remove(&completed.step);
        Some(completed)
    }

    /// Whether none is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.futures.is_empty()
    }

    /// All calls under way, with their owners.
    pub(super) fn pending(&self) -> impl Iterator<Item = (&StepId, &PendingCall)> {
        self.pending.iter()
    }

    /// The same, mutable, to note that something was recorded.
    pub(super) fn pending_mut(&mut self) -> impl Iterator<Item = (&StepId, &mut PendingCall)> {
        self.pending.iter_mut()
    }

    /// Stops all calls under way. [`Self::next`] returns their results.
    pub(super) fn abort_all(&self) {
        self.pending.values().for_each(PendingCall::abort);
    }

    /// Drops all calls under way.
    pub(super) fn clear(&mut self) {
        self.futures.clear();
        self.pending.clear();
    }
}

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Starts a call under the leases of the run; it completes in [`Runner::wait`].
    pub(super) fn launch(&mut self, launch: Launch) {
        let writes = || self.plan.step(&launch.step).is_none_or(|step| step.facts.writes);
        let effect = match &launch.purpose {
            Purpose::Plan { .. }
            | Purpose::Recover
            | Purpose::ObserveAfterUndo
            | Purpose::ObserveGuard => FaultEffect::None,
            Purpose::Attempt if !writes() => FaultEffect::None,
            Purpose::Attempt | Purpose::Undo | Purpose::Notify { .. } => FaultEffect::Possible,
        };
        self.calls.launch(launch, CallBounds { leases: self.leases.watch(), effect });
    }

    /// Stops what the operator's first cancel stops: attempts, unless their step says
    /// `on_cancel = "finish"`. Undo, finally and notifications go on.
    pub(super) fn abort_steps(&self) {
        for (id, pending_call) in self.calls.pending() {
            let step = self.plan.step(id);
            let abort = step.is_some_and(|step| {
                step.on_cancel == OnCancel::Abort && step.section != Section::Finally
            });
            if pending_call.is_forward() && abort {
                pending_call.abort();
            }
        }
    }
}

/// The fault of a call that was stopped. A call that only reads has no unknown effect; for one that
/// acts, the host says whether it let anything become final.
fn stopped_fault(fault: Fault, effect: FaultEffect) -> Fault {
    if fault.class != ErrorClass::Cancelled {
        return fault;
    }
    let message = match (effect, fault.effect) {
        (FaultEffect::None, _) => "the call was stopped",
        (FaultEffect::Possible, FaultEffect::None) => {
            "the call was stopped before anything was made final, so it did not happen"
        }
        (FaultEffect::Possible, FaultEffect::Possible) => {
            "the call was stopped; whether it took effect is unknown"
        }
    };
    Fault { code: "engine.cancelled".to_owned(), message: message.to_owned(), ..fault }
}

/// The proposal in an answer to `plan`.
pub(super) fn proposal_of(answer: Result<CallReturn, Fault>) -> Result<Proposal, Fault> {
    match answer?.response {
        Response::Proposal(proposal) => Ok(proposal),
        Response::Report(_)
        | Response::Cases(_)
        | Response::Observation(_)
        | Response::Completion(_) => Err(evaluate::unexpected_response("no proposal")),
    }
}

/// Makes a call, and abandons it shortly after its timeout if the host does not end it.
async fn bounded<O: Operate, C: Clock>(
    operate: &O,
    clock: &C,
    call: Call,
    leases: LeaseWatch,
) -> Result<CallReturn, Fault> {
    let (timeout, phase) = (call.timeout, call.phase.name());
    let work = pin!(operate.call(call, leases));
    let timer = pin!(clock.sleep(timeout + GRACE));
    match select(work, timer).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => {
            let message = format!(
                "`{phase}` gave no answer within {}",
                runbook_document::format_duration(timeout)
            );
            Err(Fault::new(ErrorClass::Timeout, "engine.timeout", message))
        }
    }
}
