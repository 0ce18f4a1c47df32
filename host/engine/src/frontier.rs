//! Which steps can continue now. The sets are updated after each record, because a run of ten
//! thousand steps must not examine each of them for every decision. They are derived from plan and
//! state, and hold no information of their own.

use crate::event::Section;
use crate::model::{IfNeedsFailed, OnFailure};
use crate::plan::Plan;
use crate::state::{RunState, StepPhase};
use crate::undo;
use runbook_contract::StepId;
use std::collections::{BTreeMap, BTreeSet};

/// Steps by their position in the plan.
type Positions = BTreeSet<usize>;

/// The steps of a run, grouped by what can be done with them now.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Frontier {
    structure: PlanStructure,
    phases: Vec<StepPhase>,
    /// For each step, how many of the steps that it needs are not settled.
    unsettled_needs: Vec<usize>,
    /// For each step, how many of its items, or of the steps of its nested file, are not settled.
    open_parts: Vec<usize>,
    /// For each step, how many of its items have begun and not ended.
    begun_items: Vec<usize>,
    /// For each section, how many of its steps are not settled; no entry is zero.
    unsettled: BTreeMap<Section, usize>,
    failed: BTreeMap<Section, Positions>,
    /// Steps whose failure ends the run.
    blocking: Positions,
    running: Positions,
    repeating: Positions,
    unknown: Positions,
    asking: Positions,
    waiting: Positions,
    /// Steps that may make an attempt, without items that have not begun.
    ready: BTreeMap<Section, Positions>,
    /// Items that may begin, by their step with `for_each`.
    items: BTreeMap<usize, Positions>,
    /// Pending steps that will never begin.
    never_begins: BTreeMap<Section, Positions>,
    /// Steps that are still to be undone, each with its index in the order of the undo first.
    to_undo: BTreeSet<(usize, usize)>,
    /// Steps that must be observed to find out what they have left.
    unchecked: Positions,
    /// How often a step was looked up, for tests of growth.
    #[cfg(test)]
    pub(crate) lookups: LookupCount,
}

/// How the steps depend on each other. Recomputed when the plan or the order of the undo changes.
#[derive(Debug, Clone, Default, PartialEq)]
struct PlanStructure {
    dependents: Vec<Vec<usize>>,
    /// For each step, the step that opens the nested file it belongs to.
    groups: Vec<Option<usize>>,
    /// For each item, the step with its `for_each`.
    item_of: Vec<Option<usize>>,
    /// For each step that opens a nested file, the steps of that file.
    members: Vec<Vec<usize>>,
    /// For each step, its index in the order of the undo; `None` if it is not undone.
    undo_index: Vec<Option<usize>>,
}

/// A count that is ignored when two frontiers are compared.
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
        let position_of = |id: &StepId| plan.index().position(id);
        let mut structure = Self {
            dependents: vec![Vec::new(); n],
            groups: plan
                .steps
                .iter()
                .map(|step| step.group.as_ref().and_then(position_of))
                .collect(),
            item_of: plan
                .steps
                .iter()
                .map(|step| step.item.as_ref().and_then(|item| position_of(&item.parent)))
                .collect(),
            members: vec![Vec::new(); n],
            undo_index: vec![None; n],
        };
        for position in 0..n {
            for need in plan.index().needs(position) {
                structure.dependents[*need].push(position);
            }
            if let Some(group) = structure.groups[position] {
                structure.members[group].push(position);
            }
        }
        for (index, id) in state.undo.iter().flat_map(|undo| &undo.order).enumerate() {
            if let Some(position) = position_of(id) {
                structure.undo_index[position] = Some(index);
            }
        }
        structure
    }

    /// The steps that a step is part of: the one that opens its nested file, and the one with the
    /// `for_each` of which it is an item.
    fn owners(&self, position: usize) -> impl Iterator<Item = usize> + use<> {
        [self.groups[position], self.item_of[position]].into_iter().flatten()
    }
}

impl Frontier {
    /// Computes the frontier from every step. [`Self::update`] applies later changes.
    pub(crate) fn new(plan: &Plan, state: &RunState) -> Self {
        let n = plan.steps.len();
        let mut frontier = Self {
            structure: PlanStructure::of(plan, state),
            phases: plan.steps.iter().map(|step| state.step(&step.id).phase).collect(),
            unsettled_needs: vec![0; n],
            open_parts: vec![0; n],
            begun_items: vec![0; n],
            ..Self::default()
        };
        for position in 0..n {
            let phase = frontier.phases[position];
            if !phase.is_settled() {
                frontier.count_open(plan, position, CountChange::Increment);
            }
            if has_begun(phase) {
                frontier.count_begun(position, CountChange::Increment);
            }
        }
        for position in 0..n {
            frontier.refresh(plan, state, position);
        }
        frontier
    }

    /// Updates the sets after a record about this step.
    pub(crate) fn update(&mut self, plan: &Plan, state: &RunState, id: &StepId) {
        let Some(position) = plan.index().position(id) else { return };
        let (old, new) = (self.phases[position], state.step(id).phase);
        self.phases[position] = new;
        match (old.is_settled(), new.is_settled()) {
            (false, true) => self.count_open(plan, position, CountChange::Decrement),
            (true, false) => self.count_open(plan, position, CountChange::Increment),
            (true, true) | (false, false) => {}
        }
        match (has_begun(old), has_begun(new)) {
            (true, false) => self.count_begun(position, CountChange::Decrement),
            (false, true) => self.count_begun(position, CountChange::Increment),
            (true, true) | (false, false) => {}
        }
        self.refresh(plan, state, position);
        if old != new {
            for next in 0..self.structure.dependents[position].len() {
                self.refresh(plan, state, self.structure.dependents[position][next]);
            }
            for next in 0..self.structure.members[position].len() {
                self.refresh(plan, state, self.structure.members[position][next]);
            }
        }
    }

    /// Updates the counts of unsettled steps wherever this step counts.
    fn count_open(&mut self, plan: &Plan, position: usize, change: CountChange) {
        let section = plan.steps[position].section;
        change.apply(self.unsettled.entry(section).or_default());
        self.unsettled.retain(|_, count| *count > 0);
        for dependent in &self.structure.dependents[position] {
            change.apply(&mut self.unsettled_needs[*dependent]);
        }
        if section == Section::Step {
            for owner in self.structure.owners(position) {
                change.apply(&mut self.open_parts[owner]);
            }
        }
    }

    fn count_begun(&mut self, position: usize, change: CountChange) {
        if let Some(owner) = self.structure.item_of[position] {
            change.apply(&mut self.begun_items[owner]);
        }
    }

    /// Recomputes the membership of a step in every set.
    fn refresh(&mut self, plan: &Plan, state: &RunState, position: usize) {
        #[cfg(test)]
        {
            self.lookups.0 += 1;
        }
        let step = &plan.steps[position];
        let step_state = state.step(&step.id);
        let (phase, section) = (self.phases[position], step.section);
        let in_step_section = |holds: bool| holds && section == Section::Step;
        let has_failed = matches!(phase, StepPhase::Failed(_));
        let is_idle =
            matches!(phase, StepPhase::Pending | StepPhase::Waiting(_) | StepPhase::Asking);
        let may_begin =
            is_idle && self.unsettled_needs[position] == 0 && self.is_reached(section, position);
        let owner = self.structure.item_of[position].filter(|_| phase == StepPhase::Pending);
        let never_begins = phase == StepPhase::Pending
            && (self.is_closed(plan, state, position) || self.has_unmet_need(plan, position));
        set_membership(&mut self.running, position, phase == StepPhase::Running);
        set_membership(
            &mut self.repeating,
            position,
            in_step_section(phase == StepPhase::Repeating),
        );
        set_membership(&mut self.unknown, position, in_step_section(phase == StepPhase::Unknown));
        set_membership(&mut self.asking, position, in_step_section(phase == StepPhase::Asking));
        set_membership(
            &mut self.waiting,
            position,
            in_step_section(matches!(phase, StepPhase::Waiting(_))),
        );
        set_membership(
            &mut self.blocking,
            position,
            in_step_section(
                has_failed && !step_state.tolerated && step.on_failure != OnFailure::Continue,
            ),
        );
        set_membership_in(&mut self.failed, section, position, has_failed);
        set_membership_in(&mut self.never_begins, section, position, never_begins);
        set_membership_in(&mut self.ready, section, position, may_begin && owner.is_none());
        if let Some(owner) = self.structure.item_of[position] {
            set_membership_in(
                &mut self.items,
                owner,
                position,
                may_begin && phase == StepPhase::Pending,
            );
        }
        set_membership(&mut self.unchecked, position, undo::needs_check(plan, state, step));
        if let Some(index) = self.structure.undo_index[position] {
            let is_to_undo = step_state.is_undoable()
                && !matches!(phase, StepPhase::Undone | StepPhase::UndoFailed);
            if is_to_undo {
                self.to_undo.insert((index, position))
            } else {
                self.to_undo.remove(&(index, position))
            };
        }
    }

    /// Whether the nested file of a step has begun; true for a step of the outermost file.
    fn is_reached(&self, section: Section, position: usize) -> bool {
        let group = self.structure.groups[position].filter(|_| section == Section::Step);
        group.is_none_or(|group| self.phases[group] == StepPhase::Repeating)
    }

    /// Whether the nested file of a step will never begin.
    fn is_closed(&self, plan: &Plan, state: &RunState, position: usize) -> bool {
        let Some(group) = self.structure.groups[position] else { return false };
        let is_over =
            plan.steps[position].section == Section::Finally || self.phases[group].is_settled();
        is_over && !state.groups.contains_key(&plan.steps[group].id)
    }

    /// Whether a step cannot run any more, because a step that it needs has failed or was skipped.
    fn has_unmet_need(&self, plan: &Plan, position: usize) -> bool {
        let step = &plan.steps[position];
        let is_check = step.criticality.is_some();
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

/// The queries of the loop.
impl Frontier {
    pub(crate) fn phase(&self, position: usize) -> StepPhase {
        self.phases[position]
    }

    pub(crate) fn is_settled(&self, section: Section) -> bool {
        !self.unsettled.contains_key(&section)
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

    /// Steps with items or a nested file that have begun.
    pub(crate) fn repeating(&self) -> impl Iterator<Item = usize> {
        self.repeating.iter().copied()
    }

    /// Whether all items of a step, or all steps of its nested file, are settled.
    pub(crate) fn are_parts_settled(&self, position: usize) -> bool {
        self.open_parts[position] == 0
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

    pub(crate) fn never_begins(&self, section: Section) -> impl Iterator<Item = usize> {
        self.never_begins.get(&section).into_iter().flatten().copied()
    }

    pub(crate) fn ready(&self, section: Section) -> impl Iterator<Item = usize> {
        self.ready.get(&section).into_iter().flatten().copied()
    }

    /// Steps with items that may begin, and those items.
    pub(crate) fn items(&self) -> impl Iterator<Item = (usize, &Positions)> {
        self.items.iter().map(|(owner, items)| (*owner, items))
    }

    /// How many items of a step have begun and not ended.
    pub(crate) fn n_begun_items(&self, owner: usize) -> usize {
        self.begun_items[owner]
    }

    /// The step that a step is an item of.
    pub(crate) fn item_of(&self, position: usize) -> Option<usize> {
        self.structure.item_of[position]
    }

    /// The steps to undo, the next one first.
    pub(crate) fn to_undo(&self) -> impl Iterator<Item = usize> {
        self.to_undo.iter().map(|(_, position)| *position)
    }

    /// Steps that must be observed to find out what they have left.
    pub(crate) fn unchecked(&self) -> impl Iterator<Item = usize> {
        self.unchecked.iter().copied()
    }

    /// The index of a step in the order of the undo.
    pub(crate) fn undo_index(&self, position: usize) -> Option<usize> {
        self.structure.undo_index[position]
    }
}

/// Whether a count grows or shrinks by one.
#[derive(Debug, Clone, Copy)]
enum CountChange {
    Increment,
    Decrement,
}

impl CountChange {
    fn apply(self, count: &mut usize) {
        match self {
            Self::Increment => *count += 1,
            Self::Decrement => *count -= 1,
        }
    }
}

fn set_membership(set: &mut Positions, position: usize, belongs: bool) {
    if belongs {
        set.insert(position)
    } else {
        set.remove(&position)
    };
}

fn set_membership_in<K: Ord + Copy>(
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
