//! Plan × state → what to do next. Pure: the loop in `execute` only carries it out.

use crate::event::{Cause, LookVerdict, PauseReason, RunEnd, Section, SkipReason, Trigger, WindowVerdict};
use crate::ids::StepId;
use crate::model::{OnBreach, OnFailure};
use crate::plan::{Plan, PlannedGuard, PlannedStep};
use crate::state::{GuardState, RunState, Stage, StepPhase, StepState};
use crate::undo;
use std::collections::{BTreeMap, BTreeSet};

/// One thing to do now.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make the next attempt of a step (or skip it, if its `when` is false).
    Attempt {
        /// The step.
        step: StepId,
    },
    /// Decide about an attempt that has started and whose result is not known.
    Recover {
        /// The step.
        step: StepId,
    },
    /// No more items of a step will be done: write down what came of all of them.
    EndItems {
        /// The step as written.
        step: StepId,
    },
    /// A step will not run.
    Skip {
        /// The step.
        step: StepId,
        /// Why.
        reason: SkipReason,
    },
    /// Look at what a guard watches.
    Look {
        /// The guard.
        guard: StepId,
    },
    /// Compare the clock with the window.
    CheckWindow,
    /// Take the locks; when they are held, the steps begin.
    TakeLocks,
    /// Check the post-conditions.
    BeginVerify,
    /// Undo what was done.
    BeginUndo {
        /// Why.
        cause: Cause,
        /// First to be undone first.
        order: Vec<StepId>,
    },
    /// Try to undo a step.
    Undo {
        /// The step.
        step: StepId,
    },
    /// Observe again what an undone step, or one with an unknown outcome, has left.
    CheckUndo {
        /// The step.
        step: StepId,
    },
    /// Begin what always runs.
    BeginFinally {
        /// How the run ends.
        end: RunEnd,
        /// Why, if it is not success.
        cause: Option<Cause>,
    },
    /// Send a notification.
    Notify {
        /// Which.
        notify: StepId,
        /// For what.
        on: Trigger,
    },
    /// The run stops without an end.
    Pause {
        /// Why.
        reason: PauseReason,
    },
    /// The run has ended.
    End {
        /// How.
        end: RunEnd,
        /// Why, if it is not success.
        cause: Option<Cause>,
    },
}

/// What the pure decision needs to know of the moment.
pub struct Moment<'a> {
    /// Calls that are under way.
    pub in_flight: &'a BTreeSet<StepId>,
    /// Guards whose look is under way.
    pub looking: &'a BTreeSet<StepId>,
    /// Whether a step's delay is over.
    pub is_due: &'a dyn Fn(&StepId) -> bool,
    /// Whether the time in which a person should have done a step is over.
    pub is_overdue: &'a dyn Fn(&PlannedStep) -> bool,
    /// The operator cancelled, or the run's time is over.
    pub stop: Option<Cause>,
    /// Whether the time for undo and finally is over.
    pub cleanup: Cleanup,
    /// Whether the run waits for a lock.
    pub lock: LockWait,
    /// Whether it takes longer than usual.
    pub pace: Pace,
}

/// Whether a run takes longer than usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It does not, or nobody knows what is usual.
    Usual,
    /// It does.
    Slow,
}

/// Whether the time for undo and finally is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// There is time.
    Time,
    /// It is over: what is left is recorded as failed or skipped.
    Over,
}

/// Whether the run waits for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWait {
    /// It does not.
    No,
    /// It does.
    Yes,
}

/// What to do now; empty means to wait for what is under way.
pub fn advance(plan: &Plan, state: &RunState, moment: &Moment<'_>) -> Vec<Action> {
    let view = View::new(plan, state);
    let lost =
        |(step, found): &(&PlannedStep, &StepState)| found.phase == StepPhase::Running && !moment.in_flight.contains(&step.id);
    let recover: Vec<Action> = view.all().filter(lost).map(|(step, _)| Action::Recover { step: step.id.clone() }).collect();
    if !recover.is_empty() {
        return recover;
    }
    match state.stage {
        Stage::Preflight => preflight(&view, moment),
        Stage::Steps => steps(&view, moment),
        Stage::Verify => verify(&view, moment),
        Stage::Undo => undo_stage(plan, state, moment),
        Stage::Finally => finally(&view, moment),
        Stage::Ended => Vec::new(),
    }
}

/// The steps of a plan, each with its state.
struct View<'a> {
    plan: &'a Plan,
    state: &'a RunState,
    /// By position in the plan.
    found: Vec<&'a StepState>,
}

impl<'a> View<'a> {
    fn new(plan: &'a Plan, state: &'a RunState) -> Self {
        // Both go through the same steps in the order of ids, so nothing is looked up.
        let mut pairs: Vec<(usize, &StepState)> = Vec::with_capacity(plan.steps.len());
        let mut states = state.steps.iter();
        for (id, position) in plan.index().by_id() {
            let found = states.find(|(known, _)| *known == id).map(|(_, found)| found);
            pairs.push((position, found.expect("the plan and the run list the same steps: checked on resume")));
        }
        let Some((_, first)) = pairs.first() else { return Self { plan, state, found: Vec::new() } };
        let mut found = vec![*first; pairs.len()];
        for (position, state) in pairs {
            found[position] = state;
        }
        Self { plan, state, found }
    }

    fn all(&self) -> impl Iterator<Item = (&'a PlannedStep, &'a StepState)> {
        self.plan.steps.iter().map(|step| &**step).zip(self.found.iter().copied())
    }

    fn section(&self, section: Section) -> impl Iterator<Item = (&'a PlannedStep, &'a StepState)> {
        self.all().filter(move |(step, _)| step.section == section)
    }

    /// Whether all that the step at a position needs is settled.
    fn is_free(&self, position: usize) -> bool {
        self.plan.index().needs(position).iter().all(|need| self.found[*need].phase.is_settled())
    }

    fn all_settled(&self, section: Section) -> bool {
        self.section(section).all(|(_, found)| found.phase.is_settled())
    }

    fn first_failed(&self, section: Section) -> Option<&'a PlannedStep> {
        self.section(section).find(|(_, found)| matches!(found.phase, StepPhase::Failed(_))).map(|(step, _)| step)
    }
}

fn preflight(view: &View<'_>, moment: &Moment<'_>) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    if !moment.in_flight.is_empty() {
        return Vec::new();
    }
    if plan.window.is_some() && state.window.is_none() {
        return vec![Action::CheckWindow];
    }
    let failed = view.first_failed(Section::Preflight).map(|step| Cause::Preflight { step: step.id.clone() });
    if let Some(cause) = moment.stop.clone().or_else(|| closed_window(state)).or(failed) {
        let end = if cause == Cause::Cancel { RunEnd::Cancelled } else { RunEnd::FailedClean };
        return vec![Action::BeginFinally { end, cause: Some(cause) }];
    }
    if !view.all_settled(Section::Preflight) {
        return attempts(view, moment, Section::Preflight);
    }
    if moment.lock == LockWait::Yes {
        let notify = pending_notify(plan, state, Trigger::Waiting);
        return notify.map_or_else(|| vec![Action::TakeLocks], |notify| vec![notify]);
    }
    vec![Action::TakeLocks]
}

fn closed_window(state: &RunState) -> Option<Cause> {
    match &state.window {
        Some(WindowVerdict::Refused { opens }) => Some(Cause::OutsideWindow { opens: *opens }),
        Some(WindowVerdict::Open | WindowVerdict::Warned { .. } | WindowVerdict::Overridden { .. }) | None => None,
    }
}

fn steps(view: &View<'_>, moment: &Moment<'_>) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    let failed = failed_step(view).map(|step| step_cause(state, step));
    let breached = breach(plan, state);
    // Before the failures: steps that run are stopped by a breach, and that is no failure of theirs.
    let stop = moment.stop.clone().or_else(|| breached.as_ref().and_then(Breach::cause));
    if let Some(cause) = stop.or(failed) {
        // Parallel branches that run already are waited for: an effect is never left half observed.
        if !moment.in_flight.is_empty() {
            return Vec::new();
        }
        let open = repeating(view);
        return if open.is_empty() { vec![ending(plan, state, cause)] } else { open };
    }
    let done: Vec<Action> = repeating(view).into_iter().filter(|action| all_items_settled(view, action)).collect();
    if !done.is_empty() {
        return done;
    }
    let out_of_reach = out_of_reach(view, Section::Step);
    if !out_of_reach.is_empty() {
        return out_of_reach;
    }
    let unknown = view.section(Section::Step).filter(|(_, found)| found.phase == StepPhase::Unknown);
    let unknown: Vec<StepId> = unknown.map(|(step, _)| step.id.clone()).collect();
    if !unknown.is_empty() {
        let pause = || vec![Action::Pause { reason: PauseReason::UnknownOutcome { steps: unknown } }];
        return if moment.in_flight.is_empty() { pause() } else { Vec::new() };
    }
    if let Some(pause) = breached.and_then(Breach::pause) {
        return if moment.in_flight.is_empty() { vec![pause] } else { Vec::new() };
    }
    // While steps run: one that hangs is what it is for.
    if let Some(notify) = slow_notify(plan, state, moment) {
        return vec![notify];
    }
    if let Some(notify) = pending_notify(plan, state, Trigger::Start) {
        return if moment.in_flight.is_empty() { vec![notify] } else { Vec::new() };
    }
    if !view.all_settled(Section::Step) {
        let looks = looks(plan, state, moment);
        if is_held_back(plan, state) {
            // Nothing begins on what nobody has looked at, or on what looked bad a moment ago.
            return looks;
        }
        // Looked at after failures: what is half done may be undone at any time.
        return match &state.window {
            Some(WindowVerdict::Refused { opens }) => {
                vec![Action::Pause { reason: PauseReason::OutsideWindow { opens: *opens } }]
            }
            Some(WindowVerdict::Open | WindowVerdict::Warned { .. } | WindowVerdict::Overridden { .. }) | None => {
                let attempts = attempts(view, moment, Section::Step);
                let idle = attempts.is_empty() && moment.in_flight.is_empty();
                let pause = if idle { waiting_for_approval(view) } else { Vec::new() };
                if pause.is_empty() { attempts.into_iter().chain(looks).collect() } else { pause }
            }
        };
    }
    if plan.section(Section::Verify).next().is_some() {
        return vec![Action::BeginVerify];
    }
    vec![Action::BeginFinally { end: undo::success(plan, state), cause: None }]
}

fn verify(view: &View<'_>, moment: &Moment<'_>) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    if let Some(notify) = slow_notify(plan, state, moment) {
        return vec![notify];
    }
    if !moment.in_flight.is_empty() {
        return Vec::new();
    }
    let failed = view.first_failed(Section::Verify).map(|step| Cause::Verify { step: step.id.clone() });
    let breached = breach(plan, state);
    let stop = moment.stop.clone().or_else(|| breached.as_ref().and_then(Breach::cause));
    if let Some(cause) = stop.or(failed) {
        return vec![ending(plan, state, cause)];
    }
    if let Some(pause) = breached.and_then(Breach::pause) {
        return vec![pause];
    }
    if view.all_settled(Section::Verify) {
        return vec![Action::BeginFinally { end: undo::success(plan, state), cause: None }];
    }
    attempts(view, moment, Section::Verify).into_iter().chain(looks(plan, state, moment)).collect()
}

/// A guard that has seen enough.
pub(crate) enum Breach {
    /// The run ends, with or without an undo.
    End(Cause),
    /// The run stops, and can be resumed.
    Pause(PauseReason),
}

impl Breach {
    pub(crate) fn cause(&self) -> Option<Cause> {
        match self {
            Self::End(cause) => Some(cause.clone()),
            Self::Pause(_) => None,
        }
    }

    fn pause(self) -> Option<Action> {
        match self {
            Self::End(_) => None,
            Self::Pause(reason) => Some(Action::Pause { reason }),
        }
    }
}

/// The first guard whose last looks were bad so often in a row that it responds. One that sees nothing never undoes: the
/// run stops, for somebody to look.
pub(crate) fn breach(plan: &Plan, state: &RunState) -> Option<Breach> {
    let found = |guard: &&PlannedGuard| state.guards.get(guard.id()).is_some_and(|found| found.in_a_row >= guard.in_a_row);
    let guard = plan.guards.iter().filter(|guard| is_watching(guard, state)).find(found)?;
    let last = state.guards.get(guard.id())?.last.as_ref()?;
    let id = || guard.id().clone();
    let pause = || Breach::Pause(PauseReason::Guard { guard: id(), why: last.summary.clone() });
    Some(match (last.verdict, guard.on_breach) {
        (LookVerdict::Breached, OnBreach::Undo | OnBreach::Abort) => Breach::End(Cause::Guard { guard: id() }),
        (LookVerdict::Breached, OnBreach::Pause) | (LookVerdict::Blind | LookVerdict::Holds, _) => pause(),
    })
}

/// Whether no step may begin because of a guard.
pub(crate) fn is_held_back(plan: &Plan, state: &RunState) -> bool {
    plan.guards
        .iter()
        .filter(|guard| is_watching(guard, state))
        .any(|guard| state.guards.get(guard.id()).is_none_or(GuardState::holds_back))
}

/// Whether it is a guard's time: that of a nested file watches while its steps run.
pub(crate) fn is_watching(guard: &PlannedGuard, state: &RunState) -> bool {
    guard.look.group.as_ref().is_none_or(|group| state.step(group).phase == StepPhase::Repeating)
}

/// The guards that are to be looked at now.
fn looks(plan: &Plan, state: &RunState, moment: &Moment<'_>) -> Vec<Action> {
    let due = |guard: &&PlannedGuard| !moment.looking.contains(guard.id()) && (moment.is_due)(guard.id());
    plan.guards
        .iter()
        .filter(|guard| is_watching(guard, state))
        .filter(due)
        .map(|guard| Action::Look { guard: guard.id().clone() })
        .collect()
}

/// A pause, if nothing but approval is waited for.
fn waiting_for_approval(view: &View<'_>) -> Vec<Action> {
    let in_phase =
        |phase: StepPhase| view.section(Section::Step).filter(move |(_, found)| found.phase == phase).map(|(step, _)| step);
    if in_phase(StepPhase::Waiting).next().is_some() {
        // A delay is over by itself.
        return Vec::new();
    }
    let (manual, approval): (Vec<_>, Vec<_>) = in_phase(StepPhase::Asking).partition(|step| step.manual.is_some());
    let ids = |steps: Vec<&PlannedStep>| steps.into_iter().map(|step| step.id.clone()).collect::<Vec<StepId>>();
    match (manual.is_empty(), approval.is_empty()) {
        (true, true) => Vec::new(),
        (false, _) => vec![Action::Pause { reason: PauseReason::Manual { steps: ids(manual) } }],
        (true, false) => vec![Action::Pause { reason: PauseReason::Approval { steps: ids(approval) } }],
    }
}

/// Whether what was said about a step is enough to go on, one way or the other.
fn is_answered(step: &PlannedStep, state: &RunState, moment: &Moment<'_>) -> bool {
    let found = state.step(&step.id);
    match &step.manual {
        // What came of it is looked at when it is begun again: an answer, or that the time is over.
        Some(_) => found.manual_answer.is_some() || (moment.is_overdue)(step),
        None => step.approval.as_ref().is_none_or(|approval| approval.is_answered(found)),
    }
}

/// Steps that will never begin: of a nested file that will not, and checks of a suite that depend on one that did not pass.
fn out_of_reach(view: &View<'_>, section: Section) -> Vec<Action> {
    let state = view.state;
    if view.plan.groups.is_empty() {
        return Vec::new();
    }
    let reason = |step: &PlannedStep| {
        let group = step.group.as_ref()?;
        let never = !state.groups.contains_key(group) && (section == Section::Finally || state.step(group).phase.is_settled());
        let without = |need: &StepId| matches!(state.step(need).phase, StepPhase::Failed(_) | StepPhase::Skipped(_));
        let inherited = if let StepPhase::Skipped(reason) = state.step(group).phase { reason } else { SkipReason::Dependency };
        let depends = step.weight.is_some() && step.needs.iter().any(without);
        if never { Some(inherited) } else { depends.then_some(SkipReason::Dependency) }
    };
    let pending = view.section(section).filter(|(_, found)| found.phase == StepPhase::Pending);
    pending.filter_map(|(step, _)| Some(Action::Skip { step: step.id.clone(), reason: reason(step)? })).collect()
}

/// The end of the items of each step that is not ended yet.
fn repeating(view: &View<'_>) -> Vec<Action> {
    // In the order of the plan, so that a journal reads as the runbook does.
    let open = view.section(Section::Step).filter(|(_, found)| found.phase == StepPhase::Repeating);
    open.map(|(step, _)| Action::EndItems { step: step.id.clone() }).collect()
}

fn all_items_settled(view: &View<'_>, action: &Action) -> bool {
    let Action::EndItems { step: of } = action else { return false };
    let is_part = |step: &PlannedStep| step.group.as_ref() == Some(of) || step.item.as_ref().is_some_and(|item| item.of == *of);
    view.section(Section::Step).all(|(step, found)| found.phase.is_settled() || !is_part(step))
}

/// Undo, or not: as the runbook says for this cause.
fn ending(plan: &Plan, state: &RunState, cause: Cause) -> Action {
    if !undo::is_wanted(plan, &cause) {
        let end = if state.has_effects() { undo::left_as_it_is() } else { undo::untouched(&cause) };
        return Action::BeginFinally { end, cause: Some(cause) };
    }
    let order = undo::order(state);
    if order.is_empty() && !plan.steps.iter().any(|step| undo::needs_check(plan, state, step)) {
        return Action::BeginFinally { end: undo::end(state, &cause), cause: Some(cause) };
    }
    Action::BeginUndo { cause, order }
}

fn undo_stage(plan: &Plan, state: &RunState, moment: &Moment<'_>) -> Vec<Action> {
    if !moment.in_flight.is_empty() {
        return Vec::new();
    }
    let Some(run) = &state.undo else {
        return vec![Action::BeginUndo { cause: Cause::Requested, order: undo::order(state) }];
    };
    // Looked at before the next undo: what was undone after a later step must not be taken for a drift of this one (a container
    // that was stopped and started is stopped by the undo of the start, and started by the undo of the stop).
    let undone = run.order.iter().filter(|id| state.step(id).phase == StepPhase::Undone).filter_map(|id| plan.step(id));
    if let Some(step) = undone.into_iter().find(|step| undo::needs_check(plan, state, step)) {
        return vec![Action::CheckUndo { step: step.id.clone() }];
    }
    let open = |id: &&StepId| !matches!(state.step(id).phase, StepPhase::Undone | StepPhase::UndoFailed);
    if let Some(step) = run.order.iter().find(open) {
        let due = (moment.is_due)(step) || moment.cleanup == Cleanup::Over;
        return if due { vec![Action::Undo { step: step.clone() }] } else { Vec::new() };
    }
    if let Some(step) = plan.steps.iter().find(|step| undo::needs_check(plan, state, step)) {
        return vec![Action::CheckUndo { step: step.id.clone() }];
    }
    vec![Action::BeginFinally { end: undo::end(state, &run.cause), cause: Some(run.cause.clone()) }]
}

fn finally(view: &View<'_>, moment: &Moment<'_>) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    if !moment.in_flight.is_empty() {
        return Vec::new();
    }
    let out_of_reach = out_of_reach(view, Section::Finally);
    if !out_of_reach.is_empty() {
        return out_of_reach;
    }
    if !view.all_settled(Section::Finally) {
        return match moment.cleanup {
            Cleanup::Time => attempts(view, moment, Section::Finally),
            Cleanup::Over => skip_rest(view),
        };
    }
    let provisional = state.end.unwrap_or(RunEnd::Dirty);
    if let Some(notify) = pending_notify(plan, state, undo::trigger(provisional)) {
        return vec![notify];
    }
    vec![Action::End { end: undo::final_end(plan, state, provisional), cause: state.cause.clone() }]
}

fn skip_rest(view: &View<'_>) -> Vec<Action> {
    let open = view.section(Section::Finally).filter(|(_, found)| !found.phase.is_settled());
    open.map(|(step, _)| Action::Skip { step: step.id.clone(), reason: SkipReason::TimeIsUp }).collect()
}

/// A step that was stopped by the operator is no failure of its own; after a crash nothing else tells of the cancel.
fn step_cause(state: &RunState, step: &PlannedStep) -> Cause {
    match state.step(&step.id).phase {
        StepPhase::Failed(crate::operate::ErrorClass::Cancelled) => Cause::Cancel,
        StepPhase::Pending
        | StepPhase::Skipped(_)
        | StepPhase::Repeating
        | StepPhase::Running
        | StepPhase::Asking
        | StepPhase::Waiting
        | StepPhase::Succeeded
        | StepPhase::Failed(_)
        | StepPhase::Unknown
        | StepPhase::Undoing
        | StepPhase::Undone
        | StepPhase::UndoFailed => Cause::Step { step: step.id.clone() },
    }
}

/// The first step whose failure the runbook does not tolerate; rather an item, or a step of a nested file, than the step that
/// stands for it.
fn failed_step<'a>(view: &View<'a>) -> Option<&'a PlannedStep> {
    let state = view.state;
    let failed = |(step, found): &(&PlannedStep, &StepState)| {
        matches!(found.phase, StepPhase::Failed(_)) && !found.tolerated && step.on_failure != OnFailure::Continue
    };
    let has_items = |step: &PlannedStep| {
        state.groups.contains_key(&step.id) || state.items.get(&step.id).is_some_and(|items| !items.is_empty())
    };
    let mut all = view.section(Section::Step).filter(failed).map(|(step, _)| step);
    let first = all.next()?;
    if has_items(first) { all.find(|step| !has_items(step)).or(Some(first)) } else { Some(first) }
}

/// The steps of a section that can start: all that they need is settled, their delay is over, and they are not under way.
fn attempts(view: &View<'_>, moment: &Moment<'_>, section: Section) -> Vec<Action> {
    let (plan, state) = (view.plan, view.state);
    let ready = |position: usize, step: &PlannedStep, found: &StepState| {
        let open = matches!(found.phase, StepPhase::Pending | StepPhase::Waiting)
            || (found.phase == StepPhase::Asking && is_answered(step, state, moment));
        let reached = || match (&step.group, section) {
            (Some(group), Section::Step) => state.step(group).phase == StepPhase::Repeating,
            (Some(_) | None, _) => true,
        };
        open && view.is_free(position) && reached() && !moment.in_flight.contains(&step.id) && (moment.is_due)(&step.id)
    };
    let mut places = Places::new(plan, state, moment, section);
    let own = view.all().enumerate().filter(|(_, (step, _))| step.section == section);
    let ready = own.filter(|(position, (step, found))| ready(*position, step, found)).map(|(_, (step, _))| step);
    ready.filter(|step| places.admit(state, step)).map(|step| Action::Attempt { step: step.id.clone() }).collect()
}

/// How many more items of each step may begin.
struct Places<'a>(BTreeMap<&'a StepId, usize>);

impl<'a> Places<'a> {
    fn new(plan: &'a Plan, state: &RunState, moment: &Moment<'_>, section: Section) -> Self {
        let steps = plan.section(section).filter_map(|step| Some((&step.id, step.for_each.as_ref()?)));
        let mut free: BTreeMap<&StepId, usize> =
            steps.map(|(id, for_each)| (id, usize::try_from(for_each.max_parallel).unwrap_or(usize::MAX))).collect();
        for step in plan.section(section) {
            let Some(item) = &step.item else { continue };
            let begun = has_begun(state.step(&step.id).phase) || moment.in_flight.contains(&step.id);
            if let (true, Some(places)) = (begun, free.get_mut(&item.of)) {
                *places = places.saturating_sub(1);
            }
        }
        Self(free)
    }

    /// Whether a step may begin now. An item that waits for its next attempt keeps its place.
    fn admit(&mut self, state: &RunState, step: &PlannedStep) -> bool {
        let Some(item) = &step.item else { return true };
        if has_begun(state.step(&step.id).phase) {
            return true;
        }
        let Some(places) = self.0.get_mut(&item.of).filter(|places| **places > 0) else { return false };
        *places -= 1;
        true
    }
}

/// Whether a step has begun and has not ended.
fn has_begun(phase: StepPhase) -> bool {
    match phase {
        StepPhase::Repeating
        | StepPhase::Running
        | StepPhase::Asking
        | StepPhase::Waiting
        | StepPhase::Unknown
        | StepPhase::Undoing => true,
        StepPhase::Pending
        | StepPhase::Skipped(_)
        | StepPhase::Succeeded
        | StepPhase::Failed(_)
        | StepPhase::Undone
        | StepPhase::UndoFailed => false,
    }
}

fn slow_notify(plan: &Plan, state: &RunState, moment: &Moment<'_>) -> Option<Action> {
    match moment.pace {
        Pace::Slow => pending_notify(plan, state, Trigger::Slow).filter(|notify| !is_under_way(notify, moment)),
        Pace::Usual => None,
    }
}

fn is_under_way(action: &Action, moment: &Moment<'_>) -> bool {
    matches!(action, Action::Notify { notify, .. } if moment.in_flight.contains(notify))
}

fn pending_notify(plan: &Plan, state: &RunState, on: Trigger) -> Option<Action> {
    let open =
        |notify: &&crate::plan::PlannedNotify| notify.on.contains(&on) && !state.notified.contains(&(notify.id.clone(), on));
    plan.notifies.iter().find(open).map(|notify| Action::Notify { notify: notify.id.clone(), on })
}
