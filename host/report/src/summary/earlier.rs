//! Steps that a run takes as done because an earlier run did them. Only `runbook undo` of that
//! earlier run undoes them.

use super::Summary;
use crate::phrases::quote_ids;
use runbook_engine::{AssumedStep, RemainingEffect, RunEnd, RunId, RunState, StepId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// An earlier run whose completed steps this run does not repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct EarlierRun {
    /// The id of the run, in full.
    pub run: String,
    /// The steps of it that are still in effect, in the order of the file.
    pub remaining: Vec<StepId>,
    /// Those of them that `runbook undo` of that run would undo.
    pub undoable: Vec<StepId>,
}

impl Summary {
    /// The earlier runs whose completed steps this run does not repeat.
    pub fn earlier_run_ids(&self) -> BTreeSet<RunId> {
        self.assumed.iter().map(|assumed| assumed.done_in).collect()
    }

    /// Sets the states of those runs. Their effects stay unless they are undone, however this run
    /// ends.
    pub fn set_earlier_run_states(&mut self, states: &BTreeMap<RunId, RunState>) {
        self.earlier_states =
            states.iter().map(|(run, state)| (*run, steps_in_effect(state))).collect();
        self.update_earlier_runs();
    }

    /// Updates `earlier_runs`: for each earlier run, the steps whose effects are still there.
    pub(super) fn update_earlier_runs(&mut self) {
        let mut found: Vec<EarlierRun> = Vec::new();
        for AssumedStep { step, done_in, .. } in &self.assumed {
            let Some(undoable) =
                self.earlier_states.get(done_in).and_then(|remaining| remaining.get(step))
            else {
                continue;
            };
            let run = done_in.to_string();
            let index = found.iter().position(|earlier| earlier.run == run).unwrap_or_else(|| {
                found.push(EarlierRun { run, remaining: Vec::new(), undoable: Vec::new() });
                found.len() - 1
            });
            found[index].remaining.push(step.clone());
            found[index].undoable.extend(undoable.then(|| step.clone()));
        }
        self.earlier_runs = found;
        if let Some(end) = self.end {
            self.next_action = self.action_after(end);
        }
    }

    /// What the operator does after this end, with the commands to type.
    pub(super) fn action_after(&self, end: RunEnd) -> Option<String> {
        let own_action = match end {
            RunEnd::Dirty => Some(self.dirty_next_action()),
            RunEnd::Succeeded | RunEnd::SucceededWithWarnings
                if !self.late_cancel_text().is_empty() =>
            {
                self.undo_after_late_cancel()
            }
            RunEnd::Succeeded
            | RunEnd::SucceededWithWarnings
            | RunEnd::FailedClean
            | RunEnd::Undone
            | RunEnd::Cancelled => None,
        };
        let earlier = match end {
            RunEnd::Succeeded | RunEnd::SucceededWithWarnings => None,
            RunEnd::FailedClean | RunEnd::Undone | RunEnd::Dirty | RunEnd::Cancelled => {
                self.undo_earlier()
            }
        };
        match (own_action, earlier) {
            (Some(own_action), Some(earlier)) => {
                Some(format!("{own_action}; what stays of the runs before it: {earlier}"))
            }
            (own_action, earlier) => own_action.or(earlier),
        }
    }

    /// How to undo a run that succeeded although somebody cancelled it, because the cancel came too
    /// late.
    fn undo_after_late_cancel(&self) -> Option<String> {
        let undoable = self.remaining_changes().undoable;
        let run = crate::phrases::short_run_id(&self.run);
        (!undoable.is_empty()).then(|| {
            format!("to put it back: `runbook undo {run}` puts back {}", quote_ids(&undoable))
        })
    }

    /// The commands that undo the earlier runs, the last one first.
    fn undo_earlier(&self) -> Option<String> {
        let undoable =
            self.earlier_runs.iter().rev().filter(|earlier| !earlier.undoable.is_empty());
        let commands: Vec<String> = undoable
            .map(|earlier| {
                let run = crate::phrases::short_run_id(&earlier.run);
                format!("`runbook undo {run}` puts back {}", quote_ids(&earlier.undoable))
            })
            .collect();
        (!commands.is_empty()).then(|| commands.join(", then "))
    }

    /// A sentence for each earlier run whose effects stay; empty if there is none.
    pub(super) fn earlier_text(&self) -> String {
        let sentences = self.earlier_runs.iter().map(|earlier| {
            format!(
                " What run {} did stays: {}.",
                crate::phrases::short_run_id(&earlier.run),
                quote_ids(&earlier.remaining)
            )
        });
        sentences.collect()
    }
}

/// The steps whose effects are still there, and whether an undo of each can be tried.
fn steps_in_effect(state: &RunState) -> BTreeMap<StepId, bool> {
    let in_effect =
        state.steps.iter().filter(|(_, step)| step.change.remaining() != RemainingEffect::Nothing);
    in_effect.map(|(id, step)| (id.clone(), step.change.is_undoable())).collect()
}
