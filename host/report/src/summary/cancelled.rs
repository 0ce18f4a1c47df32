//! The request to cancel a run. Its effect depends on how far the run was.

use super::Summary;
use super::wording::pause_text;
use jiff::Timestamp;
use runbook_engine::{Cause, Decision, PauseReason, StepId};
use serde::Serialize;

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunProgress {
    /// Preflights, steps or verifies run.
    #[default]
    Steps,
    /// Completed steps are being undone.
    Undo,
    /// Steps and undo are over; `finally` runs.
    Finally,
}

/// A request to end the run, and how far the run was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct CancelRequest {
    /// The name of the person who asked for it.
    pub by: String,
    /// When it was asked for.
    pub at: Timestamp,
    /// How far the run was.
    pub progress: RunProgress,
}

/// What a cancel does while steps run.
const CANCEL_OF_STEPS: &str = "running steps are stopped, unless their `on_cancel` is \"finish\"; then what was done is \
     undone as the runbook says";

impl CancelRequest {
    /// The line of the live view for this request.
    pub(crate) fn line(&self, run: &str) -> String {
        let by = &self.by;
        match self.progress {
            RunProgress::Steps => format!("{by} cancels the run: {CANCEL_OF_STEPS}"),
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

    /// Who cancelled the run, and when.
    fn clause(&self) -> String {
        format!("{} cancelled it at {}", self.by, self.at.strftime("%Y-%m-%d %H:%M:%S UTC"))
    }
}

impl Summary {
    /// Why the run paused. If it is being undone, the text says so, with the reason.
    pub(super) fn why_paused(&self, reason: &PauseReason) -> String {
        let text = pause_text(reason);
        if !self.is_undoing {
            return text;
        }
        let cancelled =
            self.cancelled.as_ref().filter(|_| self.is_ended_by_cancel).map(CancelRequest::clause);
        match cancelled.or_else(|| self.cause.clone()) {
            Some(why) => format!("{text}; it is being undone ({why})"),
            None => format!("{text}; it is being undone"),
        }
    }

    /// A sentence about a cancel that came when all steps were over; empty if there was none.
    pub(super) fn late_cancel_text(&self) -> String {
        let late_request =
            self.cancelled.as_ref().filter(|cancelled| cancelled.progress == RunProgress::Finally);
        late_request
            .map(|late_request| {
                format!(" {}, too late: its steps were over.", late_request.clause())
            })
            .unwrap_or_default()
    }

    /// Notes whether the run ends because a person cancelled it.
    pub(super) fn set_is_ended_by_cancel(&mut self, cause: &Cause) {
        self.is_ended_by_cancel = *cause == Cause::Cancel;
    }

    /// What a decision about a step whose outcome is unknown means. `usual` is its meaning while
    /// the run is not being undone.
    pub(super) fn decision_meaning(
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
