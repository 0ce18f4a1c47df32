//! Steps that consist of others: of items, or of the steps of a nested file.

use super::{StepStatus, Summary};
use crate::phrases::counted;
use runbook_engine::{RemainingEffect, StepId};
use std::collections::BTreeMap;

/// The state of the parts of a step after the undo of the run.
#[derive(Default)]
struct Parts {
    undone: usize,
    restored: usize,
    failed: usize,
    left: usize,
}

impl Summary {
    /// A step that stands for others is not done if what it stands for is undone.
    pub(super) fn fold_parts(&mut self) {
        let mut owners: BTreeMap<usize, Parts> = BTreeMap::new();
        for step in &self.steps {
            let Some(owner) = owner(&step.id).and_then(|owner| self.place(&owner)) else {
                continue;
            };
            let parts = owners.entry(owner).or_default();
            parts.undone += usize::from(step.state == StepStatus::Undone);
            parts.restored += usize::from(step.state == StepStatus::Undone && step.restored);
            parts.failed += usize::from(step.state == StepStatus::UndoFailed);
            parts.left += usize::from(step.change.left() != RemainingEffect::Nothing);
        }
        // Parts stand after what they are parts of, and may be such steps themselves.
        for (place, parts) in owners.into_iter().rev() {
            self.fold_owner(place, &parts);
        }
    }

    fn fold_owner(&mut self, place: usize, parts: &Parts) {
        let step = &mut self.steps[place];
        let is_good = matches!(
            step.state,
            StepStatus::Succeeded
                | StepStatus::Warned
                | StepStatus::Undone
                | StepStatus::UndoFailed
        );
        if !is_good || (parts.undone == 0 && parts.failed == 0) {
            return;
        }
        if parts.failed > 0 {
            step.state = StepStatus::UndoFailed;
            step.undo =
                Some(format!("{} of it could not be undone", counted(parts.failed, "part")));
        } else if parts.left == 0 {
            step.state = StepStatus::Undone;
            step.restored = parts.restored == parts.undone;
            step.undo = Some(format!("{} of it undone", counted(parts.undone, "part")));
        } else {
            step.undo = Some(format!(
                "{} of it undone, {} left",
                counted(parts.undone, "part"),
                parts.left
            ));
        }
    }
}

/// The step that stands for this one.
fn owner(id: &str) -> Option<StepId> {
    let written = id.split('[').next().unwrap_or_default();
    if written.len() < id.len() {
        return Some(StepId::from(written));
    }
    written.rsplit_once('.').map(|(owner, _)| StepId::from(owner))
}
