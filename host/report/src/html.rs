//! The report of a run for those who were not there: one file for a browser, with a timeline.

use crate::html_page::{self, escape};
use crate::phrases::counted;
use crate::summary::{StepState, StepSummary, Summary};
use crate::timeline::{Activity, Span, SpanEnd};
use jiff::Timestamp;
use runbook_document::format_duration;
use runbook_engine::RunEnd;
use std::fmt::Write as _;
use std::time::Duration;

const STYLE: &str = "dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem}dt{color:#57606a}dd{margin:0}\
.end{padding:.6rem .9rem;border-left:.4rem solid;font-weight:600;background:#f6f8fa}\
.good{color:#116329}.warned{color:#7d4e00}.failed{color:#a40e26}.quiet{color:#57606a}\
td:nth-child(-n+3){white-space:nowrap}td.bars{width:45%;min-width:14rem}.track{position:relative;height:1.35em;background:#f6f8fa}\
.track span{position:absolute;top:.15em;bottom:.15em;min-width:3px;background:#57606a;border-radius:2px}\
.track .b-good{background:#2da44e}.track .b-warned{background:#bf8700}.track .b-failed{background:#cf222e}\
.track .b-cut-off{background:repeating-linear-gradient(45deg,#cf222e 0 4px,#f6f8fa 4px 8px)}.track .b-open{background:#0969da}\
.track .wait{opacity:.45}.track .undo{border:2px solid #8250df}.track .gap{top:0;bottom:0;background:repeating-linear-gradient(90deg,#8c959f 0 1px,transparent 1px 5px);border-radius:0}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f6f8fa;padding:.5rem .7rem;margin:.3rem 0}td{overflow-wrap:anywhere}\
@media(prefers-color-scheme:dark){.end,.track,pre{background:#161b22}dt,.quiet{color:#8b949e}.good{color:#3fb950}.warned{color:#e3b341}.failed{color:#ff7b72}}\
@media print{body{margin:0}details{break-inside:avoid}}";

/// Above so many bars in a row, those of one kind are drawn as one.
const BARS_IN_A_ROW: usize = 60;

/// How much of the width a pause takes, in percent, however long it was.
const GAP_WIDTH: f64 = 3.0;

/// The report of a run.
pub(crate) fn render(summary: &Summary) -> String {
    let mut page = html_page::begin(&format!("{} · {}", summary.title, crate::phrases::short(&summary.run)), STYLE);
    let _ = writeln!(page, "<h1>{}</h1>", escape(&summary.title));
    push_end(&mut page, summary);
    push_facts(&mut page, summary);
    push_timeline(&mut page, summary);
    page.push_str("<h2>Steps in detail</h2>\n");
    summary.steps.iter().filter(|step| was_touched(step)).for_each(|step| push_step(&mut page, step));
    page.push_str(html_page::END);
    page
}

fn push_end(page: &mut String, summary: &Summary) {
    let (class, text) = (summary.end.map_or("warned", end_class), summary.standing_text());
    let _ = writeln!(page, "<p class=\"end {class}\">{}</p>", escape(&text));
    if let Some(cause) = &summary.cause {
        let _ = writeln!(page, "<p>Because {}.</p>", escape(cause));
    }
    if let Some(next) = &summary.to_continue {
        let _ = writeln!(page, "<p>Next: {}.</p>", escape(next));
    }
}

fn end_class(end: RunEnd) -> &'static str {
    match end {
        RunEnd::Succeeded => "good",
        RunEnd::SucceededWithWarnings | RunEnd::Undone | RunEnd::Cancelled => "warned",
        RunEnd::FailedClean | RunEnd::Dirty => "failed",
    }
}

fn push_facts(page: &mut String, summary: &Summary) {
    let mut facts = vec![
        ("run", summary.run.clone()),
        ("runbook", summary.name.clone()),
        ("by", summary.operator.clone()),
        ("started", moment(summary.started)),
    ];
    facts.extend(summary.ended.map(|ended| ("ended", moment(ended))));
    facts.push(("duration", summary.lasted()));
    facts.extend(summary.environment.clone().map(|environment| ("environment", environment)));
    facts.extend(summary.retry_of.clone().map(|run| ("tries again", run)));
    facts.extend(summary.window.clone().map(|window| ("window", window)));
    if !summary.locks.is_empty() {
        facts.push(("locks", summary.locks.join(", ")));
    }
    page.push_str("<dl>\n");
    for (name, value) in &facts {
        let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escape(value));
    }
    for (name, value) in &summary.params {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let _ = writeln!(page, "<dt>{}</dt><dd><code>{}</code></dd>", escape(name), escape(&value));
    }
    page.push_str("</dl>\n");
}

fn push_timeline(page: &mut String, summary: &Summary) {
    let axis = Axis::of(summary);
    page.push_str(
        "<h2>Timeline</h2>\n<p class=\"quiet\">Each bar is an attempt, an undo (framed) or a wait (pale); times are since the start. \
         Hatched is a pause, drawn short however long it was.</p>\n",
    );
    let _ = writeln!(
        page,
        "<table><tr><th>Step<th>State<th>Time<th>When, from 0 to {}<th>What came of it</tr>",
        format_duration(summary.duration())
    );
    let steps = summary.steps.iter().filter(|step| was_touched(step));
    for step in steps {
        let spans: Vec<&Span> =
            summary.timeline.spans().iter().filter(|span| span.step.as_deref() == Some(step.id.as_str())).collect();
        let what = step.undo.as_ref().unwrap_or(&step.summary);
        let _ = writeln!(
            page,
            "<tr><td>{}<td class=\"{}\">{} {}<td>{}<td class=\"bars\">{}<td>{}</tr>",
            escape(&step.id),
            state_class(step.state),
            step.state.sign(),
            step.state.word(),
            if step.attempts == 0 { String::new() } else { format_duration(step.duration()) },
            axis.track(&spans),
            escape(what)
        );
    }
    page.push_str("</table>\n");
}

fn was_touched(step: &StepSummary) -> bool {
    step.attempts > 0 || !step.summary.is_empty()
}

fn state_class(state: StepState) -> &'static str {
    match state {
        StepState::Succeeded => "good",
        StepState::Warned | StepState::WaitingForPerson | StepState::Undone | StepState::Undoing => "warned",
        StepState::Failed | StepState::UnknownOutcome | StepState::UndoFailed => "failed",
        StepState::Pending | StepState::Skipped | StepState::Running => "quiet",
    }
}

fn push_step(page: &mut String, step: &StepSummary) {
    let open = if state_class(step.state) == "failed" { " open" } else { "" };
    let title = if step.title == step.id { String::new() } else { format!(": {}", escape(&step.title)) };
    let _ = writeln!(
        page,
        "<details{open}><summary><span class=\"{}\">{} {}</span> {}{title}</summary>\n<p><code>{}</code> <span class=\"quiet\">{}</span>, {}</p>",
        state_class(step.state),
        step.state.sign(),
        step.state.word(),
        escape(&step.id),
        escape(&step.uses),
        escape(&step.digest),
        counted(usize::try_from(step.attempts).unwrap_or(usize::MAX), "attempt"),
    );
    if let Some(fault) = &step.fault {
        let _ = writeln!(
            page,
            "<p class=\"failed\">{} ({}, {})</p>",
            escape(&fault.message),
            fault.class.name(),
            escape(&fault.code)
        );
    }
    if let Some(instructions) = &step.instructions {
        let _ = writeln!(page, "<p>What a person does</p><pre>{}</pre>", escape(instructions));
    }
    if !step.approved_by.is_empty() {
        let _ = writeln!(page, "<p>Said to be right by {}.</p>", escape(&step.approved_by.join(", ")));
    }
    push_list(page, "It said that it would", step.effects.iter().map(|effect| effect.summary.clone()));
    let case = |case: &runbook_engine::Case| format!("{} {}: {}", case.outcome.name(), case.name, case.detail);
    push_list(page, "Cases", step.cases.iter().map(case));
    if let Some(undo) = &step.undo {
        let _ = writeln!(page, "<p>Undo: {}.</p>", escape(undo));
    }
    if !step.output.is_null() {
        let text = serde_json::to_string_pretty(&step.output).unwrap_or_default();
        let _ = writeln!(page, "<p>Output</p><pre>{}</pre>", escape(&text));
    }
    if !step.logs.is_empty() {
        let lines: Vec<_> = step.logs.iter().map(|line| line.message.clone()).collect();
        let _ = writeln!(page, "<p>Log of the last attempt</p><pre>{}</pre>", escape(&lines.join("\n")));
    }
    page.push_str("</details>\n");
}

fn push_list(page: &mut String, title: &str, items: impl Iterator<Item = String>) {
    let items: Vec<_> = items.map(|item| format!("<li>{}</li>", escape(&item))).collect();
    if !items.is_empty() {
        let _ = writeln!(page, "<p>{title}</p><ul>{}</ul>", items.join(""));
    }
}

/// Where a moment is drawn. Pauses of the run have a width of their own, so that a night does not squeeze ten minutes of work.
struct Axis {
    start: Timestamp,
    /// From, to: in milliseconds since the start, in their order, apart from each other.
    gaps: Vec<(f64, f64)>,
    /// Milliseconds that are drawn to scale.
    worked: f64,
}

impl Axis {
    fn of(summary: &Summary) -> Self {
        let start = summary.started;
        let since = |at: Timestamp| milliseconds(start, at);
        let mut gaps: Vec<(f64, f64)> = Vec::new();
        let of_the_run = summary.timeline.spans().iter().filter(|span| span.step.is_none());
        for span in of_the_run {
            let (from, to) = (since(span.from), span.to.map_or_else(|| since(span.from), since));
            match gaps.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => gaps.push((from, to)),
            }
        }
        let last = summary.timeline.spans().iter().filter_map(|span| span.to.or(Some(span.from))).map(since).fold(1.0, f64::max);
        let paused: f64 = gaps.iter().map(|(from, to)| to - from).sum();
        Self { start, gaps, worked: (last - paused).max(1.0) }
    }

    /// In percent of the width.
    fn position(&self, at: Timestamp) -> f64 {
        let at = milliseconds(self.start, at);
        let mut worked = at;
        let mut width = 0.0;
        for (from, to) in &self.gaps {
            let inside = (at.min(*to) - from).max(0.0);
            worked -= inside;
            width += if at <= *from || to <= from { 0.0 } else { GAP_WIDTH * inside / (to - from) };
        }
        let scale = (100.0 - GAP_WIDTH * f64::from(u32::try_from(self.gaps.len()).unwrap_or(u32::MAX))).max(20.0);
        (scale * worked / self.worked + width).clamp(0.0, 100.0)
    }

    fn track(&self, spans: &[&Span]) -> String {
        let mut track = String::from("<div class=\"track\">");
        for (from, to) in &self.gaps {
            let [from, to] = [*from, *to].map(|at| self.position(after(self.start, at)));
            let _ = write!(track, "<span class=\"gap\" style=\"left:{from:.2}%;width:{:.2}%\"></span>", to - from);
        }
        for bar in bars(spans) {
            let end = bar.to.unwrap_or(bar.from);
            let (left, right) = (self.position(bar.from), self.position(end));
            let label = format!(
                "{}, {} to {}: {}{}{}",
                bar.what,
                format_duration(length(self.start, bar.from)),
                bar.to.map_or_else(|| "now".to_owned(), |to| format_duration(length(self.start, to))),
                bar.end.word(),
                if bar.summary.is_empty() { "" } else { ", " },
                bar.summary
            );
            let (class, width, label) = (bar.class, (right - left).max(0.0), escape(&label));
            let _ = write!(
                track,
                "<span class=\"{class}\" role=\"img\" style=\"left:min({left:.2}%,calc(100% - 4px));width:{width:.2}%\" title=\"{label}\" aria-label=\"{label}\"></span>"
            );
        }
        track.push_str("</div>");
        track
    }
}

/// What is drawn: a span, or many of one kind in a row.
struct Bar {
    what: String,
    class: String,
    from: Timestamp,
    to: Option<Timestamp>,
    end: SpanEnd,
    summary: String,
}

fn bars(spans: &[&Span]) -> Vec<Bar> {
    let attempts = spans.iter().filter(|span| matches!(span.activity, Activity::Attempt(_))).count();
    let merged = attempts > BARS_IN_A_ROW;
    let mut bars: Vec<Bar> = Vec::new();
    let (mut first, mut last): (Option<&Span>, Option<&Span>) = (None, None);
    for span in spans {
        if merged && matches!(span.activity, Activity::Attempt(_)) {
            first = first.or(Some(span));
            last = Some(span);
        } else {
            bars.push(bar(span));
        }
    }
    if let (Some(first), Some(last)) = (first, last) {
        bars.push(Bar { what: counted(attempts, "attempt"), from: first.from, ..bar(last) });
    }
    bars
}

fn bar(span: &Span) -> Bar {
    let end = match span.end {
        SpanEnd::Open => "b-open",
        SpanEnd::Good => "b-good",
        SpanEnd::Warned => "b-warned",
        SpanEnd::Failed => "b-failed",
        SpanEnd::CutOff => "b-cut-off",
    };
    let kind = match span.activity {
        Activity::Approval | Activity::Person | Activity::Group | Activity::Pause | Activity::Dead => " wait",
        Activity::Undo(_) => " undo",
        Activity::Attempt(_) | Activity::Notification => "",
    };
    let (what, class) = (span.activity.text(), format!("{end}{kind}"));
    Bar { what, class, from: span.from, to: span.to, end: span.end, summary: span.summary.clone() }
}

fn length(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    length(from, to).as_secs_f64() * 1_000.0
}

fn after(start: Timestamp, milliseconds: f64) -> Timestamp {
    start + Duration::from_secs_f64(milliseconds.max(0.0) / 1_000.0)
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
