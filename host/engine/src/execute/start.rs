//! Carries out the actions that `advance` decided: records the intent and starts the call.
//! `completion` handles the result of the call.

use super::calls::{CallRequest, CallSequence, Purpose};
use super::scope::{self, RunFacts, StepScope};
use super::{RunError, Runner};
use crate::advance::Action;
use crate::clock::Clock;
use crate::digest;
use crate::event::{
    AfterAttempt, ApprovalEvent, ApprovalVerdict, AttemptEvent, ItemsEvent, LifecycleEvent,
    NotifyEvent, Recovery, RunEvent, Section, SkipEvent, SkipReason, Trigger, UndoEvent,
    UndoFinding, UndoPlan, UndoResult,
};
use crate::intent::{Intent, IntentError, intent};
use crate::journal::Journal;
use crate::operate::{LEASE_LOST, Operate};
use crate::plan::{DEFAULT_TIMEOUT, Plan, PlannedStep, PlannedUndo, RetrySafety};
use crate::retry::{self, AttemptEffect, Failure};
use crate::state::{ApprovalState, StepPhase, count_effects};
use crate::template::{self, Scope, TemplateError};
use crate::undo;
use runbook_contract::{
    DriftPolicy, ErrorClass, Fault, FaultEffect, Json, Kind, OperationFacts, Phase, Proposal,
    StepId,
};
use std::sync::Arc;
use std::time::Duration;

/// What the operator decided about an attempt with an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It happened; go on.
    Done,
    /// It did not happen; run it again.
    Retry,
    /// It did not happen; it failed, and there is nothing of it to undo.
    NotDone,
    /// It failed; do what the runbook says about a failure, and undo it as if it had happened.
    Fail,
}

impl Decision {
    /// Every decision, with its word on the command line and what it means for a step.
    pub const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Done, "done", "it happened"),
        (Self::Retry, "retry", "it did not; do it again"),
        (Self::NotDone, "not-done", "it did not; fail without undoing it"),
        (Self::Fail, "fail", "treat it as failed: its undo runs"),
    ];

    /// The decision that a word stands for.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name, _)| *name == word).map(|(decision, ..)| *decision)
    }

    pub(super) fn recovery(self) -> Recovery {
        match self {
            Self::Retry => Recovery::OperatorRetry,
            Self::Done => Recovery::OperatorDone,
            Self::NotDone => Recovery::OperatorNotDone,
            Self::Fail => Recovery::OperatorFail,
        }
    }
}

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Carries out one action. Returns whether anything was done.
    pub(super) async fn begin(&mut self, action: Action) -> Result<bool, RunError> {
        let event = match action {
            Action::Attempt { step } => return self.start_attempt(&step).await.map(|()| true),
            Action::Recover { step } => return self.recover(&step).await.map(|()| true),
            Action::ObserveGuard { guard } => {
                return self.start_guard_probe(&guard).await.map(|()| true);
            }
            Action::CheckWindow => return self.check_window().await.map(|_| true),
            Action::TakeLocks => return self.take_or_await_locks().await,
            Action::Undo { step } => return self.start_undo(&step).await.map(|()| true),
            Action::CheckUndo { step } => return self.start_undo_check(&step).await.map(|()| true),
            Action::Notify { notify, on } => {
                return self.start_notify(&notify, on).await.map(|()| true);
            }
            Action::EndItems { step } => return self.end_items(&step).await.map(|()| true),
            Action::Skip { step, reason } => SkipEvent::Skipped { reason }.of(step),
            Action::BeginVerify => LifecycleEvent::VerifyBegan.into(),
            Action::BeginUndo { cause, order } => LifecycleEvent::UndoBegan { cause, order }.into(),
            Action::BeginFinally { end, cause } => {
                LifecycleEvent::FinallyBegan { end, cause }.into()
            }
            Action::Pause { reason } => LifecycleEvent::Paused {
                reason,
                took_ms: Some(self.took_ms()),
                stage: Some(self.state().stage),
            }
            .into(),
            Action::End { end, cause } => {
                LifecycleEvent::RunEnded { end, cause, took_ms: Some(self.took_ms()) }.into()
            }
        };
        self.record(event).await.map(|()| true)
    }

    pub(super) fn planned_step(&self, id: &StepId) -> Arc<PlannedStep> {
        self.plan.shared(id).expect("`advance` names steps of the plan only")
    }

    /// Calls `read` with the present values of templates.
    pub(super) fn with_scope<T>(
        &self,
        outcome_until_end: &str,
        read: impl FnOnce(&Scope<'_>) -> T,
    ) -> T {
        self.with_step_scope(None, outcome_until_end, read)
    }

    /// The same for the templates of a step: an item sees its own value, and its own output instead
    /// of the outputs of all items.
    pub(super) fn with_step_scope<T>(
        &self,
        step: Option<&PlannedStep>,
        outcome_until_end: &str,
        read: impl FnOnce(&Scope<'_>) -> T,
    ) -> T {
        let (plan, state): (&Plan, _) = (&self.plan, self.state());
        let group = step.and_then(|step| step.group.as_ref());
        let views = |key: &str| match step.and_then(|step| Some((step, step.item.as_ref()?))) {
            Some((step, item)) if template::template_key(&item.parent) == key => {
                Some((step.id.clone(), scope::view_of(state, &step.id)))
            }
            Some(_) | None => scope::view(plan, state, key),
        };
        let params = group
            .map_or(Some(&state.params), |group| state.groups.get(group))
            .cloned()
            .unwrap_or_default();
        let truncated_params =
            group.and_then(|group| state.truncated_params.get(group)).cloned().unwrap_or_default();
        let facts = RunFacts {
            id: self.options.run.to_string(),
            operator: &self.options.operator,
            environment: self.options.environment.as_deref(),
            took: Duration::from_millis(self.took_ms()),
        };
        StepScope {
            step,
            views: &views,
            params,
            truncated_params,
            run: scope::run_values(state, &facts, outcome_until_end),
        }
        .read(read)
    }

    async fn start_attempt(&mut self, id: &StepId) -> Result<(), RunError> {
        let step = &*self.planned_step(id);
        let attempt = self.state().step(id).attempts + 1;
        let refusal = rejection(&self.state().step(id).approval);
        let intent = self.with_step_scope(Some(step), scope::RUNNING, |scope| {
            intent(&self.plan, step, attempt, refusal, scope)
        });
        match intent {
            Ok(Intent::Skip) => {
                self.record(SkipEvent::Skipped { reason: SkipReason::Condition }.of(id.clone()))
                    .await
            }
            Ok(Intent::Ask(manual)) => self.start_manual(step, manual, attempt).await,
            Ok(Intent::List(items)) => self.list_items(step, items).await,
            Ok(Intent::Open { params, truncated_params }) => {
                self.timers.start_group(id, self.clock.monotonic());
                self.record(ItemsEvent::GroupBegan { params, truncated_params }.of(id.clone()))
                    .await
            }
            Ok(Intent::Call { input }) if step.facts.kind == Kind::Step => {
                let timeout = self.attempt_timeout(step);
                self.call(
                    step,
                    Purpose::Plan { input: input.clone() },
                    Phase::Plan,
                    attempt,
                    input,
                    timeout,
                );
                Ok(())
            }
            Ok(Intent::Call { input }) => self.start_effect(step, attempt, input, None).await,
            Err(IntentError::Refused(fault)) => {
                let then = self.after_rejection(step);
                self.record(AttemptEvent::Refused { attempt, fault, then }.of(id.clone())).await
            }
            Err(error) => self.record_refused_attempt(step, attempt, error.into_fault()).await,
        }
    }

    /// Records the intent, then makes the call.
    pub(super) async fn start_effect(
        &mut self,
        step: &PlannedStep,
        attempt: u32,
        input: Json,
        proposal: Option<Proposal>,
    ) -> Result<(), RunError> {
        let drift = if step.approval.is_some() { DriftPolicy::Deny } else { DriftPolicy::Warn };
        let phase =
            proposal.clone().map_or(Phase::Check, |proposal| Phase::Apply { proposal, drift });
        let undo = match step.undo {
            PlannedUndo::NotNeeded => UndoPlan::NotNeeded,
            PlannedUndo::Auto => UndoPlan::Auto,
            PlannedUndo::Explicit { idempotent: RetrySafety::No, .. } => UndoPlan::Explicit,
            PlannedUndo::Explicit { idempotent: RetrySafety::Yes, .. } => UndoPlan::Idempotent,
            PlannedUndo::Irreversible { .. } => UndoPlan::Irreversible,
        };
        let input_digest = digest::json_digest(&input);
        let intent =
            AttemptEvent::Started { attempt, input: input.clone(), input_digest, proposal, undo }
                .of(step.id.clone());
        self.record(intent).await?;
        if !self.leases.check_leases_before_effect().await? {
            let (step, decision) = (step.id.clone(), Recovery::DidNotHappen);
            return self.record(AttemptEvent::Recovered { attempt, decision }.of(step)).await;
        }
        let timeout = self.attempt_timeout(step);
        self.call(step, Purpose::Attempt, phase, attempt, input, timeout);
        Ok(())
    }

    fn call(
        &mut self,
        step: &PlannedStep,
        purpose: Purpose,
        phase: Phase,
        attempt: u32,
        input: Json,
        timeout: Duration,
    ) {
        let unanswered = match phase {
            Phase::Observe => self.unanswered(&step.id),
            Phase::Plan => self.unanswered_of_plugin(step),
            Phase::Check | Phase::Apply { .. } | Phase::Undo { .. } => None,
        };
        let (id, site, phase) = (step.id.clone(), step.site.clone(), CallSequence::One(phase));
        self.launch(CallRequest {
            step: id.clone(),
            site,
            caller: id,
            purpose,
            phase,
            attempt,
            input,
            timeout,
            unanswered,
        });
    }

    /// How long ago the last attempt of a step began, if it got no answer: its operation may still
    /// go on outside of the host.
    fn unanswered(&self, step: &StepId) -> Option<Duration> {
        self.state().step(step).unanswered?;
        Some(self.timers.since_last(step, self.clock.monotonic()))
    }

    /// The same for all steps of the plugin of a step that are not running: the plan of a step may
    /// depend on an operation that still goes on.
    fn unanswered_of_plugin(&self, step: &PlannedStep) -> Option<Duration> {
        let plugin = |uses: &str| uses.split_once(':').map(|(plugin, _)| plugin.to_owned());
        let is_over = |id: &StepId| {
            !matches!(self.state().step(id).phase, StepPhase::Running | StepPhase::Undone)
        };
        let others = self
            .plan
            .steps
            .iter()
            .filter(|other| plugin(&other.uses) == plugin(&step.uses) && is_over(&other.id));
        others.filter_map(|other| self.unanswered(&other.id)).min()
    }

    /// How long an undo or an observation of a step may take: the timeout of the step, and after an
    /// attempt without an answer at least [`DEFAULT_TIMEOUT`], because the operation may still go
    /// on. `None` if no time is left for the clean-up.
    fn cleanup_time(&self, step: &PlannedStep) -> Option<Duration> {
        let is_answered = self.state().step(&step.id).unanswered.is_none();
        let timeout = if is_answered { step.timeout } else { step.timeout.max(DEFAULT_TIMEOUT) };
        self.timers.limit_to_cleanup(timeout, self.clock.monotonic())
    }

    /// How long an attempt that begins now may take.
    fn attempt_timeout(&self, step: &PlannedStep) -> Duration {
        self.timers.attempt_timeout(step, self.clock.monotonic())
    }

    /// The time since the first attempt of a step.
    pub(super) fn elapsed(&self, step: &StepId) -> Duration {
        self.timers.elapsed(step, self.clock.monotonic())
    }

    /// Whether a step must wait, because this input and proposal are not approved.
    pub(super) fn needs_approval(
        &self,
        step: &PlannedStep,
        input: &Json,
        proposal: &Proposal,
    ) -> bool {
        let Some(approval) = &step.approval else { return false };
        let digest = approval_digest(step, input, proposal);
        !approval.is_approved(
            &self.state().step(&step.id).approval,
            &digest,
            &self.starter,
            self.clock.now(),
        )
    }

    /// Records what a step would do, so that other people can approve it.
    pub(super) async fn ask_approval(
        &mut self,
        step: &PlannedStep,
        input: Json,
        proposal: Proposal,
    ) -> Result<(), RunError> {
        let digest = approval_digest(step, &input, &proposal);
        let approval = step.approval.as_ref();
        let quorum = approval.map_or(1, |approval| approval.quorum);
        let expires = approval.and_then(|approval| approval.expires);
        let expires_ms =
            expires.map(|expires| u64::try_from(expires.as_millis()).unwrap_or(u64::MAX));
        let places = step.facts.places.clone();
        self.record(
            ApprovalEvent::Asked { digest, input, proposal, quorum, expires_ms, places }
                .of(step.id.clone()),
        )
        .await
    }

    /// What follows a rejection: never another attempt.
    fn after_rejection(&self, step: &PlannedStep) -> AfterAttempt {
        match self.after_failure(step, ErrorClass::Denied, AttemptEffect::None) {
            AfterAttempt::Continue => AfterAttempt::Continue,
            AfterAttempt::Final | AfterAttempt::Retry { .. } | AfterAttempt::Poll { .. } => {
                AfterAttempt::Final
            }
        }
    }

    /// Records an attempt that ends before any effect.
    pub(super) async fn record_refused_attempt(
        &mut self,
        step: &PlannedStep,
        attempt: u32,
        fault: Fault,
    ) -> Result<(), RunError> {
        let then = self.after_failure(step, fault.class, AttemptEffect::None);
        self.record(AttemptEvent::Refused { attempt, fault, then }.of(step.id.clone())).await
    }

    pub(super) fn after_failure(
        &self,
        step: &PlannedStep,
        class: ErrorClass,
        effect: AttemptEffect,
    ) -> AfterAttempt {
        let failures = self.state().step(&step.id).failures + 1;
        let failure = Failure { class, effect, failures, elapsed: self.elapsed(&step.id) };
        retry::after_failure(step, self.options.run, &failure)
    }

    /// Checks the limits of effects, and that the undo can be rendered. A fault means that the
    /// effect must not begin.
    pub(super) fn check_before_effect(
        &self,
        step: &PlannedStep,
        proposal: &Proposal,
    ) -> Option<Fault> {
        let mut effects = self.state().effects.clone();
        count_effects(&mut effects, proposal);
        let exceeded = self
            .plan
            .limits
            .max_effects
            .iter()
            .find(|(name, max)| effects.get(*name).is_some_and(|count| count > max));
        if let Some((name, max)) = exceeded {
            let message = format!(
                "this would be effect {} of `{name}`, and `max_effects` allows {max}",
                effects[name]
            );
            return Some(Fault::new(ErrorClass::Limit, "engine.max-effects", message));
        }
        if let Some(fault) = self.check_group_limits(step, proposal) {
            return Some(fault);
        }
        let undo = self.with_step_scope(Some(step), scope::RUNNING, |scope| {
            undo::input_before(self.operate, step, scope)
        });
        let reason = undo.err()?;
        let message = format!("it is not begun, because it could not be undone: {reason}");
        Some(Fault::new(ErrorClass::Invalid, "engine.undo-input", message))
    }

    async fn recover(&mut self, id: &StepId) -> Result<(), RunError> {
        let step = &*self.planned_step(id);
        let step_state = self.state().step(id);
        let attempt = step_state.attempts;
        let decision = match self.decisions.get(id) {
            // The repeated attempt itself finds out whether the old one still goes on.
            Some(Decision::Retry) => self.decisions.remove(id).map(Decision::recovery),
            // A `finally` step runs at least once.
            None if step.idempotent == RetrySafety::Yes || step.section == Section::Finally => {
                Some(Recovery::Repeat)
            }
            // Other decisions apply once the attempt is over, which the call finds out.
            Some(Decision::Done | Decision::NotDone | Decision::Fail) | None => None,
        };
        if let Some(decision) = decision {
            return self.record(AttemptEvent::Recovered { attempt, decision }.of(id.clone())).await;
        }
        let input = self.state().step(id).input.clone();
        let timeout = self.cleanup_time(step).unwrap_or(step.timeout);
        self.call(step, Purpose::Recover, Phase::Observe, attempt, input, timeout);
        Ok(())
    }

    async fn start_undo(&mut self, id: &StepId) -> Result<(), RunError> {
        let step = &*self.planned_step(id);
        let step_state = self.state().step(id);
        let cut_off = step_state.phase == StepPhase::Undoing;
        if cut_off && step.undo.retry_safety() == RetrySafety::No {
            let message = "its undo was cut off, and nobody can say whether it happened";
            let fault = Fault::new(ErrorClass::Unknown, "engine.undo-cut-off", message);
            return self.fail_undo(id, step_state.undo.attempts, fault).await;
        }
        let attempt = step_state.undo.attempts + 1;
        let (input, before) =
            (step_state.input.clone(), step_state.before.clone().unwrap_or(Json::Null));
        self.record(UndoEvent::Started { attempt }.of(id.clone())).await?;
        if !self.leases.check_leases_before_effect().await? {
            let result = UndoResult::Failed { fault: lease_fault() };
            let then = AfterAttempt::Retry { delay_ms: 0 };
            return self
                .record(UndoEvent::Ended { attempt, result, then, duration_ms: 0 }.of(id.clone()))
                .await;
        }
        if let Some(later) = undo::blocking_step(&self.plan, self.state(), step) {
            let message =
                format!("it is kept, because `{later}`, which depends on it, could not be undone");
            let fault = Fault::new(ErrorClass::Conflict, "engine.still-needed", message);
            return self.fail_undo(id, attempt, not_begun(fault)).await;
        }
        let Some(timeout) = self.cleanup_time(step) else {
            return self.fail_undo(id, attempt, not_begun(self.cleanup_fault())).await;
        };
        let (site, caller, phase, input) = match &step.undo {
            PlannedUndo::Explicit { id: site, facts, with, .. } => {
                match self
                    .with_step_scope(Some(step), "undo", |scope| template::render(with, scope))
                {
                    Ok(input) => {
                        (site.clone(), id.undo(), CallSequence::for_kind(facts.kind), input)
                    }
                    Err(error) => {
                        return self
                            .fail_undo(id, attempt, not_begun(template_fault("undo.with", &error)))
                            .await;
                    }
                }
            }
            PlannedUndo::Auto | PlannedUndo::NotNeeded | PlannedUndo::Irreversible { .. } => {
                (step.site.clone(), id.clone(), CallSequence::One(Phase::Undo { before }), input)
            }
        };
        let (purpose, unanswered) = (Purpose::Undo, self.unanswered(id));
        self.launch(CallRequest {
            step: id.clone(),
            site,
            caller,
            purpose,
            phase,
            attempt,
            input,
            timeout,
            unanswered,
        });
        Ok(())
    }

    async fn fail_undo(&mut self, id: &StepId, attempt: u32, fault: Fault) -> Result<(), RunError> {
        let result = UndoResult::Failed { fault };
        self.record(
            UndoEvent::Ended { attempt, result, then: AfterAttempt::Final, duration_ms: 0 }
                .of(id.clone()),
        )
        .await
    }

    fn cleanup_fault(&self) -> Fault {
        let limit = runbook_document::format_duration(self.plan.limits.cleanup_timeout);
        Fault::new(
            ErrorClass::Timeout,
            "engine.cleanup-timeout",
            format!("`cleanup_timeout` ({limit}) is over"),
        )
    }

    async fn start_undo_check(&mut self, id: &StepId) -> Result<(), RunError> {
        let step = &*self.planned_step(id);
        let Some(timeout) = self.cleanup_time(step) else {
            let fault = self.cleanup_fault();
            return self
                .record(
                    UndoEvent::Checked { finding: UndoFinding::Unknown { fault } }.of(id.clone()),
                )
                .await;
        };
        let step_state = self.state().step(id);
        let (attempt, input) = (step_state.attempts, step_state.input.clone());
        self.call(step, Purpose::ObserveAfterUndo, Phase::Observe, attempt, input, timeout);
        Ok(())
    }

    async fn start_notify(&mut self, id: &StepId, on: Trigger) -> Result<(), RunError> {
        let plan = Arc::clone(&self.plan);
        let notify = plan
            .notifies
            .iter()
            .find(|notify| notify.id == *id)
            .expect("`advance` names notifications of the plan");
        let word =
            Trigger::ALL.iter().find(|(trigger, _)| *trigger == on).map_or("", |(_, name)| *name);
        self.record(RunEvent::Notify { notify: id.clone(), on, event: NotifyEvent::NotifyStarted })
            .await?;
        if !self.leases.check_leases_before_effect().await? {
            return self
                .record(RunEvent::Notify {
                    notify: id.clone(),
                    on,
                    event: NotifyEvent::NotifyEnded { fault: Some(lease_fault()) },
                })
                .await;
        }
        match self.with_scope(word, |scope| template::render(&notify.with, scope)) {
            Ok(input) => {
                let phase = CallSequence::for_kind(notify.facts.kind);
                let (step, timeout) = (id.clone(), notify.timeout);
                self.launch(CallRequest {
                    step,
                    site: id.clone(),
                    caller: id.clone(),
                    purpose: Purpose::Notify { on },
                    phase,
                    attempt: 1,
                    input,
                    timeout,
                    unanswered: None,
                });
                Ok(())
            }
            Err(error) => {
                let fault = Some(template_fault("with", &error));
                self.record(RunEvent::Notify {
                    notify: id.clone(),
                    on,
                    event: NotifyEvent::NotifyEnded { fault },
                })
                .await
            }
        }
    }

    /// Applies what the operator decided about attempts whose outcome the run already asked for.
    pub(super) async fn apply_decisions(&mut self) -> Result<(), RunError> {
        let asked: Vec<StepId> = self
            .state()
            .steps
            .iter()
            .filter(|(_, step)| step.question.is_some())
            .map(|(id, _)| id.clone())
            .collect();
        for step in asked {
            if let Some(decision) = self.decisions.remove(&step) {
                let attempt = self.state().step(&step).attempts;
                self.record(
                    AttemptEvent::Recovered { attempt, decision: decision.recovery() }.of(step),
                )
                .await?;
            }
        }
        Ok(())
    }
}

/// The digest of what is approved: the operation, the targets with their addresses, the input, and
/// the proposal of the plugin.
fn approval_digest(step: &PlannedStep, input: &Json, proposal: &Proposal) -> String {
    let OperationFacts { digest, places, .. } = &step.facts;
    digest::json_digest(
        &serde_json::json!({ "uses": step.uses, "plugin": digest, "places": places, "input": input, "proposal": proposal }),
    )
}

/// The fault of a step whose present approval request was rejected.
fn rejection(approval: &ApprovalState) -> Option<Fault> {
    let ApprovalState { asked, answers } = approval;
    let asked = asked.as_ref()?;
    answers.iter().filter(|answer| answer.digest == asked.digest).find_map(|answer| {
        match &answer.verdict {
            ApprovalVerdict::Approved => None,
            ApprovalVerdict::Rejected { reason } => {
                let message = format!("{} rejected it: {reason}", answer.by);
                Some(Fault::new(ErrorClass::Denied, "engine.rejected", message))
            }
        }
    })
}

/// The fault of a call that was not begun, because another run may hold the lock by now.
fn lease_fault() -> Fault {
    Fault::new(
        ErrorClass::Cancelled,
        LEASE_LOST,
        "the lease on a lock was lost before it began, so it did not happen",
    )
}

/// The same fault, marked as one without an effect, because no call was made.
pub(super) fn not_begun(fault: Fault) -> Fault {
    Fault { effect: FaultEffect::None, ..fault }
}

pub(super) fn template_fault(key: &str, error: &TemplateError) -> Fault {
    Fault::new(ErrorClass::Invalid, "engine.template", format!("`{key}`: {error}"))
}
