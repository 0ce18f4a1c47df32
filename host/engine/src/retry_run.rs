//! Plans a retry: a new run that begins at a step of a run that has ended. The steps and items that
//! the old run has done and not undone are assumed to be done.

use crate::event::{AssumedStep, RetryOf, Section, SkipReason};
use crate::execute::Decision;
use crate::plan::{Plan, PlannedStep, RetrySafety};
use crate::state::{EffectState, RemainingEffect, RunState, StepPhase, StepState};
use runbook_contract::{Json, Kind, RunId, StepId};
use std::collections::{BTreeMap, BTreeSet};

/// Why a run cannot be retried from a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// The old run has not ended: it runs or is paused.
    #[error("the run has not ended, so it is not tried again but continued")]
    NotEnded,
    /// There is no such step.
    #[error("`{step}` is not a step of the runbook; it has: {}", known.join(", "))]
    UnknownStep {
        /// The step that was asked for.
        step: StepId,
        /// The steps that there are.
        known: Vec<String>,
    },
    /// The step is done already, and would be done twice.
    #[error("step `{step}` is done in run {} and not undone, so it is not done again", done_in.short())]
    AlreadyDone {
        /// The step at which the run was to begin.
        step: StepId,
        /// The run that did it, and alone undoes it.
        done_in: RunId,
        /// The steps that are not done, by their names.
        open: Vec<String>,
    },
    /// A step that this step needs is not done.
    #[error("step `{needed}`, which `{step}` needs, is not done: it is {phase}")]
    NeededStepNotDone {
        /// The step at which the run was to begin.
        step: StepId,
        /// A step that it needs.
        needed: StepId,
        /// The phase of the needed step, by its name.
        phase: &'static str,
    },
    /// It is unknown whether steps have taken effect, and they must not take effect twice.
    #[error("it is unknown whether {} took effect in that run", quoted(steps))]
    OutcomeUnknown {
        /// The steps that may have taken effect.
        steps: Vec<StepId>,
    },
    /// Steps are done, and it is unknown whether they are undone.
    #[error(
        "{} {} done in that run, and it is unknown whether {} undone",
        quoted(steps),
        is_or_are(steps),
        is_or_are(steps)
    )]
    UndoUnknown {
        /// The steps that may be undone.
        steps: Vec<StepId>,
    },
    /// The operator decided about a step whose outcome is known.
    #[error("no decision about `{step}` is needed: its outcome is known")]
    NoDecisionNeeded {
        /// The step that was decided about.
        step: StepId,
    },
    /// The operator decided `fail`, but a retry either does a step or assumes that it is done.
    #[error(
        "`{step}=fail` is not possible here: say `{step}=done` (it happened) or `{step}=retry` \
             (it did not)"
    )]
    FailNotPossible {
        /// The step that was decided about.
        step: StepId,
    },
    /// The plan uses another operation for a step than the one that has done it.
    #[error("step `{step}` was `{was}` in that run and is `{is}` now")]
    OperationChanged {
        /// The id of the step.
        step: StepId,
        /// The operation that it used.
        was: String,
        /// The operation that it uses now.
        is: String,
    },
}

fn quoted(steps: &[StepId]) -> String {
    steps.iter().map(|step| format!("`{step}`")).collect::<Vec<_>>().join(", ")
}

fn is_or_are(steps: &[StepId]) -> &'static str {
    if steps.len() == 1 { "is" } else { "are" }
}

/// The steps that a new run assumes to be done, if it begins at `from`: a step, a step of a nested
/// file, or an item.
///
/// A step or item is assumed to be done if the old run has done it and not undone it, also after
/// `from`. Steps that only read run again from `from` on. `decisions` says of steps with an unknown
/// outcome whether they took effect. `earlier` are the runs whose effects the old run assumed: a
/// step that one of them has undone since then is not done.
///
/// # Errors
/// Every [`RetryError`].
pub fn retry_of(
    plan: &Plan,
    run: RunId,
    old_state: &RunState,
    earlier: &BTreeMap<RunId, RunState>,
    from: &StepId,
    decisions: &BTreeMap<StepId, Decision>,
) -> Result<RetryOf, RetryError> {
    if old_state.end.is_none() {
        return Err(RetryError::NotEnded);
    }
    let retry =
        RetryBuilder::new(plan, OldRun { run, state: old_state, earlier }, from, decisions)?;
    retry.check_decisions()?;
    retry.check_outcomes()?;
    retry.check_first_step()?;
    retry.check_needed_steps()?;
    Ok(RetryOf { run, assumed: retry.assumed()? })
}

/// The runs whose effects this run assumes to be done. Only those runs can undo them.
pub fn earlier_run_ids(state: &RunState) -> BTreeSet<RunId> {
    let items = state.assumed_items.values().map(|assumed| assumed.done_in);
    state.steps.values().filter_map(|step| step.done_in).chain(items).collect()
}

/// The run that is retried.
#[derive(Clone, Copy)]
struct OldRun<'a> {
    run: RunId,
    state: &'a RunState,
    /// The runs whose effects it assumed to be done.
    earlier: &'a BTreeMap<RunId, RunState>,
}

impl<'a> OldRun<'a> {
    /// The state of a step in the earlier run `done_in`, if that run has begun to undo it since the
    /// old run assumed it.
    fn undone_step(&self, id: &StepId, done_in: Option<RunId>) -> Option<&'a StepState> {
        let step_state = self.earlier.get(&done_in?)?.steps.get(id)?;
        may_be_undone(step_state).then_some(step_state)
    }
}

/// Whether the undo of a step has begun, so that its effect may be gone.
fn may_be_undone(step_state: &StepState) -> bool {
    matches!(
        step_state.phase,
        StepPhase::Undoing | StepPhase::UndoWaiting(_) | StepPhase::Undone | StepPhase::UndoFailed
    ) && !step_state.change.is_done()
}

/// What the new run can use of a step of the old run.
enum Reuse {
    /// The step is done, with this output.
    Done(Json),
    /// Its `when` was false, and is evaluated again.
    Skipped,
    /// The step is not done, and may be done; with the name of its phase.
    Open(&'static str),
    /// It is unknown whether the step is done.
    OutcomeUnknown,
}

struct RetryBuilder<'a> {
    plan: &'a Plan,
    old_run: OldRun<'a>,
    old_state: &'a RunState,
    from: &'a StepId,
    /// The step as written that `from` is, or is an item of.
    written: &'a PlannedStep,
    decisions: &'a BTreeMap<StepId, Decision>,
    /// The steps after `from`, and `from` itself.
    steps_after: BTreeSet<&'a StepId>,
}

impl<'a> RetryBuilder<'a> {
    fn new(
        plan: &'a Plan,
        old_run: OldRun<'a>,
        from: &'a StepId,
        decisions: &'a BTreeMap<StepId, Decision>,
    ) -> Result<Self, RetryError> {
        let old_state = old_run.state;
        let is_step_or_verify =
            |step: &&PlannedStep| matches!(step.section, Section::Step | Section::Verify);
        let step_of_item = || {
            plan.step(&from.as_written())
                .filter(|step| step.for_each.is_some() && old_state.steps.contains_key(from))
        };
        let Some(written) = plan.step(from).or_else(step_of_item).filter(is_step_or_verify) else {
            let candidates = plan.section(Section::Step).chain(plan.section(Section::Verify));
            let known = candidates.map(|step| step.id.to_string()).collect();
            return Err(RetryError::UnknownStep { step: from.clone(), known });
        };
        Ok(Self {
            plan,
            old_run,
            old_state,
            from,
            written,
            decisions,
            steps_after: steps_after(plan, written),
        })
    }

    /// The steps as written, in file order, with what the old run knows of each.
    fn steps(&self) -> impl Iterator<Item = (&'a PlannedStep, &'a StepState)> {
        let old_state = self.old_state;
        self.plan
            .section(Section::Step)
            .filter_map(move |step| Some((step, old_state.steps.get(&step.id)?)))
    }

    /// The items of a step that the old run knew, with their ids.
    fn items(&self, parent: &'a PlannedStep) -> impl Iterator<Item = (StepId, &'a StepState)> {
        let items = self.old_state.items.get(&parent.id).map(Vec::as_slice).unwrap_or_default();
        items
            .iter()
            .map(|item| parent.id.item(&item.key))
            .filter_map(|id| Some((id.clone(), self.old_state.steps.get(&id)?)))
    }

    fn reuse(&self, id: &StepId, step: &'a PlannedStep, step_state: &'a StepState) -> Reuse {
        // The run that had the effect knows whether it has been undone.
        let step_state = self.old_run.undone_step(id, step_state.done_in).unwrap_or(step_state);
        let effect_doubt = if self.decisions.contains_key(id) {
            EffectDoubt::MayHaveHappened
        } else {
            effect_doubt(step, step_state)
        };
        match (effect_doubt, self.decisions.get(id)) {
            (EffectDoubt::None, _)
                if step_state.phase == StepPhase::UndoFailed && step_state.change.is_done() =>
            {
                Reuse::Done(step_state.output.clone().unwrap_or_default())
            }
            (EffectDoubt::MayHaveHappened, Some(Decision::Done)) => {
                Reuse::Done(step_state.output.clone().unwrap_or_default())
            }
            (EffectDoubt::MayHaveHappened, Some(Decision::Retry | Decision::NotDone)) => {
                Reuse::Open(step_state.phase.name())
            }
            (EffectDoubt::MayHaveHappened, Some(Decision::Fail) | None) => Reuse::OutcomeUnknown,
            (EffectDoubt::None, _) => match step_state.phase {
                StepPhase::Succeeded
                | StepPhase::Skipped(SkipReason::Assumed | SkipReason::Operator) => {
                    // An item does not depend on the undo of another item.
                    match if *id == step.id { self.phase_of_undone_part(step) } else { None } {
                        Some(phase) => Reuse::Open(phase),
                        None => Reuse::Done(step_state.output.clone().unwrap_or_default()),
                    }
                }
                StepPhase::Skipped(SkipReason::Condition) => Reuse::Skipped,
                StepPhase::Pending
                | StepPhase::Skipped(SkipReason::Dependency | SkipReason::TimeIsUp)
                | StepPhase::Repeating
                | StepPhase::Running
                | StepPhase::Asking
                | StepPhase::Waiting(_)
                | StepPhase::Failed(_)
                | StepPhase::Unknown
                | StepPhase::Undoing
                | StepPhase::UndoWaiting(_)
                | StepPhase::Undone
                | StepPhase::UndoFailed => Reuse::Open(step_state.phase.name()),
            },
        }
    }

    /// The phase of the first item of a step, or step of its nested file, whose undo has begun.
    fn phase_of_undone_part(&self, step: &'a PlannedStep) -> Option<&'static str> {
        let undo_phase = |id: &StepId, step_state: &'a StepState| {
            let step_state = self.old_run.undone_step(id, step_state.done_in).unwrap_or(step_state);
            may_be_undone(step_state).then(|| step_state.phase.name())
        };
        if step.for_each.is_some() {
            let listed = self.items(step).find_map(|(id, step_state)| undo_phase(&id, step_state));
            let known = || {
                self.unlisted_items(step)
                    .find_map(|item| self.old_run.undone_step(&item.step, Some(item.done_in)))
            };
            return listed.or_else(|| known().map(|step_state| step_state.phase.name()));
        }
        self.plan.groups.get(&step.id)?;
        let parts = self.old_state.steps.iter().filter(|(id, _)| id.is_inside(&step.id));
        let items = self.old_state.assumed_items.iter().filter(|(id, _)| id.is_inside(&step.id));
        let undone =
            |(id, item): (&StepId, &AssumedStep)| self.old_run.undone_step(id, Some(item.done_in));
        parts
            .clone()
            .find_map(|(id, step_state)| undo_phase(id, step_state))
            .or_else(|| items.clone().find_map(undone).map(|step_state| step_state.phase.name()))
    }

    /// The items of a step that the old run assumed to be done and never listed, because the step
    /// as a whole was done.
    fn unlisted_items(&self, parent: &'a PlannedStep) -> impl Iterator<Item = &'a AssumedStep> {
        let (items, steps) = (&self.old_state.assumed_items, &self.old_state.steps);
        items
            .values()
            .filter(|item| item.step.as_written() == parent.id && !steps.contains_key(&item.step))
    }

    /// The state of a step in the last run that has changed it.
    fn last_known_state(&self, id: &StepId) -> Option<&'a StepState> {
        let in_old_run = self.old_state.steps.get(id);
        let known = || self.old_state.assumed_items.get(id).map(|item| item.done_in);
        let done_in = in_old_run.map_or_else(known, |step_state| step_state.done_in);
        self.old_run.undone_step(id, done_in).or(in_old_run)
    }

    /// The run that had the effect of a step of the old run.
    fn done_in(&self, step_state: &StepState) -> RunId {
        step_state.done_in.unwrap_or(self.old_run.run)
    }

    fn check_decisions(&self) -> Result<(), RetryError> {
        for (id, decision) in self.decisions {
            let step =
                self.plan.step(&id.as_written()).filter(|step| step.section == Section::Step);
            if step.is_none() {
                let known =
                    self.plan.section(Section::Step).map(|step| step.id.to_string()).collect();
                return Err(RetryError::UnknownStep { step: id.clone(), known });
            }
            let step_state = step.zip(self.last_known_state(id));
            let may_be_asked = |(step, step_state): (&PlannedStep, &StepState)| {
                effect_doubt(step, step_state) == EffectDoubt::MayHaveHappened
                    || step_state.change.remaining() == RemainingEffect::Perhaps
            };
            if !step_state.is_some_and(may_be_asked) {
                return Err(RetryError::NoDecisionNeeded { step: id.clone() });
            }
            if *decision == Decision::Fail {
                return Err(RetryError::FailNotPossible { step: id.clone() });
            }
        }
        Ok(())
    }

    /// Checks that no step has an unknown outcome: the new run does every step that it does not
    /// assume.
    fn check_outcomes(&self) -> Result<(), RetryError> {
        let mut steps = Vec::new();
        for (step, step_state) in self.steps() {
            if matches!(self.reuse(&step.id, step, step_state), Reuse::OutcomeUnknown) {
                steps.push(step.id.clone());
            }
            let doubtful = self.items(step).filter(|(id, step_state)| {
                matches!(self.reuse(id, step, step_state), Reuse::OutcomeUnknown)
            });
            steps.extend(doubtful.map(|(id, _)| id));
            let known = self
                .unlisted_items(step)
                .filter_map(|item| Some((&item.step, self.last_known_state(&item.step)?)));
            let doubtful = known.filter(|(id, step_state)| {
                matches!(self.reuse(id, step, step_state), Reuse::OutcomeUnknown)
            });
            steps.extend(doubtful.map(|(id, _)| id.clone()));
        }
        if steps.is_empty() { Ok(()) } else { Err(self.doubt_error(steps)) }
    }

    /// The error about steps whose outcome, or whose undo, is unknown.
    fn doubt_error(&self, steps: Vec<StepId>) -> RetryError {
        let is_undo = |id: &&StepId| {
            let phase = self.last_known_state(id).map(|step_state| step_state.phase);
            matches!(
                phase,
                Some(StepPhase::Undoing | StepPhase::UndoWaiting(_) | StepPhase::UndoFailed)
            )
        };
        let effects: Vec<StepId> = steps.iter().filter(|id| !is_undo(id)).cloned().collect();
        if effects.is_empty() {
            RetryError::UndoUnknown { steps }
        } else {
            RetryError::OutcomeUnknown { steps: effects }
        }
    }

    /// Checks that the step at which the run begins is not done already, unless it only reads.
    fn check_first_step(&self) -> Result<(), RetryError> {
        let Some(step_state) =
            self.old_state.steps.get(self.from).filter(|_| self.written.section == Section::Step)
        else {
            return Ok(());
        };
        let done = matches!(self.reuse(self.from, self.written, step_state), Reuse::Done(_));
        // By the decision that it happened, the run begins after it.
        if !done || self.is_read_only(self.written) || self.decisions.contains_key(self.from) {
            return Ok(());
        }
        let open = self.steps().filter(|(step, step_state)| {
            matches!(self.reuse(&step.id, step, step_state), Reuse::Open(_))
        });
        let done_in = self.done_in(step_state);
        Err(RetryError::AlreadyDone {
            step: self.from.clone(),
            done_in,
            open: open.map(|(step, _)| step.id.to_string()).collect(),
        })
    }

    fn check_needed_steps(&self) -> Result<(), RetryError> {
        let not_done = |needed: &StepId, phase| RetryError::NeededStepNotDone {
            step: self.from.clone(),
            needed: needed.clone(),
            phase,
        };
        for needed in steps_before(self.plan, self.written) {
            let Some(step_state) = self.old_state.steps.get(&needed.id) else {
                return Err(not_done(&needed.id, "no part of that run"));
            };
            match self.reuse(&needed.id, needed, step_state) {
                Reuse::Done(_) | Reuse::Skipped => {}
                // The old run continued after this failure, as the runbook says, and so does this
                // one.
                Reuse::Open(_) if step_state.tolerated => {}
                Reuse::Open(phase) => return Err(not_done(&needed.id, phase)),
                Reuse::OutcomeUnknown => return Err(self.doubt_error(vec![needed.id.clone()])),
            }
        }
        Ok(())
    }

    fn assumed(&self) -> Result<Vec<AssumedStep>, RetryError> {
        let mut assumed = Vec::new();
        for (step, step_state) in self.steps() {
            let is_open = self.contains_from(step)
                || (self.steps_after.contains(&step.id) && self.has_parts(step));
            let is_asked_again = self.steps_after.contains(&step.id) && self.is_read_only(step);
            if let (Reuse::Done(output), false, false) =
                (self.reuse(&step.id, step, step_state), is_open, is_asked_again)
            {
                self.check_same_operation(step)?;
                assumed.push(AssumedStep {
                    step: step.id.clone(),
                    output,
                    done_in: self.done_in(step_state),
                });
            }
            if !is_asked_again {
                // Also for a step that is done as a whole: a retry of the new run may begin before
                // it.
                assumed.extend(self.done_items(step)?);
            }
        }
        Ok(assumed)
    }

    /// The items that the old run has done or assumed to be done.
    fn done_items(&self, step: &'a PlannedStep) -> Result<Vec<AssumedStep>, RetryError> {
        let done = self.items(step).filter_map(|(id, step_state)| {
            match self.reuse(&id, step, step_state) {
                Reuse::Done(output) => {
                    Some(AssumedStep { step: id, output, done_in: self.done_in(step_state) })
                }
                Reuse::Skipped | Reuse::Open(_) | Reuse::OutcomeUnknown => None,
            }
        });
        let is_still_done = |item: &&AssumedStep| {
            let undone = self.old_run.undone_step(&item.step, Some(item.done_in));
            undone.is_none_or(|step_state| {
                matches!(self.reuse(&item.step, step, step_state), Reuse::Done(_))
            })
        };
        let known = self.unlisted_items(step).filter(is_still_done).cloned();
        let items: Vec<AssumedStep> = done.chain(known).collect();
        if !items.is_empty() {
            self.check_same_operation(step)?;
        }
        Ok(items)
    }

    /// Whether `from` is a step of its nested file, or one of its items.
    fn contains_from(&self, step: &PlannedStep) -> bool {
        self.from.is_inside(&step.id) || (step.id == self.written.id && step.id != *self.from)
    }

    fn has_parts(&self, step: &PlannedStep) -> bool {
        step.for_each.is_some() || self.plan.groups.contains_key(&step.id)
    }

    /// Whether a step, and every step of its nested file, changes nothing.
    fn is_read_only(&self, step: &PlannedStep) -> bool {
        let may_change =
            |step: &PlannedStep| step.facts.kind == Kind::Step || step.manual.is_some();
        !may_change(step)
            && !self
                .plan
                .section(Section::Step)
                .any(|part| part.id.is_inside(&step.id) && may_change(part))
    }

    /// Checks that the plan uses the same operation as the old run.
    fn check_same_operation(&self, step: &PlannedStep) -> Result<(), RetryError> {
        let was = self
            .old_state
            .order
            .iter()
            .find(|listing| listing.id == step.id)
            .map(|listing| listing.uses.clone());
        match was.filter(|was| *was != step.uses) {
            Some(was) => Err(RetryError::OperationChanged {
                step: step.id.clone(),
                was,
                is: step.uses.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// Whether it matters that an effect may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EffectDoubt {
    /// It is known whether the effect happened, or it may happen twice without harm.
    None,
    /// The effect may have happened, and must not happen twice.
    MayHaveHappened,
}

fn effect_doubt(step: &PlannedStep, step_state: &StepState) -> EffectDoubt {
    let unclear = match step_state.phase {
        StepPhase::Failed(_) | StepPhase::Unknown | StepPhase::Running | StepPhase::Waiting(_) => {
            step_state.effect != EffectState::None
        }
        StepPhase::Undoing | StepPhase::UndoWaiting(_) | StepPhase::UndoFailed => {
            !step_state.change.is_done()
        }
        StepPhase::Pending
        | StepPhase::Skipped(_)
        | StepPhase::Repeating
        | StepPhase::Asking
        | StepPhase::Succeeded
        | StepPhase::Undone => false,
    };
    if unclear && step.idempotent == RetrySafety::No {
        EffectDoubt::MayHaveHappened
    } else {
        EffectDoubt::None
    }
}

/// A step, all steps after it, and the steps of their nested files.
fn steps_after<'a>(plan: &'a Plan, from: &'a PlannedStep) -> BTreeSet<&'a StepId> {
    let mut dependents: BTreeMap<&StepId, Vec<&'a PlannedStep>> = BTreeMap::new();
    let mut parts: BTreeMap<&StepId, Vec<&'a PlannedStep>> = BTreeMap::new();
    for step in plan.section(Section::Step) {
        for need in &step.needs {
            dependents.entry(need).or_default().push(step);
        }
        if let Some(group) = &step.group {
            parts.entry(group).or_default().push(step);
        }
    }
    let mut found = BTreeSet::new();
    let mut to_visit = vec![from];
    while let Some(step) = to_visit.pop() {
        if !found.insert(&step.id) {
            continue;
        }
        to_visit.extend(dependents.get(&step.id).into_iter().flatten());
        to_visit.extend(parts.get(&step.id).into_iter().flatten());
        // A step that needs the nested file as a whole comes after each step of that file.
        let mut group = step.group.as_ref();
        while let Some(id) = group {
            to_visit.extend(dependents.get(id).into_iter().flatten());
            group = plan.step(id).and_then(|step| step.group.as_ref());
        }
    }
    found
}

/// All steps that must be done before a step: those that it needs, and those that the nested files
/// around it need.
fn steps_before<'a>(plan: &'a Plan, from: &'a PlannedStep) -> Vec<&'a PlannedStep> {
    if from.section == Section::Verify {
        return plan
            .section(Section::Step)
            .filter(|step| step.group.is_none() && step.item.is_none())
            .collect();
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut to_visit = vec![from];
    while let Some(step) = to_visit.pop() {
        for need in step.needs.iter().filter_map(|need| plan.step(need)) {
            if seen.insert(&need.id) {
                found.push(need);
                to_visit.push(need);
            }
        }
        to_visit.extend(step.group.as_ref().and_then(|group| plan.step(group)));
    }
    found
}
