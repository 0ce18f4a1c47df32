//! The live view of a run: plain lines for past events, and on a terminal a moving line for each
//! step under way. Both come from the same events as the report.

use crate::context::Context;
use crate::events::Events;
use crate::failure::Failure;
use crate::output_arguments::OutputArgs;
use crate::screen::{LiveArea, LiveLine, Progress};
use crate::ui;
use runbook_engine::{
    AfterAttempt, ApprovalEvent, AttemptEvent, AttemptResult, LifecycleEvent, LogLine, ManualEvent,
    NotifyEvent, Record, Reporter, RunEvent, RunHeader, RunId, RunState, Section, StepEvent,
    StepId, UndoEvent,
};
use runbook_report::{Format, StepSummary, Summary, Tone, lines};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Tells the operator what happens in a run, while it goes on.
pub struct Live {
    summary: Summary,
    color: ui::Color,
    /// Where a moving view can be drawn.
    view: Option<View>,
    told: ShownPart,
    end: EndNotice,
    /// Questions stand below what was told.
    asked: bool,
    run: RunId,
    events: Option<Events>,
    /// Warnings to show once this process has taken the run.
    when_resumed: Option<String>,
}

/// Which part of the run was shown already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShownPart {
    /// All of it, on the terminal on which the report is shown.
    Here,
    /// Not all of it, or elsewhere.
    Elsewhere,
    /// Only what needs a person.
    WhatNeedsPerson,
}

/// How the end of a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndNotice {
    /// By a line of the live view.
    ByLine,
    /// By the report below the live view.
    ByReport,
}

/// The lines at the bottom of a terminal that change while a run goes on.
struct View {
    /// In the order in which they began.
    under_way: Vec<(StepId, LiveLine)>,
    since: Instant,
    /// Steps that are over, and all; and when they were counted.
    counted: (usize, usize),
    at: Option<Instant>,
}

/// How many steps under way have a line of their own. A terminal has 24 lines, and nobody reads
/// more than that.
const LINES: usize = 8;

/// How often it is counted at most: a run may have ten thousand steps.
const COUNTED_EVERY: Duration = Duration::from_millis(120);

/// Whether a step is one of those that the operator waits for.
fn counts(step: &StepSummary) -> bool {
    match step.section {
        Section::Preflight
        | Section::Step
        | Section::Verify
        | Section::Finally
        | Section::Check => true,
        Section::Guard | Section::Undo | Section::Notify => false,
    }
}

impl Live {
    /// A view of a run, with what happened before (of a resumed run) folded in silently.
    pub fn new(context: &Context, header: &RunHeader, records: &[Record]) -> Self {
        let view = context.live.then(|| View {
            under_way: Vec::new(),
            since: Instant::now(),
            counted: (0, 0),
            at: None,
        });
        let told = if context.one_terminal && records.is_empty() {
            ShownPart::Here
        } else {
            ShownPart::Elsewhere
        };
        let end = if context.one_place { EndNotice::ByReport } else { EndNotice::ByLine };
        Self {
            summary: Summary::of(header, records),
            color: context.color_stderr.into(),
            view,
            told,
            end,
            asked: false,
            run: header.run,
            events: None,
            when_resumed: None,
        }
    }

    /// The same view, which knows what stands in the runs before this one.
    #[must_use]
    pub fn with_earlier_runs(mut self, earlier: &BTreeMap<RunId, RunState>) -> Self {
        self.summary.note_earlier_runs(earlier);
        self
    }

    /// The same view, which writes events for programs, too. Of a resumed run those that are new.
    ///
    /// # Errors
    /// They cannot be written to where they are to go.
    pub fn with_output(self, context: &Context, output: &OutputArgs) -> Result<Self, Failure> {
        output.check_destinations(context)?;
        let end = if output.has_stdout() { EndNotice::ByLine } else { self.end };
        let view = Self { events: output.open()?, end, ..self };
        Ok(if ui::is_quiet() {
            let end = if output.has_stdout() { EndNotice::ByLine } else { EndNotice::ByReport };
            Self { told: ShownPart::WhatNeedsPerson, view: None, end, ..view }
        } else {
            view
        })
    }

    /// Waits until all events are written.
    pub fn flush(&self) {
        if let Some(events) = &self.events {
            events.flush();
        }
    }

    /// Shows the end or the state of the run: the whole report, or the parts that the lines above
    /// have not shown.
    ///
    /// # Errors
    /// Stdout cannot be written to.
    pub fn conclude(&self) -> Result<(), Failure> {
        match self.told {
            ShownPart::Here if self.summary.paused.is_some() && !self.asked => Ok(()),
            ShownPart::Here => ui::text(&runbook_report::closing(&self.summary)),
            ShownPart::Elsewhere => ui::report(Format::Text, &self.summary),
            ShownPart::WhatNeedsPerson => ui::text(&runbook_report::outcome(&self.summary)),
        }
    }

    /// The run, as far as it was told.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The summary, once nothing more is told.
    pub fn into_summary(self) -> Summary {
        self.summary
    }

    /// Tells one more thing that happened.
    pub fn tell(&mut self, record: &Record) {
        self.summary.fold(record);
        if let Some(events) = &self.events {
            events.write(self.run, record);
        }
        self.follow(&record.event);
        if matches!(record.event, RunEvent::Run(LifecycleEvent::Resumed { .. }))
            && let Some(warning) = self.when_resumed.take()
        {
            ui::warning(&warning);
        }
        if !self.is_shown(&record.event) {
            return;
        }
        for line in lines(&self.summary, record) {
            self.print(line.tone, &line.text);
        }
    }

    /// Whether the operator is told of it by a line.
    fn is_shown(&self, event: &RunEvent) -> bool {
        let is_end = matches!(event, RunEvent::Run(LifecycleEvent::RunEnded { .. }));
        let is_pause = matches!(event, RunEvent::Run(LifecycleEvent::Paused { .. }));
        let is_asked = matches!(
            event,
            RunEvent::Step {
                event: StepEvent::Approval(ApprovalEvent::Asked { .. })
                    | StepEvent::Manual(ManualEvent::Asked { .. }),
                ..
            }
        );
        match (self.told, self.end) {
            (_, EndNotice::ByReport) if is_end => false,
            (ShownPart::Here | ShownPart::Elsewhere, EndNotice::ByReport | EndNotice::ByLine) => {
                true
            }
            (ShownPart::WhatNeedsPerson, EndNotice::ByReport) => is_asked,
            (ShownPart::WhatNeedsPerson, EndNotice::ByLine) => is_asked || is_end || is_pause,
        }
    }

    /// Shows this warning once this process has taken the run.
    pub fn warn_when_resumed(&mut self, warning: Option<String>) {
        self.when_resumed = warning;
    }

    /// Notes that a person is asked from here on.
    pub fn ask(&mut self) {
        self.asked = true;
    }

    /// The whole instructions of a manual step that was asked for.
    pub fn instructions(&self, step: &StepId) -> &str {
        self.summary.step(step).and_then(|step| step.instructions.as_deref()).unwrap_or_default()
    }

    fn print(&self, tone: Tone, text: &str) {
        let code = match tone {
            Tone::Plain => "",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
        };
        let mut painted = ui::Painted::default();
        painted.push(&ui::wrapped(&ui::with_journal_option(text)), code, self.color);
        ui::notice_painted(&painted);
    }

    /// A moving line for what began, none for what ended.
    fn follow(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Run(LifecycleEvent::RunEnded { .. } | LifecycleEvent::Paused { .. }) => {
                self.stop_all();
            }
            RunEvent::Step { step, event } => self.follow_step(step, event),
            RunEvent::Notify { notify, event: NotifyEvent::NotifyStarted, .. } => {
                self.start(notify, notify.to_string());
            }
            RunEvent::Notify { notify, event: NotifyEvent::NotifyEnded { .. }, .. } => {
                self.stop(notify);
            }
            RunEvent::Run(_) | RunEvent::Guard { .. } => {}
        }
    }

    fn follow_step(&mut self, step: &StepId, event: &StepEvent) {
        match event {
            StepEvent::Attempt(event) => self.follow_attempt(step, event),
            StepEvent::Undo(UndoEvent::Started { .. }) => {
                self.start(step, format!("undo of {step}"));
            }
            StepEvent::Undo(UndoEvent::Ended { .. }) => self.stop(step),
            StepEvent::Undo(UndoEvent::Checked { .. })
            | StepEvent::Skip(_)
            | StepEvent::Items(_)
            | StepEvent::Approval(_)
            | StepEvent::Manual(_)
            | StepEvent::Wait(_) => {}
        }
    }

    fn follow_attempt(&mut self, step: &StepId, event: &AttemptEvent) {
        match event {
            AttemptEvent::Started { attempt, proposal, .. } => {
                let doing =
                    proposal.as_ref().map(|proposal| proposal.summary.clone()).unwrap_or_default();
                let again =
                    if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                let title = self
                    .summary
                    .step(step)
                    .filter(|step| step.has_title())
                    .map(|step| step.title.clone());
                let what: Vec<String> =
                    title.into_iter().chain((!doing.is_empty()).then_some(doing)).collect();
                self.start(step, format!("{step}{again}  {}", what.join(": ")));
            }
            AttemptEvent::Ended {
                result,
                then: AfterAttempt::Retry { .. } | AfterAttempt::Poll { .. },
                logs,
                ..
            } => self.wait(step, result, logs),
            AttemptEvent::Ended { then: AfterAttempt::Final | AfterAttempt::Continue, .. }
            | AttemptEvent::Refused { .. } => self.stop(step),
            AttemptEvent::Recovered { .. } => {}
        }
    }

    fn start(&mut self, step: &StepId, text: String) {
        let Some(view) = &mut self.view else { return };
        // Its lines are drawn over one another: one that holds a second line would be left behind.
        let text = runbook_text::line(&text).into_owned();
        match view.under_way.iter_mut().find(|(known, _)| known == step) {
            Some((_, line)) => line.text = text,
            None => view.under_way.push((step.clone(), LiveLine { text, since: Instant::now() })),
        }
        self.draw();
    }

    /// Gives a line to each step under way, as far as there is room, and counts.
    fn draw(&mut self) {
        let Some(view) = &mut self.view else { return };
        if view.at.is_none_or(|at| at.elapsed() >= COUNTED_EVERY) {
            let counted = self.summary.steps.iter().filter(|step| counts(step));
            view.counted = counted
                .fold((0, 0), |(over, all), step| (over + usize::from(step.is_over()), all + 1));
            view.at = Some(Instant::now());
        }
        let ((over, all), more) = (view.counted, view.under_way.len().saturating_sub(LINES));
        let lines = view.under_way.iter().take(LINES).map(|(_, line)| line.clone()).collect();
        ui::show(LiveArea {
            lines,
            progress: Some(Progress { over, all, more, since: view.since }),
        });
    }

    /// Shows between two attempts what was wrong with the last one, and the last line that it
    /// logged.
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
        let Some(view) = &mut self.view else { return };
        view.under_way.retain(|(known, _)| known != step);
        self.draw();
    }

    fn stop_all(&mut self) {
        if let Some(view) = &mut self.view {
            view.under_way.clear();
            ui::show(LiveArea::default());
        }
    }
}

impl Reporter for Live {
    fn report(&mut self, record: &Record) {
        crate::failpoints::after_record(record.seq);
        self.tell(record);
    }
}
