//! The state of a group: a step with `for_each`, or one that uses a nested file. It follows from
//! the states of its items or inner steps.

use super::{StepStatus, Summary};
use crate::phrases::pluralize;
use runbook_engine::{RemainingEffect, StepId};
use std::collections::BTreeMap;

/// How many of the items or inner steps of a group are in which state after the undo of the run.
#[derive(Default)]
struct GroupCounts {
    undone: usize,
    restored: usize,
    failed: usize,
    left: usize,
}

impl Summary {
    /// Updates the state of each group of which items or inner steps were undone.
    pub(super) fn fold_groups(&mut self) {
        let mut groups: BTreeMap<usize, GroupCounts> = BTreeMap::new();
        for step in &self.steps {
            let Some(group) = group_of(&step.id).and_then(|group| self.step_index(&group)) else {
                continue;
            };
            let counts = groups.entry(group).or_default();
            counts.undone += usize::from(step.state == StepStatus::Undone);
            counts.restored += usize::from(step.state == StepStatus::Undone && step.restored);
            counts.failed += usize::from(step.state == StepStatus::UndoFailed);
            counts.left += usize::from(step.change.remaining() != RemainingEffect::Nothing);
        }
        // Inner groups stand after the groups that they are in, so they are updated first.
        for (index, counts) in groups.into_iter().rev() {
            self.fold_group(index, &counts);
        }
    }

    fn fold_group(&mut self, index: usize, counts: &GroupCounts) {
        let step = &mut self.steps[index];
        let is_good = matches!(
            step.state,
            StepStatus::Succeeded
                | StepStatus::Warned
                | StepStatus::Undone
                | StepStatus::UndoFailed
        );
        if !is_good || (counts.undone == 0 && counts.failed == 0) {
            return;
        }
        if counts.failed > 0 {
            step.state = StepStatus::UndoFailed;
            step.undo =
                Some(format!("{} of it could not be undone", pluralize(counts.failed, "part")));
        } else if counts.left == 0 {
            step.state = StepStatus::Undone;
            step.restored = counts.restored == counts.undone;
            step.undo = Some(format!("{} of it undone", pluralize(counts.undone, "part")));
        } else {
            step.undo = Some(format!(
                "{} of it undone, {} left",
                pluralize(counts.undone, "part"),
                counts.left
            ));
        }
    }
}

/// The group that a step is in: `copy` for `copy[eu]`, `restore` for `restore.backup`.
fn group_of(id: &str) -> Option<StepId> {
    let step_as_written = id.split('[').next().unwrap_or_default();
    if step_as_written.len() < id.len() {
        return Some(StepId::from(step_as_written));
    }
    step_as_written.rsplit_once('.').map(|(group, _)| StepId::from(group))
}
