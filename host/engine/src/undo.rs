//! Decides what is undone, in which order, and how a run ends. Pure.

use crate::event::{Cause, RunEnd, Section, Trigger, UndoFinding, UndoPlan, WindowVerdict};
use crate::model::{OnBreach, OnFailure, UndoCause, VerifyUndo};
use crate::operate::Operate;
use crate::partial_input::PartialInput;
use crate::plan::{Plan, PlannedStep, PlannedUndo, RetrySafety};
use crate::state::{EffectState, RunState, StepPhase};
use crate::template::{self, Scope, StepView};
use runbook_contract::{Kind, Outcome, StepId};

/// The input of an explicit undo, as far as it is known before its step has run; `None` for a step
/// without an explicit undo.
///
/// # Errors
/// Why the undo could not be done, in one line: a template has no value, or the input does not fit.
pub(crate) fn input_before<O: Operate>(
    operate: &O,
    step: &PlannedStep,
    scope: &Scope<'_>,
) -> Result<Option<PartialInput>, String> {
    let PlannedUndo::Explicit { id, with, .. } = &step.undo else { return Ok(None) };
    let own_key = template::template_key(&step.site);
    let own_key = own_key.rsplit('.').next().unwrap_or_default();
    let lookup = |key: &str| {
        if own_key == key {
            Some((step.id.clone(), StepView::AtRunTime))
        } else {
            (scope.steps)(key)
        }
    };
    // Before the items of a step are listed, the name of the item has no value. The undo of each
    // item is checked again when the item begins.
    let run_time_names = step.for_each.iter().map(|for_each| for_each.name.clone()).collect();
    let partial_input = template::render_partially(
        with,
        &Scope { steps: &lookup, run_time_names, ..scope.clone() },
    );
    let partial_input = partial_input.map_err(|error| format!("`undo.with`: {error}"))?;
    let misfit =
        partial_input.certain_misfits(&operate.misfits(id, &partial_input.value)).next().cloned();
    match misfit {
        Some(misfit) => Err(format!("the input of `undo` does not fit: {misfit}")),
        None => Ok(Some(partial_input)),
    }
}

/// The steps to undo, in reverse order of completion. A step ends after all steps that it needs, so
/// each step comes before the steps that it depends on.
pub fn order(state: &RunState) -> Vec<StepId> {
    let undoable = state
        .steps
        .iter()
        .filter(|(_, step)| step.is_undoable() && step.phase != StepPhase::Undone);
    let mut order: Vec<(u64, &StepId)> = undoable.map(|(id, step)| (step.last_seq, id)).collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    order.into_iter().map(|(_, id)| id.clone()).collect()
}

/// A later step that depends on this one and could not be undone, so this one must not be undone
/// either. A step depends on the steps whose output it or its undo uses, and on those that share a
/// target with it.
pub(crate) fn blocking_step(plan: &Plan, state: &RunState, step: &PlannedStep) -> Option<StepId> {
    let step_state = state.step(&step.id);
    let is_later = |id: &&StepId| {
        state.steps.get(*id).is_some_and(|later| later.last_seq > step_state.last_seq)
    };
    let depends_on_step = |id: &&StepId| {
        plan.step(id).is_some_and(|later| {
            later.reads.contains(&step.site) || !later.targets.is_disjoint(&step.targets)
        })
    };
    state.not_undone.iter().filter(is_later).find(depends_on_step).cloned()
}

/// Whether the runbook says that a run with this cause is undone.
pub(crate) fn is_configured_for(plan: &Plan, cause: &Cause) -> bool {
    let on = |cause| plan.undo.on.0.contains(&cause);
    match cause {
        Cause::Step { step } => {
            let stops_without_undo =
                plan.step(step).is_some_and(|step| step.on_failure == OnFailure::Stop);
            !stops_without_undo && on(UndoCause::Failure)
        }
        Cause::Verify { .. } => on(UndoCause::VerifyFailure),
        Cause::Cancel => on(UndoCause::Cancel),
        Cause::Timeout => on(UndoCause::Timeout),
        Cause::Guard { guard } => on_breach(plan, guard) == Some(OnBreach::Undo),
        Cause::Requested => true,
        Cause::Preflight { .. } | Cause::OutsideWindow { .. } | Cause::LockBusy { .. } => false,
    }
}

fn on_breach(plan: &Plan, id: &StepId) -> Option<OnBreach> {
    plan.guards.iter().find(|guard| guard.id() == id).map(|guard| guard.on_breach)
}

/// Whether a step must be observed to find out what it has left: its plugin has undone it, or it
/// cannot be undone and its effect is unknown.
pub(crate) fn needs_check(plan: &Plan, state: &RunState, step: &PlannedStep) -> bool {
    let step_state = state.step(&step.id);
    if step_state.undo.finding.is_some() || step.section != Section::Step {
        return false;
    }
    let is_undone_by_plugin =
        step_state.phase == StepPhase::Undone && step_state.undo.plan == UndoPlan::Auto;
    let is_unclear = step_state.effect == EffectState::Ambiguous
        && matches!(step_state.undo.plan, UndoPlan::Irreversible | UndoPlan::NotNeeded);
    (is_undone_by_plugin && plan.undo.verify == VerifyUndo::Observe) || is_unclear
}

/// Whether a person must decide before the undo of a step: it is unknown whether the step took
/// effect, and its explicit undo may do harm if it did not. A plugin's own undo works from any
/// state.
pub(crate) fn needs_decision(step: &PlannedStep, state: &RunState) -> bool {
    step.undo.retry_safety() == RetrySafety::No && state.step(&step.id).change.is_effect_unclear()
}

/// How a run ends after its undo.
pub(crate) fn end_after_undo(state: &RunState, cause: &Cause) -> RunEnd {
    let is_not_undone = |step_state: &crate::state::StepState| {
        let drifted = matches!(
            step_state.undo.finding,
            Some(UndoFinding::Drifted { .. } | UndoFinding::Unknown { .. })
        );
        step_state.phase == StepPhase::UndoFailed || drifted
    };
    let is_any_undone =
        state.steps.values().any(|step_state| step_state.phase == StepPhase::Undone);
    if state.steps.values().any(is_not_undone)
        || (*cause == Cause::Requested && !is_any_undone && !state.remaining_changes().is_clean())
    {
        // An undo that was asked for and could not be done leaves the run dirty.
        RunEnd::Dirty
    } else if state.took_effect() {
        RunEnd::Undone
    } else {
        end_without_changes(cause)
    }
}

/// How a run ends that did not succeed and has changed nothing.
pub(crate) fn end_without_changes(cause: &Cause) -> RunEnd {
    match cause {
        Cause::Cancel => RunEnd::Cancelled,
        Cause::Requested => RunEnd::Undone,
        Cause::Preflight { .. }
        | Cause::OutsideWindow { .. }
        | Cause::LockBusy { .. }
        | Cause::Step { .. }
        | Cause::Verify { .. }
        | Cause::Guard { .. }
        | Cause::Timeout => RunEnd::FailedClean,
    }
}

/// How a run ends that failed and is not undone, because the runbook says so. It is half done, so a
/// person has to look.
pub(crate) fn end_without_undo() -> RunEnd {
    RunEnd::Dirty
}

/// How a run ends that has done all its steps: with or without warnings.
pub(crate) fn successful_end(plan: &Plan, state: &RunState) -> RunEnd {
    let ran_outside_window = matches!(
        state.window,
        Some(WindowVerdict::Warned { .. } | WindowVerdict::Overridden { .. })
    );
    if ran_outside_window || plan.steps.iter().any(|step| has_warning(state, step)) {
        RunEnd::SucceededWithWarnings
    } else {
        RunEnd::Succeeded
    }
}

fn has_warning(state: &RunState, step: &PlannedStep) -> bool {
    let step_state = state.step(&step.id);
    let failed = matches!(step_state.phase, StepPhase::Failed(_));
    failed
        || step_state.outcome == Some(Outcome::Warn)
        || matches!(step_state.phase, StepPhase::Skipped(crate::SkipReason::Operator))
}

/// The end of a run, made worse if a smoke test wrote and did not show that it removed what it
/// made.
pub(crate) fn with_leftovers(plan: &Plan, state: &RunState, end: RunEnd) -> RunEnd {
    let has_leftovers = |step: &std::sync::Arc<PlannedStep>| {
        let step_state = state.step(&step.id);
        let cut_off = step_state.cut_off && step.facts.kind == Kind::SmokeTest && step.facts.writes;
        step_state.may_have_left || cut_off
    };
    let any_left = || plan.steps.iter().any(has_leftovers);
    match end {
        RunEnd::Succeeded if any_left() => RunEnd::SucceededWithWarnings,
        RunEnd::FailedClean | RunEnd::Cancelled | RunEnd::Undone if any_left() => RunEnd::Dirty,
        end => end,
    }
}

/// The end of a run after `finally` and notifications: if one of them failed, a success becomes a
/// success with warnings; other ends stay as they are.
pub(crate) fn final_end(plan: &Plan, state: &RunState, provisional: RunEnd) -> RunEnd {
    let has_finally_warning = plan.section(Section::Finally).any(|step| {
        let is_out_of_time =
            matches!(state.step(&step.id).phase, StepPhase::Skipped(crate::SkipReason::TimeIsUp));
        is_out_of_time || has_warning(state, step)
    });
    match with_leftovers(plan, state, provisional) {
        RunEnd::Succeeded if has_finally_warning || !state.notify_faults.is_empty() => {
            RunEnd::SucceededWithWarnings
        }
        other => other,
    }
}

/// The trigger of notifications for an end.
pub(crate) fn trigger(end: RunEnd) -> Trigger {
    match end {
        RunEnd::Succeeded | RunEnd::SucceededWithWarnings => Trigger::Succeeded,
        RunEnd::FailedClean | RunEnd::Cancelled => Trigger::Failed,
        RunEnd::Undone => Trigger::Undone,
        RunEnd::Dirty => Trigger::Dirty,
    }
}
