//! A run, folded from its events.

mod beside;
mod cancelled;
mod earlier;
mod fold;
mod left;
mod parts;
mod step;
mod step_fold;
mod wording;

use crate::timeline::Timeline;
pub use beside::UnsentNotification;
pub use cancelled::{Cancelled, RunProgress};
pub use earlier::EarlierRun;
use jiff::Timestamp;
use runbook_engine::{
    Account, Assumed, Executed, PauseReason, Record, RunEnd, RunHeader, RunId, RunPhase, Section,
    StepId,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
pub use step::{StepStatus, StepSummary};
pub(crate) use wording::{on_targets, waiting_text};

/// What there is to say about a run.
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
    executed: Executed,
    /// Where it stands.
    pub state: String,
    /// How it ended.
    #[serde(skip)]
    pub end: Option<RunEnd>,
    /// Why it did not succeed.
    pub cause: Option<String>,
    /// The step whose failure ended it.
    #[serde(skip)]
    stopped_by: Option<StepId>,
    /// The first sentence about how the run ended.
    #[serde(skip)]
    verdict: &'static str,
    /// Why it stopped without an end.
    pub paused: Option<String>,
    #[serde(skip)]
    pause: Option<PauseReason>,
    /// The run that tries it again.
    pub tried_again_by: Option<String>,
    /// What the operator does then, with the commands to type.
    pub to_continue: Option<String>,
    /// The request to end the run, if there was one in this execution or before the run was undone.
    pub cancelled: Option<Cancelled>,
    /// How far the run is.
    #[serde(skip)]
    reached: RunProgress,
    /// Whether the run ends because a person asked for it.
    #[serde(skip)]
    is_cancelled: bool,
    /// Whether its undo has begun.
    #[serde(skip)]
    is_undoing: bool,
    /// Who executes it, if it has neither ended nor paused.
    #[serde(skip)]
    pub execution: Execution,
    /// Its steps, in file order.
    pub steps: Vec<StepSummary>,
    #[serde(skip)]
    places: BTreeMap<String, usize>,
    /// The run that it tries again.
    pub retry_of: Option<String>,
    /// Items that other runs have done.
    #[serde(skip)]
    assumed_items: BTreeMap<StepId, Assumed>,
    /// All that other runs have done and this one takes as done.
    #[serde(skip)]
    assumed: Vec<Assumed>,
    /// For each run before it, the steps of which something is left, and whether an undo of each
    /// can be tried.
    #[serde(skip)]
    earlier_states: BTreeMap<RunId, BTreeMap<StepId, bool>>,
    /// What other runs have done that this one takes as done, as far as it is still there.
    pub relies_on: Vec<EarlierRun>,
    /// Notifications that could not be sent.
    pub not_sent: Vec<UnsentNotification>,
    /// That it runs outside its maintenance window.
    pub window: Option<String>,
    /// Locks that it held.
    pub locks: Vec<String>,
    /// The token with which it held each of them last.
    #[serde(skip)]
    tokens: BTreeMap<String, u64>,
    /// How often others held one of them since it gave it back, if it took it again.
    #[serde(skip)]
    pub(crate) held_between: BTreeMap<String, u64>,
    /// What went on at which time.
    pub timeline: Timeline,
}

/// Whether anybody executes a run that has neither ended nor paused. Its records do not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Execution {
    /// Nobody has asked whether a process executes it.
    #[default]
    Unknown,
    /// Somebody executes it; the text says who, for people.
    By(String),
    /// A process that lives and stood still for longer than its lease.
    StandsStill {
        /// The process id, as the process sees it.
        pid: u32,
        /// The name of the machine on which the process lives.
        host: String,
    },
    /// Its process has died, so nobody executes it.
    Nobody,
}

/// Whether later retries of a run still have effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaterRun {
    /// One of them has not ended, or its effects were not all undone.
    HasEffects,
    /// All have ended, and all their effects were undone.
    HasNone,
}

/// Whether a run is a success, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunVerdict {
    /// It succeeded, with or without warnings.
    Good,
    /// It waits for something, and nothing is wrong.
    Waiting,
    /// It still runs, or stopped for a person, so its end is not known.
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
            executed: Executed::since(header.started),
            state: RunPhase::Running.name().to_owned(),
            end: None,
            cause: None,
            stopped_by: None,
            verdict: "Failed.",
            paused: None,
            pause: None,
            cancelled: None,
            reached: RunProgress::Steps,
            is_cancelled: false,
            is_undoing: false,
            tried_again_by: None,
            to_continue: None,
            execution: Execution::Unknown,
            steps: Vec::new(),
            places: BTreeMap::new(),
            retry_of: None,
            assumed_items: BTreeMap::new(),
            assumed: Vec::new(),
            earlier_states: BTreeMap::new(),
            relies_on: Vec::new(),
            not_sent: Vec::new(),
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

    /// Takes in whether a process executes the run, and when that process was seen last. A run that
    /// has ended or paused has none.
    pub fn is_executed(&mut self, execution: Execution, seen: Timestamp) {
        if self.end.is_some() || self.paused.is_some() {
            return;
        }
        match &execution {
            Execution::Unknown | Execution::By(_) => {}
            Execution::StandsStill { pid, .. } => {
                let run = crate::phrases::short(&self.run);
                self.to_continue = Some(format!(
                    "let process {pid} go on (`kill -CONT {pid}`), or take the run over with \
                     `runbook resume {run}`"
                ));
            }
            Execution::Nobody => {
                "interrupted".clone_into(&mut self.state);
                self.to_continue = Some(format!(
                    "continue with `runbook resume {}`",
                    crate::phrases::short(&self.run)
                ));
            }
        }
        self.duration_ms = self.executed.until(seen);
        self.execution = execution;
    }

    /// How long it took, in words that fit its state: `took 5 s`, `for 5 s until now`,
    /// `interrupted after 5 s`.
    pub fn lasted(&self) -> String {
        let duration = runbook_document::format_duration(self.duration());
        match &self.execution {
            Execution::Unknown => format!("took {duration}"),
            Execution::By(_) => format!("for {duration} until now"),
            Execution::StandsStill { .. } => format!("stands still after {duration}"),
            Execution::Nobody => format!("interrupted after {duration}"),
        }
    }

    /// How long it took, or takes until now.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    /// How far the run is.
    pub fn reached(&self) -> RunProgress {
        self.reached
    }

    /// Takes in that another run tries this one again, and whether anything is left of what that
    /// run and those after it did.
    pub fn set_later_run(&mut self, by: RunId, later: LaterRun) {
        let (by, own) = (by.to_string(), crate::phrases::short(&self.run));
        let short = crate::phrases::short(&by);
        let undoable = self.account().undoable;
        self.to_continue = Some(match later {
            LaterRun::HasNone if !undoable.is_empty() => format!(
                "run {short} tried it again, and nothing is left of what that one did; \
                 `runbook undo {own}` puts back {}",
                crate::phrases::quoted(&undoable)
            ),
            LaterRun::HasEffects | LaterRun::HasNone => {
                format!(
                    "run {short} tries it again and knows what both have done: \
                     `runbook show {short}` says how it stands"
                )
            }
        });
        self.tried_again_by = Some(by);
    }

    /// Whether it is a success.
    pub fn verdict(&self) -> RunVerdict {
        match (self.end, &self.pause) {
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
            (None, None) if self.state == RunPhase::Waiting.name() => RunVerdict::Waiting,
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

    /// What the run has left, by step.
    pub fn account(&self) -> Account {
        let steps: Vec<_> =
            self.steps.iter().filter(|step| step.section == Section::Step).collect();
        let ids: Vec<StepId> = steps.iter().map(|step| StepId::new(step.id.as_str())).collect();
        Account::of(ids.iter().zip(steps.iter().map(|step| &step.change)))
    }

    /// Where the step with this id stands: a run of ten thousand steps is not searched for each
    /// record.
    fn place(&self, id: &StepId) -> Option<usize> {
        let known = self.places.get(id.as_str()).copied();
        known.filter(|place| self.steps.get(*place).is_some_and(|step| step.id == id.as_str()))
    }

    fn note_places(&mut self) {
        self.places =
            self.steps.iter().enumerate().map(|(place, step)| (step.id.clone(), place)).collect();
    }

    /// The step with this id.
    pub fn step(&self, id: &StepId) -> Option<&StepSummary> {
        self.place(id).map(|place| &self.steps[place])
    }
}
