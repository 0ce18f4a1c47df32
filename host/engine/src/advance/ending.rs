//! How a run ends: undo, `finally` and notifications.

use super::{
    Action, OutsideFacts, View, attempts, pause_actions, pending_notify, unreachable_steps,
};
use crate::event::{Cause, PauseReason, RunEnd, Section, SkipReason};
use crate::state::StepPhase;
use crate::undo;
use runbook_contract::StepId;

/// The action that ends a run with this cause: the undo if the runbook asks for one, or else
/// `finally`.
pub(super) fn ending_action(view: &View<'_>, cause: Cause) -> Action {
    let (plan, state) = (view.plan, view.state);
    if !undo::is_configured_for(plan, &cause) {
        let end = if state.took_effect() {
            undo::end_without_undo()
        } else {
            undo::end_without_changes(&cause)
        };
        return Action::BeginFinally { end, cause: Some(cause) };
    }
    let order = undo::order(state);
    if order.is_empty() && view.frontier.unchecked().next().is_none() {
        return Action::BeginFinally {
            end: undo::end_after_undo(state, &cause),
            cause: Some(cause),
        };
    }
    Action::BeginUndo { cause, order }
}

pub(super) fn undo_actions(view: &View<'_>, facts: &OutsideFacts<'_>) -> Vec<Action> {
    let (state, frontier) = (view.state, view.frontier);
    if !facts.pending.is_empty() {
        return Vec::new();
    }
    let Some(undo_state) = &state.undo else {
        return vec![Action::BeginUndo { cause: Cause::Requested, order: undo::order(state) }];
    };
    let id = |position: usize| view.plan.steps[position].id.clone();
    // Observed before the next undo: undoing an earlier step must not be taken for drift of this
    // one (a container that was stopped and started is stopped by the undo of the start, and
    // started by the undo of the stop).
    let undone =
        frontier.unchecked().filter(|position| frontier.phase(*position) == StepPhase::Undone);
    let next = undone.filter_map(|position| Some((frontier.undo_index(position)?, position))).min();
    if let Some((_, position)) = next {
        return vec![Action::CheckUndo { step: id(position) }];
    }
    if let Some(first) = frontier.to_undo().next() {
        let is_unclear =
            |position: &usize| undo::needs_decision(&view.plan.steps[*position], state);
        if is_unclear(&first) {
            return ask_before_undo(view, frontier.to_undo().filter(is_unclear).map(id).collect());
        }
        let step = id(first);
        let due = (facts.is_due)(&step) || facts.cleanup_timed_out;
        return if due { vec![Action::Undo { step }] } else { Vec::new() };
    }
    if let Some(position) = frontier.unchecked().next() {
        return vec![Action::CheckUndo { step: id(position) }];
    }
    vec![Action::BeginFinally {
        end: undo::end_after_undo(state, &undo_state.cause),
        cause: Some(undo_state.cause.clone()),
    }]
}

/// Observes the steps whose undo needs a decision. Once all are observed, pauses to ask a person
/// about all of them at once.
fn ask_before_undo(view: &View<'_>, unclear: Vec<StepId>) -> Vec<Action> {
    let is_asked = |step: &&StepId| view.state.step(step).question.is_some();
    let observations: Vec<Action> = unclear
        .iter()
        .filter(|step| !is_asked(step))
        .map(|step| Action::Recover { step: step.clone() })
        .collect();
    if observations.is_empty() {
        pause_actions(view, PauseReason::UnknownOutcome { steps: unclear })
    } else {
        observations
    }
}

pub(super) fn finally_actions(view: &View<'_>, facts: &OutsideFacts<'_>) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    if !facts.pending.is_empty() {
        return Vec::new();
    }
    let unreachable_steps = unreachable_steps(view, Section::Finally);
    if !unreachable_steps.is_empty() {
        return unreachable_steps;
    }
    if !view.all_settled(Section::Finally) {
        return if facts.cleanup_timed_out {
            skip_rest(view)
        } else {
            attempts(view, facts, Section::Finally)
        };
    }
    let provisional = state.end.unwrap_or(RunEnd::Dirty);
    let end = undo::final_end(plan, state, provisional);
    if let Some(notify) = pending_notify(plan, state, undo::trigger(end)) {
        return vec![notify];
    }
    vec![Action::End { end, cause: state.cause.clone() }]
}

fn skip_rest(view: &View<'_>) -> Vec<Action> {
    let unsettled = view
        .plan
        .section(Section::Finally)
        .filter(|step| !view.state.step(&step.id).phase.is_settled());
    unsettled
        .map(|step| Action::Skip { step: step.id.clone(), reason: SkipReason::TimeIsUp })
        .collect()
}
