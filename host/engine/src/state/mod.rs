//! The state of a run: the fold of its records, by one pure function.
//!
//! `next` says which event may follow which state. An event that may not is a bug, or a journal
//! that somebody edited; both states are shown. The diagram is in `docs/semantics.md`.

mod change;
mod guard;
mod person;
mod phase;
mod step;

pub use crate::event::Stage;
pub use change::{Account, Change, RemainingEffect};
pub use guard::GuardState;
use guard::ResumedAfter;
pub use person::{
    ApprovalRecord, ApprovalRequest, ApprovalState, ManualAnswer, ManualState, Question,
};
pub use phase::{Delay, StepPhase};
pub(crate) use step::is_ambiguous;
pub use step::{EffectState, StepState, UndoState};

use crate::event::{
    ApprovalEvent, Assumed, AttemptEvent, Cause, GuardEvent, HeldLock, Item, ItemsEvent,
    LifecycleEvent, ManualEvent, NotifyEvent, PauseReason, Record, RunEnd, RunEvent, RunPhase,
    Section, StepEvent, StepListing, Trigger, WindowVerdict,
};
use crate::executed::Executed;
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
    /// How long it was executed.
    pub executed: Executed,
    /// The stage of the run.
    pub stage: Stage,
    /// Where it stands, for people.
    pub phase: RunPhase,
    /// The steps in file order.
    pub order: Vec<StepListing>,
    /// What is known of each step, items of `for_each` included.
    pub steps: BTreeMap<StepId, StepState>,
    /// The items of steps with `for_each`, once they are known.
    pub items: BTreeMap<StepId, Vec<Item>>,
    /// Items that this run takes as done, as the run says that it tries again.
    pub assumed_items: BTreeMap<StepId, Assumed>,
    /// The nested files that have begun, by the step that stands for them: what their steps see as
    /// `params`.
    pub groups: BTreeMap<StepId, serde_json::Map<String, Json>>,
    /// The parameters of nested files that come from an output which was cut off, with the name of
    /// that output.
    pub cut: BTreeMap<StepId, BTreeMap<String, String>>,
    /// What is known of each guard.
    pub guards: BTreeMap<StepId, GuardState>,
    /// What came of the last look at the window.
    pub window: Option<WindowVerdict>,
    /// The locks that it held last.
    pub locks: Vec<HeldLock>,
    /// Why what runs is stopped: the run will end, also if it is resumed.
    pub stopping: Option<Cause>,
    /// What was undone, or is being undone.
    pub undo: Option<UndoRun>,
    /// The steps whose undo was tried and did not put them back.
    pub not_undone: BTreeSet<StepId>,
    /// How it ends, once that is known.
    pub end: Option<RunEnd>,
    /// Why, if it is not success.
    pub cause: Option<Cause>,
    /// Why it is paused.
    pub paused: Option<PauseReason>,
    /// Effects that were proposed so far, by capability.
    pub effects: BTreeMap<String, u32>,
    /// The same for the steps of each nested file.
    pub group_effects: BTreeMap<StepId, BTreeMap<String, u32>>,
    /// The notifications that were sent, or tried.
    pub notified: BTreeSet<(StepId, Trigger)>,
    /// Notifications that could not be sent.
    pub notify_faults: Vec<(StepId, Fault)>,
    /// The number of the next record.
    pub next_seq: u64,
}

/// An undo of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UndoRun {
    /// Why the run is undone.
    pub cause: Cause,
    /// First to be undone first.
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
    let Some(mut state) = state else { return first(record) };
    if record.seq != state.next_seq || state.apply(record).is_none() {
        return Err(state.illegal(record));
    }
    state.executed.fold(record);
    state.next_seq += 1;
    if let Some(phase) = record.event.phase() {
        state.phase = phase;
    }
    Ok(state)
}

fn first(record: &Record) -> Result<RunState, IllegalEvent> {
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
    let (guards, forward): (Vec<StepListing>, Vec<StepListing>) =
        steps.iter().cloned().partition(|step| step.section == Section::Guard);
    let mut states: BTreeMap<StepId, StepState> =
        forward.iter().map(|step| (step.id.clone(), StepState::new())).collect();
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
        executed: Executed::since(record.at),
        stage: Stage::Preflight,
        phase: RunPhase::Running,
        steps: states,
        order: forward,
        guards: guards
            .into_iter()
            .map(|guard| (guard.id.clone(), GuardState::new(guard)))
            .collect(),
        items: BTreeMap::new(),
        assumed_items,
        groups: BTreeMap::new(),
        cut: BTreeMap::new(),
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

    /// Whether any step has changed something that is not undone.
    pub fn has_effects(&self) -> bool {
        self.steps.values().any(|step| step.effect != EffectState::None)
    }

    /// What its steps have left. Steps that always run and notifications are never undone, and are
    /// no part of it.
    pub fn account(&self) -> Account {
        let others = self
            .order
            .iter()
            .filter(|listing| listing.section != Section::Step)
            .map(|listing| &listing.id);
        let others: BTreeSet<&StepId> = others.collect();
        let steps = self.steps.iter().filter(|(id, _)| !others.contains(&id.as_written()));
        Account::of(steps.map(|(id, step)| (id, &step.change)))
    }

    /// Whether the window forbids new effects.
    pub fn is_outside_window(&self) -> bool {
        matches!(self.window, Some(WindowVerdict::Refused { .. }))
    }

    fn illegal(&self, record: &Record) -> IllegalEvent {
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
                self.when(matches!(self.stage, Stage::Steps | Stage::Verify))?;
                self.guards.get_mut(guard)?.observe(observation);
                Some(())
            }
            RunEvent::Notify { notify, on, event } => {
                self.when(self.stage != Stage::Ended)?;
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
            LifecycleEvent::LockWaiting { .. } => self.when(self.stage == Stage::Preflight)?,
            LifecycleEvent::WindowChecked { verdict } => {
                self.when(self.stage <= Stage::Verify)?;
                self.window = Some(verdict.clone());
            }
            LifecycleEvent::CancelRequested { .. } => self.when(self.stage != Stage::Ended)?,
            LifecycleEvent::Stopping { cause } => {
                self.when(self.stage <= Stage::Verify && self.stopping.is_none())?;
                self.stopping = Some(cause.clone());
            }
            LifecycleEvent::StepsBegan { locks } => {
                self.when(self.stage == Stage::Preflight && !self.is_outside_window())?;
                self.locks.clone_from(locks);
                self.stage = Stage::Steps;
            }
            LifecycleEvent::LocksRetaken { locks } => {
                self.when(self.stage > Stage::Preflight)?;
                self.locks.clone_from(locks);
            }
            LifecycleEvent::VerifyBegan => {
                self.when(self.stage == Stage::Steps)?;
                self.stage = Stage::Verify;
            }
            LifecycleEvent::UndoBegan { cause, order } => self.begin_undo(cause, order, at)?,
            LifecycleEvent::FinallyBegan { end, cause } => {
                self.when(self.stage < Stage::Finally)?;
                self.stage = Stage::Finally;
                self.end = Some(*end);
                self.cause.clone_from(cause);
            }
            LifecycleEvent::Paused { reason, .. } => {
                self.when(self.stage != Stage::Ended)?;
                self.paused = Some(reason.clone());
            }
            LifecycleEvent::Resumed { .. } => self.resume()?,
            LifecycleEvent::UndoRequested { .. } => self.request_undo()?,
            LifecycleEvent::RunEnded { end, cause, .. } => {
                self.when(self.stage == Stage::Finally)?;
                self.stage = Stage::Ended;
                self.end = Some(*end);
                self.cause.clone_from(cause);
                self.ended = Some(at);
            }
        }
        Some(())
    }

    fn resume(&mut self) -> Option<()> {
        self.when(self.stage != Stage::Ended)?;
        let after = if self.paused.is_some() { ResumedAfter::Pause } else { ResumedAfter::Crash };
        self.guards.values_mut().for_each(|guard| guard.resume(after));
        self.paused = None;
        Some(())
    }

    /// Makes each item a step of its own.
    fn list_items(&mut self, of: &StepId, items: &[Item]) -> Option<()> {
        for item in items {
            // A key that is there twice would be one step done twice.
            let id = of.item(&item.key);
            let mut state = StepState::new();
            if let Some(assumed) = self.assumed_items.get(&id) {
                state.assume(assumed);
            }
            let known = self.steps.insert(id, state);
            self.when(known.is_none())?;
        }
        let known = self.items.insert(of.clone(), items.to_vec());
        self.when(known.is_none())
    }

    fn when(&self, holds: bool) -> Option<()> {
        (holds && self.stage <= Stage::Ended).then_some(())
    }

    fn begin_undo(&mut self, cause: &Cause, order: &[StepId], at: Timestamp) -> Option<()> {
        self.when(matches!(self.stage, Stage::Steps | Stage::Verify | Stage::Undo))?;
        self.when(order.iter().all(|id| self.steps.get(id).is_some_and(StepState::is_undoable)))?;
        self.stage = Stage::Undo;
        self.cause = Some(cause.clone());
        self.undo = Some(UndoRun { cause: cause.clone(), order: order.to_vec(), began: at });
        Some(())
    }

    /// A finished run goes back to where it can be undone; what failed to be undone is tried again.
    fn request_undo(&mut self) -> Option<()> {
        self.when(self.stage == Stage::Ended)?;
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
        self.when(self.stage != Stage::Ended)?;
        if let StepEvent::Attempt(AttemptEvent::Started { proposal: Some(proposal), .. }) = event {
            count_effects(&mut self.effects, proposal);
            for group in self.groups.keys().filter(|group| id.is_inside(group)) {
                count_effects(self.group_effects.entry(group.clone()).or_default(), proposal);
            }
        }
        let step = self.steps.get_mut(id)?;
        step.apply(event, record.at)?;
        match event {
            // What belongs to its undo must not change the order of completion.
            StepEvent::Skip(_) | StepEvent::Attempt(_) => step.last_seq = record.seq,
            StepEvent::Undo(_) => {
                if step.phase == StepPhase::UndoFailed || step.change.is_drifted() {
                    self.not_undone.insert(id.clone());
                }
            }
            StepEvent::Items(event) => self.apply_to_items(id, event)?,
            StepEvent::Approval(_) | StepEvent::Manual(_) | StepEvent::Wait(_) => {}
        }
        if is_answer(event) {
            // Somebody was told and has answered; when the run waits again they are told again.
            self.notified.retain(|(_, on)| *on != Trigger::Waiting);
        }
        Some(())
    }

    fn apply_to_items(&mut self, of: &StepId, event: &ItemsEvent) -> Option<()> {
        match event {
            ItemsEvent::Listed { items } => self.list_items(of, items)?,
            ItemsEvent::GroupBegan { params, cut } => {
                self.groups.insert(of.clone(), params.clone());
                self.cut.insert(of.clone(), cut.clone());
            }
            ItemsEvent::Ended { .. } => {}
        }
        Some(())
    }
}

/// Whether somebody has said what the run may have waited for.
fn is_answer(event: &StepEvent) -> bool {
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
