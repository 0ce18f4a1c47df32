//! What is undone, in which order, and how a run ends. All pure.

use crate::event::{Cause, RunEnd, Section, Trigger, UndoFinding, UndoPlan, WindowVerdict};
use crate::known::Known;
use crate::model::{OnBreach, OnFailure, UndoCause, VerifyUndo};
use crate::operate::Operate;
use crate::plan::{Plan, PlannedStep, PlannedUndo, RetrySafety};
use crate::state::{EffectState, RunState, StepPhase};
use crate::template::{self, Scope, StepView};
use runbook_contract::{Kind, Outcome, StepId};

/// What an undo that is another operation would be given, as far as it is known before its step has
/// run, or why it could not be done: a place that is missing, or an input that does not fit.
///
/// # Errors
/// The reason, in one line.
pub(crate) fn input_before<O: Operate>(
    operate: &O,
    step: &PlannedStep,
    scope: &Scope<'_>,
) -> Result<Option<Known>, String> {
    let PlannedUndo::Explicit { id, with, .. } = &step.undo else { return Ok(None) };
    let own = template::template_key(&step.site);
    let own = own.rsplit('.').next().unwrap_or_default();
    let lookup = |key: &str| {
        if own == key { Some((step.id.clone(), StepView::AtRunTime)) } else { (scope.steps)(key) }
    };
    // A step whose items are not listed yet is asked about as a whole; each item is compared when
    // it is known.
    let later = step.for_each.iter().map(|for_each| for_each.name.clone()).collect();
    let known = template::render_partly(with, &Scope { steps: &lookup, later, ..scope.clone() });
    let known = known.map_err(|error| format!("`undo.with`: {error}"))?;
    let misfit = known.certain(&operate.misfits(id, &known.value)).next().cloned();
    match misfit {
        Some(misfit) => Err(format!("the input of `undo` does not fit: {misfit}")),
        None => Ok(Some(known)),
    }
}

/// The steps to undo, the last one that was done first. A step ends after all that it needs, so
/// this is also the reverse order of dependence.
pub fn order(state: &RunState) -> Vec<StepId> {
    let open = state
        .steps
        .iter()
        .filter(|(_, step)| step.is_undoable() && step.phase != StepPhase::Undone);
    let mut order: Vec<(u64, &StepId)> = open.map(|(id, step)| (step.last_seq, id)).collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    order.into_iter().map(|(_, id)| id.clone()).collect()
}

/// A later step that depends on this one and could not be undone: the result of this one is still
/// needed for that undo. A step depends on those whose output it, or its undo, is given, and on
/// those that share one of its targets.
pub(crate) fn kept_by(plan: &Plan, state: &RunState, step: &PlannedStep) -> Option<StepId> {
    let own = state.step(&step.id);
    let is_later =
        |id: &&StepId| state.steps.get(*id).is_some_and(|later| later.last_seq > own.last_seq);
    let stands_on = |id: &&StepId| {
        plan.step(id).is_some_and(|later| {
            later.reads.contains(&step.site) || !later.targets.is_disjoint(&step.targets)
        })
    };
    state.not_undone.iter().filter(is_later).find(stands_on).cloned()
}

/// Whether the runbook wants an undo for this cause.
pub(crate) fn is_wanted(plan: &Plan, cause: &Cause) -> bool {
    let on = |cause| plan.undo.on.0.contains(&cause);
    match cause {
        Cause::Step { step } => {
            let stop = plan.step(step).is_some_and(|step| step.on_failure == OnFailure::Stop);
            !stop && on(UndoCause::Failure)
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

/// Whether a step must be observed to learn what it left: its plugin has undone it, or it cannot be
/// undone and its effect is unknown.
pub(crate) fn needs_check(plan: &Plan, state: &RunState, step: &PlannedStep) -> bool {
    let found = state.step(&step.id);
    if found.undo.finding.is_some() || step.section != Section::Step {
        return false;
    }
    let undone = found.phase == StepPhase::Undone && found.undo.plan == UndoPlan::Auto;
    let unclear = found.effect == EffectState::Ambiguous
        && matches!(found.undo.plan, UndoPlan::Irreversible | UndoPlan::NotNeeded);
    (undone && plan.undo.verify == VerifyUndo::Observe) || unclear
}

/// Whether an undo of a step would be a guess: it is unknown whether the step happened, and its
/// undo, another operation, does harm if it did not. A plugin's own undo works from any state.
pub(crate) fn is_guess(step: &PlannedStep, state: &RunState) -> bool {
    step.undo.repeatable() == RetrySafety::No && state.step(&step.id).change.is_effect_unclear()
}

/// How a run ends after its undo.
pub(crate) fn end(state: &RunState, cause: &Cause) -> RunEnd {
    let bad = |found: &crate::state::StepState| {
        let drifted = matches!(
            found.undo.finding,
            Some(UndoFinding::Drifted { .. } | UndoFinding::Unknown { .. })
        );
        found.phase == StepPhase::UndoFailed || drifted
    };
    let undone = state.steps.values().any(|found| found.phase == StepPhase::Undone);
    if state.steps.values().any(bad)
        || (*cause == Cause::Requested && !undone && !state.account().is_clean())
    {
        // What was asked for could not be done: the run does not look better for having been asked.
        RunEnd::Dirty
    } else if state.has_effects() {
        RunEnd::Undone
    } else {
        untouched(cause)
    }
}

/// How a run ends that has changed nothing.
pub(crate) fn untouched(cause: &Cause) -> RunEnd {
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

/// How a run ends that failed and is not undone, because the runbook says so: half done, so a
/// person is needed.
pub(crate) fn left_as_it_is() -> RunEnd {
    RunEnd::Dirty
}

/// How a run ends that did all its steps.
pub(crate) fn success(plan: &Plan, state: &RunState) -> RunEnd {
    let outside = matches!(
        state.window,
        Some(WindowVerdict::Warned { .. } | WindowVerdict::Overridden { .. })
    );
    if outside || plan.steps.iter().any(|step| warns(state, step)) {
        RunEnd::SucceededWithWarnings
    } else {
        RunEnd::Succeeded
    }
}

fn warns(state: &RunState, step: &PlannedStep) -> bool {
    let found = state.step(&step.id);
    let failed = matches!(found.phase, StepPhase::Failed(_));
    failed
        || found.outcome == Some(Outcome::Warn)
        || matches!(found.phase, StepPhase::Skipped(crate::SkipReason::Operator))
}

/// The end with what smoke tests add: one that wrote and did not show that it removed what it made
/// is no clean end.
pub(crate) fn with_leftovers(plan: &Plan, state: &RunState, end: RunEnd) -> RunEnd {
    let left = |step: &std::sync::Arc<PlannedStep>| {
        let found = state.step(&step.id);
        let cut_off = found.cut_off && step.facts.kind == Kind::SmokeTest && step.facts.writes;
        found.may_have_left || cut_off
    };
    let left = || plan.steps.iter().any(left);
    match end {
        RunEnd::Succeeded if left() => RunEnd::SucceededWithWarnings,
        RunEnd::FailedClean | RunEnd::Cancelled | RunEnd::Undone if left() => RunEnd::Dirty,
        end => end,
    }
}

/// The end with what finally and notify add: they never hide a result, and never let it look better
/// than it is.
pub(crate) fn final_end(plan: &Plan, state: &RunState, provisional: RunEnd) -> RunEnd {
    let finally = plan.section(Section::Finally).any(|step| {
        let cut =
            matches!(state.step(&step.id).phase, StepPhase::Skipped(crate::SkipReason::TimeIsUp));
        cut || warns(state, step)
    });
    match with_leftovers(plan, state, provisional) {
        RunEnd::Succeeded if finally || !state.notify_faults.is_empty() => {
            RunEnd::SucceededWithWarnings
        }
        other => other,
    }
}

/// The triggers of notifications for an end.
pub(crate) fn trigger(end: RunEnd) -> Trigger {
    match end {
        RunEnd::Succeeded | RunEnd::SucceededWithWarnings => Trigger::Succeeded,
        RunEnd::FailedClean | RunEnd::Cancelled => Trigger::Failed,
        RunEnd::Undone => Trigger::Undone,
        RunEnd::Dirty => Trigger::Dirty,
    }
}
