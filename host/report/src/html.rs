//! The report of a run as one file for a browser, with a timeline.

use crate::html_page;
use crate::phrases::{pluralize, short_run_id};
use crate::summary::{StepStatus, StepSummary, Summary};
use crate::timeline::{Activity, SpanEnd, TimelineSpan};
use jiff::Timestamp;
use minijinja::value::Serde;
use runbook_document::format_duration;
use runbook_engine::RunEnd;
use serde::Serialize;
use std::time::Duration;

/// Styles of this page alone.
const STYLE: &str = include_str!("../templates/run.css");

/// If a row has more bars of attempts than this, they are drawn as one bar.
const MAX_BARS_PER_ROW: usize = 60;

/// The width of a pause in percent of the timeline's width, however long the pause was.
const GAP_WIDTH: f64 = 3.0;

/// The values for the template `run.html`.
#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    end_class: &'static str,
    status: String,
    cause: Option<&'a str>,
    next: Option<&'a str>,
    facts: Vec<Fact<'a>>,
    params: Vec<Fact<'a>>,
    /// How long the run took: the end of the timeline.
    duration: String,
    gaps: Vec<BarPosition>,
    rows: Vec<Row<'a>>,
    steps: Vec<Detail<'a>>,
}

#[derive(Serialize)]
struct Fact<'a> {
    name: &'a str,
    value: String,
}

/// A step in the timeline.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    class: &'static str,
    state: String,
    took: String,
    bars: Vec<DrawnBar>,
    what: &'a str,
}

/// Where a bar begins and how wide it is, in percent of the width of the timeline.
#[derive(Serialize)]
struct BarPosition {
    left: String,
    width: String,
}

#[derive(Serialize)]
struct DrawnBar {
    class: String,
    #[serde(flatten)]
    position: BarPosition,
    label: String,
}

/// A step in the list below the timeline.
#[derive(Serialize)]
struct Detail<'a> {
    is_open: bool,
    class: &'static str,
    state: String,
    id: &'a str,
    /// The title, if the step has one of its own.
    title: Option<&'a str>,
    uses: &'a str,
    digest: &'a str,
    attempts: String,
    fault: Option<String>,
    instructions: Option<&'a str>,
    approved_by: String,
    lists: Vec<List>,
    undo: Option<&'a str>,
    output: Option<String>,
    log: Option<String>,
}

#[derive(Serialize)]
struct List {
    title: &'static str,
    entries: Vec<String>,
}

/// The report of a run.
pub(crate) fn render(summary: &Summary) -> String {
    let axis = Axis::of(summary);
    let active_steps: Vec<_> = summary.steps.iter().filter(|step| has_activity(step)).collect();
    let page = Page {
        title: &summary.title,
        end_class: summary.end.map_or("warned", end_class),
        status: summary.status_text(),
        cause: summary.cause.as_deref(),
        next: summary.next_action.as_deref(),
        facts: facts(summary),
        params: summary
            .params
            .iter()
            .map(|(name, value)| Fact { name, value: param_text(value) })
            .collect(),
        duration: format_duration(summary.duration()),
        gaps: axis.gap_positions(),
        rows: active_steps.iter().map(|step| row(summary, &axis, step)).collect(),
        steps: active_steps.iter().map(|step| detail(step)).collect(),
    };
    let title = format!("{} · {}", summary.title, short_run_id(&summary.run));
    html_page::page(&title, STYLE, "run.html", Serde(&page).into())
}

fn end_class(end: RunEnd) -> &'static str {
    match end {
        RunEnd::Succeeded => "good",
        RunEnd::SucceededWithWarnings | RunEnd::Undone | RunEnd::Cancelled => "warned",
        RunEnd::FailedClean | RunEnd::Dirty => "failed",
    }
}

fn facts(summary: &Summary) -> Vec<Fact<'_>> {
    let fact = |name, value| Fact { name, value };
    let mut facts = vec![
        fact("run", summary.run.clone()),
        fact("runbook", summary.name.clone()),
        fact("by", summary.operator.clone()),
        fact("started", time_text(summary.started)),
    ];
    facts.extend(summary.ended.map(|ended| fact("ended", time_text(ended))));
    facts.push(fact("duration", summary.duration_text()));
    facts.extend(summary.environment.clone().map(|environment| fact("environment", environment)));
    facts.extend(summary.retry_of.clone().map(|run| fact("tries again", run)));
    facts.extend(summary.window.clone().map(|window| fact("window", window)));
    if !summary.locks.is_empty() {
        facts.push(fact("locks", summary.locks.join(", ")));
    }
    facts
}

fn param_text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn row<'a>(summary: &Summary, axis: &Axis, step: &'a StepSummary) -> Row<'a> {
    let spans: Vec<&TimelineSpan> = summary
        .timeline
        .spans()
        .iter()
        .filter(|span| span.step.as_deref() == Some(step.id.as_str()))
        .collect();
    Row {
        id: &step.id,
        class: state_class(step.state),
        state: state_text(step.state),
        took: if step.attempts == 0 { String::new() } else { format_duration(step.duration()) },
        bars: bars(&spans).iter().map(|bar| axis.position_bar(bar)).collect(),
        what: step.undo.as_ref().unwrap_or(&step.summary),
    }
}

/// The sign and the word of a state.
fn state_text(state: StepStatus) -> String {
    format!("{} {}", state.sign(), state.word())
}

fn has_activity(step: &StepSummary) -> bool {
    step.attempts > 0 || !step.summary.is_empty()
}

fn state_class(state: StepStatus) -> &'static str {
    match state {
        StepStatus::Succeeded => "good",
        StepStatus::Warned
        | StepStatus::WaitingForPerson
        | StepStatus::Undone
        | StepStatus::Undoing => "warned",
        StepStatus::Failed | StepStatus::UnknownOutcome | StepStatus::UndoFailed => "failed",
        StepStatus::Pending | StepStatus::Skipped | StepStatus::Running => "quiet",
    }
}

/// The entry of a step in the list below the timeline.
fn detail(step: &StepSummary) -> Detail<'_> {
    let class = state_class(step.state);
    let case = |case: &runbook_engine::Case| {
        format!("{} {}", case.outcome.name(), crate::phrases::case_text(case))
    };
    let lists = [
        List {
            title: "It said that it would",
            entries: step.effects.iter().map(|effect| effect.summary.clone()).collect(),
        },
        List { title: "Cases", entries: step.cases.iter().map(case).collect() },
    ];
    let log: Vec<_> = step.logs.iter().map(|line| line.message.as_str()).collect();
    Detail {
        is_open: class == "failed",
        class,
        state: state_text(step.state),
        id: &step.id,
        title: Some(step.title.as_str()).filter(|title| *title != step.id),
        uses: &step.uses,
        digest: &step.digest,
        attempts: pluralize(usize::try_from(step.attempts).unwrap_or(usize::MAX), "attempt"),
        fault: step
            .fault
            .as_ref()
            .map(|fault| format!("{} ({}, {})", fault.message, fault.class.name(), fault.code)),
        instructions: step.instructions.as_deref(),
        approved_by: step.approved_by.join(", "),
        lists: lists.into_iter().filter(|list| !list.entries.is_empty()).collect(),
        undo: step.undo.as_deref(),
        output: (!step.output.is_null())
            .then(|| serde_json::to_string_pretty(&step.output).unwrap_or_default()),
        log: (!log.is_empty()).then(|| log.join("\n")),
    }
}

/// Converts times to positions on the timeline. All pauses have the same width, so that a pause of
/// a night does not leave too little room for ten minutes of work.
struct Axis {
    start: Timestamp,
    /// Begin and end of each pause, in milliseconds since the start; sorted, without overlaps.
    gaps: Vec<(f64, f64)>,
    /// The duration of the run without its pauses, in milliseconds.
    active_ms: f64,
}

impl Axis {
    fn of(summary: &Summary) -> Self {
        let start = summary.started;
        let since = |at: Timestamp| milliseconds_between(start, at);
        let mut gaps: Vec<(f64, f64)> = Vec::new();
        let run_spans = summary.timeline.spans().iter().filter(|span| span.step.is_none());
        for span in run_spans {
            let (from, to) = (since(span.from), span.to.map_or_else(|| since(span.from), since));
            match gaps.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => gaps.push((from, to)),
            }
        }
        let last = summary
            .timeline
            .spans()
            .iter()
            .filter_map(|span| span.to.or(Some(span.from)))
            .map(since)
            .fold(1.0, f64::max);
        let paused_ms: f64 = gaps.iter().map(|(from, to)| to - from).sum();
        Self { start, gaps, active_ms: (last - paused_ms).max(1.0) }
    }

    /// The position of a time, in percent of the width.
    fn position(&self, at: Timestamp) -> f64 {
        let at = milliseconds_between(self.start, at);
        let mut active_ms = at;
        let mut width = 0.0;
        for (from, to) in &self.gaps {
            let ms_in_gap = (at.min(*to) - from).max(0.0);
            active_ms -= ms_in_gap;
            width +=
                if at <= *from || to <= from { 0.0 } else { GAP_WIDTH * ms_in_gap / (to - from) };
        }
        let scale = (100.0
            - GAP_WIDTH * f64::from(u32::try_from(self.gaps.len()).unwrap_or(u32::MAX)))
        .max(20.0);
        (scale * active_ms / self.active_ms + width).clamp(0.0, 100.0)
    }

    fn gap_positions(&self) -> Vec<BarPosition> {
        let gap = |(from, to): &(f64, f64)| {
            let [from, to] = [*from, *to].map(|at| self.position(time_at(self.start, at)));
            BarPosition::new(from, to - from)
        };
        self.gaps.iter().map(gap).collect()
    }

    fn position_bar(&self, bar: &Bar) -> DrawnBar {
        let (left, right) = (self.position(bar.from), self.position(bar.to.unwrap_or(bar.from)));
        let label = format!(
            "{}, {} to {}: {}{}{}",
            bar.what,
            format_duration(duration_between(self.start, bar.from)),
            bar.to.map_or_else(
                || "now".to_owned(),
                |to| format_duration(duration_between(self.start, to))
            ),
            bar.end.word(),
            if bar.summary.is_empty() { "" } else { ", " },
            bar.summary
        );
        DrawnBar {
            class: bar.class.clone(),
            position: BarPosition::new(left, (right - left).max(0.0)),
            label,
        }
    }
}

impl BarPosition {
    fn new(left: f64, width: f64) -> Self {
        Self { left: format!("{left:.2}"), width: format!("{width:.2}") }
    }
}

/// A bar of the timeline: one span, or all attempts of a step.
struct Bar {
    what: String,
    class: String,
    from: Timestamp,
    to: Option<Timestamp>,
    end: SpanEnd,
    summary: String,
}

/// The bars of a row. If there are too many attempts, all attempts are one bar.
fn bars(spans: &[&TimelineSpan]) -> Vec<Bar> {
    let attempts =
        spans.iter().filter(|span| matches!(span.activity, Activity::Attempt(_))).count();
    let is_merged = attempts > MAX_BARS_PER_ROW;
    let mut bars: Vec<Bar> = Vec::new();
    let (mut first, mut last): (Option<&TimelineSpan>, Option<&TimelineSpan>) = (None, None);
    for span in spans {
        if is_merged && matches!(span.activity, Activity::Attempt(_)) {
            first = first.or(Some(span));
            last = Some(span);
        } else {
            bars.push(bar(span));
        }
    }
    if let (Some(first), Some(last)) = (first, last) {
        bars.push(Bar { what: pluralize(attempts, "attempt"), from: first.from, ..bar(last) });
    }
    bars
}

fn bar(span: &TimelineSpan) -> Bar {
    let end = match span.end {
        SpanEnd::Open => "b-open",
        SpanEnd::Good => "b-good",
        SpanEnd::Warned => "b-warned",
        SpanEnd::Failed => "b-failed",
        SpanEnd::CutOff => "b-cut-off",
    };
    let kind = match span.activity {
        Activity::Approval
        | Activity::Person
        | Activity::Group
        | Activity::Pause
        | Activity::Dead => " wait",
        Activity::Undo(_) => " undo",
        Activity::Attempt(_) | Activity::Notification => "",
    };
    let (what, class) = (span.activity.text(), format!("{end}{kind}"));
    Bar { what, class, from: span.from, to: span.to, end: span.end, summary: span.summary.clone() }
}

fn duration_between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

fn milliseconds_between(from: Timestamp, to: Timestamp) -> f64 {
    duration_between(from, to).as_secs_f64() * 1_000.0
}

fn time_at(start: Timestamp, milliseconds: f64) -> Timestamp {
    start + Duration::from_secs_f64(milliseconds.max(0.0) / 1_000.0)
}

fn time_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
