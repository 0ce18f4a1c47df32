//! The records about the end of a call, and what follows.

use super::calls::{CallCompleted, Purpose, proposal_of};
use super::scope;
use super::start::{Decision, template_fault};
use super::{RunError, Runner};
use crate::clock::Clock;
use crate::evaluate::{self, Finding};
use crate::event::{
    AfterAttempt, AttemptEvent, AttemptResult, NotifyEvent, Recovery, RunEvent, UndoEvent,
    UndoFinding, UndoPlan, UndoResult,
};
use crate::journal::Journal;
use crate::operate::{LEASE_LOST, Operate, STILL_RUNS};
use crate::plan::{PlannedPoll, PlannedStep, RetrySafety};
use crate::retry::PossibleEffect;
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
    pub(super) async fn on_completed(&mut self, completed: CallCompleted) -> Result<(), RunError> {
        let CallCompleted { step, purpose, answer, duration } = completed;
        // A failure without a clear answer, while somebody else may hold its lock, counts as cut
        // off.
        let is_lost = self.leases.lost().is_some();
        let in_doubt = |fault: &Fault| {
            is_lost && fault.effect == FaultEffect::Possible && is_ambiguous(fault.class)
        };
        let is_cut_off =
            answer.as_ref().err().is_some_and(|fault| fault.code == LEASE_LOST || in_doubt(fault));
        if is_cut_off && matches!(purpose, Purpose::Attempt | Purpose::Undo) {
            // Its intent stays without a result, as after a crash: the result is found out now or
            // by `resume`.
            self.leases.may_begin().await?;
            return Ok(());
        }
        match purpose {
            Purpose::Plan { input } => self.on_plan_completed(&step, input, answer).await,
            Purpose::Attempt => self.on_attempt_completed(&step, answer, duration).await,
            Purpose::Recover => self.on_recovery_completed(&step, answer).await,
            Purpose::Undo => self.on_undo_completed(&step, answer, duration).await,
            Purpose::ObserveAfterUndo => self.on_check_completed(&step, answer).await,
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

    /// A call has ended because the run stops at once. Only a certain result is recorded: the
    /// outcome, or that it did not happen, so that it is repeated when the run continues.
    pub(super) async fn settle_stopped(
        &mut self,
        completed: CallCompleted,
    ) -> Result<(), RunError> {
        let step = completed.step.clone();
        let acts = matches!(completed.purpose, Purpose::Attempt | Purpose::Undo);
        match (&completed.purpose, &completed.answer) {
            (Purpose::Attempt, Err(fault)) if did_not_happen(fault) => {
                let attempt = self.state().step(&step).attempts;
                self.record(
                    AttemptEvent::Recovered { attempt, decision: Recovery::DidNotHappen }.of(step),
                )
                .await
            }
            (Purpose::Undo, Err(fault)) if did_not_happen(fault) => {
                let attempt = self.state().step(&step).undo.attempts;
                let duration_ms = u64::try_from(completed.duration.as_millis()).unwrap_or(u64::MAX);
                let (result, then) = (
                    UndoResult::Failed { fault: fault.clone() },
                    AfterAttempt::Retry { delay_ms: 0 },
                );
                self.record(UndoEvent::Ended { attempt, result, then, duration_ms }.of(step)).await
            }
            (_, Err(fault)) if is_ambiguous(fault.class) => Ok(()),
            (_, Ok(_) | Err(_)) if acts => self.on_completed(completed).await,
            (_, Ok(_) | Err(_)) => Ok(()),
        }
    }

    /// The plugin has returned its plan: without an objection, the effect begins.
    async fn on_plan_completed(
        &mut self,
        id: &StepId,
        input: Json,
        answer: Result<CallReturn, Fault>,
    ) -> Result<(), RunError> {
        if self.is_stopping() {
            // Nothing has happened and nothing is in the journal: the step stays as it was.
            return Ok(());
        }
        let step = &*self.planned(id);
        let attempt = self.state().step(id).attempts + 1;
        match proposal_of(answer) {
            Err(fault) => self.refuse(step, attempt, fault).await,
            Ok(proposal) => match self.objection(step, &proposal) {
                Some(fault) => self.refuse(step, attempt, fault).await,
                None if self.must_ask(step, &input, &proposal) => {
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
        let over = self.stop_cause(self.clock.monotonic()).is_some();
        self.leases.lost().is_some() || self.is_held_back() || (in_steps && (cancelled || over))
    }

    async fn on_attempt_completed(
        &mut self,
        id: &StepId,
        answer: Result<CallReturn, Fault>,
        took: Duration,
    ) -> Result<(), RunError> {
        let step = &*self.planned(id);
        let departed = answer
            .as_ref()
            .ok()
            .and_then(|answered| departure(self.state().step(id).proposal.as_ref(), answered));
        let wrote = step.facts.kind == Kind::SmokeTest && has_written(step, &answer);
        let (answer, logs) = split_logs(answer);
        let expected = self.with_scope_of(Some(step), scope::RUNNING, |scope| {
            scope::expectations(&step.expect, scope)
        });
        let finding = answer.and_then(|answer| {
            let expected = expected.map_err(|error| template_fault("expect", &error))?;
            let mut finding = evaluate::read(answer, &expected)?;
            if let Some(departed) = departed {
                finding.outcome = finding.outcome.max(Outcome::Warn);
                finding.misses.push(departed);
            }
            finding.may_have_left &= wrote;
            if finding.may_have_left {
                finding
                    .misses
                    .push("it wrote, and did not show that it removed what it made".to_owned());
            }
            Ok(finding)
        });
        let (mut result, then) = match &step.poll {
            Some(poll) => self.judge_poll(step, poll, finding),
            None => self.evaluate_attempt(step, finding),
        };
        if let AttemptResult::Failed { outcome: None, may_have_left, .. } = &mut result {
            // It did not come to its end, so nobody has cleaned up.
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
        finding: Result<Finding, Fault>,
    ) -> (AttemptResult, AfterAttempt) {
        let result = finding.map_or_else(|fault| failed(step, fault), Finding::into_result);
        let then = match &result {
            AttemptResult::Succeeded { .. } => AfterAttempt::Final,
            AttemptResult::Failed { fault, .. } => {
                let reach = match fault.effect {
                    FaultEffect::None => PossibleEffect::Refused,
                    FaultEffect::Possible => PossibleEffect::Effects,
                };
                self.after_failure(step, fault.class, reach)
            }
        };
        (result, then)
    }

    /// One attempt of a poll. A transient fault also leads to another attempt.
    fn judge_poll(
        &self,
        step: &PlannedStep,
        poll: &PlannedPoll,
        finding: Result<Finding, Fault>,
    ) -> (AttemptResult, AfterAttempt) {
        let again = self.elapsed(&step.id) + poll.every < poll.within;
        let delay_ms = u64::try_from(poll.every.as_millis()).unwrap_or(u64::MAX);
        let finding = match finding {
            Ok(finding) => finding,
            Err(fault)
                if again
                    && matches!(
                        fault.class,
                        ErrorClass::Transient | ErrorClass::Timeout | ErrorClass::Assertion
                    ) =>
            {
                return (failed(step, fault), AfterAttempt::Poll { delay_ms });
            }
            Err(fault) => return self.evaluate_attempt(step, Err(fault)),
        };
        let holds = self.with_scope_of(Some(step), scope::RUNNING, |scope| {
            let mut locals = scope.locals.clone();
            locals.insert("outcome".to_owned(), Json::from(finding.outcome.name()));
            locals.insert("output".to_owned(), finding.output.clone());
            template::holds(&poll.until, &Scope { locals, ..scope.clone() })
        });
        match holds {
            Ok(true) => self.evaluate_attempt(step, Ok(finding)),
            Ok(false) if again => (finding.into_result(), AfterAttempt::Poll { delay_ms }),
            Ok(false) => {
                let within = runbook_document::format_duration(poll.within);
                let last = if finding.misses.is_empty() {
                    finding.summary
                } else {
                    finding.misses.join("; ")
                };
                let message = format!("`until` did not hold within {within}; at last: {last}");
                let fault = Fault::new(ErrorClass::Timeout, "engine.until", message);
                let result = AttemptResult::Failed {
                    fault,
                    outcome: Some(finding.outcome),
                    output: Some(finding.output),
                    measurements: finding.measurements,
                    cases: finding.cases,
                    may_have_left: finding.may_have_left,
                };
                let then = self.after_failure(step, ErrorClass::Cancelled, PossibleEffect::Effects);
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
        let found = self.state().step(id);
        let of_this_attempt = || found.proposal.as_ref().map(|proposal| proposal.before.clone());
        // For a step that is over, the question is whether any of its attempts happened.
        let of_the_first = || found.before.clone();
        let is_open = found.phase == StepPhase::Running;
        let before = if is_open { of_this_attempt() } else { of_the_first() }.unwrap_or(Json::Null);
        let attempt = found.attempts;
        let decided = self.decisions.remove(id).map(Decision::recovery);
        let decision = match (observation(answer), decided) {
            // Whatever was decided: it is not over.
            (Err(fault), _) if fault.code == STILL_RUNS => {
                Recovery::AskOperator { known: fault.message, before, now: None }
            }
            (_, Some(decided)) => decided,
            (Ok(_), None) if shows_nothing(&before) => {
                Recovery::AskOperator { known: NOTHING_TO_SEE.to_owned(), before, now: None }
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
                // Without an answer, or with an error as the answer, it may have happened; an undo
                // that is not idempotent is then not tried again.
                let repeatable = self.planned(id).undo.repeatable() == RetrySafety::Yes
                    || fault.effect == FaultEffect::None;
                let passing = match fault.class {
                    ErrorClass::Transient | ErrorClass::Timeout => repeatable,
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
                let then = if passing && attempt < UNDO_ATTEMPTS {
                    AfterAttempt::Retry { delay_ms }
                } else {
                    AfterAttempt::Final
                };
                (UndoResult::Failed { fault }, then)
            }
        };
        self.record(UndoEvent::Ended { attempt, result, then, duration_ms }.of(id.clone())).await
    }

    async fn on_check_completed(
        &mut self,
        id: &StepId,
        answer: Result<CallReturn, Fault>,
    ) -> Result<(), RunError> {
        let before = self.state().step(id).before.clone().unwrap_or(Json::Null);
        let finding = match observation(answer) {
            Ok(_) if shows_nothing(&before) => UndoFinding::Unknown {
                fault: Fault::new(ErrorClass::Unknown, "engine.unobservable", NOTHING_TO_SEE),
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
fn did_not_happen(fault: &Fault) -> bool {
    fault.class == ErrorClass::Cancelled && fault.effect == FaultEffect::None
}

fn failed(step: &PlannedStep, fault: Fault) -> AttemptResult {
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
        Ok(CallReturn { response: answer, logs, acted: _ }) => (Ok(answer), logs),
        Err(mut fault) => {
            let logs = std::mem::take(&mut fault.logs);
            (Err(fault), logs)
        }
    }
}

/// Whether a call has changed something, as the host counted; without an answer, whether it can
/// have.
fn has_written(step: &PlannedStep, answer: &Result<CallReturn, Fault>) -> bool {
    match answer {
        Ok(answered) => !answered.acted.is_empty(),
        Err(fault) => step.facts.writes && fault.effect == FaultEffect::Possible,
    }
}

/// What is known of an operation that its plugin cannot observe.
const NOTHING_TO_SEE: &str = "its plugin cannot observe what the operation leaves";

/// Whether a plugin says by `before` that it cannot observe the operation. The same observation
/// afterwards is then no evidence that nothing happened.
fn shows_nothing(before: &Json) -> bool {
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

/// The effects of a step that its plan did not announce. Approval and limits apply to the plan.
fn departure(proposal: Option<&Proposal>, answered: &CallReturn) -> Option<String> {
    let said = |verb: &&String| proposal?.effects.iter().find(|effect| effect.verb == **verb);
    let more: Vec<String> = answered
        .acted
        .iter()
        .filter(|verb| said(verb).is_none())
        .map(|verb| format!("`{verb}`"))
        .collect();
    let is_step = proposal.is_some();
    (is_step && !more.is_empty())
        .then(|| format!("it departed from its plan, which did not announce {}", more.join(", ")))
}

fn summary(answer: Response) -> String {
    match answer {
        Response::Completion(Completion { summary, .. })
        | Response::Report(Report { summary, .. }) => summary,
        Response::Cases(_) | Response::Proposal(_) | Response::Observation(_) => String::new(),
    }
}
