//! What is known of one step, and which of its events may follow which.

use super::Change;
use crate::event::{
    AfterAttempt, ApprovalVerdict, Assumed, AttemptResult, Recovery, SkipReason, StepEvent,
    UndoFinding, UndoPlan, UndoResult,
};
use jiff::Timestamp;
use runbook_contract::{
    Case, ErrorClass, Fault, FaultEffect, Json, Measurement, Outcome, Proposal, RunId,
};
use serde::Serialize;

/// The state of a step, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepPhase {
    /// No attempt has begun.
    Pending,
    /// It will not run.
    Skipped(SkipReason),
    /// Its items are being done.
    Repeating,
    /// An attempt has started.
    Running,
    /// It waits for a person: for approval of what it said it would do, or for what a person does.
    Asking,
    /// Another attempt will be made.
    Waiting,
    /// It did what it should.
    Succeeded,
    /// It did not do what it should; the class of its fault says why.
    Failed(ErrorClass),
    /// An attempt started, and nobody can tell what came of it.
    Unknown,
    /// An undo has started.
    Undoing,
    /// What the step did is undone.
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
            Self::Running | Self::Repeating => "running",
            Self::Asking => "waiting-for-a-person",
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
            Self::Skipped(_)
            | Self::Succeeded
            | Self::Failed(_)
            | Self::Undone
            | Self::UndoFailed => true,
            Self::Pending
            | Self::Repeating
            | Self::Running
            | Self::Asking
            | Self::Waiting
            | Self::Unknown
            | Self::Undoing => false,
        }
    }
}

/// Whether a step has changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EffectState {
    /// It has surely changed nothing.
    None,
    /// An attempt failed with a clear answer; part of its work may be done.
    Partial,
    /// Nobody can tell: an attempt got no answer.
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
    /// Which undo there is for it.
    pub undo: UndoPlan,
    /// Whether it has changed something.
    pub effect: EffectState,
    /// What is left of it, and whether it can be undone.
    pub change: Change,
    /// What a check found.
    pub outcome: Option<Outcome>,
    /// One line that tells what came of the last attempt.
    pub summary: String,
    /// What later steps can refer to.
    pub output: Option<Json>,
    /// The run that had its effect, if this one takes it as done.
    pub done_in: Option<RunId>,
    /// Numbers that it measured.
    pub measurements: Vec<Measurement>,
    /// Cases of a smoke test.
    pub cases: Vec<Case>,
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
    /// The decision that the operator is asked for.
    pub question: Option<Recovery>,
    /// What approval is asked for, until it is done.
    pub asked: Option<ApprovalRequest>,
    /// What was said about it, or about what was asked before.
    pub answers: Vec<ApprovalRecord>,
    /// Whether it is a smoke test of which an attempt wrote, and did not show that it removed what
    /// it made.
    pub may_have_left: bool,
    /// Whether an attempt that only checks was cut off, so that nobody knows how far it came.
    pub cut_off: bool,
    /// When the last attempt that acts began, if nothing but its beginning is known: it may still
    /// go on outside.
    pub unanswered: Option<Timestamp>,
    /// When a person was asked to do it.
    pub manual_asked: Option<Timestamp>,
    /// The person who did it, and what they found.
    pub manual_answer: Option<(String, Json)>,
}

/// The approval that a step asks for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApprovalRequest {
    /// The digest of what would be done, `sha256:…`.
    pub digest: String,
    /// The input of the step, with all templates filled in.
    pub input: Json,
    /// What would be done, and what is there before.
    pub proposal: Proposal,
    /// The targets that it would act on, each with its address.
    pub places: Vec<String>,
}

/// The verdict of a person about a step that asks for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalRecord {
    /// The digest of what they looked at, `sha256:…`.
    pub digest: String,
    /// The name of the person.
    pub by: String,
    /// When they said it.
    pub at: Timestamp,
    /// Whether they approved or rejected it.
    pub verdict: ApprovalVerdict,
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
            undo: UndoPlan::NotNeeded,
            effect: EffectState::None,
            change: Change::default(),
            outcome: None,
            summary: String::new(),
            output: None,
            done_in: None,
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
            asked: None,
            answers: Vec::new(),
            may_have_left: false,
            cut_off: false,
            unanswered: None,
            manual_asked: None,
            manual_answer: None,
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
        self.effect != EffectState::None && self.undo.can_be_tried()
    }

    /// Whether its undo may have happened and must not happen twice.
    pub fn is_undo_unclear(&self) -> bool {
        self.change.is_undo_unclear()
    }
}

impl StepState {
    pub(super) fn apply(&mut self, event: &StepEvent, at: Timestamp) -> Option<()> {
        let ready =
            matches!(self.phase, StepPhase::Pending | StepPhase::Asking | StepPhase::Waiting);
        match event {
            StepEvent::StepSkipped { reason, .. } => {
                (self.phase == StepPhase::Pending).then_some(())?;
                self.phase = StepPhase::Skipped(*reason);
            }
            StepEvent::ItemsListed { .. } | StepEvent::GroupBegan { .. } => {
                ready.then_some(())?;
                self.phase = StepPhase::Repeating;
                self.started.get_or_insert(at);
                self.resting = None;
            }
            StepEvent::ItemsEnded { result, then, .. } => {
                (self.phase == StepPhase::Repeating).then_some(())?;
                self.finish(result, *then, at);
            }
            StepEvent::ApprovalAsked { digest, input, proposal, places, .. } => {
                ready.then_some(())?;
                self.phase = StepPhase::Asking;
                self.started.get_or_insert(at);
                self.resting = None;
                // What was said before was about something else, or is too old.
                self.answers.clear();
                let (digest, input) = (digest.clone(), input.clone());
                self.asked = Some(ApprovalRequest {
                    digest,
                    input,
                    proposal: proposal.clone(),
                    places: places.clone(),
                });
            }
            StepEvent::ManualAsked { .. } => {
                ready.then_some(())?;
                self.phase = StepPhase::Asking;
                self.started.get_or_insert(at);
                self.manual_asked.get_or_insert(at);
                self.resting = None;
            }
            StepEvent::ManualAnswered { by, values, .. } => {
                let is_open = self.phase == StepPhase::Asking
                    && self.manual_asked.is_some()
                    && self.manual_answer.is_none();
                is_open.then_some(())?;
                self.manual_answer = Some((by.clone(), values.clone()));
            }
            StepEvent::ApprovalGiven { digest, by, verdict, .. } => {
                let is_asked = self.phase == StepPhase::Asking
                    && self.asked.as_ref().is_some_and(|asked| asked.digest == *digest);
                is_asked.then_some(())?;
                self.answers.push(ApprovalRecord {
                    digest: digest.clone(),
                    by: by.clone(),
                    at,
                    verdict: verdict.clone(),
                });
            }
            StepEvent::AttemptStarted { attempt, input, proposal, undo, .. } => {
                (ready && *attempt == self.attempts + 1).then_some(())?;
                self.start(at, *attempt, input, proposal.as_ref(), *undo);
            }
            StepEvent::AttemptRefused { attempt, fault, then, .. } => {
                (ready && *attempt == self.attempts + 1).then_some(())?;
                self.attempts = *attempt;
                self.started.get_or_insert(at);
                self.fail(fault, *then, at);
            }
            StepEvent::AttemptEnded { attempt, result, then, duration_ms, .. } => {
                (self.phase == StepPhase::Running && *attempt == self.attempts).then_some(())?;
                self.duration_ms += duration_ms;
                self.finish(result, *then, at);
            }
            StepEvent::Recovered { attempt, decision, .. } => {
                let open = matches!(self.phase, StepPhase::Running | StepPhase::Unknown);
                ((open || self.change.is_effect_unclear()) && *attempt == self.attempts)
                    .then_some(())?;
                if open {
                    self.recover(decision, at);
                } else {
                    // It is over, and only whether it is undone depends on the answer.
                    self.question =
                        matches!(decision, Recovery::AskOperator { .. }).then(|| decision.clone());
                }
            }
            StepEvent::UndoStarted { attempt, .. } => {
                (self.is_undoable()
                    && self.phase != StepPhase::Undone
                    && *attempt == self.undo_attempts + 1)
                    .then_some(())?;
                self.phase = StepPhase::Undoing;
                self.undo_attempts = *attempt;
                self.undo_resting = None;
            }
            StepEvent::UndoEnded { attempt, result, then, .. } => {
                (self.phase == StepPhase::Undoing && *attempt == self.undo_attempts)
                    .then_some(())?;
                self.finish_undo(result, *then, at);
            }
            StepEvent::UndoChecked { finding, .. } => {
                (self.effect != EffectState::None && self.finding.is_none()).then_some(())?;
                self.finding = Some(finding.clone());
            }
            StepEvent::StillWaiting { .. } => {}
        }
        self.change.fold(event);
        self.effect = self.change.effect();
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
        self.asked = None;
        self.attempts = attempt;
        self.started.get_or_insert(at);
        self.resting = None;
        self.input = input.clone();
        self.undo = undo;
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
            AttemptResult::Succeeded {
                outcome,
                summary,
                output,
                changed: _,
                measurements,
                cases,
            } => {
                self.outcome = Some(*outcome);
                self.summary.clone_from(summary);
                self.output = Some(output.clone());
                self.measurements.clone_from(measurements);
                self.cases.clone_from(cases);
                self.fault = None;
                self.failures = 0;
                self.unanswered = None;
                self.settle(StepPhase::Succeeded, then, at);
            }
            AttemptResult::Failed {
                fault,
                outcome,
                output,
                measurements,
                cases,
                may_have_left,
            } => {
                self.may_have_left |= may_have_left;
                self.outcome = *outcome;
                self.output.clone_from(output);
                self.measurements.clone_from(measurements);
                self.cases.clone_from(cases);
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
                self.phase = StepPhase::Waiting;
                self.resting = Some((at, delay_ms));
            }
            AfterAttempt::Poll { delay_ms } => {
                self.phase = StepPhase::Waiting;
                self.failures = 0;
                self.resting = Some((at, delay_ms));
            }
        }
    }

    fn recover(&mut self, decision: &Recovery, at: Timestamp) {
        self.question = None;
        self.cut_off |= self.proposal.is_none();
        match decision {
            Recovery::Repeat | Recovery::OperatorRetry | Recovery::DidNotHappen => {
                self.phase = StepPhase::Waiting;
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
            Recovery::AskOperator { .. } => {
                self.question = Some(decision.clone());
                self.phase = StepPhase::Unknown;
            }
        }
        self.resting = (self.phase == StepPhase::Waiting).then_some((at, 0));
    }

    fn finish_undo(&mut self, result: &UndoResult, then: AfterAttempt, at: Timestamp) {
        match (result, then) {
            (UndoResult::Done { .. }, _) => {
                self.unanswered = None;
                self.phase = StepPhase::Undone;
                self.undo_fault = None;
            }
            (
                UndoResult::Failed { fault },
                AfterAttempt::Retry { delay_ms } | AfterAttempt::Poll { delay_ms },
            ) => {
                self.undo_fault = Some(fault.clone());
                self.undo_resting = Some((at, delay_ms));
            }
            (UndoResult::Failed { fault }, AfterAttempt::Final | AfterAttempt::Continue) => {
                self.undo_fault = Some(fault.clone());
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
