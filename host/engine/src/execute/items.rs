//! Steps that run once for each item: a step of the plan for each, and what came of all of them.

use super::{RunError, Runner};
use crate::clock::Clock;
use crate::event::{AfterAttempt, AttemptResult, Item, ItemsEvent, Section, SkipReason};
use crate::journal::Journal;
use crate::model::{Criticality, NestedKind, OnFailure};
use crate::operate::Operate;
use crate::plan::{Plan, PlannedStep};
use crate::state::{EffectState, RunState, StepPhase, StepState};
use runbook_contract::{ErrorClass, Fault, Json, Outcome, StepId};
use std::sync::Arc;

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Writes down the items of a step: a resumed run goes through the same ones.
    pub(super) async fn list_items(
        &mut self,
        step: &PlannedStep,
        items: Vec<Item>,
    ) -> Result<(), RunError> {
        self.record(ItemsEvent::Listed { items: items.clone() }.of(step.id.clone())).await?;
        self.add_items(&step.id, &items)
    }

    /// Adds a step for each item to the plan.
    fn add_items(&mut self, step: &StepId, items: &[Item]) -> Result<(), RunError> {
        self.extend_plan(step, items)?;
        self.rebuild_frontier();
        Ok(())
    }

    /// The same where all steps are looked at afterwards.
    pub(super) fn extend_plan(&mut self, step: &StepId, items: &[Item]) -> Result<(), RunError> {
        let plan = self.plan.with_items(step, items).ok_or_else(|| {
            let what = vec![format!(
                "step `{step}` has no `for_each` any more, and its items are in the journal"
            )];
            RunError::Changed { what }
        })?;
        self.plan = Arc::new(plan);
        Ok(())
    }

    pub(super) async fn end_items(&mut self, id: &StepId) -> Result<(), RunError> {
        let result = match self.plan.groups.get(id) {
            Some(group) => group_result(self.state(), &self.plan, group.kind, id),
            None => result(self.state(), id),
        };
        let then = match (&result, self.planned(id).on_failure) {
            (AttemptResult::Failed { .. }, OnFailure::Continue) => AfterAttempt::Continue,
            (AttemptResult::Failed { .. }, OnFailure::Undo | OnFailure::Stop)
            | (AttemptResult::Succeeded { .. }, _) => AfterAttempt::Final,
        };
        self.record(ItemsEvent::Ended { result, then }.of(id.clone())).await
    }
}

/// What came of all items of a step.
fn result(state: &RunState, id: &StepId) -> AttemptResult {
    let items = state.items.get(id).map(Vec::as_slice).unwrap_or_default();
    let parts: Vec<Part<'_>> = items
        .iter()
        .map(|item| Part {
            key: &item.key,
            state: state.step(&id.item(&item.key)),
            failure: FailureMeans::Failure,
        })
        .collect();
    if parts.is_empty() {
        return succeeded(
            Outcome::Pass,
            "the list is empty: nothing to do".to_owned(),
            serde_json::Map::new(),
            &parts,
        );
    }
    joined(&parts, "item")
}

/// What came of all steps of the file that a step stands for.
fn group_result(state: &RunState, plan: &Plan, kind: NestedKind, id: &StepId) -> AttemptResult {
    let own = plan
        .steps
        .iter()
        .filter(|step| step.section == Section::Step && step.group.as_ref() == Some(id));
    // Items are parts of the step that they are items of.
    let own = own.filter(|step| step.item.is_none());
    let part = |step: &'_ Arc<PlannedStep>| {
        let found = state.step(&step.id);
        let failure = match (step.weight, found.tolerated) {
            (Some(Criticality::Minor), _) | (None, true) => FailureMeans::Warning,
            (Some(Criticality::Critical), _) | (None, false) => FailureMeans::Failure,
        };
        (step.id.as_str().rsplit('.').next().unwrap_or_default().to_owned(), found, failure)
    };
    let found: Vec<_> = own.map(part).collect();
    let parts: Vec<Part<'_>> =
        found.iter().map(|(key, state, failure)| Part { key, state, failure: *failure }).collect();
    joined(
        &parts,
        match kind {
            NestedKind::Runbook => "step",
            NestedKind::Suite => "check",
        },
    )
}

/// One of several that are judged together.
struct Part<'a> {
    key: &'a str,
    state: &'a StepState,
    failure: FailureMeans,
}

/// What the failure of a part means for the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailureMeans {
    Failure,
    Warning,
}

fn joined(parts: &[Part<'_>], noun: &str) -> AttemptResult {
    let mut output = serde_json::Map::new();
    let (mut failed, mut class, mut open, mut skipped, mut done) = (Vec::new(), None, 0, 0, 0);
    let mut outcome = Outcome::Pass;
    for part in parts {
        match part.state.phase {
            // Done by the run that this one tries again, it is done.
            StepPhase::Succeeded | StepPhase::Skipped(SkipReason::Assumed) => {
                done += 1;
                output.insert(part.key.to_owned(), part.state.output.clone().unwrap_or_default());
                outcome = outcome.max(part.state.outcome.unwrap_or(Outcome::Pass));
            }
            StepPhase::Failed(why) => {
                match part.failure {
                    FailureMeans::Failure => drop(class.get_or_insert(why)),
                    FailureMeans::Warning => outcome = outcome.max(Outcome::Warn),
                }
                failed.push(format!("`{}`", part.key));
            }
            StepPhase::Skipped(_) => skipped += 1,
            StepPhase::Pending
            | StepPhase::Repeating
            | StepPhase::Running
            | StepPhase::Asking
            | StepPhase::Waiting(_)
            | StepPhase::Unknown
            | StepPhase::Undoing
            | StepPhase::UndoWaiting(_)
            | StepPhase::Undone
            | StepPhase::UndoFailed => open += 1,
        }
    }
    let text = summary(noun, parts.len(), done, skipped, &failed, open);
    match (class, open) {
        (None, 0) => succeeded(outcome, text, output, parts),
        (class, _) => AttemptResult::Failed {
            fault: Fault::new(class.unwrap_or(ErrorClass::Cancelled), "engine.items", text),
            outcome: None,
            output: Some(Json::Object(output)),
            measurements: Vec::new(),
            cases: Vec::new(),
            may_have_left: false,
        },
    }
}

fn succeeded(
    outcome: Outcome,
    summary: String,
    output: serde_json::Map<String, Json>,
    parts: &[Part<'_>],
) -> AttemptResult {
    AttemptResult::Succeeded {
        outcome,
        summary,
        output: Json::Object(output),
        changed: parts.iter().any(|part| part.state.effect != EffectState::None),
        measurements: Vec::new(),
        cases: Vec::new(),
    }
}

/// ``3 of 5 items done, 1 skipped, 1 failed: `b` ``
fn summary(
    noun: &str,
    n_parts: usize,
    n_done: usize,
    n_skipped: usize,
    failed: &[String],
    n_open: usize,
) -> String {
    let mut parts = vec![format!("{n_done} of {n_parts} {noun}s done")];
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
