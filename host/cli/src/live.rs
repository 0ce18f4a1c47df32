//! What the operator sees while a run goes on: plain lines for what has happened, and on a terminal a moving line for each step
//! under way. Both come from the same events as the report.

use crate::context::Context;
use crate::ui;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use runbook_engine::{Record, Reporter, RunEvent, RunHeader, StepId};
use runbook_report::{Summary, Tone, lines};
use std::collections::BTreeMap;
use std::time::Duration;

/// Tells the operator.
pub struct Live {
    summary: Summary,
    color: bool,
    bars: Option<MultiProgress>,
    running: BTreeMap<StepId, ProgressBar>,
}

impl Live {
    /// A view of a run, with what happened before (of a resumed run) folded in silently.
    pub fn new(context: &Context, header: &RunHeader, records: &[Record]) -> Self {
        let bars = context.live.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { summary: Summary::of(header, records), color: context.color_stderr, bars, running: BTreeMap::new() }
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
        let text = if code.is_empty() { text.to_owned() } else { ui::paint(text, code, self.color) };
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
            RunEvent::AttemptRefused { step, .. }
            | RunEvent::AttemptEnded { step, .. }
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
        let Some(bars) = &self.bars else { return };
        let style = ProgressStyle::with_template("  {spinner} {wide_msg} {elapsed}").expect("the template is well formed");
        let bar = bars.add(ProgressBar::new_spinner().with_style(style).with_message(message));
        bar.enable_steady_tick(Duration::from_millis(120));
        self.running.insert(step.clone(), bar);
    }

    fn stop(&mut self, step: &StepId) {
        if let Some(bar) = self.running.remove(step) {
            bar.finish_and_clear();
        }
    }

    fn stop_all(&mut self) {
        for (_, bar) in std::mem::take(&mut self.running) {
            bar.finish_and_clear();
        }
    }
}

impl Reporter for Live {
    fn report(&mut self, record: &Record) {
        crate::fault::after_record(record.seq);
        self.tell(record);
    }
}
