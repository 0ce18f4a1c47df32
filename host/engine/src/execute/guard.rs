//! Guards: probes that are repeated while steps run.

use super::calls::{CallRequest, CallSequence, Purpose};
use super::scope;
use super::start::template_fault;
use super::{RunError, Runner};
use crate::advance::{breach, is_any_guard_blocking, is_watching};
use crate::clock::Clock;
use crate::evaluate::{self, EvaluatedResponse};
use crate::event::{AttemptResult, Cause, GuardEvent, GuardObservation, GuardVerdict};
use crate::journal::Journal;
use crate::operate::Operate;
use crate::plan::PlannedGuard;
use crate::state::Stage;
use crate::template;
use runbook_contract::{CallReturn, Fault, Outcome, Phase, StepId};

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Starts the probe of a guard.
    pub(super) async fn start_guard_probe(&mut self, id: &StepId) -> Result<(), RunError> {
        let guard = self.guard(id);
        let probe = &guard.probe;
        match self.with_step_scope(Some(probe), scope::RUNNING, |scope| {
            template::render(&probe.with, scope)
        }) {
            Ok(input) => {
                self.launch(CallRequest {
                    step: id.clone(),
                    site: id.clone(),
                    caller: id.clone(),
                    purpose: Purpose::ObserveGuard,
                    phase: CallSequence::One(Phase::Check),
                    attempt: 1,
                    input,
                    timeout: probe.timeout,
                    unanswered: None,
                });
                Ok(())
            }
            Err(error) => {
                self.on_guard_probe_completed(id, Err(template_fault("with", &error))).await
            }
        }
    }

    /// Records the result of a probe. If the condition holds as before, nothing is recorded.
    pub(super) async fn on_guard_probe_completed(
        &mut self,
        id: &StepId,
        answer: Result<CallReturn, Fault>,
    ) -> Result<(), RunError> {
        if !matches!(self.state().stage, Stage::Steps | Stage::Verify) {
            return Ok(());
        }
        let guard = self.guard(id);
        if !is_watching(&guard, self.state()) {
            return Ok(());
        }
        self.timers.set_due(id, self.clock.monotonic() + guard.every);
        let observation = self.evaluate_guard_probe(&guard, answer);
        let last_recorded = self.state().guards.get(id).and_then(|guard| guard.last.as_ref());
        let is_new = observation.verdict != GuardVerdict::Holds
            || last_recorded.is_none_or(|last| last.verdict != GuardVerdict::Holds);
        if is_new {
            self.record(GuardEvent::GuardObserved { observation }.of(id.clone())).await
        } else {
            Ok(())
        }
    }

    fn evaluate_guard_probe(
        &self,
        guard: &PlannedGuard,
        answer: Result<CallReturn, Fault>,
    ) -> GuardObservation {
        let expected = self.with_step_scope(Some(&guard.probe), scope::RUNNING, |scope| {
            scope::expectations(&guard.probe.expect, scope)
        });
        let evaluated = answer.and_then(|answered| {
            let expected = expected.map_err(|error| template_fault("expect", &error))?;
            evaluate::evaluate_response(answered.response, &expected)
        });
        match evaluated
            .map(|evaluated| (evaluated.outcome, EvaluatedResponse::into_result(evaluated)))
        {
            Ok((Outcome::Pass | Outcome::Warn, AttemptResult::Succeeded { summary, .. })) => {
                GuardObservation { verdict: GuardVerdict::Holds, summary }
            }
            Ok((Outcome::Fail, result)) => GuardObservation {
                verdict: GuardVerdict::Breached,
                summary: result_summary(result),
            },
            Ok((Outcome::Pass | Outcome::Warn | Outcome::Unknown, result)) => {
                GuardObservation { verdict: GuardVerdict::Blind, summary: result_summary(result) }
            }
            Err(fault) => {
                let verdict = match fault.class.verdict() {
                    Some(Outcome::Fail) => GuardVerdict::Breached,
                    Some(Outcome::Pass | Outcome::Warn | Outcome::Unknown) | None => {
                        GuardVerdict::Blind
                    }
                };
                GuardObservation { verdict, summary: fault.message }
            }
        }
    }

    /// The cause if a breached guard ends the run now.
    pub(super) fn guard_cause(&self) -> Option<Cause> {
        let state = self
            .recorder
            .state_if_loaded()
            .filter(|state| matches!(state.stage, Stage::Steps | Stage::Verify))?;
        breach(&self.plan, state)?.cause()
    }

    /// Whether no new effect may begin because of a guard.
    pub(super) fn is_any_guard_blocking(&self) -> bool {
        self.state().stage == Stage::Steps && is_any_guard_blocking(&self.plan, self.state())
    }

    fn guard(&self, id: &StepId) -> PlannedGuard {
        self.plan
            .guards
            .iter()
            .find(|guard| guard.id() == id)
            .expect("`advance` names guards of the plan only")
            .clone()
    }
}

fn result_summary(result: AttemptResult) -> String {
    match result {
        AttemptResult::Succeeded { summary, .. } => summary,
        AttemptResult::Failed { fault, .. } => fault.message,
    }
}
