//! The state of a run: the fold of its records, by one pure function.
//!
//! `next` says which event may follow which state. An event that may not is a bug, or a journal that somebody edited; both
//! states are shown. The diagram is in `docs/semantics.md`.

use crate::event::{
    AttemptResult, Cause, HeldLock, PauseReason, Record, Recovery, RunEnd, RunEvent, RunPhase, SkipReason, StepListing, Then,
    Trigger, UndoFinding, UndoPlan, UndoResult, WindowVerdict,
};
use crate::ids::StepId;
use crate::operate::{ErrorClass, Fault, Json, Measurement, Outcome, Proposal, Verdict};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// An event that cannot follow the state before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} cannot follow: {event} while {state}")]
pub struct IllegalEvent {
    /// The record.
    pub seq: u64,
    /// What it says.
    pub event: String,
    /// What the state was.
    pub state: String,
}

/// Where in its course a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Preflights, then locks.
    Preflight,
    /// Steps.
    Steps,
    /// Post-conditions.
    Verify,
    /// Undo, then looking whether it worked.
    Undo,
    /// What always runs, then notifications.
    Finally,
    /// Over.
    Ended,
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
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Where in its course it is.
    pub stage: Stage,
    /// Where it stands, for people.
    pub phase: RunPhase,
    /// The steps in file order.
    pub order: Vec<StepListing>,
    /// What is known of each step.
    pub steps: BTreeMap<StepId, StepState>,
    /// What came of the last look at the window.
    pub window: Option<WindowVerdict>,
    /// The locks that it held last.
    pub locks: Vec<HeldLock>,
    /// What was undone, or is being undone.
    pub undo: Option<UndoRun>,
    /// How it ends, once that is known.
    pub end: Option<RunEnd>,
    /// Why, if it is not success.
    pub cause: Option<Cause>,
    /// Why it is paused.
    pub paused: Option<PauseReason>,
    /// Effects that were proposed so far, by capability.
    pub effects: BTreeMap<String, u32>,
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
    /// Why.
    pub cause: Cause,
    /// First to be undone first.
    pub order: Vec<StepId>,
    /// When it began.
    pub began: Timestamp,
}

/// The state of a step, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepPhase {
    /// Not begun.
    Pending,
    /// It will not run.
    Skipped(SkipReason),
    /// An attempt has started.
    Running,
    /// Another attempt will be made.
    Waiting,
    /// It worked.
    Succeeded,
    /// It did not.
    Failed(ErrorClass),
    /// An attempt started, and nobody can tell what came of it.
    Unknown,
    /// An undo has started.
    Undoing,
    /// It is undone.
    Undone,
    /// The undo did not work.
    UndoFailed,
}

impl StepPhase {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Skipped(_) => "skipped",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Unknown => "unknown-outcome",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::UndoFailed => "undo-failed",
        }
    }

    /// Whether nothing more will happen to the step before an undo.
    pub fn is_settled(self) -> bool {
        match self {
            Self::Skipped(_) | Self::Succeeded | Self::Failed(_) | Self::Undone | Self::UndoFailed => true,
            Self::Pending | Self::Running | Self::Waiting | Self::Unknown | Self::Undoing => false,
        }
    }
}

/// Whether a step has changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EffectState {
    /// Surely not.
    None,
    /// An attempt failed with a clear answer; part of its work may be done.
    Partial,
    /// Nobody can tell: an attempt got no answer.
    Ambiguous,
    /// Yes.
    Done,
}

/// What is known of one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepState {
    /// As people see it.
    pub phase: StepPhase,
    /// How many attempts have started or were refused.
    pub attempts: u32,
    /// How many of them failed in a row.
    pub failures: u32,
    /// Whether a final failure lets the run go on.
    pub tolerated: bool,
    /// The input of the last attempt.
    pub input: Json,
    /// What was there before the first attempt that may have had an effect.
    pub before: Option<Json>,
    /// What the last attempt said that it would do.
    pub proposal: Option<Proposal>,
    /// What undoes it.
    pub undo: UndoPlan,
    /// Whether it has changed something.
    pub effect: EffectState,
    /// The same, before the attempt that runs now.
    pub effect_before: EffectState,
    /// What a check found.
    pub outcome: Option<Outcome>,
    /// One line.
    pub summary: String,
    /// What later steps can refer to.
    pub output: Option<Json>,
    /// Numbers.
    pub measurements: Vec<Measurement>,
    /// Cases of a smoke test.
    pub cases: Vec<Verdict>,
    /// Why the last attempt failed.
    pub fault: Option<Fault>,
    /// When the first attempt started.
    pub started: Option<Timestamp>,
    /// When the last attempt ended, with the delay before the next one.
    pub resting: Option<(Timestamp, u64)>,
    /// The last record of doing it: the order of completion.
    pub last_seq: u64,
    /// Time of all attempts, in milliseconds.
    pub duration_ms: u64,
    /// How many undos have started.
    pub undo_attempts: u32,
    /// Why the last undo failed.
    pub undo_fault: Option<Fault>,
    /// When the last undo ended, with the delay before the next one.
    pub undo_resting: Option<(Timestamp, u64)>,
    /// What was found when it was observed again.
    pub finding: Option<UndoFinding>,
    /// What is asked of the operator.
    pub question: Option<Recovery>,
}

impl StepState {
    fn new() -> Self {
        Self {
            phase: StepPhase::Pending,
            attempts: 0,
            failures: 0,
            tolerated: false,
            input: Json::Null,
            before: None,
            proposal: None,
            undo: UndoPlan::NotNeeded,
            effect: EffectState::None,
            effect_before: EffectState::None,
            outcome: None,
            summary: String::new(),
            output: None,
            measurements: Vec::new(),
            cases: Vec::new(),
            fault: None,
            started: None,
            resting: None,
            last_seq: 0,
            duration_ms: 0,
            undo_attempts: 0,
            undo_fault: None,
            undo_resting: None,
            finding: None,
            question: None,
        }
    }

    /// Whether something would have to be undone, and can be.
    pub fn is_undoable(&self) -> bool {
        self.effect != EffectState::None && matches!(self.undo, UndoPlan::Auto | UndoPlan::Explicit)
    }
}

/// Folds records into a state; `None` for no records.
///
/// # Errors
/// The first record that cannot follow.
pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<Option<RunState>, IllegalEvent> {
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
    state.next_seq += 1;
    if let Some(phase) = record.event.phase() {
        state.phase = phase;
    }
    Ok(state)
}

fn first(record: &Record) -> Result<RunState, IllegalEvent> {
    let RunEvent::RunStarted { runbook, title, steps, params } = &record.event else {
        let event = format!("{:?}", record.event);
        return Err(IllegalEvent { seq: record.seq, event, state: "there is no run yet".to_owned() });
    };
    Ok(RunState {
        runbook: runbook.clone(),
        title: title.clone(),
        params: params.clone(),
        started: record.at,
        ended: None,
        stage: Stage::Preflight,
        phase: RunPhase::Running,
        steps: steps.iter().map(|step| (step.id.clone(), StepState::new())).collect(),
        order: steps.clone(),
        window: None,
        locks: Vec::new(),
        undo: None,
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

    /// Whether the window forbids new effects.
    pub fn is_outside_window(&self) -> bool {
        matches!(self.window, Some(WindowVerdict::Refused { .. }))
    }

    fn illegal(&self, record: &Record) -> IllegalEvent {
        let mut event = format!("{:?}", record.event);
        event.truncate(event.char_indices().nth(200).map_or(event.len(), |(at, _)| at));
        let step = record.event.step().and_then(|id| self.steps.get(id).map(|step| format!(", step `{id}` {:?}", step.phase)));
        let state = format!("record {} is next in {:?}{}", self.next_seq, self.stage, step.unwrap_or_default());
        IllegalEvent { seq: record.seq, event, state }
    }

    /// Applies one record; `None` if it cannot follow.
    fn apply(&mut self, record: &Record) -> Option<()> {
        match &record.event {
            RunEvent::RunStarted { .. } => None,
            RunEvent::LockWaiting { .. } => self.when(self.stage == Stage::Preflight),
            RunEvent::WindowChecked { verdict } => {
                self.when(self.stage <= Stage::Verify)?;
                self.window = Some(verdict.clone());
                Some(())
            }
            RunEvent::StepsBegan { locks } => {
                self.when(self.stage == Stage::Preflight && !self.is_outside_window())?;
                self.locks.clone_from(locks);
                self.stage = Stage::Steps;
                Some(())
            }
            RunEvent::LocksRetaken { locks } => {
                self.when(self.stage > Stage::Preflight)?;
                self.locks.clone_from(locks);
                Some(())
            }
            RunEvent::VerifyBegan => {
                self.when(self.stage == Stage::Steps)?;
                self.stage = Stage::Verify;
                Some(())
            }
            RunEvent::UndoBegan { cause, order } => self.begin_undo(cause, order, record.at),
            RunEvent::FinallyBegan { end, cause } => {
                self.when(self.stage < Stage::Finally)?;
                self.stage = Stage::Finally;
                self.end = Some(*end);
                self.cause.clone_from(cause);
                Some(())
            }
            RunEvent::NotifyStarted { .. } => self.when(self.stage != Stage::Ended),
            RunEvent::NotifyEnded { notify, on, fault } => {
                self.when(self.stage != Stage::Ended)?;
                self.notified.insert((notify.clone(), *on));
                self.notify_faults.extend(fault.clone().map(|fault| (notify.clone(), fault)));
                Some(())
            }
            RunEvent::Paused { reason } => {
                self.when(self.stage != Stage::Ended)?;
                self.paused = Some(reason.clone());
                Some(())
            }
            RunEvent::Resumed { .. } => {
                self.when(self.stage != Stage::Ended)?;
                self.paused = None;
                Some(())
            }
            RunEvent::UndoRequested { .. } => self.request_undo(),
            RunEvent::RunEnded { end, cause } => {
                self.when(self.stage == Stage::Finally)?;
                self.stage = Stage::Ended;
                self.end = Some(*end);
                self.cause.clone_from(cause);
                self.ended = Some(record.at);
                Some(())
            }
            RunEvent::AttemptStarted { .. }
            | RunEvent::AttemptRefused { .. }
            | RunEvent::AttemptEnded { .. }
            | RunEvent::StepSkipped { .. }
            | RunEvent::Recovered { .. }
            | RunEvent::UndoStarted { .. }
            | RunEvent::UndoEnded { .. }
            | RunEvent::UndoChecked { .. } => self.apply_to_step(record),
        }
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
        self.notified.clear();
        for step in self.steps.values_mut().filter(|step| step.phase != StepPhase::Undone) {
            step.undo_attempts = 0;
            step.undo_fault = None;
            step.undo_resting = None;
            step.finding = None;
            if step.phase == StepPhase::UndoFailed {
                step.phase = StepPhase::Succeeded;
            }
        }
        Some(())
    }

    fn apply_to_step(&mut self, record: &Record) -> Option<()> {
        let id = record.event.step()?;
        if self.stage == Stage::Ended {
            return None;
        }
        if let RunEvent::AttemptStarted { proposal: Some(proposal), .. } = &record.event {
            count_effects(&mut self.effects, proposal);
        }
        let step = self.steps.get_mut(id)?;
        step.apply(record)?;
        if is_forward(&record.event) {
            step.last_seq = record.seq;
        }
        Some(())
    }
}

/// Whether an event belongs to doing a step. What belongs to its undo must not change the order of completion.
fn is_forward(event: &RunEvent) -> bool {
    matches!(
        event,
        RunEvent::AttemptStarted { .. }
            | RunEvent::AttemptRefused { .. }
            | RunEvent::AttemptEnded { .. }
            | RunEvent::StepSkipped { .. }
            | RunEvent::Recovered { .. }
    )
}

/// Adds the effects of a proposal to the count of each capability.
pub(crate) fn count_effects(effects: &mut BTreeMap<String, u32>, proposal: &Proposal) {
    for effect in &proposal.effects {
        let capability = effect.verb.split('.').next().unwrap_or_default();
        *effects.entry(capability.to_owned()).or_default() += 1;
    }
}

impl StepState {
    fn apply(&mut self, record: &Record) -> Option<()> {
        let ready = matches!(self.phase, StepPhase::Pending | StepPhase::Waiting);
        match &record.event {
            RunEvent::StepSkipped { reason, .. } => {
                (self.phase == StepPhase::Pending).then_some(())?;
                self.phase = StepPhase::Skipped(*reason);
            }
            RunEvent::AttemptStarted { attempt, input, proposal, undo, .. } => {
                (ready && *attempt == self.attempts + 1).then_some(())?;
                self.start(record.at, *attempt, input, proposal.as_ref(), *undo);
            }
            RunEvent::AttemptRefused { attempt, fault, then, .. } => {
                (ready && *attempt == self.attempts + 1).then_some(())?;
                self.attempts = *attempt;
                self.started.get_or_insert(record.at);
                self.fail(fault, *then, record.at);
            }
            RunEvent::AttemptEnded { attempt, result, then, duration_ms, .. } => {
                (self.phase == StepPhase::Running && *attempt == self.attempts).then_some(())?;
                self.duration_ms += duration_ms;
                self.finish(result, *then, record.at);
            }
            RunEvent::Recovered { attempt, decision, .. } => {
                let open = matches!(self.phase, StepPhase::Running | StepPhase::Unknown);
                (open && *attempt == self.attempts).then_some(())?;
                self.recover(decision, record.at);
            }
            RunEvent::UndoStarted { attempt, .. } => {
                (self.is_undoable() && self.phase != StepPhase::Undone && *attempt == self.undo_attempts + 1).then_some(())?;
                self.phase = StepPhase::Undoing;
                self.undo_attempts = *attempt;
                self.undo_resting = None;
            }
            RunEvent::UndoEnded { attempt, result, then, .. } => {
                (self.phase == StepPhase::Undoing && *attempt == self.undo_attempts).then_some(())?;
                self.finish_undo(result, *then, record.at);
            }
            RunEvent::UndoChecked { finding, .. } => {
                (self.effect != EffectState::None && self.finding.is_none()).then_some(())?;
                self.finding = Some(finding.clone());
                if *finding == UndoFinding::Restored && self.phase != StepPhase::Undone {
                    // It was observed that an attempt without an answer had no effect.
                    self.effect = EffectState::None;
                }
            }
            RunEvent::RunStarted { .. }
            | RunEvent::LockWaiting { .. }
            | RunEvent::WindowChecked { .. }
            | RunEvent::StepsBegan { .. }
            | RunEvent::LocksRetaken { .. }
            | RunEvent::VerifyBegan
            | RunEvent::UndoBegan { .. }
            | RunEvent::FinallyBegan { .. }
            | RunEvent::NotifyStarted { .. }
            | RunEvent::NotifyEnded { .. }
            | RunEvent::Paused { .. }
            | RunEvent::Resumed { .. }
            | RunEvent::UndoRequested { .. }
            | RunEvent::RunEnded { .. } => return None,
        }
        Some(())
    }

    fn start(&mut self, at: Timestamp, attempt: u32, input: &Json, proposal: Option<&Proposal>, undo: UndoPlan) {
        self.phase = StepPhase::Running;
        self.attempts = attempt;
        self.started.get_or_insert(at);
        self.resting = None;
        self.input = input.clone();
        self.undo = undo;
        self.effect_before = self.effect;
        self.proposal = proposal.cloned();
        if let Some(proposal) = proposal {
            // What was there before the first effect is what an undo puts back, however many attempts follow.
            if self.effect == EffectState::None {
                self.before = Some(proposal.before.clone());
            }
            self.effect = EffectState::Ambiguous;
        }
    }

    fn finish(&mut self, result: &AttemptResult, then: Then, at: Timestamp) {
        let acts = self.proposal.is_some();
        match result {
            AttemptResult::Succeeded { outcome, summary, output, changed, measurements, cases } => {
                self.outcome = Some(*outcome);
                self.summary.clone_from(summary);
                self.output = Some(output.clone());
                self.measurements.clone_from(measurements);
                self.cases.clone_from(cases);
                self.fault = None;
                self.failures = 0;
                self.effect = match (acts, changed) {
                    (false, _) => EffectState::None,
                    (true, true) => EffectState::Done,
                    (true, false) => self.effect_before,
                };
                self.settle(StepPhase::Succeeded, then, at);
            }
            AttemptResult::Failed { fault, outcome, output, measurements, cases } => {
                self.outcome = *outcome;
                self.output.clone_from(output);
                self.measurements.clone_from(measurements);
                self.cases.clone_from(cases);
                if acts && !is_ambiguous(fault.class) {
                    self.effect = self.effect_before.max(EffectState::Partial);
                }
                self.fail(fault, then, at);
            }
        }
    }

    fn fail(&mut self, fault: &Fault, then: Then, at: Timestamp) {
        self.fault = Some(fault.clone());
        self.failures += 1;
        self.settle(StepPhase::Failed(fault.class), then, at);
    }

    fn settle(&mut self, phase: StepPhase, then: Then, at: Timestamp) {
        match then {
            Then::Final => self.phase = phase,
            Then::Continue => {
                self.phase = phase;
                self.tolerated = true;
            }
            Then::Retry { delay_ms } => {
                self.phase = StepPhase::Waiting;
                self.resting = Some((at, delay_ms));
            }
            Then::Poll { delay_ms } => {
                self.phase = StepPhase::Waiting;
                self.failures = 0;
                self.resting = Some((at, delay_ms));
            }
        }
    }

    fn recover(&mut self, decision: &Recovery, at: Timestamp) {
        self.question = None;
        match decision {
            Recovery::Repeat | Recovery::OperatorRetry => self.phase = StepPhase::Waiting,
            Recovery::DidNotHappen => {
                self.phase = StepPhase::Waiting;
                self.effect = self.effect_before;
            }
            Recovery::OperatorSkip => self.phase = StepPhase::Skipped(SkipReason::Operator),
            Recovery::OperatorFail => {
                let message = "the operator says that it failed; whether it took effect is unknown";
                self.fault = Some(Fault::new(ErrorClass::Unknown, "engine.operator", message));
                self.phase = StepPhase::Failed(ErrorClass::Unknown);
            }
            Recovery::AskOperator { .. } => {
                self.question = Some(decision.clone());
                self.phase = StepPhase::Unknown;
            }
        }
        self.resting = (self.phase == StepPhase::Waiting).then_some((at, 0));
    }

    fn finish_undo(&mut self, result: &UndoResult, then: Then, at: Timestamp) {
        match (result, then) {
            (UndoResult::Done { .. }, _) => {
                self.phase = StepPhase::Undone;
                self.undo_fault = None;
            }
            (UndoResult::Failed { fault }, Then::Retry { delay_ms } | Then::Poll { delay_ms }) => {
                self.undo_fault = Some(fault.clone());
                self.undo_resting = Some((at, delay_ms));
            }
            (UndoResult::Failed { fault }, Then::Final | Then::Continue) => {
                self.undo_fault = Some(fault.clone());
                self.phase = StepPhase::UndoFailed;
            }
        }
    }
}

/// Whether a fault leaves open if the effect happened.
pub(crate) fn is_ambiguous(class: ErrorClass) -> bool {
    match class {
        ErrorClass::Timeout | ErrorClass::Trap | ErrorClass::Cancelled | ErrorClass::Unknown => true,
        ErrorClass::Invalid
        | ErrorClass::Denied
        | ErrorClass::NotFound
        | ErrorClass::Conflict
        | ErrorClass::Transient
        | ErrorClass::Limit
        | ErrorClass::Assertion => false,
    }
}

impl RunEvent {
    /// The step that this event is about.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::StepSkipped { step, .. }
            | Self::AttemptStarted { step, .. }
            | Self::AttemptRefused { step, .. }
            | Self::AttemptEnded { step, .. }
            | Self::Recovered { step, .. }
            | Self::UndoStarted { step, .. }
            | Self::UndoEnded { step, .. }
            | Self::UndoChecked { step, .. } => Some(step),
            Self::RunStarted { .. }
            | Self::LockWaiting { .. }
            | Self::WindowChecked { .. }
            | Self::StepsBegan { .. }
            | Self::LocksRetaken { .. }
            | Self::VerifyBegan
            | Self::UndoBegan { .. }
            | Self::FinallyBegan { .. }
            | Self::NotifyStarted { .. }
            | Self::NotifyEnded { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::UndoRequested { .. }
            | Self::RunEnded { .. } => None,
        }
    }
}
