//! How a run ends: undo, `finally` and notifications.

use super::{Action, Observed, View, attempts, out_of_reach, pausing, pending_notify};
use crate::event::{Cause, PauseReason, RunEnd, Section, SkipReason};
use crate::state::StepPhase;
use crate::undo;
use runbook_contract::StepId;

/// Decides whether to undo for this cause, as the runbook says.
pub(super) fn ending(view: &View<'_>, cause: Cause) -> Action {
    let (plan, state) = (view.plan, view.state);
    if !undo::is_wanted(plan, &cause) {
        let end = if state.has_effects() { undo::left_as_it_is() } else { undo::untouched(&cause) };
        return Action::BeginFinally { end, cause: Some(cause) };
    }
    let order = undo::order(state);
    if order.is_empty() && view.frontier.unchecked().next().is_none() {
        return Action::BeginFinally { end: undo::end(state, &cause), cause: Some(cause) };
    }
    Action::BeginUndo { cause, order }
}

pub(super) fn undo_stage(view: &View<'_>, observed: &Observed<'_>) -> Vec<Action> {
    let (state, frontier) = (view.state, view.frontier);
    if !observed.pending.is_empty() {
        return Vec::new();
    }
    let Some(run) = &state.undo else {
        return vec![Action::BeginUndo { cause: Cause::Requested, order: undo::order(state) }];
    };
    let id = |position: usize| view.plan.steps[position].id.clone();
    // Observed before the next undo: undoing an earlier step must not be taken for drift of this
    // one (a container that was stopped and started is stopped by the undo of the start, and
    // started by the undo of the stop).
    let undone =
        frontier.unchecked().filter(|position| frontier.phase(*position) == StepPhase::Undone);
    let next = undone.filter_map(|position| Some((frontier.undo_place(position)?, position))).min();
    if let Some((_, position)) = next {
        return vec![Action::CheckUndo { step: id(position) }];
    }
    if let Some(first) = frontier.to_undo().next() {
        let is_unclear = |position: &usize| undo::is_guess(&view.plan.steps[*position], state);
        if is_unclear(&first) {
            return ask_before_undo(view, frontier.to_undo().filter(is_unclear).map(id).collect());
        }
        let step = id(first);
        let due = (observed.is_due)(&step) || observed.cleanup_expired;
        return if due { vec![Action::Undo { step }] } else { Vec::new() };
    }
    if let Some(position) = frontier.unchecked().next() {
        return vec![Action::CheckUndo { step: id(position) }];
    }
    vec![Action::BeginFinally { end: undo::end(state, &run.cause), cause: Some(run.cause.clone()) }]
}

/// Steps whose undo would be a guess are observed. For those that remain unknown, a person is asked
/// about all of them at once.
fn ask_before_undo(view: &View<'_>, unclear: Vec<StepId>) -> Vec<Action> {
    let is_asked = |step: &&StepId| view.state.step(step).question.is_some();
    let unseen: Vec<Action> = unclear
        .iter()
        .filter(|step| !is_asked(step))
        .map(|step| Action::Recover { step: step.clone() })
        .collect();
    if unseen.is_empty() {
        pausing(view, PauseReason::UnknownOutcome { steps: unclear })
    } else {
        unseen
    }
}

pub(super) fn finally(view: &View<'_>, observed: &Observed<'_>) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    if !observed.pending.is_empty() {
        return Vec::new();
    }
    let out_of_reach = out_of_reach(view, Section::Finally);
    if !out_of_reach.is_empty() {
        return out_of_reach;
    }
    if !view.all_settled(Section::Finally) {
        return if observed.cleanup_expired {
            skip_rest(view)
        } else {
            attempts(view, observed, Section::Finally)
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
    let open = view
        .plan
        .section(Section::Finally)
        .filter(|step| !view.state.step(&step.id).phase.is_settled());
    open.map(|step| Action::Skip { step: step.id.clone(), reason: SkipReason::TimeIsUp }).collect()
}
