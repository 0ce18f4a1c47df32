//! What a step has changed, may have changed, and whether it can be undone: one fold, used by the
//! engine, by every report and by the hints to the operator.

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
    /// The same, before the attempt that runs now.
    before: EffectState,
    /// Whether the attempt that runs now acts.
    acts: bool,
    /// Whether a person said that it is to be undone as if it had happened.
    decided: PersonDecision,
    undo: UndoPlan,
    undone: UndoProgress,
}

/// Whether a person said what to do about an effect that may not have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum PersonDecision {
    /// Nobody said anything about it.
    Nothing,
    /// It is to be undone as if it had happened.
    Undo,
}

/// How far the undo of a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum UndoProgress {
    /// It was not tried.
    No,
    /// It was tried, and did not happen, or not as a whole.
    Failed,
    /// It was tried, and it is unknown whether it happened.
    Unclear,
    /// It is done, and was not seen to be otherwise.
    Done,
    /// It was done, and something else is there than before, or it could not be seen.
    Drifted,
}

/// What is left of a step's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RemainingEffect {
    /// Nothing of it is left.
    Nothing,
    /// It is unknown, or it is done in part.
    Perhaps,
    /// It is done, and all of it is left.
    Surely,
}

impl Default for Change {
    fn default() -> Self {
        let none = EffectState::None;
        Self {
            effect: none,
            before: none,
            acts: false,
            decided: PersonDecision::Nothing,
            undo: UndoPlan::NotNeeded,
            undone: UndoProgress::No,
        }
    }
}

impl Change {
    /// Whether it has changed something, undone or not.
    pub fn effect(&self) -> EffectState {
        self.effect
    }

    /// What is left of it.
    pub fn left(&self) -> RemainingEffect {
        match (self.undone, self.effect) {
            (UndoProgress::Done, _) | (_, EffectState::None) => RemainingEffect::Nothing,
            (UndoProgress::Drifted, _)
            | (UndoProgress::No | UndoProgress::Failed, EffectState::Done) => {
                RemainingEffect::Surely
            }
            (UndoProgress::Unclear, _)
            | (
                UndoProgress::No | UndoProgress::Failed,
                EffectState::Partial | EffectState::Ambiguous,
            ) => RemainingEffect::Perhaps,
        }
    }

    /// Whether it is done, and no undo of it has begun that may have changed that.
    pub fn is_done(&self) -> bool {
        self.effect == EffectState::Done && self.undone == UndoProgress::No
    }

    /// Whether an undo of it can be tried.
    pub fn is_undoable(&self) -> bool {
        let has_undo = self.undo.can_be_tried();
        has_undo
            && self.effect != EffectState::None
            && !matches!(self.undone, UndoProgress::Done | UndoProgress::Drifted)
    }

    /// Whether it is unknown whether it happened, and nobody has decided what to do about that.
    /// What an earlier attempt has surely changed is undone either way.
    pub fn is_effect_unclear(&self) -> bool {
        let is_open = self.effect == EffectState::Ambiguous
            && matches!(self.before, EffectState::None | EffectState::Ambiguous);
        is_open && self.decided == PersonDecision::Nothing
    }

    /// Whether it was undone, and was seen to be otherwise than before.
    pub fn is_drifted(&self) -> bool {
        self.undone == UndoProgress::Drifted
    }

    /// Whether its undo may have happened and must not happen twice, so that a person has to say.
    pub fn is_undo_unclear(&self) -> bool {
        self.undone == UndoProgress::Unclear
    }

    /// Whether the runbook says that nothing undoes it.
    pub fn is_irreversible(&self) -> bool {
        self.undo == UndoPlan::Irreversible
    }

    /// Takes in an event of its step: only attempts and undos change anything.
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
                self.acts = proposal.is_some();
                if self.acts {
                    self.effect = EffectState::Ambiguous;
                    self.decided = PersonDecision::Nothing;
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

    /// The operator asks that the run be undone: what failed is tried again.
    pub fn request_undo(&mut self) {
        if matches!(self.undone, UndoProgress::Failed | UndoProgress::Unclear) {
            self.undone = UndoProgress::No;
        }
    }

    fn end_attempt(&mut self, result: &AttemptResult) {
        if !self.acts {
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
        self.acts = false;
    }

    /// Takes in what was seen or said of an attempt whose outcome is unknown.
    fn recover(&mut self, decision: &Recovery) {
        match decision {
            // Of an attempt that is over, all that was ever done was looked for.
            Recovery::DidNotHappen => {
                self.effect = if self.acts { self.before } else { EffectState::None }
            }
            // A person looks at the world, not at one attempt; what another one has surely changed
            // stays changed.
            Recovery::OperatorRetry | Recovery::OperatorNotDone => {
                self.effect = if self.before == EffectState::Ambiguous {
                    EffectState::None
                } else {
                    self.before
                };
            }
            Recovery::OperatorDone => self.effect = EffectState::Done,
            Recovery::OperatorFail => self.decided = PersonDecision::Undo,
            Recovery::Repeat | Recovery::AskOperator { .. } => return,
        }
        self.acts = false;
    }

    fn end_undo(&mut self, result: &UndoResult, then: AfterAttempt) {
        match (result, then) {
            (UndoResult::Done { .. }, _) => self.undone = UndoProgress::Done,
            (UndoResult::Failed { .. }, AfterAttempt::Retry { .. } | AfterAttempt::Poll { .. }) => {
            }
            // It surely did not happen: what is left is what was left before it was tried.
            (UndoResult::Failed { fault }, AfterAttempt::Final | AfterAttempt::Continue)
                if fault.effect == FaultEffect::None => {}
            (UndoResult::Failed { .. }, AfterAttempt::Final | AfterAttempt::Continue) => {
                // Whatever it was answered with: a server that answers with 503 may have done it,
                // and a program that ends with 1 half of it. A plugin's own undo works from any
                // state.
                self.undone = if self.undo == UndoPlan::Explicit {
                    UndoProgress::Unclear
                } else {
                    UndoProgress::Failed
                };
            }
        }
    }

    fn check(&mut self, finding: &UndoFinding) {
        match (finding, self.undone) {
            // It was observed that an attempt without an answer had no effect.
            (
                UndoFinding::Restored,
                UndoProgress::No | UndoProgress::Failed | UndoProgress::Unclear,
            ) => {
                self.effect = EffectState::None;
            }
            (UndoFinding::TookEffect { .. }, _) => self.effect = EffectState::Done,
            (UndoFinding::Drifted { .. }, _)
            | (UndoFinding::Unknown { .. }, UndoProgress::Done) => {
                self.undone = UndoProgress::Drifted;
            }
            (UndoFinding::Restored, UndoProgress::Done | UndoProgress::Drifted)
            | (
                UndoFinding::Unknown { .. },
                UndoProgress::No
                | UndoProgress::Failed
                | UndoProgress::Unclear
                | UndoProgress::Drifted,
            ) => {}
        }
    }
}

/// What a run has left, by step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// What was changed, and is not put back.
    pub changed: Vec<StepId>,
    /// What may have been changed, and is not put back.
    pub perhaps: Vec<StepId>,
    /// What of both can be undone.
    pub undoable: Vec<StepId>,
    /// The steps among these whose undo may have happened, so that a person has to decide.
    pub unclear: Vec<StepId>,
}

impl Account {
    /// The account of the steps of a run.
    pub fn of<'a>(steps: impl Iterator<Item = (&'a StepId, &'a Change)>) -> Self {
        let mut account = Self::default();
        for (id, change) in steps {
            match change.left() {
                RemainingEffect::Nothing => {}
                RemainingEffect::Perhaps => account.perhaps.push(id.clone()),
                RemainingEffect::Surely => account.changed.push(id.clone()),
            }
            if change.is_undoable() {
                account.undoable.push(id.clone());
            }
            if change.is_undo_unclear() {
                account.unclear.push(id.clone());
            }
        }
        account
    }

    /// Whether nothing is left, surely.
    pub fn is_clean(&self) -> bool {
        self.changed.is_empty() && self.perhaps.is_empty()
    }
}
