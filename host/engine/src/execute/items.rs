//! Steps that run once for each item: adds a step to the plan for each item, and combines the
//! results of all items, or of all steps of a nested file.

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
    /// Records the items of a step, so that a resumed run has the same items.
    pub(super) async fn list_items(
        &mut self,
        step: &PlannedStep,
        items: Vec<Item>,
    ) -> Result<(), RunError> {
        self.record(ItemsEvent::Listed { items: items.clone() }.of(step.id.clone())).await?;
        self.add_items(&step.id, &items)
    }

    /// Adds a step for each item to the plan, and rebuilds the frontier.
    fn add_items(&mut self, step: &StepId, items: &[Item]) -> Result<(), RunError> {
        self.extend_plan(step, items)?;
        self.rebuild_frontier();
        Ok(())
    }

    /// Adds a step for each item to the plan. The caller rebuilds the frontier afterwards.
    pub(super) fn extend_plan(&mut self, step: &StepId, items: &[Item]) -> Result<(), RunError> {
        let plan = self.plan.with_items(step, items).ok_or_else(|| {
            let differences = vec![format!(
                "step `{step}` has no `for_each` any more, and its items are in the journal"
            )];
            RunError::Changed { differences }
        })?;
        self.plan = Arc::new(plan);
        Ok(())
    }

    /// Records the combined result of the items of a step, or of the steps of its nested file.
    pub(super) async fn end_items(&mut self, id: &StepId) -> Result<(), RunError> {
        let result = match self.plan.groups.get(id) {
            Some(group) => group_result(self.state(), &self.plan, group.kind, id),
            None => items_result(self.state(), id),
        };
        let then = match (&result, self.planned_step(id).on_failure) {
            (AttemptResult::Failed { .. }, OnFailure::Continue) => AfterAttempt::Continue,
            (AttemptResult::Failed { .. }, OnFailure::Undo | OnFailure::Stop)
            | (AttemptResult::Succeeded { .. }, _) => AfterAttempt::Final,
        };
        self.record(ItemsEvent::Ended { result, then }.of(id.clone())).await
    }
}

/// The combined result of all items of a step.
fn items_result(state: &RunState, id: &StepId) -> AttemptResult {
    let items = state.items.get(id).map(Vec::as_slice).unwrap_or_default();
    let parts: Vec<GroupPart<'_>> = items
        .iter()
        .map(|item| GroupPart {
            key: &item.key,
            state: state.step(&id.item(&item.key)),
            failure: FailureSeverity::Failure,
        })
        .collect();
    if parts.is_empty() {
        return succeeded_result(
            Outcome::Pass,
            "the list is empty: nothing to do".to_owned(),
            serde_json::Map::new(),
            &parts,
        );
    }
    combined_result(&parts, "item")
}

/// The combined result of all steps of the nested file that a step stands for.
fn group_result(state: &RunState, plan: &Plan, kind: NestedKind, id: &StepId) -> AttemptResult {
    let written_in_file = plan
        .steps
        .iter()
        .filter(|step| step.section == Section::Step && step.group.as_ref() == Some(id));
    // The items of a step count as that one step.
    let members = written_in_file.filter(|step| step.item.is_none());
    let part = |step: &'_ Arc<PlannedStep>| {
        let step_state = state.step(&step.id);
        let failure = match (step.criticality, step_state.tolerated) {
            (Some(Criticality::Minor), _) | (None, true) => FailureSeverity::Warning,
            (Some(Criticality::Critical), _) | (None, false) => FailureSeverity::Failure,
        };
        (step.id.as_str().rsplit('.').next().unwrap_or_default().to_owned(), step_state, failure)
    };
    let part_states: Vec<_> = members.map(part).collect();
    let parts: Vec<GroupPart<'_>> = part_states
        .iter()
        .map(|(key, state, failure)| GroupPart { key, state, failure: *failure })
        .collect();
    combined_result(
        &parts,
        match kind {
            NestedKind::Runbook => "step",
            NestedKind::Suite => "check",
        },
    )
}

/// One item of a step, or one step of a nested file, with its state.
struct GroupPart<'a> {
    key: &'a str,
    state: &'a StepState,
    failure: FailureSeverity,
}

/// How the failure of one part counts in the combined result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailureSeverity {
    Failure,
    Warning,
}

/// `noun` is what a part is called: item, step or check.
fn combined_result(parts: &[GroupPart<'_>], noun: &str) -> AttemptResult {
    let mut output = serde_json::Map::new();
    let (mut failed, mut class, mut open, mut skipped, mut done) = (Vec::new(), None, 0, 0, 0);
    let mut outcome = Outcome::Pass;
    for part in parts {
        match part.state.phase {
            // `Assumed`: the retried run has done it.
            StepPhase::Succeeded | StepPhase::Skipped(SkipReason::Assumed) => {
                done += 1;
                output.insert(part.key.to_owned(), part.state.output.clone().unwrap_or_default());
                outcome = outcome.max(part.state.outcome.unwrap_or(Outcome::Pass));
            }
            StepPhase::Failed(error_class) => {
                match part.failure {
                    FailureSeverity::Failure => drop(class.get_or_insert(error_class)),
                    FailureSeverity::Warning => outcome = outcome.max(Outcome::Warn),
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
        (None, 0) => succeeded_result(outcome, text, output, parts),
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

fn succeeded_result(
    outcome: Outcome,
    summary: String,
    output: serde_json::Map<String, Json>,
    parts: &[GroupPart<'_>],
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
