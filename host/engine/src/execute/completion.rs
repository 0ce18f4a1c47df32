//! Handles the end of a call: records the result, and decides what follows.

use super::calls::{CompletedCall, Purpose, proposal_of};
use super::scope;
use super::start::{Decision, template_fault};
use super::{RunError, Runner};
use crate::clock::Clock;
use crate::evaluate::{self, EvaluatedResponse};
use crate::event::{
    AfterAttempt, AttemptEvent, AttemptResult, NotifyEvent, Recovery, RunEvent, UndoEvent,
    UndoFinding, UndoPlan, UndoResult,
};
use crate::journal::Journal;
use crate::operate::{LEASE_LOST, Operate, STILL_RUNS};
use crate::plan::{PlannedPoll, PlannedStep, RetrySafety};
use crate::retry::AttemptEffect;
use crate::state::{StepPhase, is_ambiguous};
use crate::template::{self, Scope};
use runbook_contract::{
    CallReturn, Completion, ErrorClass, Fault, FaultEffect, Json, Kind, LogLine, Outcome, Proposal,
    Report, Response, StepId,
};
use std::time::Duration;

/// How often an undo is tried after transient faults.
const UNDO_ATTEMPTS: u32 = 3;
/// The delay before the second try of an undo, in milliseconds. It doubles before the third.
const UNDO_DELAY_MS: u64 = 1_000;

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    pub(super) async fn on_completed(&mut self, completed: CompletedCall) -> Result<(), RunError> {
        let CompletedCall { step, purpose, answer, duration } = completed;
        // A fault with an unknown effect counts as a call that was cut off while another run may
        // hold the lock.
        let is_lost = self.leases.lost().is_some();
        let is_in_doubt = |fault: &Fault| {
            is_lost && fault.effect == FaultEffect::Possible && is_ambiguous(fault.class)
        };
        let is_cut_off = answer
            .as_ref()
            .err()
            .is_some_and(|fault| fault.code == LEASE_LOST || is_in_doubt(fault));
        if is_cut_off && matches!(purpose, Purpose::Attempt | Purpose::Undo) {
            // The intent stays without a result, as after a crash. The recovery finds out the
            // result, now or after `resume`.
            self.leases.check_leases_before_effect().await?;
            return Ok(());
        }
        match purpose {
            Purpose::Plan { input } => self.on_plan_completed(&step, input, answer).await,
            Purpose::Attempt => self.on_attempt_completed(&step, answer, duration).await,
            Purpose::Recover => self.on_recovery_completed(&step, answer).await,
            Purpose::Undo => self.on_undo_completed(&step, answer, duration).await,
            Purpose::ObserveAfterUndo => self.on_undo_check_completed(&step, answer).await,
            Purpose::ObserveGuard => self.on_guard_probe_completed(&step, answer).await,
            Purpose::Notify { on } => {
                self.record(RunEvent::Notify {
                    notify: step,
                    on,
                    event: NotifyEvent::NotifyEnded { fault: answer.err() },
                })
                .await
            }
        }
    }

    /// Records the result of a call that ended because the run stops at once, if that result is
    /// certain: its outcome, or that it did not happen, so that it is repeated when the run
    /// continues.
    pub(super) async fn record_stopped_call(
        &mut self,
        completed: CompletedCall,
    ) -> Result<(), RunError> {
        let step = completed.step.clone();
        let may_change = matches!(completed.purpose, Purpose::Attempt | Purpose::Undo);
        match (&completed.purpose, &completed.answer) {
            (Purpose::Attempt, Err(fault)) if is_certainly_without_effect(fault) => {
                let attempt = self.state().step(&step).attempts;
                self.record(
                    AttemptEvent::Recovered { attempt, decision: Recovery::DidNotHappen }.of(step),
                )
                .await
            }
            (Purpose::Undo, Err(fault)) if is_certainly_without_effect(fault) => {
                let attempt = self.state().step(&step).undo.attempts;
                let duration_ms = u64::try_from(completed.duration.as_millis()).unwrap_or(u64::MAX);
                let (result, then) = (
                    UndoResult::Failed { fault: fault.clone() },
                    AfterAttempt::Retry { delay_ms: 0 },
                );
                self.record(UndoEvent::Ended { attempt, result, then, duration_ms }.of(step)).await
            }
            (_, Err(fault)) if is_ambiguous(fault.class) => Ok(()),
            (_, Ok(_) | Err(_)) if may_change => self.on_completed(completed).await,
            (_, Ok(_) | Err(_)) => Ok(()),
        }
    }

    /// The plugin has returned its plan. If all checks pass, the effect begins.
    async fn on_plan_completed(
        &mut self,
        id: &StepId,
        input: Json,
        answer: Result<CallReturn, Fault>,
    ) -> Result<(), RunError> {
        if self.is_stopping() {
            // Planning has no effect and no record, so the state of the step does not change.
            return Ok(());
        }
        let step = &*self.planned_step(id);
        let attempt = self.state().step(id).attempts + 1;
        match proposal_of(answer) {
            Err(fault) => self.record_refused_attempt(step, attempt, fault).await,
            Ok(proposal) => match self.check_before_effect(step, &proposal) {
                Some(fault) => self.record_refused_attempt(step, attempt, fault).await,
                None if self.needs_approval(step, &input, &proposal) => {
                    self.ask_approval(step, input, proposal).await
                }
                None => self.start_effect(step, attempt, input, Some(proposal)).await,
            },
        }
    }

    /// Whether no new effect may begin.
    fn is_stopping(&self) -> bool {
        let cancelled = self.options.cancel.level() > crate::cancel::CancelLevel::None;
        let in_steps = self.state().stage < crate::state::Stage::Undo;
        let must_stop = self.stop_cause(self.clock.monotonic()).is_some();
        self.leases.lost().is_some()
            || self.is_any_guard_blocking()
            || (in_steps && (cancelled || must_stop))
    }

    async fn on_attempt_completed(
        &mut self,
        id: &StepId,
        answer: Result<CallReturn, Fault>,
        took: Duration,
    ) -> Result<(), RunError> {
        let step = &*self.planned_step(id);
        let unplanned = answer.as_ref().ok().and_then(|answered| {
            unplanned_effects(self.state().step(id).proposal.as_ref(), answered)
        });
        let wrote = step.facts.kind == Kind::SmokeTest && has_written(step, &answer);
        let (answer, logs) = split_logs(answer);
        let expected = self.with_step_scope(Some(step), scope::RUNNING, |scope| {
            scope::expectations(&step.expect, scope)
        });
        let evaluated = answer.and_then(|answer| {
            let expected = expected.map_err(|error| template_fault("expect", &error))?;
            let mut evaluated = evaluate::evaluate_response(answer, &expected)?;
            if let Some(unplanned) = unplanned {
                evaluated.outcome = evaluated.outcome.max(Outcome::Warn);
                evaluated.problems.push(unplanned);
            }
            evaluated.may_have_left &= wrote;
            if evaluated.may_have_left {
                evaluated
                    .problems
                    .push("it wrote, and did not show that it removed what it made".to_owned());
            }
            Ok(evaluated)
        });
        let (mut result, then) = match &step.poll {
            Some(poll) => self.judge_poll(step, poll, evaluated),
            None => self.evaluate_attempt(step, evaluated),
        };
        if let AttemptResult::Failed { outcome: None, may_have_left, .. } = &mut result {
            // The smoke test did not end, so it has not cleaned up.
            *may_have_left = wrote;
        }
        let attempt = self.state().step(id).attempts;
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.record(AttemptEvent::Ended { attempt, result, then, duration_ms, logs }.of(id.clone()))
            .await
    }

    fn evaluate_attempt(
        &self,
        step: &PlannedStep,
        evaluated: Result<EvaluatedResponse, Fault>,
    ) -> (AttemptResult, AfterAttempt) {
        let result = evaluated
            .map_or_else(|fault| failed_result(step, fault), EvaluatedResponse::into_result);
        let then = match &result {
            AttemptResult::Succeeded { .. } => AfterAttempt::Final,
            AttemptResult::Failed { fault, .. } => {
                let effect = match fault.effect {
                    FaultEffect::None => AttemptEffect::None,
                    FaultEffect::Possible => AttemptEffect::Possible,
                };
                self.after_failure(step, fault.class, effect)
            }
        };
        (result, then)
    }

    /// One attempt of a poll. A transient fault also leads to another attempt.
    fn judge_poll(
        &self,
        step: &PlannedStep,
        poll: &PlannedPoll,
        evaluated: Result<EvaluatedResponse, Fault>,
    ) -> (AttemptResult, AfterAttempt) {
        let may_poll_again = self.elapsed(&step.id) + poll.every < poll.within;
        let delay_ms = u64::try_from(poll.every.as_millis()).unwrap_or(u64::MAX);
        let evaluated = match evaluated {
            Ok(evaluated) => evaluated,
            Err(fault)
                if may_poll_again
                    && matches!(
                        fault.class,
                        ErrorClass::Transient | ErrorClass::Timeout | ErrorClass::Assertion
                    ) =>
            {
                return (failed_result(step, fault), AfterAttempt::Poll { delay_ms });
            }
            Err(fault) => return self.evaluate_attempt(step, Err(fault)),
        };
        let holds = self.with_step_scope(Some(step), scope::RUNNING, |scope| {
            let mut locals = scope.locals.clone();
            locals.insert("outcome".to_owned(), Json::from(evaluated.outcome.name()));
            locals.insert("output".to_owned(), evaluated.output.clone());
            template::holds(&poll.until, &Scope { locals, ..scope.clone() })
        });
        match holds {
            Ok(true) => self.evaluate_attempt(step, Ok(evaluated)),
            Ok(false) if may_poll_again => {
                (evaluated.into_result(), AfterAttempt::Poll { delay_ms })
            }
            Ok(false) => {
                let within = runbook_document::format_duration(poll.within);
                let last = if evaluated.problems.is_empty() {
                    evaluated.summary
                } else {
                    evaluated.problems.join("; ")
                };
                let message = format!("`until` did not hold within {within}; at last: {last}");
                let fault = Fault::new(ErrorClass::Timeout, "engine.until", message);
                let result = AttemptResult::Failed {
                    fault,
                    outcome: Some(evaluated.outcome),
                    output: Some(evaluated.output),
                    measurements: evaluated.measurements,
                    cases: evaluated.cases,
                    may_have_left: evaluated.may_have_left,
                };
                let then = self.after_failure(step, ErrorClass::Cancelled, AttemptEffect::Possible);
                (result, then)
            }
            Err(error) => self.evaluate_attempt(step, Err(template_fault("until", &error))),
        }
    }

    async fn on_recovery_completed(
        &mut self,
        id: &StepId,
        answer: Result<CallReturn, Fault>,
    ) -> Result<(), RunError> {
        let step_state = self.state().step(id);
        let before_this_attempt =
            || step_state.proposal.as_ref().map(|proposal| proposal.before.clone());
        // For a step that is over, the question is whether any of its attempts took effect.
        let before_first_attempt = || step_state.before.clone();
        let is_open = step_state.phase == StepPhase::Running;
        let before = if is_open { before_this_attempt() } else { before_first_attempt() }
            .unwrap_or(Json::Null);
        let attempt = step_state.attempts;
        let operator_decision = self.decisions.remove(id).map(Decision::recovery);
        let decision = match (observation(answer), operator_decision) {
            // The attempt still runs, so no decision about it applies yet.
            (Err(fault), _) if fault.code == STILL_RUNS => {
                Recovery::AskOperator { known: fault.message, before, now: None }
            }
            (_, Some(operator_decision)) => operator_decision,
            (Ok(_), None) if is_unobservable(&before) => {
                Recovery::AskOperator { known: UNOBSERVABLE.to_owned(), before, now: None }
            }
            (Ok(now), None) if now == before => Recovery::DidNotHappen,
            (Ok(now), None) => {
                let known =
                    "what is there now differs from what was there before the attempt".to_owned();
                Recovery::AskOperator { known, before, now: Some(now) }
            }
            (Err(fault), None) => {
                let known = format!("what is there now could not be observed: {}", fault.message);
                Recovery::AskOperator { known, before, now: None }
            }
        };
        self.record(AttemptEvent::Recovered { attempt, decision }.of(id.clone())).await
    }

    async fn on_undo_completed(
        &mut self,
        id: &StepId,
        answer: Result<CallReturn, Fault>,
        took: Duration,
    ) -> Result<(), RunError> {
        let attempt = self.state().step(id).undo.attempts;
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (result, then) = match answer {
            Ok(answered) => {
                (UndoResult::Done { summary: summary(answered.response) }, AfterAttempt::Final)
            }
            Err(fault) => {
                // After an error or without an answer, the undo may have happened. An undo that is
                // not idempotent is then not tried again.
                let may_repeat = self.planned_step(id).undo.retry_safety() == RetrySafety::Yes
                    || fault.effect == FaultEffect::None;
                let may_try_again = match fault.class {
                    ErrorClass::Transient | ErrorClass::Timeout => may_repeat,
                    ErrorClass::Invalid
                    | ErrorClass::Denied
                    | ErrorClass::NotFound
                    | ErrorClass::Conflict
                    | ErrorClass::Limit
                    | ErrorClass::Assertion
                    | ErrorClass::Trap
                    | ErrorClass::Cancelled
                    | ErrorClass::Unknown => false,
                };
                let delay_ms = UNDO_DELAY_MS << attempt.min(10).saturating_sub(1);
                let then = if may_try_again && attempt < UNDO_ATTEMPTS {
                    AfterAttempt::Retry { delay_ms }
                } else {
                    AfterAttempt::Final
                };
                (UndoResult::Failed { fault }, then)
            }
        };
        self.record(UndoEvent::Ended { attempt, result, then, duration_ms }.of(id.clone())).await
    }

    async fn on_undo_check_completed(
        &mut self,
        id: &StepId,
        answer: Result<CallReturn, Fault>,
    ) -> Result<(), RunError> {
        let before = self.state().step(id).before.clone().unwrap_or(Json::Null);
        let finding = match observation(answer) {
            Ok(_) if is_unobservable(&before) => UndoFinding::Unknown {
                fault: Fault::new(ErrorClass::Unknown, "engine.unobservable", UNOBSERVABLE),
            },
            Ok(now) if now == before => UndoFinding::Restored,
            Ok(now) if self.state().step(id).undo.plan == UndoPlan::Irreversible => {
                UndoFinding::TookEffect { before, now }
            }
            Ok(now) => UndoFinding::Drifted { before, now },
            Err(fault) => UndoFinding::Unknown { fault },
        };
        self.record(UndoEvent::Checked { finding }.of(id.clone())).await
    }
}

/// Whether a call was stopped before anything of it was made final.
fn is_certainly_without_effect(fault: &Fault) -> bool {
    fault.class == ErrorClass::Cancelled && fault.effect == FaultEffect::None
}

fn failed_result(step: &PlannedStep, fault: Fault) -> AttemptResult {
    let outcome = match step.facts.kind {
        Kind::Probe => fault.class.verdict(),
        Kind::SmokeTest | Kind::Step => None,
    };
    AttemptResult::Failed {
        fault,
        outcome,
        output: None,
        measurements: Vec::new(),
        cases: Vec::new(),
        may_have_left: false,
    }
}

fn split_logs(answer: Result<CallReturn, Fault>) -> (Result<Response, Fault>, Vec<LogLine>) {
    match answer {
        Ok(CallReturn { response: answer, logs, changing_verbs: _ }) => (Ok(answer), logs),
        Err(mut fault) => {
            let logs = std::mem::take(&mut fault.logs);
            (Err(fault), logs)
        }
    }
}

/// Whether a call has changed something, as the host counted; without an answer, whether it may
/// have.
fn has_written(step: &PlannedStep, answer: &Result<CallReturn, Fault>) -> bool {
    match answer {
        Ok(answered) => !answered.changing_verbs.is_empty(),
        Err(fault) => step.facts.writes && fault.effect == FaultEffect::Possible,
    }
}

/// The message about an operation whose effect its plugin cannot observe.
const UNOBSERVABLE: &str = "its plugin cannot observe what the operation leaves";

/// Whether the plugin cannot observe the operation, which it says by a `before` of null. An equal
/// observation afterwards is then no evidence that nothing happened.
fn is_unobservable(before: &Json) -> bool {
    before.is_null()
}

fn observation(answer: Result<CallReturn, Fault>) -> Result<Json, Fault> {
    match answer?.response {
        Response::Observation(now) => Ok(now),
        Response::Report(_)
        | Response::Cases(_)
        | Response::Proposal(_)
        | Response::Completion(_) => Err(evaluate::unexpected_response("no observation")),
    }
}

/// A message about the effects of a step that its proposal did not contain: approval and limits
/// were applied to the proposal only. `None` if there are no such effects.
fn unplanned_effects(proposal: Option<&Proposal>, answered: &CallReturn) -> Option<String> {
    let find_proposed =
        |verb: &&String| proposal?.effects.iter().find(|effect| effect.verb == **verb);
    let unplanned_verbs: Vec<String> = answered
        .changing_verbs
        .iter()
        .filter(|verb| find_proposed(verb).is_none())
        .map(|verb| format!("`{verb}`"))
        .collect();
    let is_step = proposal.is_some();
    (is_step && !unplanned_verbs.is_empty()).then(|| {
        format!("it departed from its plan, which did not announce {}", unplanned_verbs.join(", "))
    })
}

fn summary(answer: Response) -> String {
    match answer {
        Response::Completion(Completion { summary, .. })
        | Response::Report(Report { summary, .. }) => summary,
        Response::Cases(_) | Response::Proposal(_) | Response::Observation(_) => String::new(),
    }
}
