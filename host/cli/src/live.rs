//! The live view of a run: a plain line for each event, and on a terminal a live line with a
//! spinner for each step under way. Both come from the same events as the report.

use crate::context::Context;
use crate::events::EventWriter;
use crate::failure::Failure;
use crate::output_arguments::OutputArgs;
use crate::screen::{LiveArea, LiveLine, Progress};
use crate::ui;
use runbook_engine::{
    AfterAttempt, ApprovalEvent, AttemptEvent, AttemptResult, LifecycleEvent, LogLine, ManualEvent,
    NotifyEvent, Record, Reporter, RunEvent, RunHeader, RunId, RunState, Section, StepEvent,
    StepId, UndoEvent,
};
use runbook_report::{Format, StepSummary, Summary, Tone, record_lines};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Shows the operator what happens in a run, while it happens.
pub struct Live {
    summary: Summary,
    color: ui::Color,
    /// The live lines; `None` if stderr cannot show them.
    view: Option<LiveView>,
    shown_extent: ShownExtent,
    end: EndNotice,
    /// Whether questions were printed below the events.
    has_asked_questions: bool,
    run: RunId,
    events: Option<EventWriter>,
    /// A warning to show once this process has taken the run over.
    warning_on_resume: Option<String>,
}

/// How much of the run the event lines show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShownExtent {
    /// All of it, on the terminal on which the report is shown.
    Everything,
    /// Not all of it, or not on the terminal of the report.
    Partial,
    /// Only what the operator must act on.
    OnlyNeedsAction,
}

/// How the end of a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndNotice {
    /// By a line of the live view.
    ByLine,
    /// By the report below the live view.
    ByReport,
}

/// The live lines at the bottom of a terminal.
struct LiveView {
    /// The steps under way, in the order in which they began.
    under_way: Vec<(StepId, LiveLine)>,
    since: Instant,
    /// The number of steps that are over, and of all steps; and when they were counted.
    counted: (usize, usize),
    counted_at: Option<Instant>,
}

/// How many steps under way get a line. A terminal may have only 24 lines.
const MAX_LINES: usize = 8;

/// The shortest time between two counts of the steps: a run may have ten thousand.
const COUNT_INTERVAL: Duration = Duration::from_millis(120);

/// Whether the progress bar counts a step.
fn is_counted(step: &StepSummary) -> bool {
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
    /// A view of a run. `records` are the earlier events of a resumed run, which are not shown
    /// again.
    pub fn new(context: &Context, header: &RunHeader, records: &[Record]) -> Self {
        let view = context.live.then(|| LiveView {
            under_way: Vec::new(),
            since: Instant::now(),
            counted: (0, 0),
            counted_at: None,
        });
        let shown_extent = if context.outputs_are_same_terminal && records.is_empty() {
            ShownExtent::Everything
        } else {
            ShownExtent::Partial
        };
        let end = if context.outputs_are_same { EndNotice::ByReport } else { EndNotice::ByLine };
        Self {
            summary: Summary::of(header, records),
            color: context.color_stderr.into(),
            view,
            shown_extent,
            end,
            has_asked_questions: false,
            run: header.run,
            events: None,
            warning_on_resume: None,
        }
    }

    /// Adds the states of the runs that this run is a retry of.
    #[must_use]
    pub fn with_earlier_runs(mut self, earlier: &BTreeMap<RunId, RunState>) -> Self {
        self.summary.set_earlier_run_states(earlier);
        self
    }

    /// Also writes the events from now on to the file of `--events`, and obeys `-q`.
    ///
    /// # Errors
    /// A file of the output cannot be written.
    pub fn with_output(self, context: &Context, output: &OutputArgs) -> Result<Self, Failure> {
        output.check_destinations(context)?;
        let end = if output.writes_to_stdout() { EndNotice::ByLine } else { self.end };
        let view = Self { events: output.open()?, end, ..self };
        Ok(if ui::is_quiet() {
            let end =
                if output.writes_to_stdout() { EndNotice::ByLine } else { EndNotice::ByReport };
            Self { shown_extent: ShownExtent::OnlyNeedsAction, view: None, end, ..view }
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

    /// Shows the end or the state of the run: the whole report, or what the event lines have not
    /// shown.
    ///
    /// # Errors
    /// Stdout cannot be written to.
    pub fn conclude(&self) -> Result<(), Failure> {
        match self.shown_extent {
            ShownExtent::Everything
                if self.summary.paused.is_some() && !self.has_asked_questions =>
            {
                Ok(())
            }
            ShownExtent::Everything => ui::text(&runbook_report::closing_text(&self.summary)),
            ShownExtent::Partial => ui::report(Format::Text, &self.summary),
            ShownExtent::OnlyNeedsAction => ui::text(&runbook_report::outcome_text(&self.summary)),
        }
    }

    /// The summary of the events so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The summary of all events.
    pub fn into_summary(self) -> Summary {
        self.summary
    }

    /// Adds an event to the summary and shows it.
    pub fn show(&mut self, record: &Record) {
        self.summary.fold(record);
        if let Some(events) = &self.events {
            events.write(self.run, record);
        }
        self.update_live_lines(&record.event);
        if matches!(record.event, RunEvent::Run(LifecycleEvent::Resumed { .. }))
            && let Some(warning) = self.warning_on_resume.take()
        {
            ui::warning(&warning);
        }
        if !self.is_shown(&record.event) {
            return;
        }
        for line in record_lines(&self.summary, record) {
            self.print(line.tone, &line.text);
        }
    }

    /// Whether an event is shown as a line.
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
        match (self.shown_extent, self.end) {
            (_, EndNotice::ByReport) if is_end => false,
            (
                ShownExtent::Everything | ShownExtent::Partial,
                EndNotice::ByReport | EndNotice::ByLine,
            ) => true,
            (ShownExtent::OnlyNeedsAction, EndNotice::ByReport) => is_asked,
            (ShownExtent::OnlyNeedsAction, EndNotice::ByLine) => is_asked || is_end || is_pause,
        }
    }

    /// Shows this warning once this process has taken the run over.
    pub fn warn_when_resumed(&mut self, warning: Option<String>) {
        self.warning_on_resume = warning;
    }

    /// Must be called before questions are printed, so that the end of the run is shown below them.
    pub fn note_questions(&mut self) {
        self.has_asked_questions = true;
    }

    /// The full instructions of a manual step that waits for its answer.
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
        let mut styled = ui::StyledText::default();
        styled.push(&ui::wrapped(&ui::with_journal_option(text)), code, self.color);
        ui::print_stderr_styled(&styled);
    }

    /// Adds a live line for what has begun, and removes it for what has ended.
    fn update_live_lines(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Run(LifecycleEvent::RunEnded { .. } | LifecycleEvent::Paused { .. }) => {
                self.stop_all();
            }
            RunEvent::Step { step, event } => self.update_for_step(step, event),
            RunEvent::Notify { notify, event: NotifyEvent::NotifyStarted, .. } => {
                self.start(notify, notify.to_string());
            }
            RunEvent::Notify { notify, event: NotifyEvent::NotifyEnded { .. }, .. } => {
                self.stop(notify);
            }
            RunEvent::Run(_) | RunEvent::Guard { .. } => {}
        }
    }

    fn update_for_step(&mut self, step: &StepId, event: &StepEvent) {
        match event {
            StepEvent::Attempt(event) => self.update_for_attempt(step, event),
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

    fn update_for_attempt(&mut self, step: &StepId, event: &AttemptEvent) {
        match event {
            AttemptEvent::Started { attempt, proposal, .. } => {
                let effect_summary =
                    proposal.as_ref().map(|proposal| proposal.summary.clone()).unwrap_or_default();
                let attempt_note =
                    if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                let title = self
                    .summary
                    .step(step)
                    .filter(|step| step.has_title())
                    .map(|step| step.title.clone());
                let what: Vec<String> = title
                    .into_iter()
                    .chain((!effect_summary.is_empty()).then_some(effect_summary))
                    .collect();
                self.start(step, format!("{step}{attempt_note}  {}", what.join(": ")));
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
        // Live lines are redrawn in place: with a line break, a part would be left behind.
        let text = runbook_text::line(&text).into_owned();
        match view.under_way.iter_mut().find(|(known, _)| known == step) {
            Some((_, line)) => line.text = text,
            None => view.under_way.push((step.clone(), LiveLine { text, since: Instant::now() })),
        }
        self.draw();
    }

    /// Draws the live lines and the progress bar.
    fn draw(&mut self) {
        let Some(view) = &mut self.view else { return };
        if view.counted_at.is_none_or(|counted_at| counted_at.elapsed() >= COUNT_INTERVAL) {
            let counted = self.summary.steps.iter().filter(|step| is_counted(step));
            view.counted = counted
                .fold((0, 0), |(over, all), step| (over + usize::from(step.is_over()), all + 1));
            view.counted_at = Some(Instant::now());
        }
        let ((over, all), more) = (view.counted, view.under_way.len().saturating_sub(MAX_LINES));
        let lines = view.under_way.iter().take(MAX_LINES).map(|(_, line)| line.clone()).collect();
        ui::show(LiveArea {
            lines,
            progress: Some(Progress { over, all, more, since: view.since }),
        });
    }

    /// Shows, between two attempts, the result of the last one and the last line of its log.
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
        self.show(record);
    }
}
