//! Manual steps: asks the person, waits for the answer, records it.

use super::{RunError, Runner, scope};
use crate::clock::Clock;
use crate::digest;
use crate::event::{AfterAttempt, AttemptEvent, AttemptResult, ManualEvent, UndoPlan};
use crate::journal::Journal;
use crate::model::Manual;
use crate::operate::Operate;
use crate::plan::PlannedStep;
use crate::state::ManualAnswer;
use crate::template;
use runbook_contract::{ErrorClass, Fault, Json, Outcome};

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    pub(super) async fn start_manual(
        &mut self,
        step: &PlannedStep,
        manual: &Manual,
        attempt: u32,
    ) -> Result<(), RunError> {
        let step_state = self.state().step(&step.id);
        if let Some(ManualAnswer { by, values }) = step_state.manual_answer().cloned() {
            return self.end_manual(step, attempt, &by, values).await;
        }
        if let Some(timeout) = manual.timeout.filter(|_| self.is_overdue(step)) {
            let message =
                format!("nobody answered within {}", runbook_document::format_duration(timeout));
            return self
                .record_refused_attempt(
                    step,
                    attempt,
                    Fault::new(ErrorClass::Timeout, "engine.manual", message),
                )
                .await;
        }
        let instructions = Json::from(manual.instructions.value.as_str());
        match self.with_step_scope(Some(step), scope::RUNNING, |scope| {
            template::render(&instructions, scope)
        }) {
            Ok(text) => {
                let instructions = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
                self.record(
                    ManualEvent::Asked { instructions, options: manual.options() }
                        .of(step.id.clone()),
                )
                .await
            }
            Err(error) => {
                self.record_refused_attempt(
                    step,
                    attempt,
                    super::start::template_fault("manual.instructions", &error),
                )
                .await
            }
        }
    }

    /// Whether the timeout of a manual step is over.
    pub(super) fn is_overdue(&self, step: &PlannedStep) -> bool {
        let asked = self.state().step(&step.id).manual.as_ref().map(|manual| manual.asked);
        let timeout = step.manual.as_ref().and_then(|manual| manual.timeout);
        asked.zip(timeout).is_some_and(|(asked, timeout)| {
            self.clock.now().duration_since(asked).unsigned_abs() > timeout
        })
    }

    /// Records the start and the end of the attempt. If a crash leaves only the first record,
    /// `resume` writes the second.
    async fn end_manual(
        &mut self,
        step: &PlannedStep,
        attempt: u32,
        by: &str,
        values: Json,
    ) -> Result<(), RunError> {
        let input = Json::Object(serde_json::Map::new());
        let input_digest = digest::json_digest(&input);
        let undo = UndoPlan::NotNeeded;
        let id = || step.id.clone();
        self.record(
            AttemptEvent::Started { attempt, input, input_digest, proposal: None, undo }.of(id()),
        )
        .await?;
        let result = AttemptResult::Succeeded {
            outcome: Outcome::Pass,
            summary: format!("done by {by}"),
            output: values,
            changed: false,
            measurements: Vec::new(),
            cases: Vec::new(),
        };
        self.record(
            AttemptEvent::Ended {
                attempt,
                result,
                then: AfterAttempt::Final,
                duration_ms: 0,
                logs: Vec::new(),
            }
            .of(id()),
        )
        .await
    }
}
