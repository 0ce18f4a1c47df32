//! Steps that a run takes as done from an earlier run, which alone undoes them.

use super::Summary;
use crate::phrases::quoted;
use runbook_engine::{Assumed, RemainingEffect, RunEnd, RunId, RunState, StepId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A run that did something which a later one takes as done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct EarlierRun {
    /// The id of the run, in full.
    pub run: String,
    /// What of that stays, in the order of the file.
    pub stays: Vec<StepId>,
    /// What of that `runbook undo` of that run puts back.
    pub undoable: Vec<StepId>,
}

impl Summary {
    /// The runs whose effects it takes as done.
    pub fn runs_relied_on(&self) -> BTreeSet<RunId> {
        self.assumed.iter().map(|assumed| assumed.done_in).collect()
    }

    /// Takes in the states of those runs: effects of theirs that are not undone stay, however this
    /// run ends.
    pub fn note_earlier_runs(&mut self, states: &BTreeMap<RunId, RunState>) {
        self.earlier_states = states.iter().map(|(run, state)| (*run, stays(state))).collect();
        self.note_earlier();
    }

    /// Notes which steps that this run takes as done still stand, by the run that did them.
    pub(super) fn note_earlier(&mut self) {
        let mut found: Vec<EarlierRun> = Vec::new();
        for Assumed { step, done_in, .. } in &self.assumed {
            let Some(undoable) = self.earlier_states.get(done_in).and_then(|stays| stays.get(step))
            else {
                continue;
            };
            let run = done_in.to_string();
            let place = found.iter().position(|earlier| earlier.run == run).unwrap_or_else(|| {
                found.push(EarlierRun { run, stays: Vec::new(), undoable: Vec::new() });
                found.len() - 1
            });
            found[place].stays.push(step.clone());
            found[place].undoable.extend(undoable.then(|| step.clone()));
        }
        self.relies_on = found;
        if let Some(end) = self.end {
            self.to_continue = self.after(end);
        }
    }

    /// What the operator does after this end.
    pub(super) fn after(&self, end: RunEnd) -> Option<String> {
        let own = match end {
            RunEnd::Dirty => Some(self.way_out()),
            RunEnd::Succeeded | RunEnd::SucceededWithWarnings if !self.too_late().is_empty() => {
                self.undo_after_all()
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
        match (own, earlier) {
            (Some(own), Some(earlier)) => {
                Some(format!("{own}; what stays of the runs before it: {earlier}"))
            }
            (own, earlier) => own.or(earlier),
        }
    }

    /// How to put back what stayed, after a cancellation that came too late.
    fn undo_after_all(&self) -> Option<String> {
        let undoable = self.account().undoable;
        let run = crate::phrases::short(&self.run);
        (!undoable.is_empty()).then(|| {
            format!("to put it back: `runbook undo {run}` puts back {}", quoted(&undoable))
        })
    }

    fn undo_earlier(&self) -> Option<String> {
        let undoable = self.relies_on.iter().rev().filter(|earlier| !earlier.undoable.is_empty());
        let commands: Vec<String> = undoable
            .map(|earlier| {
                let run = crate::phrases::short(&earlier.run);
                format!("`runbook undo {run}` puts back {}", quoted(&earlier.undoable))
            })
            .collect();
        (!commands.is_empty()).then(|| commands.join(", then "))
    }

    /// What other runs did and this one does not undo, in a sentence; empty if nothing.
    pub(super) fn earlier_text(&self) -> String {
        let told = self.relies_on.iter().map(|earlier| {
            format!(
                " What run {} did stays: {}.",
                crate::phrases::short(&earlier.run),
                quoted(&earlier.stays)
            )
        });
        told.collect()
    }
}

/// The steps of which something is left, and whether an undo of each can be tried.
fn stays(state: &RunState) -> BTreeMap<StepId, bool> {
    let left =
        state.steps.iter().filter(|(_, step)| step.change.left() != RemainingEffect::Nothing);
    left.map(|(id, step)| (id.clone(), step.change.is_undoable())).collect()
}
