//! What is known of one step, and which of its events may follow which.

use super::{
    ApprovalRecord, ApprovalRequest, ApprovalState, Change, Delay, ManualAnswer, ManualState,
    Question, StepPhase,
};
use crate::event::{
    AfterAttempt, ApprovalEvent, Assumed, AttemptEvent, AttemptResult, ItemsEvent, ManualEvent,
    Recovery, SkipEvent, SkipReason, StepEvent, UndoEvent, UndoFinding, UndoPlan, UndoResult,
    WaitEvent,
};
use jiff::Timestamp;
use runbook_contract::{ErrorClass, Fault, FaultEffect, Json, Outcome, Proposal, RunId};
use serde::Serialize;

/// Whether a step has changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EffectState {
    /// It has surely changed nothing.
    None,
    /// An attempt failed with a clear answer; part of its work may be done.
    Partial,
    /// It is unknown: an attempt got no answer.
    Ambiguous,
    /// It has changed something, as it should.
    Done,
}

/// What is known of one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepState {
    /// The phase of the step, as people see it.
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
    /// Whether it has changed something.
    pub effect: EffectState,
    /// What is left of it, and whether it can be undone.
    pub change: Change,
    /// What a check found.
    pub outcome: Option<Outcome>,
    /// What came of the last attempt that succeeded, in one line.
    pub summary: String,
    /// What later steps can refer to.
    pub output: Option<Json>,
    /// The run that had its effect, if this one takes it as done.
    pub done_in: Option<RunId>,
    /// Why the last attempt failed.
    pub fault: Option<Fault>,
    /// When the first attempt started.
    pub started: Option<Timestamp>,
    /// The last record of doing it: the order of completion.
    pub last_seq: u64,
    /// What undoes it, and how far that is.
    pub undo: UndoState,
    /// The decision that the operator is asked for.
    pub question: Option<Question>,
    /// What approval is asked for, and what was said.
    pub approval: ApprovalState,
    /// What a person was asked to do.
    pub manual: Option<ManualState>,
    /// Whether it is a smoke test of which an attempt wrote, and did not show that it removed what
    /// it made.
    pub may_have_left: bool,
    /// Whether an attempt that only checks was cut off, so that nobody knows how far it came.
    pub cut_off: bool,
    /// When the last attempt that acts began, if nothing but its beginning is known: it may still
    /// go on outside.
    pub unanswered: Option<Timestamp>,
}

/// What undoes a step, and how far that is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UndoState {
    /// Which undo there is for it.
    pub plan: UndoPlan,
    /// How many undos have started.
    pub attempts: u32,
    /// Why the last one failed.
    pub fault: Option<Fault>,
    /// What was found when the step was observed again.
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

    /// Another run has done it.
    pub(super) fn assume(&mut self, assumed: &Assumed) {
        self.phase = StepPhase::Skipped(SkipReason::Assumed);
        self.output = Some(assumed.output.clone());
        self.done_in = Some(assumed.done_in);
    }

    /// Whether something would have to be undone, and can be.
    pub fn is_undoable(&self) -> bool {
        self.effect != EffectState::None && self.undo.plan.can_be_tried()
    }

    /// What a person found who did it, if one has.
    pub fn manual_answer(&self) -> Option<&ManualAnswer> {
        self.manual.as_ref().and_then(|manual| manual.answer.as_ref())
    }

    /// The operator asks that the run be undone: what was not undone is tried again.
    pub(super) fn request_undo(&mut self) {
        self.change.request_undo();
        self.undo = UndoState::new(self.undo.plan);
        if self.phase == StepPhase::UndoFailed {
            self.phase = StepPhase::Succeeded;
        }
    }

    /// Whether its undo may have happened and must not happen twice.
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

    /// It begins, or goes on, if it may; `None` if it may not.
    fn go_on(&mut self, at: Timestamp) -> Option<()> {
        let may = match self.phase {
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
        may.then(|| {
            self.started.get_or_insert(at);
        })
    }

    fn apply_to_items(&mut self, event: &ItemsEvent, at: Timestamp) -> Option<()> {
        match event {
            ItemsEvent::Listed { .. } | ItemsEvent::GroupBegan { .. } => {
                self.go_on(at)?;
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
                self.go_on(at)?;
                self.phase = StepPhase::Asking;
                // What was said before was about something else, or is too old.
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
                self.go_on(at)?;
                self.phase = StepPhase::Asking;
                self.manual.get_or_insert(ManualState { asked: at, answer: None });
            }
            ManualEvent::Answered { by, values } => {
                (self.phase == StepPhase::Asking).then_some(())?;
                let open = self.manual.as_mut().filter(|manual| manual.answer.is_none())?;
                open.answer = Some(ManualAnswer { by: by.clone(), values: values.clone() });
            }
        }
        Some(())
    }

    fn apply_to_attempt(&mut self, event: &AttemptEvent, at: Timestamp) -> Option<()> {
        match event {
            AttemptEvent::Started { attempt, input, proposal, undo, .. } => {
                (*attempt == self.attempts + 1).then_some(())?;
                self.go_on(at)?;
                self.start(at, *attempt, input, proposal.as_ref(), *undo);
            }
            AttemptEvent::Refused { attempt, fault, then } => {
                (*attempt == self.attempts + 1).then_some(())?;
                self.go_on(at)?;
                self.attempts = *attempt;
                self.fail(fault, *then, at);
            }
            AttemptEvent::Ended { attempt, result, then, .. } => {
                (self.phase == StepPhase::Running && *attempt == self.attempts).then_some(())?;
                self.finish(result, *then, at);
            }
            AttemptEvent::Recovered { attempt, decision } => {
                let open = matches!(self.phase, StepPhase::Running | StepPhase::Unknown);
                ((open || self.change.is_effect_unclear()) && *attempt == self.attempts)
                    .then_some(())?;
                if open {
                    self.recover(decision, at);
                } else {
                    // It is over, and only whether it is undone depends on the answer.
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
            // What was there before the first effect is what an undo puts back, however many
            // attempts follow.
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

/// Whether a fault leaves open if the effect happened.
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
