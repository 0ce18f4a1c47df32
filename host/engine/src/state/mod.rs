//! The state of a run: the fold of its records, by one pure function.
//!
//! [`next`] decides which event may follow which state. An event that may not follow means a bug,
//! or a journal that somebody has edited. The diagram is in `docs/semantics.md`.

mod answers;
mod change;
mod guard;
mod phase;
mod step;

pub use crate::event::Stage;
pub use answers::{
    ApprovalRecord, ApprovalRequest, ApprovalState, ManualAnswer, ManualState, Question,
};
pub use change::{Change, RemainingChanges, RemainingEffect};
pub use guard::GuardState;
use guard::ResumedAfter;
pub use phase::{Delay, StepPhase};
pub(crate) use step::is_ambiguous;
pub use step::{EffectState, StepState, UndoState};

use crate::event::{
    ApprovalEvent, AssumedStep, AttemptEvent, Cause, GuardEvent, HeldLock, Item, ItemsEvent,
    LifecycleEvent, ManualEvent, NotifyEvent, PauseReason, Record, RunEnd, RunEvent, RunStatus,
    Section, StepEvent, StepListing, Trigger, WindowVerdict,
};
use crate::execution_time::ExecutionTime;
use jiff::Timestamp;
use runbook_contract::{Fault, Json, Proposal, StepId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// An event that cannot follow the state before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} cannot follow: {event} while {state}")]
pub struct IllegalEvent {
    /// The number of the record.
    pub seq: u64,
    /// The kind of the event, in words.
    pub event: String,
    /// The state before the event, in words.
    pub state: String,
}

/// A run, folded from its records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunState {
    /// `name` of the runbook.
    pub runbook: String,
    /// `title` of the runbook.
    pub title: String,
    /// Parameters as typed JSON.
    pub params: serde_json::Map<String, Json>,
    /// When the run started, by the wall clock.
    pub started: Timestamp,
    /// When the run ended; `None` if it has not.
    pub ended: Option<Timestamp>,
    /// How long the run was executed.
    pub execution_time: ExecutionTime,
    /// The stage of the run.
    pub stage: Stage,
    /// The status of the run, as `runbook runs` lists it.
    pub status: RunStatus,
    /// The steps in file order.
    pub order: Vec<StepListing>,
    /// The state of each step and of each item.
    pub steps: BTreeMap<StepId, StepState>,
    /// The items of steps with `for_each`, once they are known.
    pub items: BTreeMap<StepId, Vec<Item>>,
    /// Items that the run assumes to be done, because the retried run has done them.
    pub assumed_items: BTreeMap<StepId, AssumedStep>,
    /// The `params` of the nested files that have begun, by the step that stands for the file.
    pub groups: BTreeMap<StepId, serde_json::Map<String, Json>>,
    /// The parameters of nested files whose value comes from a truncated output, each with the name
    /// of that output; by the step that stands for the file.
    pub truncated_params: BTreeMap<StepId, BTreeMap<String, String>>,
    /// The state of each guard.
    pub guards: BTreeMap<StepId, GuardState>,
    /// The result of the last check of the window.
    pub window: Option<WindowVerdict>,
    /// The locks that the run held last.
    pub locks: Vec<HeldLock>,
    /// Why the run will end, even if it is resumed; `None` if it goes on.
    pub stopping: Option<Cause>,
    /// The undo that has begun; `None` if none has.
    pub undo: Option<UndoRun>,
    /// The steps whose undo was tried and failed, or left a drift.
    pub not_undone: BTreeSet<StepId>,
    /// How the run ends, once that is known.
    pub end: Option<RunEnd>,
    /// Why, if it is not success.
    pub cause: Option<Cause>,
    /// Why the run is paused; `None` if it is not.
    pub paused: Option<PauseReason>,
    /// Effects that were proposed so far, by capability.
    pub effects: BTreeMap<String, u32>,
    /// The same for the steps of each nested file, by the step that stands for the file.
    pub group_effects: BTreeMap<StepId, BTreeMap<String, u32>>,
    /// The notifications that were sent, or tried.
    pub notified: BTreeSet<(StepId, Trigger)>,
    /// The notifications that could not be sent, with the reason.
    pub notify_faults: Vec<(StepId, Fault)>,
    /// The number of the next record.
    pub next_seq: u64,
}

/// An undo of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UndoRun {
    /// Why the run is undone.
    pub cause: Cause,
    /// The steps to undo, in this order.
    pub order: Vec<StepId>,
    /// When the undo began, by the wall clock.
    pub began: Timestamp,
}

/// Folds records into a state; `None` for no records.
///
/// # Errors
/// The first record that cannot follow.
pub fn fold<'a>(
    records: impl IntoIterator<Item = &'a Record>,
) -> Result<Option<RunState>, IllegalEvent> {
    records.into_iter().try_fold(None, |state, record| next(state, record).map(Some))
}

/// The state after one more record.
///
/// # Errors
/// The record cannot follow the state.
pub fn next(state: Option<RunState>, record: &Record) -> Result<RunState, IllegalEvent> {
    let Some(mut state) = state else { return initial_state(record) };
    if record.seq != state.next_seq || state.apply(record).is_none() {
        return Err(state.illegal_event(record));
    }
    state.execution_time.fold(record);
    state.next_seq += 1;
    if let Some(status) = record.event.status() {
        state.status = status;
    }
    Ok(state)
}

fn initial_state(record: &Record) -> Result<RunState, IllegalEvent> {
    let RunEvent::Run(LifecycleEvent::RunStarted { runbook, title, steps, params, retry_of }) =
        &record.event
    else {
        let event = format!("{:?}", record.event);
        return Err(IllegalEvent {
            seq: record.seq,
            event,
            state: "there is no run yet".to_owned(),
        });
    };
    let (guards, listed_steps): (Vec<StepListing>, Vec<StepListing>) =
        steps.iter().cloned().partition(|step| step.section == Section::Guard);
    let mut states: BTreeMap<StepId, StepState> =
        listed_steps.iter().map(|step| (step.id.clone(), StepState::new())).collect();
    let mut assumed_items = BTreeMap::new();
    for assumed in retry_of.iter().flat_map(|retry| &retry.assumed) {
        if let Some(state) = states.get_mut(&assumed.step) {
            state.assume(assumed);
        } else if states.contains_key(&assumed.step.as_written()) {
            assumed_items.insert(assumed.step.clone(), assumed.clone());
        } else {
            let event = format!("step `{}` is taken as done", assumed.step);
            return Err(IllegalEvent {
                seq: record.seq,
                event,
                state: "the run has no such step".to_owned(),
            });
        }
    }
    Ok(RunState {
        runbook: runbook.clone(),
        title: title.clone(),
        params: params.clone(),
        started: record.at,
        ended: None,
        execution_time: ExecutionTime::started_at(record.at),
        stage: Stage::Preflight,
        status: RunStatus::Running,
        steps: states,
        order: listed_steps,
        guards: guards
            .into_iter()
            .map(|guard| (guard.id.clone(), GuardState::new(guard)))
            .collect(),
        items: BTreeMap::new(),
        assumed_items,
        groups: BTreeMap::new(),
        truncated_params: BTreeMap::new(),
        group_effects: BTreeMap::new(),
        window: None,
        locks: Vec::new(),
        stopping: None,
        undo: None,
        not_undone: BTreeSet::new(),
        end: None,
        cause: None,
        paused: None,
        effects: BTreeMap::new(),
        notified: BTreeSet::new(),
        notify_faults: Vec::new(),
        next_seq: record.seq + 1,
    })
}

impl RunState {
    /// The state of a step that the run lists.
    ///
    /// # Panics
    /// If the run does not list it: a bug in the engine.
    pub fn step(&self, id: &StepId) -> &StepState {
        self.steps.get(id).expect("the plan and the run list the same steps: checked on resume")
    }

    /// Whether any step has taken effect, undone or not.
    pub fn took_effect(&self) -> bool {
        self.steps.values().any(|step| step.effect != EffectState::None)
    }

    /// The changes of its steps that are not undone. Changes by `finally` steps and notifications
    /// are never undone, and are not included.
    pub fn remaining_changes(&self) -> RemainingChanges {
        let other_sections = self
            .order
            .iter()
            .filter(|listing| listing.section != Section::Step)
            .map(|listing| &listing.id);
        let other_sections: BTreeSet<&StepId> = other_sections.collect();
        let steps = self.steps.iter().filter(|(id, _)| !other_sections.contains(&id.as_written()));
        RemainingChanges::of(steps.map(|(id, step)| (id, &step.change)))
    }

    /// Whether the window forbids new effects.
    pub fn is_outside_window(&self) -> bool {
        matches!(self.window, Some(WindowVerdict::Refused { .. }))
    }

    fn illegal_event(&self, record: &Record) -> IllegalEvent {
        let mut event = format!("{:?}", record.event);
        event.truncate(event.char_indices().nth(200).map_or(event.len(), |(at, _)| at));
        let step = match &record.event {
            RunEvent::Step { step: id, .. } => {
                self.steps.get(id).map(|step| format!(", step `{id}` {:?}", step.phase))
            }
            RunEvent::Run(_) | RunEvent::Guard { .. } | RunEvent::Notify { .. } => None,
        };
        let state = format!(
            "record {} is next in {:?}{}",
            self.next_seq,
            self.stage,
            step.unwrap_or_default()
        );
        IllegalEvent { seq: record.seq, event, state }
    }

    /// Applies one record; `None` if it cannot follow.
    fn apply(&mut self, record: &Record) -> Option<()> {
        match &record.event {
            RunEvent::Run(event) => self.apply_to_run(event, record.at),
            RunEvent::Step { step, event } => self.apply_to_step(step, event, record),
            RunEvent::Guard { guard, event: GuardEvent::GuardObserved { observation } } => {
                self.require(matches!(self.stage, Stage::Steps | Stage::Verify))?;
                self.guards.get_mut(guard)?.observe(observation);
                Some(())
            }
            RunEvent::Notify { notify, on, event } => {
                self.require(self.stage != Stage::Ended)?;
                match event {
                    NotifyEvent::NotifyStarted => {}
                    NotifyEvent::NotifyEnded { fault } => {
                        self.notified.insert((notify.clone(), *on));
                        self.notify_faults
                            .extend(fault.clone().map(|fault| (notify.clone(), fault)));
                    }
                }
                Some(())
            }
        }
    }

    fn apply_to_run(&mut self, event: &LifecycleEvent, at: Timestamp) -> Option<()> {
        match event {
            LifecycleEvent::RunStarted { .. } => return None,
            LifecycleEvent::LockWaiting { .. } => self.require(self.stage == Stage::Preflight)?,
            LifecycleEvent::WindowChecked { verdict } => {
                self.require(self.stage <= Stage::Verify)?;
                self.window = Some(verdict.clone());
            }
            LifecycleEvent::CancelRequested { .. } => self.require(self.stage != Stage::Ended)?,
            LifecycleEvent::Stopping { cause } => {
                self.require(self.stage <= Stage::Verify && self.stopping.is_none())?;
                self.stopping = Some(cause.clone());
            }
            LifecycleEvent::StepsBegan { locks } => {
                self.require(self.stage == Stage::Preflight && !self.is_outside_window())?;
                self.locks.clone_from(locks);
                self.stage = Stage::Steps;
            }
            LifecycleEvent::LocksRetaken { locks } => {
                self.require(self.stage > Stage::Preflight)?;
                self.locks.clone_from(locks);
            }
            LifecycleEvent::VerifyBegan => {
                self.require(self.stage == Stage::Steps)?;
                self.stage = Stage::Verify;
            }
            LifecycleEvent::UndoBegan { cause, order } => self.begin_undo(cause, order, at)?,
            LifecycleEvent::FinallyBegan { end, cause } => {
                self.require(self.stage < Stage::Finally)?;
                self.stage = Stage::Finally;
                self.end = Some(*end);
                self.cause.clone_from(cause);
            }
            LifecycleEvent::Paused { reason, .. } => {
                self.require(self.stage != Stage::Ended)?;
                self.paused = Some(reason.clone());
            }
            LifecycleEvent::Resumed { .. } => self.resume()?,
            LifecycleEvent::UndoRequested { .. } => self.request_undo()?,
            LifecycleEvent::RunEnded { end, cause, .. } => {
                self.require(self.stage == Stage::Finally)?;
                self.stage = Stage::Ended;
                self.end = Some(*end);
                self.cause.clone_from(cause);
                self.ended = Some(at);
            }
        }
        Some(())
    }

    fn resume(&mut self) -> Option<()> {
        self.require(self.stage != Stage::Ended)?;
        let after = if self.paused.is_some() { ResumedAfter::Pause } else { ResumedAfter::Crash };
        self.guards.values_mut().for_each(|guard| guard.resume(after));
        self.paused = None;
        Some(())
    }

    /// Makes each item a step of its own.
    fn list_items(&mut self, parent: &StepId, items: &[Item]) -> Option<()> {
        for item in items {
            // With the same key twice, one step would be done twice.
            let id = parent.item(&item.key);
            let mut state = StepState::new();
            if let Some(assumed) = self.assumed_items.get(&id) {
                state.assume(assumed);
            }
            let replaced = self.steps.insert(id, state);
            self.require(replaced.is_none())?;
        }
        let replaced = self.items.insert(parent.clone(), items.to_vec());
        self.require(replaced.is_none())
    }

    /// Checks a precondition of an event: `None` if it does not hold.
    fn require(&self, holds: bool) -> Option<()> {
        (holds && self.stage <= Stage::Ended).then_some(())
    }

    fn begin_undo(&mut self, cause: &Cause, order: &[StepId], at: Timestamp) -> Option<()> {
        self.require(matches!(self.stage, Stage::Steps | Stage::Verify | Stage::Undo))?;
        self.require(
            order.iter().all(|id| self.steps.get(id).is_some_and(StepState::is_undoable)),
        )?;
        self.stage = Stage::Undo;
        self.cause = Some(cause.clone());
        self.undo = Some(UndoRun { cause: cause.clone(), order: order.to_vec(), began: at });
        Some(())
    }

    /// Returns a run that has ended to the stage `Undo`. Steps whose undo failed are tried again.
    fn request_undo(&mut self) -> Option<()> {
        self.require(self.stage == Stage::Ended)?;
        self.stage = Stage::Undo;
        self.ended = None;
        self.end = None;
        self.undo = None;
        self.not_undone.clear();
        self.notified.clear();
        for step in self.steps.values_mut().filter(|step| step.phase != StepPhase::Undone) {
            step.request_undo();
        }
        Some(())
    }

    fn apply_to_step(&mut self, id: &StepId, event: &StepEvent, record: &Record) -> Option<()> {
        self.require(self.stage != Stage::Ended)?;
        if let StepEvent::Attempt(AttemptEvent::Started { proposal: Some(proposal), .. }) = event {
            count_effects(&mut self.effects, proposal);
            for group in self.groups.keys().filter(|group| id.is_inside(group)) {
                count_effects(self.group_effects.entry(group.clone()).or_default(), proposal);
            }
        }
        let step = self.steps.get_mut(id)?;
        step.apply(event, record.at)?;
        match event {
            // Events of the undo do not change the order of completion.
            StepEvent::Skip(_) | StepEvent::Attempt(_) => step.last_seq = record.seq,
            StepEvent::Undo(_) => {
                if step.phase == StepPhase::UndoFailed || step.change.is_drifted() {
                    self.not_undone.insert(id.clone());
                }
            }
            StepEvent::Items(event) => self.apply_to_items(id, event)?,
            StepEvent::Approval(_) | StepEvent::Manual(_) | StepEvent::Wait(_) => {}
        }
        if may_end_waiting(event) {
            // A person has answered, so they are notified again when the run waits again.
            self.notified.retain(|(_, on)| *on != Trigger::Waiting);
        }
        Some(())
    }

    fn apply_to_items(&mut self, parent: &StepId, event: &ItemsEvent) -> Option<()> {
        match event {
            ItemsEvent::Listed { items } => self.list_items(parent, items)?,
            ItemsEvent::GroupBegan { params, truncated_params } => {
                self.groups.insert(parent.clone(), params.clone());
                self.truncated_params.insert(parent.clone(), truncated_params.clone());
            }
            ItemsEvent::Ended { .. } => {}
        }
        Some(())
    }
}

/// Whether the event may end a wait for a person: an answer, or a decision about an attempt whose
/// outcome was unknown.
fn may_end_waiting(event: &StepEvent) -> bool {
    match event {
        StepEvent::Approval(event) => matches!(event, ApprovalEvent::Given { .. }),
        StepEvent::Manual(event) => matches!(event, ManualEvent::Answered { .. }),
        StepEvent::Attempt(event) => matches!(event, AttemptEvent::Recovered { .. }),
        StepEvent::Skip(_) | StepEvent::Items(_) | StepEvent::Wait(_) | StepEvent::Undo(_) => false,
    }
}

/// Adds the effects of a proposal to the count of each capability.
pub(crate) fn count_effects(effects: &mut BTreeMap<String, u32>, proposal: &Proposal) {
    for effect in &proposal.effects {
        let capability = effect.verb.split('.').next().unwrap_or_default();
        *effects.entry(capability.to_owned()).or_default() += 1;
    }
}
