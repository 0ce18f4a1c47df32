//! Why a run cannot be executed.

use super::unrecorded::UnrecordedOutcome;
use crate::event::RunEnd;
use crate::journal::Holder;
use crate::state::IllegalEvent;
use runbook_contract::{RunId, StepId};
use std::error::Error;
use std::time::Duration;

/// Why the engine could not continue. A failed step is an outcome and not an error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal could not be read or written; the run stopped before its next effect.
    #[error("the journal cannot be used, so the run stopped before its next effect")]
    Journal {
        /// The error of the journal.
        #[source]
        source: Box<dyn Error + Send + Sync>,
        /// The outcomes of attempts whose end could not be recorded.
        unrecorded: Vec<(StepId, UnrecordedOutcome)>,
    },
    /// The records make no sense.
    #[error("the journal of the run contradicts itself")]
    Illegal {
        /// The record that cannot follow the state before it.
        #[from]
        source: IllegalEvent,
    },
    /// Another process executes the run, or executed it until a moment ago and its lease still
    /// lives.
    #[error("run {} is executed by process {} on {}, as far as the journal knows", run.short(), holder.pid, holder.host)]
    Busy {
        /// The run that was to be executed.
        run: RunId,
        /// The process that executes it.
        holder: Box<Holder>,
        /// How long the other process's lease lives, unless it is renewed.
        left: Duration,
    },
    /// The run needs a lock that another run holds.
    #[error("lock `{name}` is held by {holder}")]
    LockBusy {
        /// The name of the lock.
        name: String,
        /// The process that holds the lock.
        holder: Box<Holder>,
        /// How long until it is free, unless the holder renews its lease.
        left: Duration,
    },
    /// Another run holds the lock by now; no effect was begun. The loop handles this error by a
    /// pause, so callers never see it.
    #[error("the lease on lock `{name}` was lost")]
    LockLost {
        /// The name of the lock.
        name: String,
    },
    /// Another process executes the run by now: this process was stopped for longer than its lease
    /// lived.
    #[error("run {} is not executed here any more: its lease ended while this process stood still, \
             and somebody else took it", run.short())]
    TakenOver {
        /// The run that somebody else took.
        run: RunId,
    },
    /// The runbook or a plugin is not the one with which the run started.
    #[error("the run cannot go on with changed parts: {}", differences.join(", "))]
    Changed {
        /// Each difference, as a clause for the message.
        differences: Vec<String>,
    },
    /// The run has ended; there is nothing to resume.
    #[error("run {run} has ended: {}", end.name())]
    AlreadyEnded {
        /// The run that has ended.
        run: RunId,
        /// How it ended.
        end: RunEnd,
    },
    /// A run that has not ended cannot be undone; it can be resumed and cancelled.
    #[error("run {} has not ended", run.short())]
    NotEnded {
        /// The run that has not ended.
        run: RunId,
    },
    /// No change of the run can be undone.
    #[error("nothing of run {} can be undone: {why}", run.short())]
    NothingToUndo {
        /// The run that was to be undone.
        run: RunId,
        /// Why nothing can be undone.
        why: String,
    },
    /// An undo may have happened, and must not happen twice.
    #[error(
        "it is unknown whether {} undone already, and an undo must not happen twice",
        steps_with_verb(steps)
    )]
    UndoUnclear {
        /// The steps whose undo may have happened.
        steps: Vec<StepId>,
    },
    /// The operator decided about a step that waits for no decision.
    #[error("no decision about `{step}` is open{}", open_decisions_text(asked))]
    NoOpenDecision {
        /// The step that was decided about.
        step: StepId,
        /// The steps that wait for a decision.
        asked: Vec<StepId>,
    },
    /// The operator decided about a step that does not exist.
    #[error("the run has no step `{step}`{}", open_decisions_text(asked))]
    NoStep {
        /// The step that was named, as it was typed.
        step: StepId,
        /// The steps that wait for a decision.
        asked: Vec<StepId>,
    },
    /// The operator wants a step done again by a run that only undoes.
    #[error("`{step}=retry` cannot be done: the run is being undone, and does nothing again")]
    RetryWhileUndoing {
        /// The step that was to be done again.
        step: StepId,
    },
    /// The operator decided about an undo whose outcome is known.
    #[error("no decision about the undo of `{step}` is needed: its outcome is known")]
    NoUndoDecisionNeeded {
        /// The step that was decided about.
        step: StepId,
    },
    /// The run has no record at all.
    #[error("run {run} has no record; it never started")]
    Empty {
        /// The run without records.
        run: RunId,
    },
}

fn open_decisions_text(asked: &[StepId]) -> String {
    let names: Vec<_> = asked.iter().map(|step| format!("`{step}`")).collect();
    if names.is_empty() {
        "; no decision about any step is open".to_owned()
    } else {
        format!("; decisions are open about: {}", names.join(", "))
    }
}

fn steps_with_verb(steps: &[StepId]) -> String {
    let names: Vec<_> = steps.iter().map(|step| format!("`{step}`")).collect();
    format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
}

impl RunError {
    pub(super) fn journal<E: Error + Send + Sync + 'static>(error: E) -> Self {
        Self::Journal { source: Box::new(error), unrecorded: Vec::new() }
    }
}
