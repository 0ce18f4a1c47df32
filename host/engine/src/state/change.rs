//! What a step has changed, may have changed, and whether it can be undone: one fold, from which
//! the engine, every report and every advice to the operator take it.

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
    told: Told,
    undo: UndoPlan,
    undone: Undone,
}

/// Whether a person said what to do about an effect that may not have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Told {
    /// Nobody said anything about it.
    Nothing,
    /// It is to be undone as if it had happened.
    Undo,
}

/// How far the undo of a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Undone {
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
pub enum Left {
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
            told: Told::Nothing,
            undo: UndoPlan::NotNeeded,
            undone: Undone::No,
        }
    }
}

impl Change {
    /// Whether it has changed something, undone or not.
    pub fn effect(&self) -> EffectState {
        self.effect
    }

    /// What is left of it.
    pub fn left(&self) -> Left {
        match (self.undone, self.effect) {
            (Undone::Done, _) | (_, EffectState::None) => Left::Nothing,
            (Undone::Drifted, _) | (Undone::No | Undone::Failed, EffectState::Done) => Left::Surely,
            (Undone::Unclear, _)
            | (Undone::No | Undone::Failed, EffectState::Partial | EffectState::Ambiguous) => {
                Left::Perhaps
            }
        }
    }

    /// Whether it is done, and no undo of it has begun that may have changed that.
    pub fn is_done(&self) -> bool {
        self.effect == EffectState::Done && self.undone == Undone::No
    }

    /// Whether an undo of it can be tried.
    pub fn is_undoable(&self) -> bool {
        let has_undo = self.undo.can_be_tried();
        has_undo
            && self.effect != EffectState::None
            && !matches!(self.undone, Undone::Done | Undone::Drifted)
    }

    /// Whether it is unknown whether it happened, and nobody has decided what to do about that.
    /// What an earlier attempt has surely changed is undone either way.
    pub fn is_effect_unclear(&self) -> bool {
        let is_open = self.effect == EffectState::Ambiguous
            && matches!(self.before, EffectState::None | EffectState::Ambiguous);
        is_open && self.told == Told::Nothing
    }

    /// Whether it was undone, and was seen to be otherwise than before.
    pub fn is_drifted(&self) -> bool {
        self.undone == Undone::Drifted
    }

    /// Whether its undo may have happened and must not happen twice, so that a person has to say.
    pub fn is_undo_unclear(&self) -> bool {
        self.undone == Undone::Unclear
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
                    self.told = Told::Nothing;
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
        if matches!(self.undone, Undone::Failed | Undone::Unclear) {
            self.undone = Undone::No;
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
            Recovery::OperatorFail => self.told = Told::Undo,
            Recovery::Repeat | Recovery::AskOperator { .. } => return,
        }
        self.acts = false;
    }

    fn end_undo(&mut self, result: &UndoResult, then: AfterAttempt) {
        match (result, then) {
            (UndoResult::Done { .. }, _) => self.undone = Undone::Done,
            (UndoResult::Failed { .. }, AfterAttempt::Retry { .. } | AfterAttempt::Poll { .. }) => {
            }
            // It surely did not happen: what is left is what was left before it was tried.
            (UndoResult::Failed { fault }, AfterAttempt::Final | AfterAttempt::Continue)
                if fault.effect == FaultEffect::None => {}
            (UndoResult::Failed { .. }, AfterAttempt::Final | AfterAttempt::Continue) => {
                // Whatever it was answered with: a server that answers with 503 may have done it,
                // and a program that ends with 1 half of it. A plugin's own undo works from any
                // state.
                self.undone =
                    if self.undo == UndoPlan::Explicit { Undone::Unclear } else { Undone::Failed };
            }
        }
    }

    fn check(&mut self, finding: &UndoFinding) {
        match (finding, self.undone) {
            // It was observed that an attempt without an answer had no effect.
            (UndoFinding::Restored, Undone::No | Undone::Failed | Undone::Unclear) => {
                self.effect = EffectState::None;
            }
            (UndoFinding::TookEffect { .. }, _) => self.effect = EffectState::Done,
            (UndoFinding::Drifted { .. }, _) | (UndoFinding::Unknown { .. }, Undone::Done) => {
                self.undone = Undone::Drifted;
            }
            (UndoFinding::Restored, Undone::Done | Undone::Drifted)
            | (
                UndoFinding::Unknown { .. },
                Undone::No | Undone::Failed | Undone::Unclear | Undone::Drifted,
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
                Left::Nothing => {}
                Left::Perhaps => account.perhaps.push(id.clone()),
                Left::Surely => account.changed.push(id.clone()),
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
