//! Steps that run once for each item: listing the items, and what came of all of them.

use super::{RunError, Runner};
use crate::clock::Clock;
use crate::event::{AttemptResult, Item, RunEvent, Then};
use crate::ids::StepId;
use crate::journal::Journal;
use crate::model::OnFailure;
use crate::operate::{ErrorClass, Fault, Json, Operate, Outcome};
use crate::plan::{PlannedForEach, PlannedStep};
use crate::state::{RunState, StepPhase};
use std::sync::Arc;

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Computes the items of a step and writes them down: a resumed run goes through the same ones.
    pub(super) async fn list_items(
        &mut self,
        step: &PlannedStep,
        for_each: &PlannedForEach,
        attempt: u32,
    ) -> Result<(), RunError> {
        match self.with_scope("running", |scope| for_each.list(scope)) {
            Ok(items) => {
                self.record(RunEvent::ItemsListed { step: step.id.clone(), items: items.clone() }).await?;
                self.add_items(&step.id, &items)
            }
            Err(error) => self.refuse(step, attempt, error.into_fault()).await,
        }
    }

    /// Adds a step for each item to the plan.
    pub(super) fn add_items(&mut self, step: &StepId, items: &[Item]) -> Result<(), RunError> {
        let plan = self.plan.with_items(step, items).ok_or_else(|| {
            let what = vec![format!("step `{step}` has no `for_each` any more, and its items are in the journal")];
            RunError::Changed { what }
        })?;
        self.plan = Arc::new(plan);
        Ok(())
    }

    pub(super) async fn end_items(&mut self, id: &StepId) -> Result<(), RunError> {
        let result = result(self.state(), id);
        let then = match (&result, self.planned(id).on_failure) {
            (AttemptResult::Failed { .. }, OnFailure::Continue) => Then::Continue,
            (AttemptResult::Failed { .. }, OnFailure::Undo | OnFailure::Stop) | (AttemptResult::Succeeded { .. }, _) => {
                Then::Final
            }
        };
        self.record(RunEvent::ItemsEnded { step: id.clone(), result, then }).await
    }
}

/// What came of all items of a step.
fn result(state: &RunState, id: &StepId) -> AttemptResult {
    let items = state.items.get(id).map(Vec::as_slice).unwrap_or_default();
    let mut output = serde_json::Map::new();
    let (mut failed, mut class, mut open, mut skipped) = (Vec::new(), None, 0, 0);
    let mut outcome = Outcome::Pass;
    for item in items {
        let found = state.step(&id.item(&item.key));
        match found.phase {
            StepPhase::Succeeded => {
                output.insert(item.key.clone(), found.output.clone().unwrap_or_default());
                outcome = outcome.max(found.outcome.unwrap_or(Outcome::Pass));
            }
            StepPhase::Failed(why) => {
                class.get_or_insert(why);
                failed.push(format!("`{}`", item.key));
            }
            StepPhase::Skipped(_) => skipped += 1,
            StepPhase::Pending
            | StepPhase::Repeating
            | StepPhase::Running
            | StepPhase::Asking
            | StepPhase::Waiting
            | StepPhase::Unknown
            | StepPhase::Undoing
            | StepPhase::Undone
            | StepPhase::UndoFailed => open += 1,
        }
    }
    let text = summary(items.len(), output.len(), skipped, &failed, open);
    match (class, open) {
        (None, 0) => AttemptResult::Succeeded {
            outcome,
            summary: text,
            output: Json::Object(output),
            changed: items.iter().any(|item| state.step(&id.item(&item.key)).effect != crate::state::EffectState::None),
            measurements: Vec::new(),
            cases: Vec::new(),
        },
        (class, _) => AttemptResult::Failed {
            fault: Fault::new(class.unwrap_or(ErrorClass::Cancelled), "engine.items", text),
            outcome: None,
            output: Some(Json::Object(output)),
            measurements: Vec::new(),
            cases: Vec::new(),
        },
    }
}

/// ``3 of 5 items done, 1 skipped, 1 failed: `b` ``
fn summary(n_items: usize, n_done: usize, n_skipped: usize, failed: &[String], n_open: usize) -> String {
    if n_items == 0 {
        return "the list is empty: nothing to do".to_owned();
    }
    let mut parts = vec![format!("{n_done} of {n_items} items done")];
    if n_skipped > 0 {
        parts.push(format!("{n_skipped} skipped"));
    }
    if n_open > 0 {
        parts.push(format!("{n_open} not begun or not ended"));
    }
    if !failed.is_empty() {
        parts.push(format!("{} failed: {}", failed.len(), failed.join(", ")));
    }
    parts.join(", ")
}
