//! A new run that begins at a step of one that has ended: what that run has done, and not undone,
//! is taken as done, item by item and nested step by nested step.

use crate::event::{Assumed, RetryOf, Section, SkipReason};
use crate::execute::Decision;
use crate::plan::{Plan, PlannedStep, RetrySafety};
use crate::state::{EffectState, RemainingEffect, RunState, StepPhase, StepState};
use runbook_contract::{Json, Kind, RunId, StepId};
use std::collections::{BTreeMap, BTreeSet};

/// Why a run cannot be begun at a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// It goes on, or waits.
    #[error("the run has not ended, so it is not tried again but continued")]
    NotEnded,
    /// There is no such step.
    #[error("`{step}` is not a step of the runbook; it has: {}", known.join(", "))]
    NoStep {
        /// The step that was asked for.
        step: StepId,
        /// The steps that there are.
        known: Vec<String>,
    },
    /// It is done, and would be done twice.
    #[error("step `{step}` is done in run {} and not undone, so it is not done again", done_in.short())]
    Done {
        /// The step at which the run was to begin.
        step: StepId,
        /// The run that did it, and alone undoes it.
        done_in: RunId,
        /// The steps that are not done, by their names.
        open: Vec<String>,
    },
    /// What the step needs is not done.
    #[error("step `{needed}`, which `{step}` needs, is not done: it is {phase}")]
    NotDone {
        /// The step at which the run was to begin.
        step: StepId,
        /// A step that it needs.
        needed: StepId,
        /// The phase of the needed step, by its name.
        phase: &'static str,
    },
    /// It is unknown whether it has taken effect, and it must not take effect twice.
    #[error("it is unknown whether {} took effect in that run", quoted(steps))]
    Doubtful {
        /// The steps that may have taken effect.
        steps: Vec<StepId>,
    },
    /// They are done, and it is unknown whether they are undone.
    #[error(
        "{} {} done in that run, and it is unknown whether {} undone",
        quoted(steps),
        is_or_are(steps),
        is_or_are(steps)
    )]
    PerhapsUndone {
        /// The steps that may be undone.
        steps: Vec<StepId>,
    },
    /// The operator decided about a step, and it is known what that step did.
    #[error("no decision about `{step}` is needed: its outcome is known")]
    NotAsked {
        /// The step that was decided about.
        step: StepId,
    },
    /// A run that tries another one again either does a step or takes it as done, so `fail` is no
    /// decision.
    #[error(
        "`{step}=fail` is not possible here: say `{step}=done` (it happened) or `{step}=retry` \
             (it did not)"
    )]
    NoWay {
        /// The step that was decided about.
        step: StepId,
    },
    /// What is done is not what the plan would do.
    #[error("step `{step}` was `{was}` in that run and is `{is}` now")]
    Other {
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

/// What a new run takes as done that begins at `from`, which may be a step, a step of a nested
/// file, or an item.
///
/// Each effect that the old run has had and not undone is taken as done, wherever its step stands.
/// What only looks is asked again from `from` on. `decisions` says of steps without a clear outcome
/// whether they took effect. `earlier` are the runs whose effects the old run took as done: what
/// one of them has undone since is not done.
///
/// # Errors
/// Every [`RetryError`].
pub fn retry_of(
    plan: &Plan,
    run: RunId,
    old: &RunState,
    earlier: &BTreeMap<RunId, RunState>,
    from: &StepId,
    decisions: &BTreeMap<StepId, Decision>,
) -> Result<RetryOf, RetryError> {
    if old.end.is_none() {
        return Err(RetryError::NotEnded);
    }
    let retry = Retry::new(plan, OldRun { run, state: old, earlier }, from, decisions)?;
    retry.check_decisions()?;
    retry.check_doubts()?;
    retry.check_from()?;
    retry.check_before()?;
    Ok(RetryOf { run, assumed: retry.assumed()? })
}

/// The runs whose effects this one takes as done. Each of them undoes its own.
pub fn runs_relied_on(state: &RunState) -> BTreeSet<RunId> {
    let items = state.assumed_items.values().map(|assumed| assumed.done_in);
    state.steps.values().filter_map(|step| step.done_in).chain(items).collect()
}

/// The run that is tried again.
#[derive(Clone, Copy)]
struct OldRun<'a> {
    run: RunId,
    state: &'a RunState,
    /// The runs whose effects it took as done.
    earlier: &'a BTreeMap<RunId, RunState>,
}

impl<'a> OldRun<'a> {
    /// What the run knows of a step that had its effect, if it has begun to undo it since this one
    /// took it as done.
    fn undone_since(&self, id: &StepId, done_in: Option<RunId>) -> Option<&'a StepState> {
        let found = self.earlier.get(&done_in?)?.steps.get(id)?;
        is_gone(found).then_some(found)
    }
}

/// Whether its undo has begun, so that it is not surely there any more.
fn is_gone(found: &StepState) -> bool {
    matches!(
        found.phase,
        StepPhase::Undoing | StepPhase::UndoWaiting(_) | StepPhase::Undone | StepPhase::UndoFailed
    ) && !found.change.is_done()
}

/// Where a step of the old run stands.
enum Reuse {
    /// It is done, with this output.
    Done(Json),
    /// Its `when` was false, and is asked again.
    Skipped,
    /// It is not, and may be done.
    Open(&'static str),
    /// It is unknown whether it is done.
    Doubtful,
}

struct Retry<'a> {
    plan: &'a Plan,
    of: OldRun<'a>,
    old: &'a RunState,
    from: &'a StepId,
    /// The step as written that `from` is, or is an item of.
    written: &'a PlannedStep,
    decisions: &'a BTreeMap<StepId, Decision>,
    /// What comes after `from`, and `from` itself.
    after: BTreeSet<&'a StepId>,
}

impl<'a> Retry<'a> {
    fn new(
        plan: &'a Plan,
        of: OldRun<'a>,
        from: &'a StepId,
        decisions: &'a BTreeMap<StepId, Decision>,
    ) -> Result<Self, RetryError> {
        let old = of.state;
        let is_place =
            |step: &&PlannedStep| matches!(step.section, Section::Step | Section::Verify);
        let as_item = || {
            plan.step(&from.as_written())
                .filter(|step| step.for_each.is_some() && old.steps.contains_key(from))
        };
        let Some(written) = plan.step(from).or_else(as_item).filter(is_place) else {
            let places = plan.section(Section::Step).chain(plan.section(Section::Verify));
            let known = places.map(|step| step.id.to_string()).collect();
            return Err(RetryError::NoStep { step: from.clone(), known });
        };
        Ok(Self { plan, of, old, from, written, decisions, after: after(plan, written) })
    }

    /// The steps as written, in file order, with what the old run knows of each.
    fn steps(&self) -> impl Iterator<Item = (&'a PlannedStep, &'a StepState)> {
        let old = self.old;
        self.plan
            .section(Section::Step)
            .filter_map(move |step| Some((step, old.steps.get(&step.id)?)))
    }

    /// The items of a step that the old run knew, with their ids.
    fn items(&self, of: &'a PlannedStep) -> impl Iterator<Item = (StepId, &'a StepState)> {
        let items = self.old.items.get(&of.id).map(Vec::as_slice).unwrap_or_default();
        items
            .iter()
            .map(|item| of.id.item(&item.key))
            .filter_map(|id| Some((id.clone(), self.old.steps.get(&id)?)))
    }

    fn reuse(&self, id: &StepId, step: &'a PlannedStep, found: &'a StepState) -> Reuse {
        // Who had the effect knows whether it is still there.
        let found = self.of.undone_since(id, found.done_in).unwrap_or(found);
        let doubt = if self.decisions.contains_key(id) {
            EffectDoubt::MayHaveHappened
        } else {
            doubt(step, found)
        };
        match (doubt, self.decisions.get(id)) {
            (EffectDoubt::None, _)
                if found.phase == StepPhase::UndoFailed && found.change.is_done() =>
            {
                Reuse::Done(found.output.clone().unwrap_or_default())
            }
            (EffectDoubt::MayHaveHappened, Some(Decision::Done)) => {
                Reuse::Done(found.output.clone().unwrap_or_default())
            }
            (EffectDoubt::MayHaveHappened, Some(Decision::Retry | Decision::NotDone)) => {
                Reuse::Open(found.phase.name())
            }
            (EffectDoubt::MayHaveHappened, Some(Decision::Fail) | None) => Reuse::Doubtful,
            (EffectDoubt::None, _) => match found.phase {
                StepPhase::Succeeded
                | StepPhase::Skipped(SkipReason::Assumed | SkipReason::Operator) => {
                    // An item stands for itself: that another one is undone changes nothing of it.
                    match if *id == step.id { self.undone_part(step) } else { None } {
                        Some(phase) => Reuse::Open(phase),
                        None => Reuse::Done(found.output.clone().unwrap_or_default()),
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
                | StepPhase::UndoFailed => Reuse::Open(found.phase.name()),
            },
        }
    }

    /// Where a part of a step stands that is not done any more: of the file that it stands for, or
    /// one of its items.
    fn undone_part(&self, step: &'a PlannedStep) -> Option<&'static str> {
        let gone = |id: &StepId, found: &'a StepState| {
            let found = self.of.undone_since(id, found.done_in).unwrap_or(found);
            is_gone(found).then(|| found.phase.name())
        };
        if step.for_each.is_some() {
            let listed = self.items(step).find_map(|(id, found)| gone(&id, found));
            let known = || {
                self.known_items(step)
                    .find_map(|item| self.of.undone_since(&item.step, Some(item.done_in)))
            };
            return listed.or_else(|| known().map(|found| found.phase.name()));
        }
        self.plan.groups.get(&step.id)?;
        let parts = self.old.steps.iter().filter(|(id, _)| id.is_inside(&step.id));
        let items = self.old.assumed_items.iter().filter(|(id, _)| id.is_inside(&step.id));
        let undone = |(id, item): (&StepId, &Assumed)| self.of.undone_since(id, Some(item.done_in));
        parts
            .clone()
            .find_map(|(id, found)| gone(id, found))
            .or_else(|| items.clone().find_map(undone).map(|found| found.phase.name()))
    }

    /// The items of a step that the old run took as done and never listed, because the step as a
    /// whole was done.
    fn known_items(&self, of: &'a PlannedStep) -> impl Iterator<Item = &'a Assumed> {
        let (items, steps) = (&self.old.assumed_items, &self.old.steps);
        items
            .values()
            .filter(|item| item.step.as_written() == of.id && !steps.contains_key(&item.step))
    }

    /// What is known of a step, from the last run that knows it.
    fn found(&self, id: &StepId) -> Option<&'a StepState> {
        let own = self.old.steps.get(id);
        let known = || self.old.assumed_items.get(id).map(|item| item.done_in);
        let done_in = own.map_or_else(known, |found| found.done_in);
        self.of.undone_since(id, done_in).or(own)
    }

    /// The run that had the effect of a step of the old run.
    fn done_in(&self, found: &StepState) -> RunId {
        found.done_in.unwrap_or(self.of.run)
    }

    fn check_decisions(&self) -> Result<(), RetryError> {
        for (id, decision) in self.decisions {
            let step =
                self.plan.step(&id.as_written()).filter(|step| step.section == Section::Step);
            if step.is_none() {
                let known =
                    self.plan.section(Section::Step).map(|step| step.id.to_string()).collect();
                return Err(RetryError::NoStep { step: id.clone(), known });
            }
            let found = step.zip(self.found(id));
            let may_be_asked = |(step, found): (&PlannedStep, &StepState)| {
                doubt(step, found) == EffectDoubt::MayHaveHappened
                    || found.change.left() == RemainingEffect::Perhaps
            };
            if !found.is_some_and(may_be_asked) {
                return Err(RetryError::NotAsked { step: id.clone() });
            }
            if *decision == Decision::Fail {
                return Err(RetryError::NoWay { step: id.clone() });
            }
        }
        Ok(())
    }

    /// Whatever is not taken as done is done by the new run, so nothing may be in doubt.
    fn check_doubts(&self) -> Result<(), RetryError> {
        let mut steps = Vec::new();
        for (step, found) in self.steps() {
            if matches!(self.reuse(&step.id, step, found), Reuse::Doubtful) {
                steps.push(step.id.clone());
            }
            let doubtful = self
                .items(step)
                .filter(|(id, found)| matches!(self.reuse(id, step, found), Reuse::Doubtful));
            steps.extend(doubtful.map(|(id, _)| id));
            let known = self
                .known_items(step)
                .filter_map(|item| Some((&item.step, self.found(&item.step)?)));
            let doubtful =
                known.filter(|(id, found)| matches!(self.reuse(id, step, found), Reuse::Doubtful));
            steps.extend(doubtful.map(|(id, _)| id.clone()));
        }
        if steps.is_empty() { Ok(()) } else { Err(self.in_doubt(steps)) }
    }

    /// What is not known of the steps: whether they happened, or whether they are undone.
    fn in_doubt(&self, steps: Vec<StepId>) -> RetryError {
        let is_undo = |id: &&StepId| {
            let phase = self.found(id).map(|found| found.phase);
            matches!(
                phase,
                Some(StepPhase::Undoing | StepPhase::UndoWaiting(_) | StepPhase::UndoFailed)
            )
        };
        let effects: Vec<StepId> = steps.iter().filter(|id| !is_undo(id)).cloned().collect();
        if effects.is_empty() {
            RetryError::PerhapsUndone { steps }
        } else {
            RetryError::Doubtful { steps: effects }
        }
    }

    /// What is done cannot be where a run begins, unless it only looks.
    fn check_from(&self) -> Result<(), RetryError> {
        let Some(found) =
            self.old.steps.get(self.from).filter(|_| self.written.section == Section::Step)
        else {
            return Ok(());
        };
        let done = matches!(self.reuse(self.from, self.written, found), Reuse::Done(_));
        // Who says that it happened begins after it.
        if !done || self.is_read_only(self.written) || self.decisions.contains_key(self.from) {
            return Ok(());
        }
        let open = self
            .steps()
            .filter(|(step, found)| matches!(self.reuse(&step.id, step, found), Reuse::Open(_)));
        let done_in = self.done_in(found);
        Err(RetryError::Done {
            step: self.from.clone(),
            done_in,
            open: open.map(|(step, _)| step.id.to_string()).collect(),
        })
    }

    fn check_before(&self) -> Result<(), RetryError> {
        let not_done = |needed: &StepId, phase| RetryError::NotDone {
            step: self.from.clone(),
            needed: needed.clone(),
            phase,
        };
        for needed in before(self.plan, self.written) {
            let Some(found) = self.old.steps.get(&needed.id) else {
                return Err(not_done(&needed.id, "no part of that run"));
            };
            match self.reuse(&needed.id, needed, found) {
                Reuse::Done(_) | Reuse::Skipped => {}
                // The run went on without it, as the runbook says, and so does this one.
                Reuse::Open(_) if found.tolerated => {}
                Reuse::Open(phase) => return Err(not_done(&needed.id, phase)),
                Reuse::Doubtful => return Err(self.in_doubt(vec![needed.id.clone()])),
            }
        }
        Ok(())
    }

    fn assumed(&self) -> Result<Vec<Assumed>, RetryError> {
        let mut assumed = Vec::new();
        for (step, found) in self.steps() {
            let is_open = self.is_around_from(step)
                || (self.after.contains(&step.id) && self.has_parts(step));
            let is_asked_again = self.after.contains(&step.id) && self.is_read_only(step);
            if let (Reuse::Done(output), false, false) =
                (self.reuse(&step.id, step, found), is_open, is_asked_again)
            {
                self.check_same(step)?;
                assumed.push(Assumed {
                    step: step.id.clone(),
                    output,
                    done_in: self.done_in(found),
                });
            }
            if !is_asked_again {
                // Also of a step that is done as a whole: the next run that tries this one again
                // may begin before it.
                assumed.extend(self.done_items(step)?);
            }
        }
        Ok(assumed)
    }

    /// The items that the old run has done, or knew to be done.
    fn done_items(&self, step: &'a PlannedStep) -> Result<Vec<Assumed>, RetryError> {
        let done = self.items(step).filter_map(|(id, found)| match self.reuse(&id, step, found) {
            Reuse::Done(output) => Some(Assumed { step: id, output, done_in: self.done_in(found) }),
            Reuse::Skipped | Reuse::Open(_) | Reuse::Doubtful => None,
        });
        let is_there = |item: &&Assumed| {
            let undone = self.of.undone_since(&item.step, Some(item.done_in));
            undone.is_none_or(|found| matches!(self.reuse(&item.step, step, found), Reuse::Done(_)))
        };
        let known = self.known_items(step).filter(is_there).cloned();
        let items: Vec<Assumed> = done.chain(known).collect();
        if !items.is_empty() {
            self.check_same(step)?;
        }
        Ok(items)
    }

    /// Whether it stands for the file in which the run begins, or is the step whose item it begins
    /// with.
    fn is_around_from(&self, step: &PlannedStep) -> bool {
        self.from.is_inside(&step.id) || (step.id == self.written.id && step.id != *self.from)
    }

    fn has_parts(&self, step: &PlannedStep) -> bool {
        step.for_each.is_some() || self.plan.groups.contains_key(&step.id)
    }

    /// Whether a step, with all that it stands for, changes nothing.
    fn is_read_only(&self, step: &PlannedStep) -> bool {
        let acts = |step: &PlannedStep| step.facts.kind == Kind::Step || step.manual.is_some();
        !acts(step)
            && !self
                .plan
                .section(Section::Step)
                .any(|part| part.id.is_inside(&step.id) && acts(part))
    }

    /// What is done must be what the plan would do.
    fn check_same(&self, step: &PlannedStep) -> Result<(), RetryError> {
        let was = self
            .old
            .order
            .iter()
            .find(|listing| listing.id == step.id)
            .map(|listing| listing.uses.clone());
        match was.filter(|was| *was != step.uses) {
            Some(was) => {
                Err(RetryError::Other { step: step.id.clone(), was, is: step.uses.clone() })
            }
            None => Ok(()),
        }
    }
}

/// Whether an effect may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EffectDoubt {
    /// It is known, or does no harm when it happens twice.
    None,
    /// The effect may have happened, and must not happen twice.
    MayHaveHappened,
}

fn doubt(step: &PlannedStep, found: &StepState) -> EffectDoubt {
    let unclear = match found.phase {
        StepPhase::Failed(_) | StepPhase::Unknown | StepPhase::Running | StepPhase::Waiting(_) => {
            found.effect != EffectState::None
        }
        StepPhase::Undoing | StepPhase::UndoWaiting(_) | StepPhase::UndoFailed => {
            !found.change.is_done()
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

/// A step, all that comes after it, and all that is part of one of these.
fn after<'a>(plan: &'a Plan, from: &'a PlannedStep) -> BTreeSet<&'a StepId> {
    let mut waiting: BTreeMap<&StepId, Vec<&'a PlannedStep>> = BTreeMap::new();
    let mut parts: BTreeMap<&StepId, Vec<&'a PlannedStep>> = BTreeMap::new();
    for step in plan.section(Section::Step) {
        for need in &step.needs {
            waiting.entry(need).or_default().push(step);
        }
        if let Some(group) = &step.group {
            parts.entry(group).or_default().push(step);
        }
    }
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(step) = open.pop() {
        if !found.insert(&step.id) {
            continue;
        }
        open.extend(waiting.get(&step.id).into_iter().flatten());
        open.extend(parts.get(&step.id).into_iter().flatten());
        // What waits for the whole file waits for each of its steps.
        let mut group = step.group.as_ref();
        while let Some(id) = group {
            open.extend(waiting.get(id).into_iter().flatten());
            group = plan.step(id).and_then(|step| step.group.as_ref());
        }
    }
    found
}

/// All that must be done before a step: what it needs, and what the files need in which it stands.
fn before<'a>(plan: &'a Plan, from: &'a PlannedStep) -> Vec<&'a PlannedStep> {
    if from.section == Section::Verify {
        return plan
            .section(Section::Step)
            .filter(|step| step.group.is_none() && step.item.is_none())
            .collect();
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut open = vec![from];
    while let Some(step) = open.pop() {
        for need in step.needs.iter().filter_map(|need| plan.step(need)) {
            if seen.insert(&need.id) {
                found.push(need);
                open.push(need);
            }
        }
        open.extend(step.group.as_ref().and_then(|group| plan.step(group)));
    }
    found
}
