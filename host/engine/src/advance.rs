//! Decides the next actions from plan and state. Pure: the loop in `execute` only carries them out.

mod ending;
mod guards;

pub(crate) use guards::{Breach, breach, is_held_back, is_watching, wants_pause};

use crate::event::{Cause, PauseReason, RunEnd, Section, SkipReason, Trigger, WindowVerdict};
use crate::frontier::Frontier;
use crate::plan::{Plan, PlannedStep};
use crate::state::{RunState, Stage, StepPhase};
use crate::undo;
use ending::{ending, finally, undo_stage};
use guards::due_guards;
use runbook_contract::StepId;
use std::collections::BTreeSet;

/// One thing to do now.
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
    /// Undo what was done.
    BeginUndo {
        /// Why what was done is undone.
        cause: Cause,
        /// First to be undone first.
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

/// The present facts outside the journal that the decision needs.
pub struct Observed<'a> {
    /// Calls that are under way.
    pub pending: &'a BTreeSet<StepId>,
    /// Guards whose probe is under way.
    pub probing_guards: &'a BTreeSet<StepId>,
    /// Whether a step's delay is over.
    pub is_due: &'a dyn Fn(&StepId) -> bool,
    /// Whether the timeout of a manual step is over.
    pub is_overdue: &'a dyn Fn(&PlannedStep) -> bool,
    /// The operator cancelled, or the run's time is over.
    pub stop: Option<Cause>,
    /// Whether the time for undo and `finally` is over: the remaining steps are recorded as failed
    /// or skipped.
    pub cleanup_expired: bool,
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
    observed: &Observed<'_>,
) -> Vec<Action> {
    let view = View { plan, state, frontier };
    let lost = view.steps(frontier.running()).filter(|step| !observed.pending.contains(&step.id));
    let recover: Vec<Action> = lost.map(|step| Action::Recover { step: step.id.clone() }).collect();
    if !recover.is_empty() {
        return recover;
    }
    let mut actions = match state.stage {
        Stage::Preflight => preflight(&view, observed),
        Stage::Steps => steps(&view, observed),
        Stage::Verify => verify(&view, observed),
        Stage::Undo => undo_stage(&view, observed),
        Stage::Finally => finally(&view, observed),
        Stage::Ended => Vec::new(),
    };
    for action in &mut actions {
        if let Action::BeginFinally { end, .. } = action {
            *end = undo::with_leftovers(plan, state, *end);
        }
    }
    actions
}

/// A plan, the state of its run, and the steps that can continue.
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

fn preflight(view: &View<'_>, observed: &Observed<'_>) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    if !observed.pending.is_empty() {
        return Vec::new();
    }
    if plan.window.is_some() && state.window.is_none() {
        return vec![Action::CheckWindow];
    }
    let failed = view
        .first_failed(Section::Preflight)
        .map(|step| Cause::Preflight { step: step.id.clone() });
    if let Some(cause) = observed.stop.clone().or_else(|| closed_window(state)).or(failed) {
        let end = if cause == Cause::Cancel { RunEnd::Cancelled } else { RunEnd::FailedClean };
        return vec![Action::BeginFinally { end, cause: Some(cause) }];
    }
    if !view.all_settled(Section::Preflight) {
        return attempts(view, observed, Section::Preflight);
    }
    if observed.waiting_for_lock {
        let notify = pending_notify(plan, state, Trigger::Waiting);
        return notify.map_or_else(|| vec![Action::TakeLocks], |notify| vec![notify]);
    }
    vec![Action::TakeLocks]
}

fn closed_window(state: &RunState) -> Option<Cause> {
    match &state.window {
        Some(WindowVerdict::Refused { opens }) => Some(Cause::OutsideWindow { opens: *opens }),
        Some(
            WindowVerdict::Open | WindowVerdict::Warned { .. } | WindowVerdict::Overridden { .. },
        )
        | None => None,
    }
}

fn steps(view: &View<'_>, observed: &Observed<'_>) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    let failed = failed_step(view).map(|step| step_cause(state, step));
    let breached = breach(plan, state);
    // Checked before failures: a breach stops running steps, which does not count as a failure of
    // theirs.
    let stop = observed.stop.clone().or_else(|| breached.as_ref().and_then(Breach::cause));
    if let Some(cause) = stop.or(failed) {
        // Parallel branches that run already are waited for, so that no effect is left without its
        // observation.
        if !observed.pending.is_empty() {
            return Vec::new();
        }
        let open = ends(view, view.frontier.repeating());
        return if open.is_empty() { vec![ending(view, cause)] } else { open };
    }
    let done: Vec<Action> =
        ends(view, view.frontier.repeating().filter(|step| view.frontier.has_no_open_part(*step)));
    if !done.is_empty() {
        return done;
    }
    let out_of_reach = out_of_reach(view, Section::Step);
    if !out_of_reach.is_empty() {
        return out_of_reach;
    }
    let unknown: Vec<StepId> =
        view.steps(view.frontier.unknown()).map(|step| step.id.clone()).collect();
    if !unknown.is_empty() {
        let pause = || pausing(view, PauseReason::UnknownOutcome { steps: unknown });
        return if observed.pending.is_empty() { pause() } else { Vec::new() };
    }
    if let Some(reason) = breached.and_then(Breach::pause) {
        return if observed.pending.is_empty() { pausing(view, reason) } else { Vec::new() };
    }
    // While steps run: one that hangs is what it is for.
    if let Some(notify) = slow_notify(plan, state, observed) {
        return vec![notify];
    }
    if let Some(notify) = pending_notify(plan, state, Trigger::Start) {
        return if observed.pending.is_empty() { vec![notify] } else { Vec::new() };
    }
    if !view.all_settled(Section::Step) {
        let guards = due_guards(plan, state, observed);
        if is_held_back(plan, state) {
            // No step begins before each guard has been probed, or after a failed probe.
            return guards;
        }
        // Checked after failures: a partly done run may be undone at any time, also outside the
        // window.
        return match &state.window {
            Some(WindowVerdict::Refused { opens }) => {
                pausing(view, PauseReason::OutsideWindow { opens: *opens })
            }
            Some(
                WindowVerdict::Open
                | WindowVerdict::Warned { .. }
                | WindowVerdict::Overridden { .. },
            )
            | None => {
                let attempts = attempts(view, observed, Section::Step);
                let idle = attempts.is_empty() && observed.pending.is_empty();
                let pause = if idle { waiting_for_approval(view) } else { Vec::new() };
                if pause.is_empty() { attempts.into_iter().chain(guards).collect() } else { pause }
            }
        };
    }
    if plan.section(Section::Verify).next().is_some() {
        return vec![Action::BeginVerify];
    }
    vec![Action::BeginFinally { end: undo::success(plan, state), cause: None }]
}

fn verify(view: &View<'_>, observed: &Observed<'_>) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    if let Some(notify) = slow_notify(plan, state, observed) {
        return vec![notify];
    }
    if !observed.pending.is_empty() {
        return Vec::new();
    }
    let failed =
        view.first_failed(Section::Verify).map(|step| Cause::Verify { step: step.id.clone() });
    let breached = breach(plan, state);
    let stop = observed.stop.clone().or_else(|| breached.as_ref().and_then(Breach::cause));
    if let Some(cause) = stop.or(failed) {
        return vec![ending(view, cause)];
    }
    if let Some(pause) = breached.and_then(Breach::pause) {
        return pausing(view, pause);
    }
    if view.all_settled(Section::Verify) {
        return vec![Action::BeginFinally { end: undo::success(plan, state), cause: None }];
    }
    attempts(view, observed, Section::Verify)
        .into_iter()
        .chain(due_guards(plan, state, observed))
        .collect()
}

/// A pause, if nothing but approval is waited for.
fn waiting_for_approval(view: &View<'_>) -> Vec<Action> {
    if view.frontier.is_any_waiting() {
        // A delay is over by itself.
        return Vec::new();
    }
    let (manual, approval): (Vec<_>, Vec<_>) =
        view.steps(view.frontier.asking()).partition(|step| step.manual.is_some());
    let ids = |steps: Vec<&PlannedStep>| {
        steps.into_iter().map(|step| step.id.clone()).collect::<Vec<StepId>>()
    };
    match (manual.is_empty(), approval.is_empty()) {
        (true, true) => Vec::new(),
        (false, _) => pausing(view, PauseReason::Manual { steps: ids(manual) }),
        (true, false) => pausing(view, PauseReason::Approval { steps: ids(approval) }),
    }
}

/// Whether the approvals of a step, or a rejection, decide it.
fn is_answered(step: &PlannedStep, state: &RunState, observed: &Observed<'_>) -> bool {
    let found = state.step(&step.id);
    match &step.manual {
        // The result (an answer, or the timeout) is read when the step is begun again.
        Some(_) => found.manual_answer().is_some() || (observed.is_overdue)(step),
        None => step.approval.as_ref().is_none_or(|approval| approval.is_answered(&found.approval)),
    }
}

/// Steps that will never begin: of a nested file that will not, checks of a suite that depend on
/// one that did not pass, and steps that need one that failed.
fn out_of_reach(view: &View<'_>, section: Section) -> Vec<Action> {
    let state = view.state;
    let skip = |step: &PlannedStep| {
        let closed = step.group.as_ref().filter(|group| !state.groups.contains_key(*group));
        let reason = match closed.map(|group| state.step(group).phase) {
            Some(StepPhase::Skipped(reason)) => reason,
            Some(_) | None => SkipReason::Dependency,
        };
        Action::Skip { step: step.id.clone(), reason }
    };
    view.steps(view.frontier.lacking(section)).map(skip).collect()
}

/// The end of the items of steps, in the order of the plan, so that a journal reads as the runbook
/// does.
fn ends(view: &View<'_>, positions: impl Iterator<Item = usize>) -> Vec<Action> {
    view.steps(positions).map(|step| Action::EndItems { step: step.id.clone() }).collect()
}

/// Pauses, after the `waiting` notifications have been sent.
fn pausing(view: &View<'_>, reason: PauseReason) -> Vec<Action> {
    vec![
        pending_notify(view.plan, view.state, Trigger::Waiting).unwrap_or(Action::Pause { reason }),
    ]
}

/// A step that was stopped by the operator does not count as a failure; after a crash this is the
/// only trace of the cancel.
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
fn attempts(view: &View<'_>, observed: &Observed<'_>, section: Section) -> Vec<Action> {
    let (plan, state, frontier) = (view.plan, view.state, view.frontier);
    let budget = plan.limits.max_parallel.saturating_sub(observed.pending.len());
    let can = |position: &usize| {
        let step = &plan.steps[*position];
        let answered =
            frontier.phase(*position) != StepPhase::Asking || is_answered(step, state, observed);
        answered && !observed.pending.contains(&step.id) && (observed.is_due)(&step.id)
    };
    let mut found: Vec<usize> = frontier.ready(section).filter(can).take(budget).collect();
    for (owner, pending) in
        frontier.items().filter(|(owner, _)| plan.steps[*owner].section == section)
    {
        let places =
            plan.steps[owner].for_each.as_ref().map_or(0, |for_each| for_each.max_parallel);
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        // One that waits for its next attempt keeps its place, and so does one that is asked what
        // it would do.
        let asked =
            observed.pending.iter().filter_map(|id| plan.index().position(id)).filter(|position| {
                frontier.item_of(*position) == Some(owner)
                    && frontier.phase(*position) == StepPhase::Pending
            });
        let free = places.saturating_sub(frontier.n_begun(owner) + asked.count());
        found.extend(pending.iter().copied().filter(can).take(free.min(budget)));
    }
    found.sort_unstable();
    found.truncate(budget);
    view.steps(found.into_iter()).map(|step| Action::Attempt { step: step.id.clone() }).collect()
}

fn slow_notify(plan: &Plan, state: &RunState, observed: &Observed<'_>) -> Option<Action> {
    observed.is_slow.then(|| {
        pending_notify(plan, state, Trigger::Slow).filter(|notify| !is_under_way(notify, observed))
    })?
}

fn is_under_way(action: &Action, observed: &Observed<'_>) -> bool {
    matches!(action, Action::Notify { notify, .. } if observed.pending.contains(notify))
}

fn pending_notify(plan: &Plan, state: &RunState, on: Trigger) -> Option<Action> {
    let open = |notify: &&crate::plan::PlannedNotify| {
        notify.on.contains(&on) && !state.notified.contains(&(notify.id.clone(), on))
    };
    plan.notifies.iter().find(open).map(|notify| Action::Notify { notify: notify.id.clone(), on })
}
