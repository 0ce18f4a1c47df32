//! Decides the next actions from plan and state. Pure: the loop in `execute` carries them out.

mod ending;
mod guards;

pub(crate) use guards::{BreachResponse, breach, is_any_guard_blocking, is_watching, will_pause};

use crate::event::{Cause, PauseReason, RunEnd, Section, SkipReason, Trigger, WindowVerdict};
use crate::frontier::Frontier;
use crate::plan::{Plan, PlannedStep};
use crate::state::{RunState, Stage, StepPhase};
use crate::undo;
use ending::{ending_action, finally_actions, undo_actions};
use guards::due_guards;
use runbook_contract::StepId;
use std::collections::BTreeSet;

/// One action that the loop carries out now.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make the next attempt of a step (or skip it, if its `when` is false).
    Attempt {
        /// The step that is attempted.
        step: StepId,
    },
    /// Decide about an attempt that has started and whose result is not known.
    Recover {
        /// The step whose attempt has no result.
        step: StepId,
    },
    /// No more items of a step will be done: record the combined result.
    EndItems {
        /// The step as written.
        step: StepId,
    },
    /// A step will not run.
    Skip {
        /// The step that is skipped.
        step: StepId,
        /// Why it will not run.
        reason: SkipReason,
    },
    /// Probe a guard.
    ObserveGuard {
        /// The id of the guard.
        guard: StepId,
    },
    /// Compare the clock with the window.
    CheckWindow,
    /// Take the locks; when they are held, the steps begin.
    TakeLocks,
    /// Begin to check the post-conditions.
    BeginVerify,
    /// Begin to undo the completed steps.
    BeginUndo {
        /// Why the run is undone.
        cause: Cause,
        /// The steps to undo, in this order.
        order: Vec<StepId>,
    },
    /// Try to undo a step.
    Undo {
        /// The step that is undone.
        step: StepId,
    },
    /// Observe again what an undone step, or one with an unknown outcome, has left.
    CheckUndo {
        /// The step that is observed.
        step: StepId,
    },
    /// Begin the `finally` steps.
    BeginFinally {
        /// How the run ends.
        end: RunEnd,
        /// Why, if it is not success.
        cause: Option<Cause>,
    },
    /// Send a notification about an event of the run.
    Notify {
        /// The id of the notification, `notify/N`.
        notify: StepId,
        /// The event that triggers it.
        on: Trigger,
    },
    /// The run stops without an end.
    Pause {
        /// Why the run stops.
        reason: PauseReason,
    },
    /// The run has ended.
    End {
        /// How the run ended.
        end: RunEnd,
        /// Why, if it is not success.
        cause: Option<Cause>,
    },
}

/// What the decision needs besides plan and journal: calls under way, clocks and the operator.
pub struct OutsideFacts<'a> {
    /// Calls that are under way.
    pub pending: &'a BTreeSet<StepId>,
    /// Guards whose probe is under way.
    pub probing_guards: &'a BTreeSet<StepId>,
    /// Whether a step's delay is over.
    pub is_due: &'a dyn Fn(&StepId) -> bool,
    /// Whether the timeout of a manual step is over.
    pub is_overdue: &'a dyn Fn(&PlannedStep) -> bool,
    /// The cause if the run must stop: the operator cancelled, or its time is over.
    pub stop: Option<Cause>,
    /// Whether the time for undo and `finally` is over: the remaining steps are recorded as failed
    /// or skipped.
    pub cleanup_timed_out: bool,
    /// Whether the run waits for a lock.
    pub waiting_for_lock: bool,
    /// Whether the run takes longer than usual; false if there are no earlier runs to compare with.
    pub is_slow: bool,
}

/// The actions to take now; empty means to wait for calls under way.
pub(crate) fn advance(
    plan: &Plan,
    state: &RunState,
    frontier: &Frontier,
    facts: &OutsideFacts<'_>,
) -> Vec<Action> {
    let view = View { plan, state, frontier };
    let without_call =
        view.steps(frontier.running()).filter(|step| !facts.pending.contains(&step.id));
    let recover: Vec<Action> =
        without_call.map(|step| Action::Recover { step: step.id.clone() }).collect();
    if !recover.is_empty() {
        return recover;
    }
    let mut actions = match state.stage {
        Stage::Preflight => preflight_actions(&view, facts),
        Stage::Steps => step_actions(&view, facts),
        Stage::Verify => verify_actions(&view, facts),
        Stage::Undo => undo_actions(&view, facts),
        Stage::Finally => finally_actions(&view, facts),
        Stage::Ended => Vec::new(),
    };
    for action in &mut actions {
        if let Action::BeginFinally { end, .. } = action {
            *end = undo::with_leftovers(plan, state, *end);
        }
    }
    actions
}

/// The plan of a run, its state, and its frontier.
struct View<'a> {
    plan: &'a Plan,
    state: &'a RunState,
    frontier: &'a Frontier,
}

impl<'a> View<'a> {
    fn steps(
        &self,
        positions: impl Iterator<Item = usize>,
    ) -> impl Iterator<Item = &'a PlannedStep> {
        let plan = self.plan;
        positions.map(|position| &*plan.steps[position])
    }

    fn all_settled(&self, section: Section) -> bool {
        self.frontier.is_settled(section)
    }

    fn first_failed(&self, section: Section) -> Option<&'a PlannedStep> {
        self.frontier.first_failed(section).map(|position| &*self.plan.steps[position])
    }
}

fn preflight_actions(view: &View<'_>, facts: &OutsideFacts<'_>) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    if !facts.pending.is_empty() {
        return Vec::new();
    }
    if plan.window.is_some() && state.window.is_none() {
        return vec![Action::CheckWindow];
    }
    let failed = view
        .first_failed(Section::Preflight)
        .map(|step| Cause::Preflight { step: step.id.clone() });
    if let Some(cause) = facts.stop.clone().or_else(|| closed_window_cause(state)).or(failed) {
        let end = if cause == Cause::Cancel { RunEnd::Cancelled } else { RunEnd::FailedClean };
        return vec![Action::BeginFinally { end, cause: Some(cause) }];
    }
    if !view.all_settled(Section::Preflight) {
        return attempts(view, facts, Section::Preflight);
    }
    if facts.waiting_for_lock {
        let notify = pending_notify(plan, state, Trigger::Waiting);
        return notify.map_or_else(|| vec![Action::TakeLocks], |notify| vec![notify]);
    }
    vec![Action::TakeLocks]
}

fn closed_window_cause(state: &RunState) -> Option<Cause> {
    match &state.window {
        Some(WindowVerdict::Refused { opens_at }) => {
            Some(Cause::OutsideWindow { opens_at: *opens_at })
        }
        Some(
            WindowVerdict::Open | WindowVerdict::Warned { .. } | WindowVerdict::Overridden { .. },
        )
        | None => None,
    }
}

fn step_actions(view: &View<'_>, facts: &OutsideFacts<'_>) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    let failed = failed_step(view).map(|step| step_cause(state, step));
    let breached = breach(plan, state);
    // Checked before failures: a breach stops running steps, and a step that was stopped so does
    // not count as failed.
    let stop = facts.stop.clone().or_else(|| breached.as_ref().and_then(BreachResponse::cause));
    if let Some(cause) = stop.or(failed) {
        // Parallel branches that run already are waited for, so that no effect is left without its
        // observation.
        if !facts.pending.is_empty() {
            return Vec::new();
        }
        let end_open_items = end_items_actions(view, view.frontier.repeating());
        return if end_open_items.is_empty() {
            vec![ending_action(view, cause)]
        } else {
            end_open_items
        };
    }
    let end_settled_items: Vec<Action> = end_items_actions(
        view,
        view.frontier.repeating().filter(|step| view.frontier.are_parts_settled(*step)),
    );
    if !end_settled_items.is_empty() {
        return end_settled_items;
    }
    let unreachable_steps = unreachable_steps(view, Section::Step);
    if !unreachable_steps.is_empty() {
        return unreachable_steps;
    }
    let unknown: Vec<StepId> =
        view.steps(view.frontier.unknown()).map(|step| step.id.clone()).collect();
    if !unknown.is_empty() {
        let pause = || pause_actions(view, PauseReason::UnknownOutcome { steps: unknown });
        return if facts.pending.is_empty() { pause() } else { Vec::new() };
    }
    if let Some(reason) = breached.and_then(BreachResponse::pause) {
        return if facts.pending.is_empty() { pause_actions(view, reason) } else { Vec::new() };
    }
    // Sent while steps run, because a step that hangs is the usual reason.
    if let Some(notify) = slow_notify(plan, state, facts) {
        return vec![notify];
    }
    if let Some(notify) = pending_notify(plan, state, Trigger::Start) {
        return if facts.pending.is_empty() { vec![notify] } else { Vec::new() };
    }
    if !view.all_settled(Section::Step) {
        let guards = due_guards(plan, state, facts);
        if is_any_guard_blocking(plan, state) {
            // No step begins before each guard has been probed, or after a failed probe.
            return guards;
        }
        // Checked after failures: a partly done run may be undone at any time, also outside the
        // window.
        return match &state.window {
            Some(WindowVerdict::Refused { opens_at }) => {
                pause_actions(view, PauseReason::OutsideWindow { opens_at: *opens_at })
            }
            Some(
                WindowVerdict::Open
                | WindowVerdict::Warned { .. }
                | WindowVerdict::Overridden { .. },
            )
            | None => {
                let attempts = attempts(view, facts, Section::Step);
                let idle = attempts.is_empty() && facts.pending.is_empty();
                let pause = if idle { pause_for_people(view) } else { Vec::new() };
                if pause.is_empty() { attempts.into_iter().chain(guards).collect() } else { pause }
            }
        };
    }
    if plan.section(Section::Verify).next().is_some() {
        return vec![Action::BeginVerify];
    }
    vec![Action::BeginFinally { end: undo::successful_end(plan, state), cause: None }]
}

fn verify_actions(view: &View<'_>, facts: &OutsideFacts<'_>) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    if let Some(notify) = slow_notify(plan, state, facts) {
        return vec![notify];
    }
    if !facts.pending.is_empty() {
        return Vec::new();
    }
    let failed =
        view.first_failed(Section::Verify).map(|step| Cause::Verify { step: step.id.clone() });
    let breached = breach(plan, state);
    let stop = facts.stop.clone().or_else(|| breached.as_ref().and_then(BreachResponse::cause));
    if let Some(cause) = stop.or(failed) {
        return vec![ending_action(view, cause)];
    }
    if let Some(pause) = breached.and_then(BreachResponse::pause) {
        return pause_actions(view, pause);
    }
    if view.all_settled(Section::Verify) {
        return vec![Action::BeginFinally { end: undo::successful_end(plan, state), cause: None }];
    }
    attempts(view, facts, Section::Verify)
        .into_iter()
        .chain(due_guards(plan, state, facts))
        .collect()
}

/// A pause, if the run waits for people only.
fn pause_for_people(view: &View<'_>) -> Vec<Action> {
    if view.frontier.is_any_waiting() {
        // The run continues by itself when the delay is over.
        return Vec::new();
    }
    let (manual, approval): (Vec<_>, Vec<_>) =
        view.steps(view.frontier.asking()).partition(|step| step.manual.is_some());
    let ids = |steps: Vec<&PlannedStep>| {
        steps.into_iter().map(|step| step.id.clone()).collect::<Vec<StepId>>()
    };
    match (manual.is_empty(), approval.is_empty()) {
        (true, true) => Vec::new(),
        (false, _) => pause_actions(view, PauseReason::Manual { steps: ids(manual) }),
        (true, false) => pause_actions(view, PauseReason::Approval { steps: ids(approval) }),
    }
}

/// Whether the answer that a step waits for is there: enough approvals or a rejection; for a manual
/// step an answer, or the end of its timeout.
fn is_answered(step: &PlannedStep, state: &RunState, facts: &OutsideFacts<'_>) -> bool {
    let step_state = state.step(&step.id);
    match &step.manual {
        // The result (an answer, or the timeout) is read when the step is begun again.
        Some(_) => step_state.manual_answer().is_some() || (facts.is_overdue)(step),
        None => {
            step.approval.as_ref().is_none_or(|approval| approval.is_answered(&step_state.approval))
        }
    }
}

/// Skips the steps that will never begin: steps of a nested file that never begins, checks that
/// depend on one that did not pass, and steps that need one that failed.
fn unreachable_steps(view: &View<'_>, section: Section) -> Vec<Action> {
    let state = view.state;
    let skip = |step: &PlannedStep| {
        let unopened = step.group.as_ref().filter(|group| !state.groups.contains_key(*group));
        let reason = match unopened.map(|group| state.step(group).phase) {
            Some(StepPhase::Skipped(reason)) => reason,
            Some(_) | None => SkipReason::Dependency,
        };
        Action::Skip { step: step.id.clone(), reason }
    };
    view.steps(view.frontier.never_begins(section)).map(skip).collect()
}

/// Ends the items of these steps, in the order of the plan.
fn end_items_actions(view: &View<'_>, positions: impl Iterator<Item = usize>) -> Vec<Action> {
    view.steps(positions).map(|step| Action::EndItems { step: step.id.clone() }).collect()
}

/// Pauses, after the `waiting` notifications have been sent.
fn pause_actions(view: &View<'_>, reason: PauseReason) -> Vec<Action> {
    vec![
        pending_notify(view.plan, view.state, Trigger::Waiting).unwrap_or(Action::Pause { reason }),
    ]
}

/// The cause that a failed step gives the run. A step that the operator stopped is a cancel and not
/// a failure: after a crash, its fault is the only trace of the cancel.
fn step_cause(state: &RunState, step: &PlannedStep) -> Cause {
    match state.step(&step.id).phase {
        StepPhase::Failed(runbook_contract::ErrorClass::Cancelled) => Cause::Cancel,
        StepPhase::Pending
        | StepPhase::Skipped(_)
        | StepPhase::Repeating
        | StepPhase::Running
        | StepPhase::Asking
        | StepPhase::Waiting(_)
        | StepPhase::Succeeded
        | StepPhase::Failed(_)
        | StepPhase::Unknown
        | StepPhase::Undoing
        | StepPhase::UndoWaiting(_)
        | StepPhase::Undone
        | StepPhase::UndoFailed => Cause::Step { step: step.id.clone() },
    }
}

/// The first step whose failure the runbook does not tolerate. An item, or a step of a nested file,
/// is named instead of its parent step.
fn failed_step<'a>(view: &View<'a>) -> Option<&'a PlannedStep> {
    let state = view.state;
    let has_items = |step: &PlannedStep| {
        state.groups.contains_key(&step.id)
            || state.items.get(&step.id).is_some_and(|items| !items.is_empty())
    };
    let mut all = view.steps(view.frontier.blocking());
    let first = all.next()?;
    if has_items(first) { all.find(|step| !has_items(step)).or(Some(first)) } else { Some(first) }
}

/// The steps of a section that can start: all that they need is settled, their delay is over, and
/// they are not under way. At most `max_parallel` items of a step, and at most `max_parallel` calls
/// of the run, are under way.
fn attempts(view: &View<'_>, facts: &OutsideFacts<'_>, section: Section) -> Vec<Action> {
    let (plan, state, frontier) = (view.plan, view.state, view.frontier);
    let budget = plan.limits.max_parallel.saturating_sub(facts.pending.len());
    let can_start = |position: &usize| {
        let step = &plan.steps[*position];
        let answered =
            frontier.phase(*position) != StepPhase::Asking || is_answered(step, state, facts);
        answered && !facts.pending.contains(&step.id) && (facts.is_due)(&step.id)
    };
    let mut startable: Vec<usize> =
        frontier.ready(section).filter(can_start).take(budget).collect();
    for (owner, pending) in
        frontier.items().filter(|(owner, _)| plan.steps[*owner].section == section)
    {
        let max_parallel =
            plan.steps[owner].for_each.as_ref().map_or(0, |for_each| for_each.max_parallel);
        let max_parallel = usize::try_from(max_parallel).unwrap_or(usize::MAX);
        // An item counts also while it waits for its next attempt, and while its plan is asked for.
        let planning =
            facts.pending.iter().filter_map(|id| plan.index().position(id)).filter(|position| {
                frontier.item_of(*position) == Some(owner)
                    && frontier.phase(*position) == StepPhase::Pending
            });
        let free = max_parallel.saturating_sub(frontier.n_begun_items(owner) + planning.count());
        startable.extend(pending.iter().copied().filter(can_start).take(free.min(budget)));
    }
    startable.sort_unstable();
    startable.truncate(budget);
    view.steps(startable.into_iter())
        .map(|step| Action::Attempt { step: step.id.clone() })
        .collect()
}

fn slow_notify(plan: &Plan, state: &RunState, facts: &OutsideFacts<'_>) -> Option<Action> {
    facts.is_slow.then(|| {
        pending_notify(plan, state, Trigger::Slow).filter(|notify| !is_under_way(notify, facts))
    })?
}

fn is_under_way(action: &Action, facts: &OutsideFacts<'_>) -> bool {
    matches!(action, Action::Notify { notify, .. } if facts.pending.contains(notify))
}

fn pending_notify(plan: &Plan, state: &RunState, on: Trigger) -> Option<Action> {
    let is_unsent = |notify: &&crate::plan::PlannedNotify| {
        notify.on.contains(&on) && !state.notified.contains(&(notify.id.clone(), on))
    };
    plan.notifies
        .iter()
        .find(is_unsent)
        .map(|notify| Action::Notify { notify: notify.id.clone(), on })
}
