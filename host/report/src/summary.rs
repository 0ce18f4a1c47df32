//! A run, folded from its events.

mod left;
mod parts;

use crate::timeline::Timeline;
use jiff::Timestamp;
use runbook_engine::model::person_of;
use runbook_engine::{
    Account, AfterWait, ApprovalVerdict, AttemptResult, CallPurpose, Case, Cause, Change, Decision, Effect, EffectState, Fault,
    GuardEvent, Item, Left, LifecycleEvent, LogLine, Look, LookVerdict, Measurement, NotifyEvent, Outcome, PauseReason, Record,
    Recovery, RetryOf, RunEnd, RunEvent, RunHeader, RunPhase, Section, SkipReason, StepEvent, StepId, Then, Trigger, UndoFinding,
    UndoResult, WindowVerdict, describe_closed,
};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What there is to say about a run.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Summary {
    /// The version of this form.
    pub format: u8,
    /// Its id, whole.
    pub run: String,
    /// `name` of the runbook.
    pub name: String,
    /// `title` of the runbook.
    pub title: String,
    /// Who started it.
    pub operator: String,
    /// Parameters.
    pub params: serde_json::Map<String, serde_json::Value>,
    /// `--env`.
    pub environment: Option<String>,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How long it was executed, by the monotonic clock, in milliseconds: pauses and the time after a crash are no part of it.
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
    /// What it says of how it ended begins with this.
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
    /// Items that the other run has done, with their outputs.
    #[serde(skip)]
    assumed_items: BTreeMap<StepId, serde_json::Value>,
    /// That it runs outside its maintenance window.
    pub window: Option<String>,
    /// Locks that it held.
    pub locks: Vec<String>,
    /// What went on when.
    pub timeline: Timeline,
}

/// Whether anybody executes a run that has neither ended nor paused. Its records do not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Execution {
    /// It was not asked.
    #[default]
    Unknown,
    /// Somebody does, told for people.
    By(String),
    /// A process that lives and stood still for longer than its lease.
    StandsStill {
        /// As it calls itself.
        pid: u32,
        /// Its machine.
        host: String,
    },
    /// Its process died.
    Nobody,
}

/// Whether a run is a success, for whoever reads no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It succeeded, with or without warnings.
    Good,
    /// It waits for something, and nothing is wrong.
    Waiting,
    /// It goes on, or stopped where a person must look: nobody knows how it ends.
    Open,
    /// It has ended, and did not succeed.
    Bad,
}

/// What there is to say about a step.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a report for programs, each with a name of its own")]
pub struct StepSummary {
    /// Its id.
    pub id: String,
    /// What to call it.
    pub title: String,
    /// The part of the file.
    pub section: Section,
    /// `plugin:operation`.
    pub uses: String,
    /// The component's digest.
    pub digest: String,
    /// Where it stands.
    pub state: StepState,
    /// How many attempts were made.
    pub attempts: u32,
    /// Time of all attempts, in milliseconds.
    pub duration_ms: u64,
    /// One line: what came of it.
    pub summary: String,
    /// Why it failed.
    pub fault: Option<Fault>,
    /// What it said that it would do.
    pub effects: Vec<Effect>,
    /// Whether it changed anything.
    pub changed: bool,
    /// What is left of what it changed: nothing, perhaps something (it failed half-way, or got no answer), or surely something.
    pub left: Left,
    /// Whether it is a smoke test that wrote, and did not show that it removed what it made.
    pub may_have_left: bool,
    /// Whether it counts as begun only because it was asked what it would do.
    #[serde(skip)]
    asked: bool,
    /// What it produced.
    pub output: serde_json::Value,
    /// What a check found, if it could look.
    pub outcome: Option<Outcome>,
    /// Numbers that it measured.
    pub measurements: Vec<Measurement>,
    /// Cases of a smoke test.
    pub cases: Vec<Case>,
    /// What a person is asked to do, all lines of it.
    pub instructions: Option<String>,
    /// The options of `runbook answer` that say that it is done.
    pub answer_options: Vec<String>,
    /// One line: what came of its undo.
    pub undo: Option<String>,
    /// The log of its last attempt.
    pub logs: Vec<LogLine>,
    #[serde(skip)]
    change: Change,
    /// Whether it was observed after its undo, and was as before.
    pub restored: bool,
    /// Who said that it may.
    pub approved_by: Vec<String>,
    /// Why what was said before counts no more: it was of another plan, or is too old.
    pub approval_void: Option<String>,
    /// What approval was asked for last.
    #[serde(skip)]
    asked_digest: Option<String>,
    /// What a person answered: fields of the form, and `choice`.
    pub answers: Option<serde_json::Value>,
    /// Of whom approval is asked, and what was said.
    #[serde(skip)]
    asked_of: Option<AskedOf>,
    /// What was seen or said later of whether it happened, if its result left that open.
    pub doubt: Option<String>,
    /// How often in a row it was not yet so for the same reason, after the first time.
    #[serde(skip)]
    pub(crate) repeated: u32,
}

/// Of whom approval is asked, and what came of it.
#[derive(Debug, Clone)]
struct AskedOf {
    quorum: u32,
    expires_ms: Option<u64>,
    verdict: Option<Verdict>,
}

/// What was said about a step that asks for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Approved,
    Rejected,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Its turn has not come.
    Pending,
    /// It does not run.
    Skipped,
    /// It waits for a person: for approval of what it would do, or for what a person does.
    WaitingForPerson,
    /// An attempt is under way, or the next one is awaited.
    Running,
    /// It worked.
    Succeeded,
    /// It worked, and a threshold was passed.
    Warned,
    /// It failed.
    Failed,
    /// It cannot be told whether it took effect.
    UnknownOutcome,
    /// It is being undone.
    Undoing,
    /// It was undone.
    Undone,
    /// Its undo failed, or something else was found after it.
    UndoFailed,
}

const STATES: &[(StepState, &str, &str)] = &[
    (StepState::Pending, "pending", "·"),
    (StepState::Skipped, "skipped", "-"),
    (StepState::WaitingForPerson, "waiting for a person", "?"),
    (StepState::Running, "running", "▸"),
    (StepState::Succeeded, "done", "✓"),
    (StepState::Warned, "warning", "!"),
    (StepState::Failed, "failed", "✗"),
    (StepState::UnknownOutcome, "unknown", "?"),
    (StepState::Undoing, "undoing", "↩"),
    (StepState::Undone, "undone", "↩"),
    (StepState::UndoFailed, "undo failed", "✗"),
];

impl StepState {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        STATES.iter().find(|(state, ..)| *state == self).map_or("", |(_, word, _)| word)
    }

    /// The sign before the word. The word alone says all.
    pub fn sign(self) -> &'static str {
        STATES.iter().find(|(state, ..)| *state == self).map_or("", |(.., sign)| sign)
    }
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
            is_undoing: false,
            tried_again_by: None,
            to_continue: None,
            execution: Execution::Unknown,
            steps: Vec::new(),
            places: BTreeMap::new(),
            retry_of: None,
            assumed_items: BTreeMap::new(),
            window: None,
            locks: Vec::new(),
            timeline: Timeline::default(),
        };
        for record in records {
            summary.fold(record);
        }
        summary
    }

    /// Says whether anybody executes it at `now`. A run that has ended or paused needs nobody.
    pub fn is_executed(&mut self, execution: Execution, now: Timestamp) {
        if self.end.is_some() || self.paused.is_some() {
            return;
        }
        match &execution {
            Execution::Unknown => {}
            Execution::StandsStill { pid, .. } => {
                let run = crate::event_lines::short(&self.run);
                self.to_continue = Some(format!(
                    "let process {pid} go on (`kill -CONT {pid}`), or take the run over with `runbook resume {run}`"
                ));
            }
            Execution::By(_) => {
                self.duration_ms = u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(self.duration_ms);
            }
            Execution::Nobody => {
                "interrupted".clone_into(&mut self.state);
                self.to_continue = Some(format!("continue with `runbook resume {}`", crate::event_lines::short(&self.run)));
            }
        }
        self.execution = execution;
    }

    /// How long it took, in the words that hold for how it stands: `took 5 s`, `for 5 s until now`, `interrupted after 5 s`.
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

    /// Says that another run tries it again.
    pub fn is_tried_again(&mut self, by: runbook_engine::RunId) {
        let by = by.to_string();
        let short = crate::event_lines::short(&by);
        self.to_continue =
            Some(format!("run {short} tries it again and knows what both have done: `runbook show {short}` says how it stands"));
        self.tried_again_by = Some(by);
    }

    /// Whether it is a success.
    pub fn standing(&self) -> Standing {
        match (self.end, &self.pause) {
            (Some(RunEnd::Succeeded | RunEnd::SucceededWithWarnings), _) => Standing::Good,
            (Some(RunEnd::FailedClean | RunEnd::Undone | RunEnd::Dirty | RunEnd::Cancelled), _) => Standing::Bad,
            (None, Some(PauseReason::Approval { .. } | PauseReason::Manual { .. } | PauseReason::OutsideWindow { .. })) => {
                Standing::Waiting
            }
            (None, None) if self.state == RunPhase::Waiting.name() => Standing::Waiting,
            (
                None,
                Some(
                    PauseReason::UnknownOutcome { .. }
                    | PauseReason::Guard { .. }
                    | PauseReason::LeaseLost { .. }
                    | PauseReason::Interrupted,
                )
                | None,
            ) => Standing::Open,
        }
    }

    /// How it stands, in one sentence: every report begins with it.
    pub fn standing_text(&self) -> String {
        match (self.end, &self.paused) {
            (Some(end), _) => self.end_text(end),
            (None, Some(why)) => format!("Paused: {why}."),
            (None, None) => format!("Not ended: {}.", self.state),
        }
    }

    /// What it has left.
    pub fn account(&self) -> Account {
        let ids: Vec<StepId> = self.steps.iter().map(|step| StepId::new(step.id.as_str())).collect();
        Account::of(ids.iter().zip(self.steps.iter().map(|step| &step.change)))
    }

    /// How it ended, in one sentence that can be trusted at 3 a.m.: verified is said only of what was observed again, and changed
    /// only of what certainly was.
    pub fn end_text(&self, end: RunEnd) -> String {
        match end {
            RunEnd::Succeeded => "Succeeded. Everything was done.".to_owned(),
            RunEnd::SucceededWithWarnings => "Succeeded, with warnings that somebody should look at.".to_owned(),
            RunEnd::Dirty => format!("DIRTY. {}: a person must look now.", self.dirt()),
            RunEnd::FailedClean | RunEnd::Cancelled | RunEnd::Undone => format!("{} {}", self.verdict, self.undone_text(end)),
        }
    }

    /// What makes a run dirty.
    fn dirt(&self) -> String {
        let Account { changed, perhaps, .. } = self.account();
        match (changed.is_empty(), perhaps.is_empty()) {
            (true, true) if self.steps.iter().any(|step| step.may_have_left) => {
                "No step left a change, but a smoke test wrote and did not show that it removed what it made".to_owned()
            }
            (true, true) => "It cannot be told whether everything is as it was".to_owned(),
            (false, true) => format!("Something was changed and not put back ({})", listed(&changed)),
            (true, false) => format!("Something may have been changed, and was not put back ({})", listed(&perhaps)),
            (false, false) => format!(
                "Something was changed and not put back ({}), and something may have been changed ({})",
                listed(&changed),
                listed(&perhaps)
            ),
        }
    }

    /// Where the step with this id stands: a run of ten thousand steps is not searched for each record.
    fn place(&self, id: &StepId) -> Option<usize> {
        let known = self.places.get(id.as_str()).copied();
        known.filter(|place| self.steps.get(*place).is_some_and(|step| step.id == id.as_str()))
    }

    fn note_places(&mut self) {
        self.places = self.steps.iter().enumerate().map(|(place, step)| (step.id.clone(), place)).collect();
    }

    /// The step with this id.
    pub fn step(&self, id: &StepId) -> Option<&StepSummary> {
        self.place(id).map(|place| &self.steps[place])
    }

    /// Takes in one more record.
    pub fn fold(&mut self, record: &Record) {
        if let Some(phase) = record.event.phase() {
            phase.name().clone_into(&mut self.state);
        }
        self.timeline.fold(record);
        self.fold_event(record);
        self.executed.last = record.at;
        self.duration_ms = self.executed.total_ms(record.at);
    }

    fn fold_event(&mut self, record: &Record) {
        match &record.event {
            RunEvent::Run(event) => self.fold_lifecycle(event, record.at),
            RunEvent::Step { step, event: StepEvent::ItemsListed { items } } => self.list_items(step, items),
            RunEvent::Step { step, event } => {
                self.change_step(step, |found| found.fold(event, record.at));
                if matches!(event, StepEvent::ApprovalGiven { .. } | StepEvent::ManualAnswered { .. }) {
                    self.tell_answered();
                }
            }
            RunEvent::Guard { guard, event: GuardEvent::GuardLooked { look } } => {
                self.change_step(guard, |found| found.look(look));
            }
            RunEvent::Notify { notify, on, event } => self.change_step(notify, |found| found.notify(*on, event)),
        }
    }

    fn change_step(&mut self, step: &StepId, change: impl FnOnce(&mut StepSummary)) {
        if let Some(step) = self.place(step).map(|place| &mut self.steps[place]) {
            change(step);
        }
    }

    fn fold_lifecycle(&mut self, event: &LifecycleEvent, at: Timestamp) {
        match event {
            LifecycleEvent::RunStarted { steps, retry_of, .. } => {
                self.steps = steps.iter().map(StepSummary::new).collect();
                self.note_places();
                if let Some(retry) = retry_of {
                    self.retry(retry);
                }
            }
            LifecycleEvent::StepsBegan { locks } | LifecycleEvent::LocksRetaken { locks } => {
                self.locks = locks.iter().map(|lock| lock.name.clone()).collect();
            }
            LifecycleEvent::Resumed { .. } | LifecycleEvent::UndoRequested { .. } => {
                self.executed.begin(at);
                self.not_asked_any_more();
                self.paused = None;
                self.pause = None;
                self.to_continue = None;
                self.ended = None;
                self.end = None;
                if matches!(event, LifecycleEvent::UndoRequested { .. }) {
                    for step in &mut self.steps {
                        step.change.request_undo();
                        step.left = step.change.left();
                    }
                    self.is_undoing = true;
                }
            }
            LifecycleEvent::UndoBegan { cause, .. } => {
                self.is_undoing = true;
                self.set_cause(cause);
            }
            LifecycleEvent::Stopping { cause } => self.set_cause(cause),
            LifecycleEvent::FinallyBegan { cause, .. } => {
                if let Some(cause) = cause {
                    self.set_cause(cause);
                }
            }
            LifecycleEvent::Paused { reason, took_ms } => {
                self.executed.end(*took_ms, at);
                self.not_asked_any_more();
                self.steps.iter_mut().for_each(StepSummary::pause);
                self.paused = Some(pause_text(reason));
                self.pause = Some(reason.clone());
                self.to_continue = Some(self.next_command(reason));
            }
            LifecycleEvent::RunEnded { end, cause, took_ms } => {
                self.executed.end(*took_ms, at);
                self.not_asked_any_more();
                self.steps.iter_mut().for_each(StepSummary::end);
                self.ended = Some(at);
                self.end = Some(*end);
                if let Some(cause) = cause {
                    self.set_cause(cause);
                }
                self.to_continue = (*end == RunEnd::Dirty).then(|| self.way_out());
                self.fold_parts();
            }
            LifecycleEvent::WindowChecked { verdict } => self.window = window_text(verdict),
            LifecycleEvent::LockWaiting { .. } | LifecycleEvent::VerifyBegan => {}
        }
    }

    /// What the operator does about it, with the commands to type.
    fn next_command(&self, reason: &PauseReason) -> String {
        let run = crate::event_lines::short(&self.run);
        let resume = format!("`runbook resume {run}`");
        let Some(reason) = self.still_asked(reason) else { return format!("continue with {resume}") };
        match &reason {
            PauseReason::UnknownOutcome { steps } => {
                let step = steps.first().map_or("STEP", StepId::as_str);
                let decided = |how: &str| format!("--decide {}", runbook_text::argument(&format!("{step}={how}")));
                let each = if steps.len() > 1 { "; the others likewise" } else { "" };
                // A run that is being undone does nothing again.
                let can_be_said = |decision: Decision| decision != Decision::Retry || !self.is_undoing;
                let answers: Vec<String> = Decision::ALL
                    .iter()
                    .filter(|(decision, ..)| can_be_said(*decision))
                    .enumerate()
                    .map(|(place, (_, word, meaning))| {
                        let command = if place == 0 { format!("runbook resume {run} ") } else { String::new() };
                        format!("`{command}{}` ({meaning})", decided(word))
                    })
                    .collect();
                let (last, first) =
                    answers.split_last().map_or((String::new(), String::new()), |(last, first)| (last.clone(), first.join(", ")));
                format!("look whether it happened, then say so: {first} or {last}{each}")
            }
            PauseReason::Approval { steps } => {
                let step = first_of(steps);
                format!("`runbook approve {run} {step}` or `runbook reject {run} {step} --reason WHY`; then {resume}")
            }
            PauseReason::Manual { steps } => {
                let step = first_of(steps);
                let options = steps.first().and_then(|step| self.step(step)).map_or(&[][..], |step| &step.answer_options);
                format!("when it is done, {}; then {resume}", crate::event_lines::answer(run, &step, options))
            }
            PauseReason::OutsideWindow { opens } => {
                let when =
                    opens.map_or("when it opens".to_owned(), |opens| format!("from {} on", opens.strftime("%F %H:%M UTC")));
                format!(
                    "{when}: {resume}; now, if you may: `runbook resume {run} --outside-window`; or end it: `runbook cancel {run}`"
                )
            }
            PauseReason::Guard { .. } | PauseReason::LeaseLost { .. } | PauseReason::Interrupted => {
                format!("continue with {resume}")
            }
        }
    }

    /// Somebody has answered while the run waits: whoever looks next must not answer again.
    fn tell_answered(&mut self) {
        let Some(reason) = self.pause.clone() else { return };
        let open = self.still_asked(&reason);
        self.paused = Some(match open {
            Some(open) => pause_text(&open),
            None => "it was answered, and waits to be resumed".to_owned(),
        });
        self.to_continue = Some(self.next_command(&reason));
    }

    /// What a run that waits for people still waits for; `None` if they all have answered.
    fn still_asked(&self, reason: &PauseReason) -> Option<PauseReason> {
        let open = |steps: &[StepId]| -> Vec<StepId> {
            let is_open = |step: &&StepId| !self.step(step).is_some_and(StepSummary::is_answered);
            steps.iter().filter(is_open).cloned().collect()
        };
        match reason {
            PauseReason::Approval { steps } => {
                Some(open(steps)).filter(|steps| !steps.is_empty()).map(|steps| PauseReason::Approval { steps })
            }
            PauseReason::Manual { steps } => {
                Some(open(steps)).filter(|steps| !steps.is_empty()).map(|steps| PauseReason::Manual { steps })
            }
            PauseReason::UnknownOutcome { .. }
            | PauseReason::Guard { .. }
            | PauseReason::LeaseLost { .. }
            | PauseReason::OutsideWindow { .. }
            | PauseReason::Interrupted => Some(reason.clone()),
        }
    }

    /// A step that was asked what it would do, and whose answer nobody waits for any more, has not begun.
    fn not_asked_any_more(&mut self) {
        for step in self.steps.iter_mut().filter(|step| step.asked && step.state == StepState::Running) {
            step.state = StepState::Pending;
            step.asked = false;
            step.summary.clear();
        }
    }

    /// What a person does about a dirty run, with the commands to type. Nothing is promised that the account does not have.
    fn way_out(&self) -> String {
        let run = crate::event_lines::short(&self.run);
        let account = self.account();
        if let Some(first) = account.unclear.first() {
            let decided = |how: &str| format!("--decide {}", runbook_text::argument(&format!("{first}={how}")));
            let each = if account.unclear.len() > 1 { "; the others likewise" } else { "" };
            return format!(
                "look whether {} undone, then say so: `runbook undo {run} {}` (it is), `{}` (it is not; undo it) or `{}` (it is not; \
                 leave it){each}",
                are(&account.unclear),
                decided("done"),
                decided("retry"),
                decided("not-done")
            );
        }
        let (again, by_hand): (Vec<_>, Vec<_>) = self
            .steps
            .iter()
            .filter(|step| step.state == StepState::UndoFailed && step.section == Section::Step)
            .map(|step| StepId::new(step.id.as_str()))
            .partition(|id| account.undoable.contains(id));
        if !again.is_empty() {
            return format!(
                "repair what keeps {} from being undone, then `runbook undo {run}` tries it again; if the runbook's own \
                 `undo` is wrong, mend a copy: `runbook undo {run} --with FILE`; or put it back by hand",
                quoted(&again)
            );
        }
        if !by_hand.is_empty() {
            return format!("look at what {} left, and put it back by hand", quoted(&by_hand));
        }
        let unknown: Vec<StepId> = account.perhaps.iter().filter(|step| !account.undoable.contains(step)).cloned().collect();
        if !unknown.is_empty() && account.undoable.is_empty() {
            return format!("look what {} left, and put it back by hand", quoted(&unknown));
        }
        let left: Vec<_> = self.steps.iter().filter(|step| step.may_have_left).map(|step| format!("`{}`", step.id)).collect();
        if !left.is_empty() {
            return format!("look what smoke test {} made and did not remove, and remove it by hand", left.join(", "));
        }
        let undo = if account.undoable.is_empty() {
            "; nothing of it can be undone by a command".to_owned()
        } else {
            format!("; or `runbook undo {run}` puts back {}", quoted(&account.undoable))
        };
        let is_failed = |step: &&StepSummary| step.state == StepState::Failed && step.section == Section::Step;
        let stopped = self.stopped_by.as_ref().and_then(|step| self.step(step)).filter(is_failed);
        match stopped.or_else(|| self.steps.iter().find(is_failed)) {
            Some(step) => {
                let from = runbook_text::argument(&step.id);
                let said = left::to_decide(&account.perhaps);
                format!(
                    "what was done stays: repair what was in the way, then `runbook retry {run} --from {from}{said} does the rest{undo}"
                )
            }
            None => format!("look at `runbook show {run}`{undo}"),
        }
    }

    fn retry(&mut self, retry: &RetryOf) {
        self.retry_of = Some(retry.run.to_string());
        for assumed in &retry.assumed {
            match self.place(&assumed.step).map(|place| &mut self.steps[place]) {
                Some(step) => step.assume(&retry.run.short(), &assumed.output),
                None => drop(self.assumed_items.insert(assumed.step.clone(), assumed.output.clone())),
            }
        }
    }

    /// Each item has a line of its own, after the step that it is an item of.
    fn list_items(&mut self, of: &StepId, items: &[Item]) {
        let Some(position) = self.place(of) else { return };
        let parent = &mut self.steps[position];
        parent.state = StepState::Running;
        parent.summary = format!("{} to do", crate::event_lines::counted(items.len(), "item"));
        let mut new: Vec<StepSummary> = items.iter().map(|item| parent.item(of, item)).collect();
        let retried = self.retry_of.as_deref().map(crate::event_lines::short).unwrap_or_default();
        for (item, step) in items.iter().zip(&mut new) {
            if let Some(output) = self.assumed_items.get(&of.item(&item.key)) {
                step.assume(retried, output);
            }
        }
        self.steps.splice(position + 1..=position, new);
        self.note_places();
    }

    fn set_cause(&mut self, cause: &Cause) {
        if let Cause::Step { step } = cause {
            self.stopped_by = Some(step.clone());
        }
        self.cause = Some(cause_text(cause));
        self.verdict = match cause {
            Cause::Preflight { .. }
            | Cause::Step { .. }
            | Cause::Verify { .. }
            | Cause::Guard { .. }
            | Cause::LockBusy { .. }
            | Cause::Timeout => "Failed.",
            Cause::OutsideWindow { .. } => "Refused.",
            Cause::Cancel => "Cancelled.",
            Cause::Requested => "Undone, as asked.",
        };
    }
}

impl StepSummary {
    fn new(listing: &runbook_engine::StepListing) -> Self {
        Self {
            id: listing.id.to_string(),
            title: listing.title.clone(),
            section: listing.section,
            uses: listing.uses.clone(),
            digest: listing.digest.clone(),
            state: StepState::Pending,
            attempts: 0,
            duration_ms: 0,
            summary: String::new(),
            fault: None,
            effects: Vec::new(),
            changed: false,
            left: Left::Nothing,
            may_have_left: false,
            asked: false,
            output: serde_json::Value::Null,
            outcome: None,
            measurements: Vec::new(),
            cases: Vec::new(),
            instructions: None,
            answer_options: Vec::new(),
            undo: None,
            logs: Vec::new(),
            change: Change::default(),
            restored: false,
            approved_by: Vec::new(),
            approval_void: None,
            asked_of: None,
            doubt: None,
            asked_digest: None,
            answers: None,
            repeated: 0,
        }
    }

    fn item(&self, of: &StepId, item: &Item) -> Self {
        let (id, title) = (of.item(&item.key), format!("{}: {}", self.title, item.key));
        let (section, uses, digest) = (self.section, self.uses.clone(), self.digest.clone());
        Self::new(&runbook_engine::StepListing { id, title, section, uses, digest })
    }

    /// Another run has done it.
    fn assume(&mut self, run: &str, output: &serde_json::Value) {
        self.state = StepState::Skipped;
        self.summary = format!("done in run {run}");
        self.output = output.clone();
    }

    fn fold(&mut self, event: &StepEvent, at: Timestamp) {
        self.change.fold(event);
        self.left = self.change.left();
        match event {
            StepEvent::GroupBegan { .. } => {
                self.state = StepState::Running;
                "its steps run".clone_into(&mut self.summary);
            }
            StepEvent::ItemsEnded { result, then, .. } => self.end_attempt(result, *then),
            StepEvent::StepSkipped { reason, .. } => {
                self.state = StepState::Skipped;
                skip_text(*reason).clone_into(&mut self.summary);
            }
            StepEvent::ApprovalAsked { proposal, digest, quorum, expires_ms, .. } => {
                self.void_approval(digest);
                self.asked_of = Some(AskedOf { quorum: *quorum, expires_ms: *expires_ms, verdict: None });
                self.state = StepState::WaitingForPerson;
                self.effects.clone_from(&proposal.effects);
                self.summary = format!("would: {}", proposal.summary);
            }
            StepEvent::ManualAsked { instructions, options, .. } => {
                self.state = StepState::WaitingForPerson;
                instructions
                    .lines()
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or_default()
                    .trim()
                    .clone_into(&mut self.summary);
                self.instructions = Some(instructions.clone());
                self.answer_options.clone_from(options);
            }
            StepEvent::ManualAnswered { by, values, .. } => {
                self.approved_by.push(by.clone());
                self.answers = Some(values.clone());
                self.summary = format!("done by {by}; it waits to be resumed");
            }
            StepEvent::ApprovalGiven { by, verdict, .. } => {
                if *verdict == ApprovalVerdict::Approved {
                    self.approved_by.push(by.clone());
                }
                self.answer(by, verdict, at);
            }
            StepEvent::AttemptStarted { attempt, proposal, .. } => {
                self.state = StepState::Running;
                // Who approved it then is told; that somebody had approved it before is over.
                self.approval_void = None;
                self.attempts = *attempt;
                self.effects = proposal.as_ref().map(|proposal| proposal.effects.clone()).unwrap_or_default();
            }
            StepEvent::AttemptRefused { attempt, fault, then, .. } => {
                self.attempts = *attempt;
                self.fail(fault, *then);
            }
            StepEvent::AttemptEnded { result, then, duration_ms, logs, .. } => {
                self.duration_ms += duration_ms;
                self.logs.clone_from(logs);
                self.end_attempt(result, *then);
            }
            StepEvent::Recovered { decision, .. } => self.recover(decision),
            StepEvent::UndoStarted { .. } => self.state = StepState::Undoing,
            StepEvent::UndoEnded { result, duration_ms, .. } => {
                self.duration_ms += duration_ms;
                match result {
                    UndoResult::Done { summary } => {
                        self.state = StepState::Undone;
                        self.undo = Some(summary.clone());
                    }
                    UndoResult::Failed { fault } => {
                        self.state = StepState::UndoFailed;
                        self.undo = Some(format!("undo failed: {}", fault.message));
                    }
                }
            }
            StepEvent::StillWaiting { call, waited_ms, at_most_ms, then } => {
                if self.state == StepState::Pending {
                    self.state = StepState::Running;
                    self.asked = true;
                }
                self.summary = waiting_text(&self.id, *call, (*waited_ms, *at_most_ms), *then);
            }
            StepEvent::UndoChecked { finding, .. } => match finding {
                UndoFinding::Restored => self.restored = true,
                UndoFinding::TookEffect { .. } => {
                    self.changed = true;
                    "it was stopped, took effect, and stays".clone_into(&mut self.summary);
                }
                UndoFinding::Drifted { before, now } => {
                    self.state = StepState::UndoFailed;
                    self.undo = Some(format!("after the undo it is not as before: {}", crate::difference::text(before, now)));
                }
                UndoFinding::Unknown { fault } if self.state != StepState::Undone => {
                    self.state = StepState::UnknownOutcome;
                    self.summary = format!("it cannot be told whether it took effect: {}", fault.message);
                }
                UndoFinding::Unknown { fault } => {
                    self.state = StepState::UndoFailed;
                    self.undo = Some(format!("after the undo it could not be observed: {}", fault.message));
                }
            },
            StepEvent::ItemsListed { .. } => {}
        }
    }

    fn notify(&mut self, on: Trigger, event: &NotifyEvent) {
        match event {
            NotifyEvent::NotifyStarted => self.state = StepState::Running,
            NotifyEvent::NotifyEnded { fault: None } => {
                let on = Trigger::ALL.iter().find(|(trigger, _)| *trigger == on).map_or("", |(_, name)| name);
                self.state = StepState::Succeeded;
                self.summary = format!("sent ({on})");
            }
            NotifyEvent::NotifyEnded { fault: Some(fault) } => self.fail(fault, Then::Final),
        }
    }

    /// Somebody has said whether it may: how many have by now, and until when that is good.
    fn answer(&mut self, by: &str, verdict: &ApprovalVerdict, at: Timestamp) {
        let n_people = self.approved_by.iter().map(|by| person_of(by)).collect::<BTreeSet<_>>().len();
        let Some(asked) = &mut self.asked_of else { return };
        let quorum = usize::try_from(asked.quorum).unwrap_or(usize::MAX);
        self.summary = match verdict {
            ApprovalVerdict::Rejected { reason } => {
                asked.verdict = Some(Verdict::Rejected);
                format!("rejected by {by}: {reason}")
            }
            ApprovalVerdict::Approved => {
                if n_people >= quorum {
                    asked.verdict.get_or_insert(Verdict::Approved);
                }
                let end = asked.expires_ms.and_then(|ms| at.checked_add(Duration::from_millis(ms)).ok());
                let until = end.map(|end| format!(", until {}", end.strftime("%F %T UTC"))).unwrap_or_default();
                let of = if quorum > 1 { format!(" ({n_people} of {quorum})") } else { String::new() };
                format!("approved by {}{of}{until}; {}", self.approved_by.join(", "), self.summary_of_plan())
            }
        };
    }

    /// What it would do, without what was said about it.
    fn summary_of_plan(&self) -> &str {
        self.summary.rfind("would: ").map_or("", |at| &self.summary[at..])
    }

    /// Whether nobody is waited for any more: it goes on, one way or the other, when the run is resumed.
    fn is_answered(&self) -> bool {
        self.answers.is_some() || self.asked_of.as_ref().is_some_and(|asked| asked.verdict.is_some())
    }

    /// Approval is asked for again: what was said before is void, and that is told.
    fn void_approval(&mut self, digest: &str) {
        let was_same = self.asked_digest.replace(digest.to_owned()).is_some_and(|before| before == digest);
        if self.approved_by.is_empty() {
            return;
        }
        let why = if was_same { "is too old" } else { "was of another plan than there is now" };
        self.approval_void = Some(format!("the approval by {} {why}, so it is asked for again", self.approved_by.join(", ")));
        self.approved_by.clear();
    }

    fn look(&mut self, look: &Look) {
        self.state = match look.verdict {
            LookVerdict::Holds => StepState::Succeeded,
            LookVerdict::Breached => StepState::Failed,
            LookVerdict::Blind => StepState::UnknownOutcome,
        };
        self.summary.clone_from(&look.summary);
    }

    fn end_attempt(&mut self, result: &AttemptResult, then: Then) {
        let said = match result {
            AttemptResult::Succeeded { summary, .. } => summary,
            AttemptResult::Failed { fault, .. } => &fault.message,
        };
        let again = matches!(then, Then::Poll { .. }) && *said == self.summary;
        self.repeated = if again { self.repeated + 1 } else { 0 };
        match result {
            AttemptResult::Succeeded { outcome, summary, output, changed, cases, measurements } => {
                self.outcome = Some(*outcome);
                self.measurements.clone_from(measurements);
                self.state = match (then, outcome) {
                    (Then::Poll { .. } | Then::Retry { .. }, _) => StepState::Running,
                    (Then::Final | Then::Continue, Outcome::Pass) => StepState::Succeeded,
                    (Then::Final | Then::Continue, Outcome::Warn | Outcome::Unknown | Outcome::Fail) => StepState::Warned,
                };
                self.fault = None;
                self.summary.clone_from(summary);
                self.output = output.clone();
                self.changed |= changed;
                self.cases.clone_from(cases);
            }
            AttemptResult::Failed { fault, cases, output, outcome, measurements, may_have_left } => {
                self.may_have_left |= may_have_left;
                self.outcome = *outcome;
                self.measurements.clone_from(measurements);
                self.cases.clone_from(cases);
                self.output = output.clone().unwrap_or_default();
                self.fail(fault, then);
            }
        }
    }

    fn fail(&mut self, fault: &Fault, then: Then) {
        self.state = match then {
            Then::Retry { .. } | Then::Poll { .. } => StepState::Running,
            Then::Final | Then::Continue => StepState::Failed,
        };
        self.summary.clone_from(&fault.message);
        self.fault = Some(fault.clone());
        if !fault.logs.is_empty() {
            self.logs.clone_from(&fault.logs);
        }
    }

    fn recover(&mut self, decision: &Recovery) {
        let is_over = !matches!(self.state, StepState::Running | StepState::UnknownOutcome);
        if is_over {
            // Only whether it is undone depends on it: what came of it stays as it was told.
            self.doubt = match decision {
                Recovery::AskOperator { .. } => Some("it cannot be told whether it happened".to_owned()),
                Recovery::DidNotHappen => Some("it did not happen, as was observed".to_owned()),
                Recovery::OperatorRetry | Recovery::OperatorNotDone => {
                    Some("the operator says that it did not happen".to_owned())
                }
                Recovery::OperatorDone => Some("the operator says that it happened".to_owned()),
                Recovery::OperatorFail => Some("the operator says that it is to be undone as if it had happened".to_owned()),
                Recovery::Repeat => None,
            };
            return;
        }
        match decision {
            Recovery::Repeat | Recovery::DidNotHappen | Recovery::OperatorRetry => self.state = StepState::Running,
            Recovery::OperatorDone => {
                self.state = StepState::Skipped;
                "the operator says that it is done".clone_into(&mut self.summary);
            }
            Recovery::OperatorNotDone => {
                self.state = StepState::Failed;
                "the operator says that it did not happen".clone_into(&mut self.summary);
            }
            Recovery::OperatorFail => {
                self.state = StepState::Failed;
                "the operator says that it failed".clone_into(&mut self.summary);
            }
            Recovery::AskOperator { known, .. } => {
                self.state = StepState::UnknownOutcome;
                self.summary.clone_from(known);
            }
        }
    }

    /// How long its attempts took.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    /// Whether a person is to do it now: whoever comes next must see all that is to be done.
    pub fn is_for_a_person(&self) -> bool {
        self.state == StepState::WaitingForPerson && self.instructions.is_some()
    }

    /// What people call it, and what came of it or of its undo. Most steps have no title of their own.
    pub fn titled(&self) -> String {
        let said = self.undo.as_ref().unwrap_or(&self.summary);
        match (self.has_title(), said.as_str()) {
            (false, said) => said.to_owned(),
            (true, "") => self.title.clone(),
            (true, said) => format!("{}: {said}", self.title),
        }
    }

    /// Whether people call it something else than its id.
    pub fn has_title(&self) -> bool {
        self.title != self.id && !self.id.ends_with(&format!(".{}", self.title))
    }

    /// Whether nothing more is to be done about it.
    pub fn is_over(&self) -> bool {
        match self.state {
            StepState::Pending
            | StepState::WaitingForPerson
            | StepState::Running
            | StepState::UnknownOutcome
            | StepState::Undoing => false,
            StepState::Skipped
            | StepState::Succeeded
            | StepState::Warned
            | StepState::Failed
            | StepState::Undone
            | StepState::UndoFailed => true,
        }
    }

    /// Whether it was changed and the runbook says that this cannot be undone.
    pub fn stays(&self) -> bool {
        self.change.left() == Left::Surely && self.change.is_irreversible()
    }

    /// Its run has paused: an attempt that has no result was cut off.
    fn pause(&mut self) {
        if self.state == StepState::Running && self.fault.is_none() && self.change.effect() == EffectState::Ambiguous {
            self.state = StepState::UnknownOutcome;
            "it was cut off; `resume` looks what came of it, and asks if that cannot be seen".clone_into(&mut self.summary);
        }
    }

    /// Its run has ended: it does nothing any more, and waits for nobody.
    fn end(&mut self) {
        match self.state {
            StepState::Running if self.attempts == 0 && self.fault.is_none() && self.summary.is_empty() => {
                self.state = StepState::Pending;
            }
            StepState::Running => {
                self.state = StepState::Failed;
                // What a look saw that was not the last one decides nothing.
                self.outcome = None;
                self.summary = with_reason("the run ended before it was done", &self.summary);
            }
            StepState::WaitingForPerson if self.answers.is_some() => {
                self.state = StepState::Succeeded;
                let by = self.approved_by.join(", ");
                self.summary = format!("done by {by}; the run ended before it went on, and does not undo what a person did");
            }
            StepState::WaitingForPerson if !self.approved_by.is_empty() => {
                self.state = StepState::Skipped;
                self.summary = format!("approved by {}, and the run ended before it was done", self.approved_by.join(", "));
            }
            StepState::WaitingForPerson => {
                self.state = StepState::Skipped;
                "nobody said that it may be done, or did it, before the run ended".clone_into(&mut self.summary);
            }
            StepState::Undoing => {
                self.state = StepState::UndoFailed;
                self.undo = Some("the run ended before it was undone".to_owned());
            }
            StepState::Pending
            | StepState::Skipped
            | StepState::Succeeded
            | StepState::Warned
            | StepState::Failed
            | StepState::UnknownOutcome
            | StepState::Undone
            | StepState::UndoFailed => {}
        }
    }
}

fn with_reason(text: &str, before: &str) -> String {
    if before.is_empty() { text.to_owned() } else { format!("{text}; at last: {before}") }
}

fn listed(steps: &[StepId]) -> String {
    steps.iter().map(StepId::as_str).collect::<Vec<_>>().join(", ")
}

fn quoted(steps: &[StepId]) -> String {
    steps.iter().map(|step| format!("`{step}`")).collect::<Vec<_>>().join(", ")
}

fn are(steps: &[StepId]) -> String {
    format!("{} {}", quoted(steps), if steps.len() == 1 { "is" } else { "are" })
}

fn skip_text(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Condition => "its `when` is false",
        SkipReason::Dependency => "what it needs did not succeed",
        SkipReason::Operator => "the operator says that it is done",
        SkipReason::Assumed => "done in the run that this one tries again",
        SkipReason::TimeIsUp => "its time was up before it could begin",
    }
}

/// What is said of a run outside its window.
fn window_text(verdict: &WindowVerdict) -> Option<String> {
    match verdict {
        WindowVerdict::Open => None,
        WindowVerdict::Warned { opens } | WindowVerdict::Refused { opens } => Some(describe_closed(*opens)),
        WindowVerdict::Overridden { by, opens } => Some(format!("{}; overridden by {by}", describe_closed(*opens))),
    }
}

/// Why a run did not succeed, in a few words.
pub fn cause_text(cause: &Cause) -> String {
    match cause {
        Cause::Preflight { step } => format!("preflight `{step}` failed"),
        Cause::OutsideWindow { opens } => describe_closed(*opens),
        Cause::LockBusy { name, holder } => format!("lock `{name}` is held by {holder}"),
        Cause::Step { step } => format!("step `{step}` failed"),
        Cause::Verify { step } => format!("verify `{step}` failed"),
        Cause::Guard { guard } => format!("guard `{guard}` was breached"),
        Cause::Cancel => "the operator cancelled it".to_owned(),
        Cause::Timeout => "the run's time limit was reached".to_owned(),
        Cause::Requested => "undo was asked for".to_owned(),
    }
}

/// The first of the steps, as an argument of a command.
fn first_of(steps: &[StepId]) -> Cow<'_, str> {
    runbook_text::argument(steps.first().map_or("STEP", StepId::as_str))
}

/// What a run waits for: `pausing: waiting for `x`, 40 s of at most 5m`.
pub(crate) fn waiting_text(step: &str, call: CallPurpose, (waited_ms, at_most_ms): (u64, u64), then: AfterWait) -> String {
    let duration = |ms: u64| runbook_document::format_duration(Duration::from_millis(ms / 1_000 * 1_000));
    // It is dropped a moment after its time.
    let (waited, at_most) = (duration(waited_ms.min(at_most_ms)), duration(at_most_ms));
    match (then, call) {
        (AfterWait::Pauses, _) => format!("pausing: waiting for `{step}`, {waited} of at most {at_most}"),
        (AfterWait::GoesOn, CallPurpose::Plan) => {
            format!("waiting for `{step}` to say what it would do, {waited} of at most {at_most}")
        }
        (AfterWait::GoesOn, CallPurpose::Observe) => {
            format!("waiting for `{step}` to say what is there, {waited} of at most {at_most}")
        }
        (AfterWait::GoesOn, CallPurpose::Attempt | CallPurpose::Undo) => {
            format!("waiting for `{step}`, {waited} of at most {at_most}")
        }
    }
}

/// How long a run was executed: the sum of what each execution says by its monotonic clock. One that was cut off says nothing,
/// so of that one the clock on the wall must do.
#[derive(Debug, Clone)]
struct Executed {
    before_ms: u64,
    since: Option<Timestamp>,
    last: Timestamp,
}

impl Executed {
    fn since(at: Timestamp) -> Self {
        Self { before_ms: 0, since: Some(at), last: at }
    }

    fn begin(&mut self, at: Timestamp) {
        let cut_off = self.since.map_or(0, |since| between(since, self.last));
        self.before_ms += cut_off;
        self.since = Some(at);
    }

    fn end(&mut self, took_ms: Option<u64>, at: Timestamp) {
        let by_the_wall = || self.since.map_or(0, |since| between(since, at));
        self.before_ms += took_ms.unwrap_or_else(by_the_wall);
        self.since = None;
    }

    fn total_ms(&self, at: Timestamp) -> u64 {
        self.before_ms + self.since.map_or(0, |since| between(since, at))
    }
}

fn between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond().saturating_sub(from.as_millisecond())).unwrap_or(0)
}

fn pause_text(reason: &PauseReason) -> String {
    match reason {
        PauseReason::UnknownOutcome { steps } => {
            let steps: Vec<_> = steps.iter().map(|step| format!("`{step}`")).collect();
            format!("it cannot be told whether {} took effect", steps.join(", "))
        }
        PauseReason::Approval { steps } => {
            let steps: Vec<_> = steps.iter().map(|step| format!("`{step}`")).collect();
            format!("it waits for approval of {}", steps.join(", "))
        }
        PauseReason::Manual { steps } => {
            let steps: Vec<_> = steps.iter().map(|step| format!("`{step}`")).collect();
            format!("it waits for a person to do {}", steps.join(", "))
        }
        PauseReason::Guard { guard, why } => format!("guard `{guard}`: {why}"),
        PauseReason::LeaseLost { name } => format!("the lease on lock `{name}` was lost"),
        PauseReason::OutsideWindow { opens } => describe_closed(*opens),
        PauseReason::Interrupted => "interrupted by the operator".to_owned(),
    }
}
