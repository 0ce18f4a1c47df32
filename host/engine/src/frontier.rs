//! Which steps can continue now, updated step by step: a run of ten thousand steps must not examine
//! each of them for every decision. It is derived from plan and state and adds nothing to them.

use crate::event::Section;
use crate::model::{IfNeedsFailed, OnFailure};
use crate::plan::Plan;
use crate::state::{RunState, StepPhase};
use crate::undo;
use runbook_contract::StepId;
use std::collections::{BTreeMap, BTreeSet};

/// Steps by their position in the plan.
type Positions = BTreeSet<usize>;

/// The steps that can continue now.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Frontier {
    shape: PlanStructure,
    phases: Vec<StepPhase>,
    /// How many of the steps that each one needs are not settled.
    missing: Vec<usize>,
    /// How many items of a step, or steps of the file that it stands for, are not settled.
    parts: Vec<usize>,
    /// How many items of a step have begun and not ended.
    begun: Vec<usize>,
    /// How many steps of a section are not settled.
    open: BTreeMap<Section, usize>,
    failed: BTreeMap<Section, Positions>,
    /// Steps whose failure ends the run.
    blocking: Positions,
    running: Positions,
    repeating: Positions,
    unknown: Positions,
    asking: Positions,
    waiting: Positions,
    /// Steps that may make an attempt, items that have not begun left out.
    ready: BTreeMap<Section, Positions>,
    /// Items that may begin, by the step that they are items of.
    items: BTreeMap<usize, Positions>,
    /// Pending steps that will never begin.
    lacking: BTreeMap<Section, Positions>,
    /// Steps that are still to be undone, by their place in that order.
    to_undo: BTreeSet<(usize, usize)>,
    /// Steps that must be observed to learn what they left.
    unchecked: Positions,
    /// How often a step was looked up, for tests of growth.
    #[cfg(test)]
    pub(crate) lookups: LookupCount,
}

/// How the steps depend on each other. It changes only with the plan and the order of the undo.
#[derive(Debug, Clone, Default, PartialEq)]
struct PlanStructure {
    dependents: Vec<Vec<usize>>,
    /// For each step, the step that opens the nested file it belongs to.
    groups: Vec<Option<usize>>,
    /// For each item, the step with its `for_each`.
    item_of: Vec<Option<usize>>,
    /// For each step that opens a nested file, the steps of that file.
    members: Vec<Vec<usize>>,
    /// For each step, its position in the order of the undo.
    undo_at: Vec<Option<usize>>,
}

/// A number that does not count when two frontiers are compared.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(crate) struct LookupCount(pub(crate) usize);

#[cfg(test)]
impl PartialEq for LookupCount {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl PlanStructure {
    fn of(plan: &Plan, state: &RunState) -> Self {
        let n = plan.steps.len();
        let at = |id: &StepId| plan.index().position(id);
        let mut shape = Self {
            dependents: vec![Vec::new(); n],
            groups: plan.steps.iter().map(|step| step.group.as_ref().and_then(at)).collect(),
            item_of: plan
                .steps
                .iter()
                .map(|step| step.item.as_ref().and_then(|item| at(&item.of)))
                .collect(),
            members: vec![Vec::new(); n],
            undo_at: vec![None; n],
        };
        for position in 0..n {
            for need in plan.index().needs(position) {
                shape.dependents[*need].push(position);
            }
            if let Some(group) = shape.groups[position] {
                shape.members[group].push(position);
            }
        }
        for (place, id) in state.undo.iter().flat_map(|undo| &undo.order).enumerate() {
            if let Some(position) = at(id) {
                shape.undo_at[position] = Some(place);
            }
        }
        shape
    }

    /// The steps that a step is a part of: the one that opens its file, and that of its `for_each`.
    fn owners(&self, position: usize) -> impl Iterator<Item = usize> + use<> {
        [self.groups[position], self.item_of[position]].into_iter().flatten()
    }
}

impl Frontier {
    /// Computed from every step; later changes are applied one by one.
    pub(crate) fn new(plan: &Plan, state: &RunState) -> Self {
        let n = plan.steps.len();
        let mut frontier = Self {
            shape: PlanStructure::of(plan, state),
            phases: plan.steps.iter().map(|step| state.step(&step.id).phase).collect(),
            missing: vec![0; n],
            parts: vec![0; n],
            begun: vec![0; n],
            ..Self::default()
        };
        for position in 0..n {
            let phase = frontier.phases[position];
            if !phase.is_settled() {
                frontier.count_open(plan, position, Change::More);
            }
            if has_begun(phase) {
                frontier.count_begun(position, Change::More);
            }
        }
        for position in 0..n {
            frontier.refresh(plan, state, position);
        }
        frontier
    }

    /// Takes in what a record changed of a step.
    pub(crate) fn update(&mut self, plan: &Plan, state: &RunState, id: &StepId) {
        let Some(position) = plan.index().position(id) else { return };
        let (old, new) = (self.phases[position], state.step(id).phase);
        self.phases[position] = new;
        match (old.is_settled(), new.is_settled()) {
            (false, true) => self.count_open(plan, position, Change::Less),
            (true, false) => self.count_open(plan, position, Change::More),
            (true, true) | (false, false) => {}
        }
        match (has_begun(old), has_begun(new)) {
            (true, false) => self.count_begun(position, Change::Less),
            (false, true) => self.count_begun(position, Change::More),
            (true, true) | (false, false) => {}
        }
        self.refresh(plan, state, position);
        if old != new {
            for next in 0..self.shape.dependents[position].len() {
                self.refresh(plan, state, self.shape.dependents[position][next]);
            }
            for next in 0..self.shape.members[position].len() {
                self.refresh(plan, state, self.shape.members[position][next]);
            }
        }
    }

    /// Counts a step that is settled now, or is not any more, wherever it is waited for.
    fn count_open(&mut self, plan: &Plan, position: usize, change: Change) {
        let section = plan.steps[position].section;
        change.apply(self.open.entry(section).or_default());
        self.open.retain(|_, open| *open > 0);
        for dependent in &self.shape.dependents[position] {
            change.apply(&mut self.missing[*dependent]);
        }
        if section == Section::Step {
            for owner in self.shape.owners(position) {
                change.apply(&mut self.parts[owner]);
            }
        }
    }

    fn count_begun(&mut self, position: usize, change: Change) {
        if let Some(owner) = self.shape.item_of[position] {
            change.apply(&mut self.begun[owner]);
        }
    }

    /// Puts a step where it belongs now.
    fn refresh(&mut self, plan: &Plan, state: &RunState, position: usize) {
        #[cfg(test)]
        {
            self.lookups.0 += 1;
        }
        let step = &plan.steps[position];
        let found = state.step(&step.id);
        let (phase, section) = (self.phases[position], step.section);
        let of_steps = |holds: bool| holds && section == Section::Step;
        let has_failed = matches!(phase, StepPhase::Failed(_));
        let open = matches!(phase, StepPhase::Pending | StepPhase::Waiting(_) | StepPhase::Asking);
        let may_begin = open && self.missing[position] == 0 && self.is_reached(section, position);
        let owner = self.shape.item_of[position].filter(|_| phase == StepPhase::Pending);
        let lacks = phase == StepPhase::Pending
            && (self.is_closed(plan, state, position) || self.lacks(plan, position));
        put(&mut self.running, position, phase == StepPhase::Running);
        put(&mut self.repeating, position, of_steps(phase == StepPhase::Repeating));
        put(&mut self.unknown, position, of_steps(phase == StepPhase::Unknown));
        put(&mut self.asking, position, of_steps(phase == StepPhase::Asking));
        put(&mut self.waiting, position, of_steps(matches!(phase, StepPhase::Waiting(_))));
        put(
            &mut self.blocking,
            position,
            of_steps(has_failed && !found.tolerated && step.on_failure != OnFailure::Continue),
        );
        put_in(&mut self.failed, section, position, has_failed);
        put_in(&mut self.lacking, section, position, lacks);
        put_in(&mut self.ready, section, position, may_begin && owner.is_none());
        if let Some(owner) = self.shape.item_of[position] {
            put_in(&mut self.items, owner, position, may_begin && phase == StepPhase::Pending);
        }
        put(&mut self.unchecked, position, undo::needs_check(plan, state, step));
        if let Some(place) = self.shape.undo_at[position] {
            let open =
                found.is_undoable() && !matches!(phase, StepPhase::Undone | StepPhase::UndoFailed);
            if open {
                self.to_undo.insert((place, position))
            } else {
                self.to_undo.remove(&(place, position))
            };
        }
    }

    /// Whether the file of a step is open.
    fn is_reached(&self, section: Section, position: usize) -> bool {
        let group = self.shape.groups[position].filter(|_| section == Section::Step);
        group.is_none_or(|group| self.phases[group] == StepPhase::Repeating)
    }

    /// Whether the file of a step will never be opened.
    fn is_closed(&self, plan: &Plan, state: &RunState, position: usize) -> bool {
        let Some(group) = self.shape.groups[position] else { return false };
        let is_over =
            plan.steps[position].section == Section::Finally || self.phases[group].is_settled();
        is_over && !state.groups.contains_key(&plan.steps[group].id)
    }

    /// Whether a step has lost what it needs.
    fn lacks(&self, plan: &Plan, position: usize) -> bool {
        let step = &plan.steps[position];
        let is_check = step.weight.is_some();
        if !is_check && step.if_needs_failed == IfNeedsFailed::Run {
            return false;
        }
        plan.index().needs(position).iter().any(|need| match self.phases[*need] {
            StepPhase::Failed(_) | StepPhase::Skipped(crate::event::SkipReason::Dependency) => true,
            StepPhase::Skipped(_) => is_check,
            StepPhase::Pending
            | StepPhase::Repeating
            | StepPhase::Running
            | StepPhase::Asking
            | StepPhase::Waiting(_)
            | StepPhase::Succeeded
            | StepPhase::Unknown
            | StepPhase::Undoing
            | StepPhase::UndoWaiting(_)
            | StepPhase::Undone
            | StepPhase::UndoFailed => false,
        })
    }
}

/// What the loop asks of the frontier.
impl Frontier {
    pub(crate) fn phase(&self, position: usize) -> StepPhase {
        self.phases[position]
    }

    pub(crate) fn is_settled(&self, section: Section) -> bool {
        !self.open.contains_key(&section)
    }

    pub(crate) fn first_failed(&self, section: Section) -> Option<usize> {
        self.failed.get(&section)?.first().copied()
    }

    /// Steps whose failure ends the run.
    pub(crate) fn blocking(&self) -> impl Iterator<Item = usize> {
        self.blocking.iter().copied()
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = usize> {
        self.running.iter().copied()
    }

    /// Steps that stand for items or for a file, and have begun.
    pub(crate) fn repeating(&self) -> impl Iterator<Item = usize> {
        self.repeating.iter().copied()
    }

    /// Whether all items of a step, or all steps of the file that it stands for, are settled.
    pub(crate) fn has_no_open_part(&self, position: usize) -> bool {
        self.parts[position] == 0
    }

    pub(crate) fn unknown(&self) -> impl Iterator<Item = usize> {
        self.unknown.iter().copied()
    }

    pub(crate) fn asking(&self) -> impl Iterator<Item = usize> {
        self.asking.iter().copied()
    }

    pub(crate) fn is_any_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn lacking(&self, section: Section) -> impl Iterator<Item = usize> {
        self.lacking.get(&section).into_iter().flatten().copied()
    }

    pub(crate) fn ready(&self, section: Section) -> impl Iterator<Item = usize> {
        self.ready.get(&section).into_iter().flatten().copied()
    }

    /// Steps with items that may begin, and those items.
    pub(crate) fn items(&self) -> impl Iterator<Item = (usize, &Positions)> {
        self.items.iter().map(|(owner, items)| (*owner, items))
    }

    /// How many items of a step have begun and not ended.
    pub(crate) fn n_begun(&self, owner: usize) -> usize {
        self.begun[owner]
    }

    /// The step that a step is an item of.
    pub(crate) fn item_of(&self, position: usize) -> Option<usize> {
        self.shape.item_of[position]
    }

    /// The steps to undo, the next one first.
    pub(crate) fn to_undo(&self) -> impl Iterator<Item = usize> {
        self.to_undo.iter().map(|(_, position)| *position)
    }

    /// Steps that must be observed to learn what they left.
    pub(crate) fn unchecked(&self) -> impl Iterator<Item = usize> {
        self.unchecked.iter().copied()
    }

    /// The place of a step in the order of the undo.
    pub(crate) fn undo_place(&self, position: usize) -> Option<usize> {
        self.shape.undo_at[position]
    }
}

/// Whether there is one more or one less.
#[derive(Debug, Clone, Copy)]
enum Change {
    More,
    Less,
}

impl Change {
    fn apply(self, count: &mut usize) {
        match self {
            Self::More => *count += 1,
            Self::Less => *count -= 1,
        }
    }
}

fn put(set: &mut Positions, position: usize, belongs: bool) {
    if belongs {
        set.insert(position)
    } else {
        set.remove(&position)
    };
}

fn put_in<K: Ord + Copy>(
    sets: &mut BTreeMap<K, Positions>,
    key: K,
    position: usize,
    belongs: bool,
) {
    if belongs {
        sets.entry(key).or_default().insert(position);
    } else if let Some(set) = sets.get_mut(&key) {
        set.remove(&position);
        if set.is_empty() {
            sets.remove(&key);
        }
    }
}

/// Whether a step has begun and has not ended.
fn has_begun(phase: StepPhase) -> bool {
    match phase {
        StepPhase::Repeating
        | StepPhase::Running
        | StepPhase::Asking
        | StepPhase::Waiting(_)
        | StepPhase::Unknown
        | StepPhase::Undoing
        | StepPhase::UndoWaiting(_) => true,
        StepPhase::Pending
        | StepPhase::Skipped(_)
        | StepPhase::Succeeded
        | StepPhase::Failed(_)
        | StepPhase::Undone
        | StepPhase::UndoFailed => false,
    }
}

#[cfg(test)]
mod tests;
