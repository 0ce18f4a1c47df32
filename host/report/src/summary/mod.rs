//! The summary of a run, folded from its events.

mod cancelled;
mod earlier;
mod finally;
mod fold;
mod groups;
mod remaining;
mod step;
mod step_fold;
mod wording;

use crate::timeline::Timeline;
pub use cancelled::{CancelRequest, RunProgress};
pub use earlier::EarlierRun;
pub use finally::UnsentNotification;
use jiff::Timestamp;
use runbook_engine::{
    AssumedStep, ExecutionTime, PauseReason, Record, RemainingChanges, RunEnd, RunHeader, RunId,
    RunStatus, Section, StepId,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
pub use step::{StepStatus, StepSummary};
pub(crate) use wording::{on_targets, waiting_text};

/// The state of a run as every report shows it: the fold of the records of the run.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Summary {
    /// The version of this form.
    pub format: u8,
    /// The id of the run, in full.
    pub run: String,
    /// `name` of the runbook.
    pub name: String,
    /// `title` of the runbook.
    pub title: String,
    /// The name of the person who started it.
    pub operator: String,
    /// The values of its parameters, by name.
    pub params: serde_json::Map<String, serde_json::Value>,
    /// The environment that `--env` chose; `null` without one.
    pub environment: Option<String>,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How long it was executed, by the monotonic clock, in milliseconds: pauses and the time after
    /// a crash are not part of it.
    pub duration_ms: u64,
    #[serde(skip)]
    execution_time: ExecutionTime,
    /// The state of the run, such as `running`, `waiting` or `succeeded`.
    pub state: String,
    /// How it ended.
    #[serde(skip)]
    pub end: Option<RunEnd>,
    /// Why it did not succeed.
    pub cause: Option<String>,
    /// The step whose failure ended it.
    #[serde(skip)]
    causing_step: Option<StepId>,
    /// The first sentence about the end of a run that did not succeed, such as `Cancelled.`
    #[serde(skip)]
    opening_sentence: &'static str,
    /// Why the run is paused; `null` if it is not.
    pub paused: Option<String>,
    #[serde(skip)]
    pause_reason: Option<PauseReason>,
    /// The run that retries it.
    pub retried_by: Option<String>,
    /// What the operator does next, with the commands to type.
    pub next_action: Option<String>,
    /// The request to cancel the run, if there was one in this execution or before the run was
    /// undone.
    pub cancelled: Option<CancelRequest>,
    /// How far the run is.
    #[serde(skip)]
    progress: RunProgress,
    /// Whether the run ends because a person asked for it.
    #[serde(skip)]
    is_ended_by_cancel: bool,
    /// Whether its undo has begun.
    #[serde(skip)]
    is_undoing: bool,
    /// Who executes it, if it has neither ended nor paused.
    #[serde(skip)]
    pub execution: ExecutionStatus,
    /// Its steps, in file order.
    pub steps: Vec<StepSummary>,
    #[serde(skip)]
    step_indexes: BTreeMap<String, usize>,
    /// The run that it retries.
    pub retry_of: Option<String>,
    /// Items that earlier runs have done.
    #[serde(skip)]
    assumed_items: BTreeMap<StepId, AssumedStep>,
    /// The steps and items that earlier runs have done and this run does not repeat.
    #[serde(skip)]
    assumed: Vec<AssumedStep>,
    /// For each earlier run, the steps whose effects are still there, and whether an undo of each
    /// can be tried.
    #[serde(skip)]
    earlier_states: BTreeMap<RunId, BTreeMap<StepId, bool>>,
    /// The earlier runs whose completed steps this run does not repeat, and which of those steps
    /// are still in effect.
    pub earlier_runs: Vec<EarlierRun>,
    /// Notifications that could not be sent.
    pub unsent_notifications: Vec<UnsentNotification>,
    /// A warning that it runs outside its maintenance window.
    pub window: Option<String>,
    /// The names of the locks that it held last.
    pub locks: Vec<String>,
    /// The token with which it held each lock last.
    #[serde(skip)]
    tokens: BTreeMap<String, u64>,
    /// How many other runs held a lock between this run's release of it and its next acquisition.
    #[serde(skip)]
    pub(crate) held_between: BTreeMap<String, u64>,
    /// The spans of the run: attempts, pauses and others, with their times.
    pub timeline: Timeline,
}

/// Who executes a run that has neither ended nor paused. The records of the run do not contain
/// this; the caller finds it out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ExecutionStatus {
    /// The caller did not find out.
    #[default]
    Unknown,
    /// A process executes it; the text names the process, for people.
    Somebody(String),
    /// A process that is alive but was stopped for longer than its lease.
    Stalled {
        /// The process id, as the process sees it.
        pid: u32,
        /// The name of the machine on which the process lives.
        host: String,
    },
    /// Its process has died.
    Nobody,
}

/// The effects of the later retries of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaterRun {
    /// One of them has not ended, or its effects were not all undone.
    HasEffects,
    /// All have ended, and all their effects were undone.
    HasNone,
}

/// How a run counts as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunVerdict {
    /// It succeeded, with or without warnings.
    Good,
    /// It waits for something, and nothing is wrong.
    Waiting,
    /// It still runs, or is paused because something is wrong: its end is not known.
    Open,
    /// It has ended, and did not succeed.
    Bad,
}

impl Summary {
    /// Folds the records of a run.
    pub fn of(header: &RunHeader, records: &[Record]) -> Self {
        let mut summary = Self {
            format: 1,
            run: header.run.to_string(),
            name: header.name.clone(),
            title: header.title.clone(),
            operator: header.operator.clone(),
            params: header.params.clone(),
            environment: header.environment.clone(),
            started: header.started,
            ended: None,
            duration_ms: 0,
            execution_time: ExecutionTime::started_at(header.started),
            state: RunStatus::Running.name().to_owned(),
            end: None,
            cause: None,
            causing_step: None,
            opening_sentence: "Failed.",
            paused: None,
            pause_reason: None,
            cancelled: None,
            progress: RunProgress::Steps,
            is_ended_by_cancel: false,
            is_undoing: false,
            retried_by: None,
            next_action: None,
            execution: ExecutionStatus::Unknown,
            steps: Vec::new(),
            step_indexes: BTreeMap::new(),
            retry_of: None,
            assumed_items: BTreeMap::new(),
            assumed: Vec::new(),
            earlier_states: BTreeMap::new(),
            earlier_runs: Vec::new(),
            unsent_notifications: Vec::new(),
            window: None,
            locks: Vec::new(),
            tokens: BTreeMap::new(),
            held_between: BTreeMap::new(),
            timeline: Timeline::default(),
        };
        for record in records {
            summary.fold(record);
        }
        summary
    }

    /// Sets whether a process executes the run, and when that process was seen last. Ignored for a
    /// run that has ended or is paused.
    pub fn set_execution(&mut self, execution: ExecutionStatus, last_seen: Timestamp) {
        if self.end.is_some() || self.paused.is_some() {
            return;
        }
        match &execution {
            ExecutionStatus::Unknown | ExecutionStatus::Somebody(_) => {}
            ExecutionStatus::Stalled { pid, .. } => {
                let run = crate::phrases::short_run_id(&self.run);
                self.next_action = Some(format!(
                    "let process {pid} go on (`kill -CONT {pid}`), or take the run over with \
                     `runbook resume {run}`"
                ));
            }
            ExecutionStatus::Nobody => {
                "interrupted".clone_into(&mut self.state);
                self.next_action = Some(format!(
                    "continue with `runbook resume {}`",
                    crate::phrases::short_run_id(&self.run)
                ));
            }
        }
        self.duration_ms = self.execution_time.total_ms_at(last_seen);
        self.execution = execution;
    }

    /// The duration of the run in words: `took 5 s`, `for 5 s until now`, `interrupted after 5 s`.
    pub fn duration_text(&self) -> String {
        let duration = runbook_document::format_duration(self.duration());
        match &self.execution {
            ExecutionStatus::Unknown => format!("took {duration}"),
            ExecutionStatus::Somebody(_) => format!("for {duration} until now"),
            ExecutionStatus::Stalled { .. } => format!("stands still after {duration}"),
            ExecutionStatus::Nobody => format!("interrupted after {duration}"),
        }
    }

    /// How long the run was executed until now, without pauses.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    /// How far the run is.
    pub fn progress(&self) -> RunProgress {
        self.progress
    }

    /// Sets the run that retries this one, and whether that run or a later retry still has effects.
    pub fn set_later_run(&mut self, by: RunId, later: LaterRun) {
        let (by, own_run) = (by.to_string(), crate::phrases::short_run_id(&self.run));
        let later_run = crate::phrases::short_run_id(&by);
        let undoable = self.remaining_changes().undoable;
        self.next_action = Some(match later {
            LaterRun::HasNone if !undoable.is_empty() => format!(
                "run {later_run} tried it again, and nothing is left of what that one did; \
                 `runbook undo {own_run}` puts back {}",
                crate::phrases::quote_ids(&undoable)
            ),
            LaterRun::HasEffects | LaterRun::HasNone => {
                format!(
                    "run {later_run} tries it again and knows what both have done: \
                     `runbook show {later_run}` says how it stands"
                )
            }
        });
        self.retried_by = Some(by);
    }

    /// How the run counts as a whole.
    pub fn verdict(&self) -> RunVerdict {
        match (self.end, &self.pause_reason) {
            (Some(RunEnd::Succeeded | RunEnd::SucceededWithWarnings), _) => RunVerdict::Good,
            (Some(RunEnd::FailedClean | RunEnd::Undone | RunEnd::Dirty | RunEnd::Cancelled), _) => {
                RunVerdict::Bad
            }
            (
                None,
                Some(
                    PauseReason::Approval { .. }
                    | PauseReason::Manual { .. }
                    | PauseReason::OutsideWindow { .. },
                ),
            ) => RunVerdict::Waiting,
            (None, None) if self.state == RunStatus::Waiting.name() => RunVerdict::Waiting,
            (
                None,
                Some(
                    PauseReason::UnknownOutcome { .. }
                    | PauseReason::Guard { .. }
                    | PauseReason::LeaseLost { .. }
                    | PauseReason::Interrupted,
                )
                | None,
            ) => RunVerdict::Open,
        }
    }

    /// The changes that the run has left, by step.
    pub fn remaining_changes(&self) -> RemainingChanges {
        let steps: Vec<_> =
            self.steps.iter().filter(|step| step.section == Section::Step).collect();
        let ids: Vec<StepId> = steps.iter().map(|step| StepId::new(step.id.as_str())).collect();
        RemainingChanges::of(ids.iter().zip(steps.iter().map(|step| &step.change)))
    }

    /// The position of the step with this id. An index, because a run may have ten thousand steps
    /// and each record looks one up.
    fn step_index(&self, id: &StepId) -> Option<usize> {
        let known = self.step_indexes.get(id.as_str()).copied();
        known.filter(|index| self.steps.get(*index).is_some_and(|step| step.id == id.as_str()))
    }

    fn index_steps(&mut self) {
        self.step_indexes =
            self.steps.iter().enumerate().map(|(index, step)| (step.id.clone(), index)).collect();
    }

    /// The step with this id.
    pub fn step(&self, id: &StepId) -> Option<&StepSummary> {
        self.step_index(id).map(|index| &self.steps[index])
    }
}
