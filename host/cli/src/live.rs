//! What the operator sees while a run goes on: plain lines for what has happened, and on a terminal a moving line for each step
//! under way. Both come from the same events as the report.

use crate::context::Context;
use crate::ui;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use runbook_engine::{AttemptResult, LogLine, Record, Reporter, RunEvent, RunHeader, Section, StepId, Then};
use runbook_report::{StepSummary, Summary, Tone, lines};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Tells the operator.
pub struct Live {
    summary: Summary,
    color: bool,
    bars: Option<MultiProgress>,
    running: BTreeMap<StepId, ProgressBar>,
    /// What is under way and has no line: there is not room for all.
    unseen: VecDeque<Unseen>,
    /// Below them: how much of the run is over.
    total: Option<ProgressBar>,
}

/// A step under way without a line.
struct Unseen {
    step: StepId,
    message: String,
    since: Instant,
}

/// How many steps under way have a line of their own: more than that nobody reads, and a terminal has 24.
const LINES: usize = 8;

/// How often the view moves.
const TICK: Duration = Duration::from_millis(120);

fn total_bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("  {bar:24} {pos} of {len} steps, {elapsed}{msg}").expect("the template is well formed");
    let bar = ProgressBar::new(0).with_style(style.progress_chars("━╸─"));
    bar.enable_steady_tick(TICK);
    bar
}

/// Whether a step is one of those that the operator waits for.
fn counts(step: &StepSummary) -> bool {
    match step.section {
        Section::Preflight | Section::Step | Section::Verify | Section::Finally | Section::Check => true,
        Section::Guard | Section::Undo | Section::Notify => false,
    }
}

impl Live {
    /// A view of a run, with what happened before (of a resumed run) folded in silently.
    pub fn new(context: &Context, header: &RunHeader, records: &[Record]) -> Self {
        let bars = context.live.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self {
            summary: Summary::of(header, records),
            color: context.color_stderr,
            bars,
            running: BTreeMap::new(),
            unseen: VecDeque::new(),
            total: None,
        }
    }

    /// The run, as far as it was told.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Tells one more thing that happened.
    pub fn tell(&mut self, record: &Record) {
        self.summary.fold(record);
        self.follow(&record.event);
        for line in lines(&self.summary, record) {
            self.print(line.tone, &line.text);
        }
    }

    fn print(&self, tone: Tone, text: &str) {
        let code = match tone {
            Tone::Plain => "",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
        };
        let text = ui::fitted(text);
        let text = if code.is_empty() { text } else { ui::paint(&text, code, self.color) };
        match &self.bars {
            Some(bars) => bars.suspend(|| ui::note(&text)),
            None => ui::note(&text),
        }
    }

    /// A moving line for a step that began, none for one that ended.
    fn follow(&mut self, event: &RunEvent) {
        match event {
            RunEvent::AttemptStarted { step, attempt, proposal, .. } => {
                let doing = proposal.as_ref().map(|proposal| proposal.summary.clone()).unwrap_or_default();
                let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                self.start(step, format!("{step}{again}  {doing}"));
            }
            RunEvent::UndoStarted { step, .. } => self.start(step, format!("undo of {step}")),
            RunEvent::NotifyStarted { notify, .. } => self.start(notify, notify.to_string()),
            RunEvent::AttemptEnded { step, result, then, logs, .. } => match then {
                Then::Retry { .. } | Then::Poll { .. } => self.wait(step, result, logs),
                Then::Final | Then::Continue => self.stop(step),
            },
            RunEvent::AttemptRefused { step, .. }
            | RunEvent::UndoEnded { step, .. }
            | RunEvent::NotifyEnded { notify: step, .. } => self.stop(step),
            RunEvent::RunEnded { .. } | RunEvent::Paused { .. } => self.stop_all(),
            RunEvent::RunStarted { .. }
            | RunEvent::LockWaiting { .. }
            | RunEvent::WindowChecked { .. }
            | RunEvent::StepsBegan { .. }
            | RunEvent::GuardLooked { .. }
            | RunEvent::Stopping { .. }
            | RunEvent::LocksRetaken { .. }
            | RunEvent::StepSkipped { .. }
            | RunEvent::ItemsListed { .. }
            | RunEvent::GroupBegan { .. }
            | RunEvent::ItemsEnded { .. }
            | RunEvent::ApprovalAsked { .. }
            | RunEvent::ApprovalGiven { .. }
            | RunEvent::ManualAsked { .. }
            | RunEvent::ManualAnswered { .. }
            | RunEvent::Recovered { .. }
            | RunEvent::VerifyBegan
            | RunEvent::UndoBegan { .. }
            | RunEvent::UndoChecked { .. }
            | RunEvent::FinallyBegan { .. }
            | RunEvent::Resumed { .. }
            | RunEvent::UndoRequested { .. } => {}
        }
    }

    fn start(&mut self, step: &StepId, message: String) {
        if self.bars.is_none() {
            return;
        }
        if let Some(bar) = self.running.get(step) {
            bar.set_message(message);
        } else {
            let known = self.unseen.iter().find(|unseen| unseen.step == *step).map(|unseen| unseen.since);
            self.unseen.retain(|unseen| unseen.step != *step);
            self.unseen.push_back(Unseen { step: step.clone(), message, since: known.unwrap_or_else(Instant::now) });
        }
        self.draw();
    }

    /// Gives a line to each step under way, as far as there is room, and counts.
    fn draw(&mut self) {
        let Some(bars) = &self.bars else { return };
        let total = self.total.get_or_insert_with(|| bars.add(total_bar()));
        while self.running.len() < LINES {
            let Some(Unseen { step, message, since }) = self.unseen.pop_front() else { break };
            let style = ProgressStyle::with_template("  {spinner} {wide_msg} {elapsed:>4}").expect("the template is well formed");
            let bar = ProgressBar::new_spinner().with_style(style).with_message(message).with_elapsed(since.elapsed());
            let bar = bars.insert_before(total, bar);
            bar.enable_steady_tick(TICK);
            self.running.insert(step, bar);
        }
        let over: Vec<_> = self.summary.steps.iter().filter(|step| counts(step)).map(StepSummary::is_over).collect();
        total.set_length(over.len() as u64);
        total.set_position(over.iter().filter(|over| **over).count() as u64);
        let more = self.unseen.len();
        total.set_message(if more == 0 { String::new() } else { format!(", {more} more under way") });
    }

    /// Between two attempts: what was wrong with the last one, and the last thing that it logged.
    fn wait(&mut self, step: &StepId, result: &AttemptResult, logs: &[LogLine]) {
        let why = match result {
            AttemptResult::Succeeded { summary, .. } => summary,
            AttemptResult::Failed { fault, .. } => &fault.message,
        };
        let log = logs.last().map(|log| format!(" | {}", log.message)).unwrap_or_default();
        let attempts = self.summary.step(step).map_or(1, |found| found.attempts);
        self.start(step, format!("{step}  waits after attempt {attempts}: {why}{log}"));
    }

    fn stop(&mut self, step: &StepId) {
        self.unseen.retain(|unseen| unseen.step != *step);
        if let Some(bar) = self.running.remove(step) {
            bar.finish_and_clear();
            self.draw();
        }
    }

    fn stop_all(&mut self) {
        self.unseen.clear();
        for (_, bar) in std::mem::take(&mut self.running) {
            bar.finish_and_clear();
        }
        if let Some(total) = self.total.take() {
            total.finish_and_clear();
        }
    }
}

impl Reporter for Live {
    fn report(&mut self, record: &Record) {
        crate::fault::after_record(record.seq);
        self.tell(record);
    }
}
