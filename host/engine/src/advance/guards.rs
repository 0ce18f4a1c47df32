//! The responses to failed probes of guards.

use super::{Action, OutsideFacts};
use crate::event::{Cause, GuardVerdict, PauseReason};
use crate::frontier::Frontier;
use crate::model::OnBreach;
use crate::plan::{Plan, PlannedGuard};
use crate::state::{GuardState, RunState, Stage, StepPhase};

/// The response of a breached guard.
pub(crate) enum BreachResponse {
    /// The run ends, with or without an undo.
    End(Cause),
    /// The run stops, and can be resumed.
    Pause(PauseReason),
}

impl BreachResponse {
    pub(crate) fn cause(&self) -> Option<Cause> {
        match self {
            Self::End(cause) => Some(cause.clone()),
            Self::Pause(_) => None,
        }
    }

    pub(super) fn pause(self) -> Option<PauseReason> {
        match self {
            Self::End(_) => None,
            Self::Pause(reason) => Some(reason),
        }
    }
}

/// The response of the first guard with enough failed probes in a row. If its last result is
/// unknown, the run pauses for a person and is never undone.
pub(crate) fn breach(plan: &Plan, state: &RunState) -> Option<BreachResponse> {
    let has_failed_enough = |guard: &&PlannedGuard| {
        state
            .guards
            .get(guard.id())
            .is_some_and(|guard_state| guard_state.in_a_row >= guard.in_a_row)
    };
    let guard =
        plan.guards.iter().filter(|guard| is_watching(guard, state)).find(has_failed_enough)?;
    let last = state.guards.get(guard.id())?.last.as_ref()?;
    let id = || guard.id().clone();
    let pause =
        || BreachResponse::Pause(PauseReason::Guard { guard: id(), why: last.summary.clone() });
    Some(match (last.verdict, guard.on_breach) {
        (GuardVerdict::Breached, OnBreach::Undo | OnBreach::Abort) => {
            BreachResponse::End(Cause::Guard { guard: id() })
        }
        (GuardVerdict::Breached, OnBreach::Pause)
        | (GuardVerdict::Blind | GuardVerdict::Holds, _) => pause(),
    })
}

/// Whether the run will pause as soon as no call is under way.
pub(crate) fn will_pause(plan: &Plan, state: &RunState, frontier: &Frontier) -> bool {
    if !matches!(state.stage, Stage::Steps | Stage::Verify) || state.stopping.is_some() {
        return false;
    }
    let pauses = matches!(breach(plan, state), Some(BreachResponse::Pause(_)));
    pauses || (frontier.unknown().next().is_some() && state.stage == Stage::Steps)
}

/// Whether no step may begin because of a guard.
pub(crate) fn is_any_guard_blocking(plan: &Plan, state: &RunState) -> bool {
    plan.guards
        .iter()
        .filter(|guard| is_watching(guard, state))
        .any(|guard| state.guards.get(guard.id()).is_none_or(GuardState::blocks_steps))
}

/// Whether a guard is active: a guard of a nested file is active while the steps of that file run.
pub(crate) fn is_watching(guard: &PlannedGuard, state: &RunState) -> bool {
    guard.probe.group.as_ref().is_none_or(|group| state.step(group).phase == StepPhase::Repeating)
}

/// The guards that are due to be probed now.
pub(super) fn due_guards(plan: &Plan, state: &RunState, facts: &OutsideFacts<'_>) -> Vec<Action> {
    let is_probe_due = |guard: &&PlannedGuard| {
        !facts.probing_guards.contains(guard.id()) && (facts.is_due)(guard.id())
    };
    plan.guards
        .iter()
        .filter(|guard| is_watching(guard, state))
        .filter(is_probe_due)
        .map(|guard| Action::ObserveGuard { guard: guard.id().clone() })
        .collect()
}
