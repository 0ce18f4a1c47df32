//! The state of one step, and which of its events may follow which state.

use super::{
    ApprovalRecord, ApprovalRequest, ApprovalState, Change, Delay, ManualAnswer, ManualState,
    Question, StepPhase,
};
use crate::event::{
    AfterAttempt, ApprovalEvent, AssumedStep, AttemptEvent, AttemptResult, ItemsEvent, ManualEvent,
    Recovery, SkipEvent, SkipReason, StepEvent, UndoEvent, UndoFinding, UndoPlan, UndoResult,
    WaitEvent,
};
use jiff::Timestamp;
use runbook_contract::{ErrorClass, Fault, FaultEffect, Json, Outcome, Proposal, RunId};
use serde::Serialize;

/// What is known of the effect of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EffectState {
    /// The step has surely changed nothing.
    None,
    /// An attempt failed, and may have done a part of its work.
    Partial,
    /// It is unknown whether the step has changed something: an attempt got no answer.
    Ambiguous,
    /// The step has changed something, as it should.
    Done,
}

/// The state of one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepState {
    /// The phase of the step, as people see it.
    pub phase: StepPhase,
    /// How many attempts have started or were refused.
    pub attempts: u32,
    /// How many of them failed in a row.
    pub failures: u32,
    /// Whether the run goes on although the step has failed for good.
    pub tolerated: bool,
    /// The input of the last attempt.
    pub input: Json,
    /// The state before the first attempt that may have had an effect.
    pub before: Option<Json>,
    /// The proposal of the last attempt.
    pub proposal: Option<Proposal>,
    /// What is known of its effect.
    pub effect: EffectState,
    /// What is left of its effect, and whether that can be undone.
    pub change: Change,
    /// The outcome of a check.
    pub outcome: Option<Outcome>,
    /// The result of the last attempt that succeeded, in one line.
    pub summary: String,
    /// The output, which later steps can refer to.
    pub output: Option<Json>,
    /// The run that has done the step, if this run assumes that it is done.
    pub done_in: Option<RunId>,
    /// Why the last attempt failed.
    pub fault: Option<Fault>,
    /// When the first attempt started.
    pub started: Option<Timestamp>,
    /// The number of the last record that is not about its undo. It gives the order of completion.
    pub last_seq: u64,
    /// What undoes the step, and the progress of that.
    pub undo: UndoState,
    /// The decision that the operator is asked for.
    pub question: Option<Question>,
    /// The approval request and the answers to it.
    pub approval: ApprovalState,
    /// The request to a person, and the answer.
    pub manual: Option<ManualState>,
    /// Whether an attempt of a smoke test wrote and did not show that it removed what it made.
    pub may_have_left: bool,
    /// Whether an attempt of a check was cut off, so that it is unknown what it did.
    pub cut_off: bool,
    /// When the last attempt with a proposal began, if it got no answer: its operation may still go
    /// on outside of the host.
    pub unanswered: Option<Timestamp>,
}

/// What undoes a step, and the progress of that.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UndoState {
    /// The kind of undo.
    pub plan: UndoPlan,
    /// How many undos have started.
    pub attempts: u32,
    /// Why the last one failed.
    pub fault: Option<Fault>,
    /// The result of observing the step after its undo.
    pub finding: Option<UndoFinding>,
}

impl UndoState {
    const fn new(plan: UndoPlan) -> Self {
        Self { plan, attempts: 0, fault: None, finding: None }
    }
}

impl StepState {
    pub(super) fn new() -> Self {
        Self {
            phase: StepPhase::Pending,
            attempts: 0,
            failures: 0,
            tolerated: false,
            input: Json::Null,
            before: None,
            proposal: None,
            effect: EffectState::None,
            change: Change::default(),
            outcome: None,
            summary: String::new(),
            output: None,
            done_in: None,
            fault: None,
            started: None,
            last_seq: 0,
            undo: UndoState::new(UndoPlan::NotNeeded),
            question: None,
            approval: ApprovalState::default(),
            manual: None,
            may_have_left: false,
            cut_off: false,
            unanswered: None,
        }
    }

    /// Marks the step as done by another run.
    pub(super) fn assume(&mut self, assumed: &AssumedStep) {
        self.phase = StepPhase::Skipped(SkipReason::Assumed);
        self.output = Some(assumed.output.clone());
        self.done_in = Some(assumed.done_in);
    }

    /// Whether the step may have an effect, and has an undo that can be tried.
    pub fn is_undoable(&self) -> bool {
        self.effect != EffectState::None && self.undo.plan.can_be_tried()
    }

    /// The answer of the person who has done the step; `None` if there is none yet.
    pub fn manual_answer(&self) -> Option<&ManualAnswer> {
        self.manual.as_ref().and_then(|manual| manual.answer.as_ref())
    }

    /// The operator asks to undo the run: a failed undo may be tried again.
    pub(super) fn request_undo(&mut self) {
        self.change.request_undo();
        self.undo = UndoState::new(self.undo.plan);
        if self.phase == StepPhase::UndoFailed {
            self.phase = StepPhase::Succeeded;
        }
    }

    /// Whether a person must decide about the undo: it may have happened, and must not happen
    /// twice.
    pub fn is_undo_unclear(&self) -> bool {
        self.change.is_undo_unclear()
    }
}

impl StepState {
    pub(super) fn apply(&mut self, event: &StepEvent, at: Timestamp) -> Option<()> {
        match event {
            StepEvent::Skip(SkipEvent::Skipped { reason }) => {
                (self.phase == StepPhase::Pending).then_some(())?;
                self.phase = StepPhase::Skipped(*reason);
            }
            StepEvent::Items(event) => self.apply_to_items(event, at)?,
            StepEvent::Approval(event) => self.apply_to_approval(event, at)?,
            StepEvent::Manual(event) => self.apply_to_manual(event, at)?,
            StepEvent::Attempt(event) => self.apply_to_attempt(event, at)?,
            StepEvent::Wait(WaitEvent::StillWaiting { .. }) => {}
            StepEvent::Undo(event) => self.apply_to_undo(event, at)?,
        }
        self.change.fold(event);
        self.effect = self.change.effect();
        Some(())
    }

    /// Checks that an attempt may begin in this phase; `None` if not. Notes when the step has
    /// started.
    fn begin_or_continue(&mut self, at: Timestamp) -> Option<()> {
        let may_begin = match self.phase {
            StepPhase::Pending | StepPhase::Asking | StepPhase::Waiting(_) => true,
            StepPhase::Skipped(_)
            | StepPhase::Repeating
            | StepPhase::Running
            | StepPhase::Succeeded
            | StepPhase::Failed(_)
            | StepPhase::Unknown
            | StepPhase::Undoing
            | StepPhase::UndoWaiting(_)
            | StepPhase::Undone
            | StepPhase::UndoFailed => false,
        };
        may_begin.then(|| {
            self.started.get_or_insert(at);
        })
    }

    fn apply_to_items(&mut self, event: &ItemsEvent, at: Timestamp) -> Option<()> {
        match event {
            ItemsEvent::Listed { .. } | ItemsEvent::GroupBegan { .. } => {
                self.begin_or_continue(at)?;
                self.phase = StepPhase::Repeating;
            }
            ItemsEvent::Ended { result, then } => {
                (self.phase == StepPhase::Repeating).then_some(())?;
                self.finish(result, *then, at);
            }
        }
        Some(())
    }

    fn apply_to_approval(&mut self, event: &ApprovalEvent, at: Timestamp) -> Option<()> {
        match event {
            ApprovalEvent::Asked { digest, input, proposal, places, .. } => {
                self.begin_or_continue(at)?;
                self.phase = StepPhase::Asking;
                // Earlier answers were about something else, or are too old.
                let (digest, input) = (digest.clone(), input.clone());
                let (proposal, places) = (proposal.clone(), places.clone());
                let asked = Some(ApprovalRequest { digest, input, proposal, places });
                self.approval = ApprovalState { asked, answers: Vec::new() };
            }
            ApprovalEvent::Given { digest, by, verdict } => {
                (self.phase == StepPhase::Asking).then_some(())?;
                self.approval.asked.as_ref().filter(|asked| asked.digest == *digest)?;
                self.approval.answers.push(ApprovalRecord {
                    digest: digest.clone(),
                    by: by.clone(),
                    at,
                    verdict: verdict.clone(),
                });
            }
        }
        Some(())
    }

    fn apply_to_manual(&mut self, event: &ManualEvent, at: Timestamp) -> Option<()> {
        match event {
            ManualEvent::Asked { .. } => {
                self.begin_or_continue(at)?;
                self.phase = StepPhase::Asking;
                self.manual.get_or_insert(ManualState { asked: at, answer: None });
            }
            ManualEvent::Answered { by, values } => {
                (self.phase == StepPhase::Asking).then_some(())?;
                let unanswered = self.manual.as_mut().filter(|manual| manual.answer.is_none())?;
                unanswered.answer = Some(ManualAnswer { by: by.clone(), values: values.clone() });
            }
        }
        Some(())
    }

    fn apply_to_attempt(&mut self, event: &AttemptEvent, at: Timestamp) -> Option<()> {
        match event {
            AttemptEvent::Started { attempt, input, proposal, undo, .. } => {
                (*attempt == self.attempts + 1).then_some(())?;
                self.begin_or_continue(at)?;
                self.start(at, *attempt, input, proposal.as_ref(), *undo);
            }
            AttemptEvent::Refused { attempt, fault, then } => {
                (*attempt == self.attempts + 1).then_some(())?;
                self.begin_or_continue(at)?;
                self.attempts = *attempt;
                self.fail(fault, *then, at);
            }
            AttemptEvent::Ended { attempt, result, then, .. } => {
                (self.phase == StepPhase::Running && *attempt == self.attempts).then_some(())?;
                self.finish(result, *then, at);
            }
            AttemptEvent::Recovered { attempt, decision } => {
                let is_open = matches!(self.phase, StepPhase::Running | StepPhase::Unknown);
                ((is_open || self.change.is_effect_unclear()) && *attempt == self.attempts)
                    .then_some(())?;
                if is_open {
                    self.recover(decision, at);
                } else {
                    // The step is over. Only whether it is undone depends on the decision.
                    self.question = Question::of(decision);
                }
            }
        }
        Some(())
    }

    fn apply_to_undo(&mut self, event: &UndoEvent, at: Timestamp) -> Option<()> {
        match event {
            UndoEvent::Started { attempt } => {
                (self.is_undoable()
                    && self.phase != StepPhase::Undone
                    && *attempt == self.undo.attempts + 1)
                    .then_some(())?;
                self.phase = StepPhase::Undoing;
                self.undo.attempts = *attempt;
            }
            UndoEvent::Ended { attempt, result, then, .. } => {
                (self.phase == StepPhase::Undoing && *attempt == self.undo.attempts)
                    .then_some(())?;
                self.finish_undo(result, *then, at);
            }
            UndoEvent::Checked { finding } => {
                (self.effect != EffectState::None && self.undo.finding.is_none()).then_some(())?;
                self.undo.finding = Some(finding.clone());
            }
        }
        Some(())
    }

    fn start(
        &mut self,
        at: Timestamp,
        attempt: u32,
        input: &Json,
        proposal: Option<&Proposal>,
        undo: UndoPlan,
    ) {
        self.phase = StepPhase::Running;
        self.approval.asked = None;
        self.attempts = attempt;
        self.input = input.clone();
        self.undo.plan = undo;
        self.proposal = proposal.cloned();
        if let Some(proposal) = proposal {
            // An undo restores the state before the first effect, however many attempts follow.
            if self.effect == EffectState::None {
                self.before = Some(proposal.before.clone());
            }
            self.unanswered = Some(at);
        }
    }

    fn finish(&mut self, result: &AttemptResult, then: AfterAttempt, at: Timestamp) {
        match result {
            AttemptResult::Succeeded { outcome, summary, output, .. } => {
                self.outcome = Some(*outcome);
                self.summary.clone_from(summary);
                self.output = Some(output.clone());
                self.fault = None;
                self.failures = 0;
                self.unanswered = None;
                self.settle(StepPhase::Succeeded, then, at);
            }
            AttemptResult::Failed { fault, outcome, output, may_have_left, .. } => {
                self.may_have_left |= may_have_left;
                self.outcome = *outcome;
                self.output.clone_from(output);
                self.fail(fault, then, at);
            }
        }
    }

    fn fail(&mut self, fault: &Fault, then: AfterAttempt, at: Timestamp) {
        self.fault = Some(fault.clone());
        self.failures += 1;
        self.settle(StepPhase::Failed(fault.class), then, at);
    }

    fn settle(&mut self, phase: StepPhase, then: AfterAttempt, at: Timestamp) {
        match then {
            AfterAttempt::Final => self.phase = phase,
            AfterAttempt::Continue => {
                self.phase = phase;
                self.tolerated = true;
            }
            AfterAttempt::Retry { delay_ms } => {
                self.phase = StepPhase::Waiting(Delay { since: at, ms: delay_ms });
            }
            AfterAttempt::Poll { delay_ms } => {
                self.phase = StepPhase::Waiting(Delay { since: at, ms: delay_ms });
                self.failures = 0;
            }
        }
    }

    fn recover(&mut self, decision: &Recovery, at: Timestamp) {
        self.question = Question::of(decision);
        self.cut_off |= self.proposal.is_none();
        match decision {
            Recovery::Repeat | Recovery::OperatorRetry | Recovery::DidNotHappen => {
                self.phase = StepPhase::Waiting(Delay { since: at, ms: 0 });
            }
            Recovery::OperatorDone => self.phase = StepPhase::Skipped(SkipReason::Operator),
            Recovery::OperatorNotDone => {
                let message = "the operator says that it did not happen";
                self.fault = Some(Fault {
                    effect: FaultEffect::None,
                    ..Fault::new(ErrorClass::Conflict, "engine.operator", message)
                });
                self.phase = StepPhase::Failed(ErrorClass::Conflict);
            }
            Recovery::OperatorFail => {
                let message = "the operator says that it failed; whether it took effect is unknown";
                self.fault = Some(Fault::new(ErrorClass::Unknown, "engine.operator", message));
                self.phase = StepPhase::Failed(ErrorClass::Unknown);
            }
            Recovery::AskOperator { .. } => self.phase = StepPhase::Unknown,
        }
    }

    fn finish_undo(&mut self, result: &UndoResult, then: AfterAttempt, at: Timestamp) {
        match (result, then) {
            (UndoResult::Done { .. }, _) => {
                self.unanswered = None;
                self.phase = StepPhase::Undone;
                self.undo.fault = None;
            }
            (
                UndoResult::Failed { fault },
                AfterAttempt::Retry { delay_ms } | AfterAttempt::Poll { delay_ms },
            ) => {
                self.undo.fault = Some(fault.clone());
                self.phase = StepPhase::UndoWaiting(Delay { since: at, ms: delay_ms });
            }
            (UndoResult::Failed { fault }, AfterAttempt::Final | AfterAttempt::Continue) => {
                self.undo.fault = Some(fault.clone());
                self.phase = StepPhase::UndoFailed;
            }
        }
    }
}

/// Whether after a fault of this class it is unknown whether the effect happened.
pub(crate) fn is_ambiguous(class: ErrorClass) -> bool {
    match class {
        ErrorClass::Timeout | ErrorClass::Trap | ErrorClass::Cancelled | ErrorClass::Unknown => {
            true
        }
        ErrorClass::Invalid
        | ErrorClass::Denied
        | ErrorClass::NotFound
        | ErrorClass::Conflict
        | ErrorClass::Transient
        | ErrorClass::Limit
        | ErrorClass::Assertion => false,
    }
}
