//! The calls of plugins: those under way, and their results.

use super::Runner;
use super::waiting::SLOW_CALL_AFTER;
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
    Call, CallReturn, DriftPolicy, ErrorClass, Fault, FaultEffect, Json, Kind, Mode, Phase,
    Proposal, Response, RunId, StepId,
};
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::time::Duration;
use tracing::Instrument as _;

/// How long after its timeout, or after a request to stop, a call may go on. Then the engine drops
/// it.
const STOP_GRACE_PERIOD: Duration = Duration::from_secs(1);

/// The future of a call under way.
type CallFuture<'a> = Pin<Box<dyn Future<Output = CompletedCall> + Send + 'a>>;

/// Why a call is made, with what its completion needs. [`CallPurpose`] is the part of it that the
/// journal shows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Purpose {
    /// `plan` before an attempt, with the rendered input.
    Plan { input: Json },
    /// `check` or `apply`: the attempt itself.
    Attempt,
    /// `observe`, to find out whether an attempt without a result took effect.
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
    /// What was last recorded about waiting for this call; `None` if nothing was.
    reported: Option<AfterWait>,
}

impl PendingCall {
    /// Whether it is a probe of a guard. Nothing waits for such a call.
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
    fn is_attempt_or_plan(&self) -> bool {
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

    /// The purpose as the journal shows it, and whether the journal has a record of the call
    /// itself; `None` for calls that no step waits for.
    fn journaled_purpose(&self) -> Option<(CallPurpose, Journaled)> {
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

    /// When to record that the call takes long; `None` if that is recorded already.
    pub(super) fn slow_report_time(&self) -> Option<Duration> {
        let (_, journaled) = self.journaled_purpose()?;
        (self.reported.is_none() && journaled == Journaled::No)
            .then_some(self.began + SLOW_CALL_AFTER)
    }

    /// The purpose, if a record about waiting for this call is due now. The caller records it: it
    /// counts as recorded from now on.
    pub(super) fn report_waiting(&mut self, then: AfterWait, now: Duration) -> Option<CallPurpose> {
        let (purpose, _) = self.journaled_purpose()?;
        let is_new = match then {
            AfterWait::Pauses => self.reported != Some(AfterWait::Pauses),
            AfterWait::GoesOn => self.slow_report_time().is_some_and(|at| at <= now),
        };
        is_new.then(|| {
            self.reported = Some(then);
            purpose
        })
    }

    /// Stops the call, which has [`STOP_GRACE_PERIOD`] to report what it has done.
    pub(super) fn abort(&self) {
        self.stop.request();
    }
}

/// Whether the journal has a record of the call itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Journaled {
    Yes,
    No,
}

/// A call that has ended.
pub(super) struct CompletedCall {
    pub(super) step: StepId,
    pub(super) purpose: Purpose,
    pub(super) answer: Result<CallReturn, Fault>,
    pub(super) duration: Duration,
}

/// One call to make.
pub(super) struct CallRequest {
    /// The step that the call is made for.
    pub(super) step: StepId,
    /// The call site that is called: the step as written, `STEP/undo`, `notify/N`.
    pub(super) site: StepId,
    /// The id that the plugin sees: the call site, with the item.
    pub(super) caller: StepId,
    pub(super) purpose: Purpose,
    pub(super) phase: CallSequence,
    pub(super) attempt: u32,
    pub(super) input: Json,
    pub(super) timeout: Duration,
    /// How long ago an attempt began that got no answer.
    pub(super) unanswered: Option<Duration>,
}

/// Which phases of an operation are called, one after the other.
pub(super) enum CallSequence {
    /// This phase only.
    One(Phase),
    /// `plan`, then `apply` with its proposal: for undos and notifications, whose intent is in the
    /// journal already.
    PlanAndApply,
}

impl CallSequence {
    /// The phases for an operation of this kind that has no attempt of its own in the journal.
    pub(super) fn for_kind(kind: Kind) -> Self {
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
    /// The effect that it may have had when it is stopped: `None` for a call that only reads.
    pub(super) effect: FaultEffect,
}

/// The calls under way, at most one for each step.
pub(super) struct Calls<'a, O, C> {
    operate: &'a O,
    clock: &'a C,
    run: RunId,
    futures: FuturesUnordered<CallFuture<'a>>,
    pending: BTreeMap<StepId, PendingCall>,
}

impl<'a, O: Operate, C: Clock> Calls<'a, O, C> {
    /// No calls yet.
    pub(super) fn new(run: RunId, operate: &'a O, clock: &'a C) -> Self {
        Self { operate, clock, run, futures: FuturesUnordered::new(), pending: BTreeMap::new() }
    }

    /// Starts a call; [`Self::next`] returns its result.
    pub(super) fn launch(&mut self, request: CallRequest, bounds: CallBounds) {
        let (clock, began) = (self.clock, self.clock.monotonic());
        let (step, purpose, timeout) =
            (request.step.clone(), request.purpose.clone(), request.timeout);
        let call_stop = CallStop::default();
        let (key, completed_purpose, stop_handle, effect) =
            (step.clone(), purpose.clone(), call_stop.clone(), bounds.effect);
        let sequence = self.call_in_sequence(request, bounds.leases.for_call(call_stop.clone()));
        self.futures.push(Box::pin(async move {
            if stop_handle.is_requested() {
                let message = "the call was stopped before it began, so it did not happen";
                let fault = Fault::new(ErrorClass::Cancelled, "engine.cancelled", message);
                let answer = Err(Fault { effect: FaultEffect::None, ..fault });
                return CompletedCall {
                    step: key,
                    purpose: completed_purpose,
                    answer,
                    duration: Duration::ZERO,
                };
            }
            let stop_timer = pin!(async {
                stop_handle.requested().await;
                match effect {
                    FaultEffect::None => {}
                    // The host has time to report whether the effect became final.
                    FaultEffect::Possible => clock.sleep(STOP_GRACE_PERIOD).await,
                }
            });
            let answer = match select(pin!(sequence), stop_timer).await {
                Either::Left((answer, _)) if stop_handle.is_requested() => {
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
            CompletedCall {
                step: key,
                purpose: completed_purpose,
                answer,
                duration: clock.monotonic().saturating_sub(began),
            }
        }));
        self.pending
            .insert(step, PendingCall { stop: call_stop, purpose, began, timeout, reported: None });
    }

    /// The calls of one request, one after another.
    fn call_in_sequence(
        &self,
        request: CallRequest,
        leases: LeaseWatch,
    ) -> impl Future<Output = Result<CallReturn, Fault>> + Send + use<'a, O, C> {
        let (operate, clock, run) = (self.operate, self.clock, self.run);
        let CallRequest { step, site, caller, purpose, phase, attempt, input, timeout, unanswered } =
            request;
        let span = tracing::info_span!("call", step = %step, purpose = purpose.name(), attempt);
        let call = move |phase: Phase| {
            // Only these phases may change something.
            let mode = match phase {
                Phase::Apply { .. } | Phase::Undo { .. } | Phase::Check => Mode::Effects,
                Phase::Plan | Phase::Observe => Mode::ReadOnly,
            };
            let (site, step, input) = (site.clone(), caller.clone(), input.clone());
            Call { run, site, step, phase, attempt, input, mode, timeout, unanswered }
        };
        let sequence = async move {
            match phase {
                CallSequence::One(phase) => {
                    call_with_timeout(operate, clock, call(phase), leases).await
                }
                CallSequence::PlanAndApply => {
                    let planned =
                        call_with_timeout(operate, clock, call(Phase::Plan), leases.clone()).await;
                    // `plan` only reads, and nothing else was called.
                    let proposal = proposal_of(planned)
                        .map_err(|fault| Fault { effect: FaultEffect::None, ..fault })?;
                    call_with_timeout(
                        operate,
                        clock,
                        call(Phase::Apply { proposal, drift: DriftPolicy::Warn }),
                        leases,
                    )
                    .await
                }
            }
        };
        sequence.instrument(span)
    }

    /// The next call that ends; `None` if none is under way.
    pub(super) async fn next(&mut self) -> Option<CompletedCall> {
        let completed = self.futures.next().await?;
        self.pending.remove(&completed.step);
        Some(completed)
    }

    /// Whether no call is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.futures.is_empty()
    }

    /// All calls under way, with the ids of their steps.
    pub(super) fn pending(&self) -> impl Iterator<Item = (&StepId, &PendingCall)> {
        self.pending.iter()
    }

    /// As [`Self::pending`], mutable, for [`PendingCall::report_waiting`].
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
    pub(super) fn launch(&mut self, request: CallRequest) {
        let writes = || self.plan.step(&request.step).is_none_or(|step| step.facts.writes);
        let effect = match &request.purpose {
            Purpose::Plan { .. }
            | Purpose::Recover
            | Purpose::ObserveAfterUndo
            | Purpose::ObserveGuard => FaultEffect::None,
            Purpose::Attempt if !writes() => FaultEffect::None,
            Purpose::Attempt | Purpose::Undo | Purpose::Notify { .. } => FaultEffect::Possible,
        };
        self.calls.launch(request, CallBounds { leases: self.leases.watch(), effect });
    }

    /// Stops attempts and plans, except for those of steps with `on_cancel = "finish"`, as the
    /// operator's first cancel does. Undo, finally and notifications go on.
    pub(super) fn abort_steps(&self) {
        for (id, pending_call) in self.calls.pending() {
            let step = self.plan.step(id);
            let may_abort = step.is_some_and(|step| {
                step.on_cancel == OnCancel::Abort && step.section != Section::Finally
            });
            if pending_call.is_attempt_or_plan() && may_abort {
                pending_call.abort();
            }
        }
    }
}

/// The fault of a call that was stopped, with a message about its effect. For a call that acts, the
/// fault of the host says whether anything became final.
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

/// Makes a call, and drops it [`STOP_GRACE_PERIOD`] after its timeout if the host does not end it.
async fn call_with_timeout<O: Operate, C: Clock>(
    operate: &O,
    clock: &C,
    call: Call,
    leases: LeaseWatch,
) -> Result<CallReturn, Fault> {
    let (timeout, phase) = (call.timeout, call.phase.name());
    let call = pin!(operate.call(call, leases));
    let timer = pin!(clock.sleep(timeout + STOP_GRACE_PERIOD));
    match select(call, timer).await {
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
