//! Guards: looked at again and again while the run changes things.

use super::calls::{Launch, LaunchPhase, Purpose};
use super::scope;
use super::start::template_fault;
use super::{RunError, Runner};
use crate::advance::{breach, is_held_back, is_watching};
use crate::clock::Clock;
use crate::evaluate::{self, Finding};
use crate::event::{AttemptResult, Cause, GuardEvent, Look, LookVerdict};
use crate::journal::Journal;
use crate::operate::Operate;
use crate::plan::PlannedGuard;
use crate::state::Stage;
use crate::template;
use runbook_contract::{CallReturn, Fault, Outcome, Phase, StepId};

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Looks at what a guard watches.
    pub(super) async fn start_look(&mut self, id: &StepId) -> Result<(), RunError> {
        let guard = self.guard(id);
        let look = &guard.look;
        match self
            .with_scope_of(Some(look), scope::RUNNING, |scope| template::render(&look.with, scope))
        {
            Ok(input) => {
                self.launch(Launch {
                    step: id.clone(),
                    site: id.clone(),
                    caller: id.clone(),
                    purpose: Purpose::Look,
                    phase: LaunchPhase::One(Phase::Check),
                    attempt: 1,
                    input,
                    timeout: look.timeout,
                    unanswered: None,
                });
                Ok(())
            }
            Err(error) => self.on_look_completed(id, Err(template_fault("with", &error))).await,
        }
    }

    /// What was seen. A guard that goes on holding is not written down again and again.
    pub(super) async fn on_look_completed(
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
        self.timers.rest(id, self.clock.monotonic() + guard.every);
        let look = self.evaluate_look(&guard, answer);
        let known = self.state().guards.get(id).and_then(|found| found.last.as_ref());
        let is_news = look.verdict != LookVerdict::Holds
            || known.is_none_or(|last| last.verdict != LookVerdict::Holds);
        if is_news {
            self.record(GuardEvent::GuardLooked { look }.of(id.clone())).await
        } else {
            Ok(())
        }
    }

    fn evaluate_look(&self, guard: &PlannedGuard, answer: Result<CallReturn, Fault>) -> Look {
        let expected = self.with_scope_of(Some(&guard.look), scope::RUNNING, |scope| {
            scope::expectations(&guard.look.expect, scope)
        });
        let finding = answer.and_then(|answered| {
            let expected = expected.map_err(|error| template_fault("expect", &error))?;
            evaluate::read(answered.response, &expected)
        });
        match finding.map(|finding| (finding.outcome, Finding::into_result(finding))) {
            Ok((Outcome::Pass | Outcome::Warn, AttemptResult::Succeeded { summary, .. })) => {
                Look { verdict: LookVerdict::Holds, summary }
            }
            Ok((Outcome::Fail, result)) => {
                Look { verdict: LookVerdict::Breached, summary: said(result) }
            }
            Ok((Outcome::Pass | Outcome::Warn | Outcome::Unknown, result)) => {
                Look { verdict: LookVerdict::Blind, summary: said(result) }
            }
            Err(fault) => {
                let verdict = match fault.class.verdict() {
                    Some(Outcome::Fail) => LookVerdict::Breached,
                    Some(Outcome::Pass | Outcome::Warn | Outcome::Unknown) | None => {
                        LookVerdict::Blind
                    }
                };
                Look { verdict, summary: fault.message }
            }
        }
    }

    /// The guard that ends the run now.
    pub(super) fn guard_cause(&self) -> Option<Cause> {
        let state = self
            .recorder
            .known_state()
            .filter(|state| matches!(state.stage, Stage::Steps | Stage::Verify))?;
        breach(&self.plan, state)?.cause()
    }

    /// Whether a guard keeps new effects from beginning.
    pub(super) fn is_held_back(&self) -> bool {
        self.state().stage == Stage::Steps && is_held_back(&self.plan, self.state())
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

fn said(result: AttemptResult) -> String {
    match result {
        AttemptResult::Succeeded { summary, .. } => summary,
        AttemptResult::Failed { fault, .. } => fault.message,
    }
}
