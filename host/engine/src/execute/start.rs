//! Carries out the actions that `advance` decided, each up to its call. `completion` handles the
//! result.

use super::calls::{Launch, LaunchPhase, Purpose};
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
use crate::intent::{Intent, NoIntent, intent};
use crate::journal::Journal;
use crate::operate::{LEASE_LOST, Operate};
use crate::plan::{DEFAULT_TIMEOUT, Plan, PlannedStep, PlannedUndo, RetrySafety};
use crate::retry::{self, Failure, PossibleEffect};
use crate::state::{ApprovalState, StepPhase, count_effects};
use crate::template::{self, Scope, TemplateError};
use crate::undo;
use runbook_contract::{
    Drift, ErrorClass, Fault, FaultEffect, Json, Kind, OperationFacts, Phase, Proposal, StepId,
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
    /// Every decision, with the word that is typed for it and what it means for a step.
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
    /// Carries out one action; whether anything was done.
    pub(super) async fn begin(&mut self, action: Action) -> Result<bool, RunError> {
        let event = match action {
            Action::Attempt { step } => return self.start_attempt(&step).await.map(|()| true),
            Action::Recover { step } => return self.recover(&step).await.map(|()| true),
            Action::ObserveGuard { guard } => {
                return self.start_guard_probe(&guard).await.map(|()| true);
            }
            Action::CheckWindow => return self.check_window().await.map(|_| true),
            Action::TakeLocks => return self.begin_locks().await,
            Action::Undo { step } => return self.start_undo(&step).await.map(|()| true),
            Action::CheckUndo { step } => return self.start_check(&step).await.map(|()| true),
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

    pub(super) fn planned(&self, id: &StepId) -> Arc<PlannedStep> {
        self.plan.shared(id).expect("`advance` names steps of the plan only")
    }

    /// Calls `read` with what templates see now.
    pub(super) fn with_scope<T>(&self, moment: &str, read: impl FnOnce(&Scope<'_>) -> T) -> T {
        self.with_scope_of(None, moment, read)
    }

    /// The same for the texts of a step: an item sees itself, and its own output instead of the
    /// output of all items.
    pub(super) fn with_scope_of<T>(
        &self,
        step: Option<&PlannedStep>,
        moment: &str,
        read: impl FnOnce(&Scope<'_>) -> T,
    ) -> T {
        let (plan, state): (&Plan, _) = (&self.plan, self.state());
        let group = step.and_then(|step| step.group.as_ref());
        let views = |key: &str| match step.and_then(|step| Some((step, step.item.as_ref()?))) {
            Some((step, item)) if template::template_key(&item.of) == key => {
                Some((step.id.clone(), scope::view_of(state, &step.id)))
            }
            Some(_) | None => scope::view(plan, state, key),
        };
        let params = group
            .map_or(Some(&state.params), |group| state.groups.get(group))
            .cloned()
            .unwrap_or_default();
        let cut = group.and_then(|group| state.cut.get(group)).cloned().unwrap_or_default();
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
            cut,
            run: scope::run_values(state, &facts, moment),
        }
        .read(read)
    }

    async fn start_attempt(&mut self, id: &StepId) -> Result<(), RunError> {
        let step = &*self.planned(id);
        let attempt = self.state().step(id).attempts + 1;
        let refusal = rejection(&self.state().step(id).approval);
        let intent = self.with_scope_of(Some(step), scope::RUNNING, |scope| {
            intent(&self.plan, step, attempt, refusal, scope)
        });
        match intent {
            Ok(Intent::Skip) => {
                self.record(SkipEvent::Skipped { reason: SkipReason::Condition }.of(id.clone()))
                    .await
            }
            Ok(Intent::Ask(manual)) => self.start_manual(step, manual, attempt).await,
            Ok(Intent::List(items)) => self.list_items(step, items).await,
            Ok(Intent::Open { params, cut }) => {
                self.timers.open(id, self.clock.monotonic());
                self.record(ItemsEvent::GroupBegan { params, cut }.of(id.clone())).await
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
            Err(NoIntent::Refused(fault)) => {
                let then = self.after_rejection(step);
                self.record(AttemptEvent::Refused { attempt, fault, then }.of(id.clone())).await
            }
            Err(error) => self.refuse(step, attempt, error.into_fault()).await,
        }
    }

    /// Writes the intent, then makes the call that it announces.
    pub(super) async fn start_effect(
        &mut self,
        step: &PlannedStep,
        attempt: u32,
        input: Json,
        proposal: Option<Proposal>,
    ) -> Result<(), RunError> {
        let drift = if step.approval.is_some() { Drift::Refused } else { Drift::Told };
        let phase =
            proposal.clone().map_or(Phase::Check, |proposal| Phase::Apply { proposal, drift });
        let undo = match step.undo {
            PlannedUndo::NotNeeded => UndoPlan::NotNeeded,
            PlannedUndo::Auto => UndoPlan::Auto,
            PlannedUndo::Explicit { idempotent: RetrySafety::No, .. } => UndoPlan::Explicit,
            PlannedUndo::Explicit { idempotent: RetrySafety::Yes, .. } => UndoPlan::Idempotent,
            PlannedUndo::Irreversible { .. } => UndoPlan::Irreversible,
        };
        let input_digest = digest::of_json(&input);
        let intent =
            AttemptEvent::Started { attempt, input: input.clone(), input_digest, proposal, undo }
                .of(step.id.clone());
        self.record(intent).await?;
        if !self.leases.may_begin().await? {
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
        let (id, site, phase) = (step.id.clone(), step.site.clone(), LaunchPhase::One(phase));
        self.launch(Launch {
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

    /// How long ago the last attempt of a step began, if it got no answer: what it asked for may
    /// still go on outside.
    fn unanswered(&self, step: &StepId) -> Option<Duration> {
        self.state().step(step).unanswered?;
        Some(self.timers.since_last(step, self.clock.monotonic()))
    }

    /// The same of any step of the plugin that is over: what a step plans may be about what still
    /// goes on.
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

    /// How long an undo, or a look at what a step has left, may take: as long as the step, and
    /// after an attempt without an answer long enough to wait for what may still go on. `None` if
    /// the time of the clean-up is over.
    fn cleanup_time(&self, step: &PlannedStep) -> Option<Duration> {
        let is_answered = self.state().step(&step.id).unanswered.is_none();
        let wanted = if is_answered { step.timeout } else { step.timeout.max(DEFAULT_TIMEOUT) };
        self.timers.cleanup_left(wanted, self.clock.monotonic())
    }

    /// How long an attempt that begins now may take.
    fn attempt_timeout(&self, step: &PlannedStep) -> Duration {
        self.timers.attempt_timeout(step, self.clock.monotonic())
    }

    /// Since the first attempt of a step.
    pub(super) fn elapsed(&self, step: &StepId) -> Duration {
        self.timers.elapsed(step, self.clock.monotonic())
    }

    /// Whether a step must not begin yet, because what it would do now is not approved.
    pub(super) fn must_ask(&self, step: &PlannedStep, input: &Json, proposal: &Proposal) -> bool {
        let Some(approval) = &step.approval else { return false };
        let digest = approval_digest(step, input, proposal);
        !approval.is_approved(
            &self.state().step(&step.id).approval,
            &digest,
            &self.starter,
            self.clock.now(),
        )
    }

    /// Writes down what a step would do, for others to look at.
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

    /// A rejection is never tried again.
    fn after_rejection(&self, step: &PlannedStep) -> AfterAttempt {
        match self.after_failure(step, ErrorClass::Denied, PossibleEffect::Refused) {
            AfterAttempt::Continue => AfterAttempt::Continue,
            AfterAttempt::Final | AfterAttempt::Retry { .. } | AfterAttempt::Poll { .. } => {
                AfterAttempt::Final
            }
        }
    }

    /// Records an attempt that ends before any effect.
    pub(super) async fn refuse(
        &mut self,
        step: &PlannedStep,
        attempt: u32,
        fault: Fault,
    ) -> Result<(), RunError> {
        let then = self.after_failure(step, fault.class, PossibleEffect::Refused);
        self.record(AttemptEvent::Refused { attempt, fault, then }.of(step.id.clone())).await
    }

    pub(super) fn after_failure(
        &self,
        step: &PlannedStep,
        class: ErrorClass,
        reach: PossibleEffect,
    ) -> AfterAttempt {
        let failures = self.state().step(&step.id).failures + 1;
        let failure = Failure { class, reach, failures, elapsed: self.elapsed(&step.id) };
        retry::after_failure(step, self.options.run, &failure)
    }

    /// What an effect would still have to pass before it may be announced: the blast radius, and an
    /// undo that can be rendered.
    pub(super) fn objection(&self, step: &PlannedStep, proposal: &Proposal) -> Option<Fault> {
        let mut effects = self.state().effects.clone();
        count_effects(&mut effects, proposal);
        let over = self
            .plan
            .limits
            .max_effects
            .iter()
            .find(|(name, most)| effects.get(*name).is_some_and(|count| count > most));
        if let Some((name, most)) = over {
            let message = format!(
                "this would be effect {} of `{name}`, and `max_effects` allows {most}",
                effects[name]
            );
            return Some(Fault::new(ErrorClass::Limit, "engine.max-effects", message));
        }
        if let Some(fault) = self.group_objection(step, proposal) {
            return Some(fault);
        }
        let undo = self.with_scope_of(Some(step), scope::RUNNING, |scope| {
            undo::input_before(self.operate, step, scope)
        });
        let reason = undo.err()?;
        let message = format!("it is not begun, because it could not be undone: {reason}");
        Some(Fault::new(ErrorClass::Invalid, "engine.undo-input", message))
    }

    async fn recover(&mut self, id: &StepId) -> Result<(), RunError> {
        let step = &*self.planned(id);
        let found = self.state().step(id);
        let attempt = found.attempts;
        let decision = match self.decisions.get(id) {
            // What it does again asks by itself whether the attempt still goes on.
            Some(Decision::Retry) => self.decisions.remove(id).map(Decision::recovery),
            // A `finally` step runs at least once.
            None if step.idempotent == RetrySafety::Yes || step.section == Section::Finally => {
                Some(Recovery::Repeat)
            }
            // What else was decided holds once the attempt is over, which the call finds out.
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
        let step = &*self.planned(id);
        let found = self.state().step(id);
        let cut_off = found.phase == StepPhase::Undoing;
        if cut_off && step.undo.repeatable() == RetrySafety::No {
            let message = "its undo was cut off, and nobody can say whether it happened";
            let fault = Fault::new(ErrorClass::Unknown, "engine.undo-cut-off", message);
            return self.fail_undo(id, found.undo.attempts, fault).await;
        }
        let attempt = found.undo.attempts + 1;
        let (input, before) = (found.input.clone(), found.before.clone().unwrap_or(Json::Null));
        self.record(UndoEvent::Started { attempt }.of(id.clone())).await?;
        if !self.leases.may_begin().await? {
            let result = UndoResult::Failed { fault: lease_fault() };
            let then = AfterAttempt::Retry { delay_ms: 0 };
            return self
                .record(UndoEvent::Ended { attempt, result, then, duration_ms: 0 }.of(id.clone()))
                .await;
        }
        if let Some(later) = undo::kept_by(&self.plan, self.state(), step) {
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
                match self.with_scope_of(Some(step), "undo", |scope| template::render(with, scope))
                {
                    Ok(input) => (site.clone(), id.undo(), LaunchPhase::whole(facts.kind), input),
                    Err(error) => {
                        return self
                            .fail_undo(id, attempt, not_begun(template_fault("undo.with", &error)))
                            .await;
                    }
                }
            }
            PlannedUndo::Auto | PlannedUndo::NotNeeded | PlannedUndo::Irreversible { .. } => {
                (step.site.clone(), id.clone(), LaunchPhase::One(Phase::Undo { before }), input)
            }
        };
        let (purpose, unanswered) = (Purpose::Undo, self.unanswered(id));
        self.launch(Launch {
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

    async fn start_check(&mut self, id: &StepId) -> Result<(), RunError> {
        let step = &*self.planned(id);
        let Some(timeout) = self.cleanup_time(step) else {
            let fault = self.cleanup_fault();
            return self
                .record(
                    UndoEvent::Checked { finding: UndoFinding::Unknown { fault } }.of(id.clone()),
                )
                .await;
        };
        let found = self.state().step(id);
        let (attempt, input) = (found.attempts, found.input.clone());
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
        if !self.leases.may_begin().await? {
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
                let phase = LaunchPhase::whole(notify.facts.kind);
                let (step, timeout) = (id.clone(), notify.timeout);
                self.launch(Launch {
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

/// The digest of what would be done: of the operation, where it would act, its input, and all that
/// the plugin says about it.
fn approval_digest(step: &PlannedStep, input: &Json, proposal: &Proposal) -> String {
    let OperationFacts { digest, places, .. } = &step.facts;
    digest::of_json(
        &serde_json::json!({ "uses": step.uses, "plugin": digest, "places": places, "input": input, "proposal": proposal }),
    )
}

/// Why a step was rejected, if what it asked for was.
fn rejection(approval: &ApprovalState) -> Option<Fault> {
    let ApprovalState { asked, answers } = approval;
    let asked = asked.as_ref()?;
    answers.iter().filter(|given| given.digest == asked.digest).find_map(|given| {
        match &given.verdict {
            ApprovalVerdict::Approved => None,
            ApprovalVerdict::Rejected { reason } => {
                let message = format!("{} rejected it: {reason}", given.by);
                Some(Fault::new(ErrorClass::Denied, "engine.rejected", message))
            }
        }
    })
}

/// The fault of a call that was not begun, because somebody else may hold the lock by now.
fn lease_fault() -> Fault {
    Fault::new(
        ErrorClass::Cancelled,
        LEASE_LOST,
        "the lease on a lock was lost before it began, so it did not happen",
    )
}

/// The same fault, marked as that of a call that was never made.
pub(super) fn not_begun(fault: Fault) -> Fault {
    Fault { effect: FaultEffect::None, ..fault }
}

pub(super) fn template_fault(key: &str, error: &TemplateError) -> Fault {
    Fault::new(ErrorClass::Invalid, "engine.template", format!("`{key}`: {error}"))
}
