//! What a step has changed or may have changed, and whether that can be undone. The engine, all
//! reports and the hints to the operator use this one fold.

use super::{EffectState, is_ambiguous};
use crate::event::{
    AfterAttempt, AttemptEvent, AttemptResult, Recovery, StepEvent, UndoEvent, UndoFinding,
    UndoPlan, UndoResult,
};
use runbook_contract::{FaultEffect, StepId};
use serde::Serialize;

/// What is known of the effect of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Change {
    effect: EffectState,
    /// The effect before the present attempt.
    before: EffectState,
    /// Whether the present attempt may have an effect, and has no result yet.
    is_attempt_acting: bool,
    /// Whether a person said that the step is to be undone as if it had happened.
    undo_decision: PersonDecision,
    undo: UndoPlan,
    undo_progress: UndoProgress,
}

/// What a person decided about an effect that may not have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum PersonDecision {
    /// Nobody has decided.
    Nothing,
    /// It is to be undone as if it had happened.
    Undo,
}

/// How far the undo of a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum UndoProgress {
    /// No undo has ended.
    NotTried,
    /// It failed: nothing or only a part of it happened.
    Failed,
    /// It failed, and it is unknown whether it happened.
    Unclear,
    /// It is done.
    Done,
    /// It is done, and the observed state differs from the one before the step or could not be
    /// observed.
    Drifted,
}

/// What is left of a step's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RemainingEffect {
    /// Nothing is left.
    Nothing,
    /// Something may be left: it is unknown whether the effect happened, or a part of it did.
    Perhaps,
    /// The whole effect is left.
    Surely,
}

impl Default for Change {
    fn default() -> Self {
        let none = EffectState::None;
        Self {
            effect: none,
            before: none,
            is_attempt_acting: false,
            undo_decision: PersonDecision::Nothing,
            undo: UndoPlan::NotNeeded,
            undo_progress: UndoProgress::NotTried,
        }
    }
}

impl Change {
    /// The effect of the step, undone or not.
    pub fn effect(&self) -> EffectState {
        self.effect
    }

    /// What is left of the effect.
    pub fn remaining(&self) -> RemainingEffect {
        match (self.undo_progress, self.effect) {
            (UndoProgress::Done, _) | (_, EffectState::None) => RemainingEffect::Nothing,
            (UndoProgress::Drifted, _)
            | (UndoProgress::NotTried | UndoProgress::Failed, EffectState::Done) => {
                RemainingEffect::Surely
            }
            (UndoProgress::Unclear, _)
            | (
                UndoProgress::NotTried | UndoProgress::Failed,
                EffectState::Partial | EffectState::Ambiguous,
            ) => RemainingEffect::Perhaps,
        }
    }

    /// Whether the step is done, and no undo may have changed that.
    pub fn is_done(&self) -> bool {
        self.effect == EffectState::Done && self.undo_progress == UndoProgress::NotTried
    }

    /// Whether an undo of the step can be tried.
    pub fn is_undoable(&self) -> bool {
        let has_undo = self.undo.can_be_tried();
        has_undo
            && self.effect != EffectState::None
            && !matches!(self.undo_progress, UndoProgress::Done | UndoProgress::Drifted)
    }

    /// Whether a person must decide about the effect: it is unknown whether it happened, and nobody
    /// has decided. False if an earlier attempt has surely changed something: that is undone in any
    /// case.
    pub fn is_effect_unclear(&self) -> bool {
        let is_open = self.effect == EffectState::Ambiguous
            && matches!(self.before, EffectState::None | EffectState::Ambiguous);
        is_open && self.undo_decision == PersonDecision::Nothing
    }

    /// Whether the step was undone, and the state afterwards differs from the one before the step
    /// or could not be observed.
    pub fn is_drifted(&self) -> bool {
        self.undo_progress == UndoProgress::Drifted
    }

    /// Whether a person must decide about the undo: it may have happened, and must not happen
    /// twice.
    pub fn is_undo_unclear(&self) -> bool {
        self.undo_progress == UndoProgress::Unclear
    }

    /// Whether the runbook declares the step irreversible.
    pub fn is_irreversible(&self) -> bool {
        self.undo == UndoPlan::Irreversible
    }

    /// Applies an event of the step. Only attempts and undos change anything.
    pub fn fold(&mut self, event: &StepEvent) {
        match event {
            StepEvent::Attempt(event) => self.fold_attempt(event),
            StepEvent::Undo(event) => self.fold_undo(event),
            StepEvent::Skip(_)
            | StepEvent::Items(_)
            | StepEvent::Approval(_)
            | StepEvent::Manual(_)
            | StepEvent::Wait(_) => {}
        }
    }

    fn fold_attempt(&mut self, event: &AttemptEvent) {
        match event {
            AttemptEvent::Started { proposal, undo, .. } => {
                self.undo = *undo;
                self.before = self.effect;
                self.is_attempt_acting = proposal.is_some();
                if self.is_attempt_acting {
                    self.effect = EffectState::Ambiguous;
                    self.undo_decision = PersonDecision::Nothing;
                }
            }
            AttemptEvent::Ended { result, .. } => self.end_attempt(result),
            AttemptEvent::Recovered { decision, .. } => self.recover(decision),
            AttemptEvent::Refused { .. } => {}
        }
    }

    fn fold_undo(&mut self, event: &UndoEvent) {
        match event {
            UndoEvent::Started { .. } => {}
            UndoEvent::Ended { result, then, .. } => self.end_undo(result, *then),
            UndoEvent::Checked { finding } => self.check(finding),
        }
    }

    /// The operator asks to undo the run: a failed undo may be tried again.
    pub fn request_undo(&mut self) {
        if matches!(self.undo_progress, UndoProgress::Failed | UndoProgress::Unclear) {
            self.undo_progress = UndoProgress::NotTried;
        }
    }

    fn end_attempt(&mut self, result: &AttemptResult) {
        if !self.is_attempt_acting {
            return;
        }
        self.effect = match result {
            AttemptResult::Succeeded { changed: true, .. } => EffectState::Done,
            AttemptResult::Succeeded { changed: false, .. } => self.before,
            AttemptResult::Failed { fault, .. } if fault.effect == FaultEffect::None => self.before,
            AttemptResult::Failed { fault, .. } if is_ambiguous(fault.class) => {
                EffectState::Ambiguous
            }
            AttemptResult::Failed { .. } => self.before.max(EffectState::Partial),
        };
        self.is_attempt_acting = false;
    }

    /// Applies the decision about an attempt whose outcome is unknown.
    fn recover(&mut self, decision: &Recovery) {
        match decision {
            // For a step that is over, the observation is about all of its attempts.
            Recovery::DidNotHappen => {
                self.effect = if self.is_attempt_acting { self.before } else { EffectState::None }
            }
            // The operator says that nothing happened. A change that an earlier attempt has surely
            // made remains.
            Recovery::OperatorRetry | Recovery::OperatorNotDone => {
                self.effect = if self.before == EffectState::Ambiguous {
                    EffectState::None
                } else {
                    self.before
                };
            }
            Recovery::OperatorDone => self.effect = EffectState::Done,
            Recovery::OperatorFail => self.undo_decision = PersonDecision::Undo,
            Recovery::Repeat | Recovery::AskOperator { .. } => return,
        }
        self.is_attempt_acting = false;
    }

    fn end_undo(&mut self, result: &UndoResult, then: AfterAttempt) {
        match (result, then) {
            (UndoResult::Done { .. }, _) => self.undo_progress = UndoProgress::Done,
            (UndoResult::Failed { .. }, AfterAttempt::Retry { .. } | AfterAttempt::Poll { .. }) => {
            }
            // The undo surely had no effect, so nothing has changed.
            (UndoResult::Failed { fault }, AfterAttempt::Final | AfterAttempt::Continue)
                if fault.effect == FaultEffect::None => {}
            (UndoResult::Failed { .. }, AfterAttempt::Final | AfterAttempt::Continue) => {
                // An error does not mean that nothing happened: a server that answers with 503 may
                // have done it all, a program that exits with 1 a half. A plugin's own undo works
                // from any state, and may be tried again.
                self.undo_progress = if self.undo == UndoPlan::Explicit {
                    UndoProgress::Unclear
                } else {
                    UndoProgress::Failed
                };
            }
        }
    }

    fn check(&mut self, finding: &UndoFinding) {
        match (finding, self.undo_progress) {
            // The observation shows that an attempt without an answer had no effect.
            (
                UndoFinding::Restored,
                UndoProgress::NotTried | UndoProgress::Failed | UndoProgress::Unclear,
            ) => {
                self.effect = EffectState::None;
            }
            (UndoFinding::TookEffect { .. }, _) => self.effect = EffectState::Done,
            (UndoFinding::Drifted { .. }, _)
            | (UndoFinding::Unknown { .. }, UndoProgress::Done) => {
                self.undo_progress = UndoProgress::Drifted;
            }
            (UndoFinding::Restored, UndoProgress::Done | UndoProgress::Drifted)
            | (
                UndoFinding::Unknown { .. },
                UndoProgress::NotTried
                | UndoProgress::Failed
                | UndoProgress::Unclear
                | UndoProgress::Drifted,
            ) => {}
        }
    }
}

/// The changes of a run that are not undone, by step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RemainingChanges {
    /// The steps that have surely changed something, which is not undone.
    pub changed: Vec<StepId>,
    /// The steps that may have changed something, which is not undone.
    pub possibly_changed: Vec<StepId>,
    /// The steps among both that can be undone.
    pub undoable: Vec<StepId>,
    /// The steps among both whose undo may have happened, so that a person has to decide.
    pub undo_unclear: Vec<StepId>,
}

impl RemainingChanges {
    /// The remaining changes of these steps.
    pub fn of<'a>(steps: impl Iterator<Item = (&'a StepId, &'a Change)>) -> Self {
        let mut remaining_changes = Self::default();
        for (id, change) in steps {
            match change.remaining() {
                RemainingEffect::Nothing => {}
                RemainingEffect::Perhaps => remaining_changes.possibly_changed.push(id.clone()),
                RemainingEffect::Surely => remaining_changes.changed.push(id.clone()),
            }
            if change.is_undoable() {
                remaining_changes.undoable.push(id.clone());
            }
            if change.is_undo_unclear() {
                remaining_changes.undo_unclear.push(id.clone());
            }
        }
        remaining_changes
    }

    /// Whether surely nothing is left.
    pub fn is_clean(&self) -> bool {
        self.changed.is_empty() && self.possibly_changed.is_empty()
    }
}
