//! The request to end a run. What follows from it depends on how far the run was.

use super::Summary;
use super::wording::pause_text;
use jiff::Timestamp;
use runbook_engine::{Cause, Decision, PauseReason, StepId};
use serde::Serialize;

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunProgress {
    /// Its preflights, steps or post-conditions.
    #[default]
    Steps,
    /// What it did is being undone.
    Undo,
    /// All of that is over; `finally` runs.
    Finally,
}

/// A request to end the run, and how far the run was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Cancelled {
    /// The name of the person who asked for it.
    pub by: String,
    /// When it was asked for.
    pub at: Timestamp,
    /// How far the run was.
    pub while_it: RunProgress,
}

/// What an orderly end is.
const ORDERLY: &str = "running steps are stopped, unless their `on_cancel` is \"finish\"; then what was done is \
     undone as the runbook says";

impl Cancelled {
    /// The line that tells of the request when it comes.
    pub(crate) fn line(&self, run: &str) -> String {
        let by = &self.by;
        match self.while_it {
            RunProgress::Steps => format!("{by} cancels the run: {ORDERLY}"),
            RunProgress::Undo => format!(
                "{by} cancels the run, which is being undone already: the undo goes on to its end"
            ),
            RunProgress::Finally => format!(
                "{by} cancels the run, and it is too late: its steps are over, and only `finally` \
                 still runs. When it has ended, `runbook show {run}` says what stays and what \
                 undoes it"
            ),
        }
    }

    fn told(&self) -> String {
        format!("{} cancelled it at {}", self.by, self.at.strftime("%Y-%m-%d %H:%M:%S UTC"))
    }
}

impl Summary {
    /// Why it paused, and that it is being undone if so.
    pub(super) fn why_paused(&self, reason: &PauseReason) -> String {
        let text = pause_text(reason);
        if !self.is_undoing {
            return text;
        }
        let cancelled = self.cancelled.as_ref().filter(|_| self.is_cancelled).map(Cancelled::told);
        match cancelled.or_else(|| self.cause.clone()) {
            Some(why) => format!("{text}; it is being undone ({why})"),
            None => format!("{text}; it is being undone"),
        }
    }

    /// That a cancel came when nothing was left that it could stop, in a sentence; empty if there
    /// was none.
    pub(super) fn too_late(&self) -> String {
        let late =
            self.cancelled.as_ref().filter(|cancelled| cancelled.while_it == RunProgress::Finally);
        late.map(|late| format!(" {}, too late: its steps were over.", late.told()))
            .unwrap_or_default()
    }

    pub(super) fn note_cancelled(&mut self, cause: &Cause) {
        self.is_cancelled = *cause == Cause::Cancel;
    }

    /// What a decision about a step whose outcome is unknown means here.
    pub(super) fn meaning(
        &self,
        decision: Decision,
        step: Option<&StepId>,
        usual: &'static str,
    ) -> &'static str {
        if !self.is_undoing {
            return usual;
        }
        let has_undo =
            step.and_then(|step| self.step(step)).is_none_or(|step| step.change.is_undoable());
        match (decision, has_undo) {
            (Decision::Done, true) => "it happened; its undo runs",
            (Decision::Done, false) => "it happened, and stays",
            (Decision::NotDone, _) => "it did not; nothing of it is undone",
            (Decision::Retry | Decision::Fail, _) => usual,
        }
    }
}
