//! A run as a trace of `OpenTelemetry`: spans with names, parents and attributes.
//!
//! Inputs, outputs and texts of plugins are left out, because more people read a tracing backend
//! than a journal.

use crate::summary::{StepSummary, Summary};
use crate::timeline::{Activity, SpanEnd, TimelineSpan};
use jiff::Timestamp;
use runbook_authority::Digest;
use runbook_engine::RunEnd;

/// A span of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSpan {
    /// The id of the span. It is the same each time that the trace is sent.
    pub id: u64,
    /// The id of the span that it is part of; `None` for the run.
    pub parent: Option<u64>,
    /// The name of the span, such as `backup: attempt 1`.
    pub name: String,
    /// When it began.
    pub from: Timestamp,
    /// When it ended; the same as `from` if that is not known.
    pub to: Timestamp,
    /// Its attributes. Names follow `OpenTelemetry`'s conventions where there are any.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed, in a word or two such as `timeout`; `None` if it did not fail.
    pub error: Option<String>,
}

/// The trace of a run that has ended; `None` if it has not. The id of the trace is the run's.
pub fn trace(summary: &Summary) -> Option<Vec<TraceSpan>> {
    let (ended, end) = (summary.ended?, summary.end?);
    let root = span_id(&summary.run, "run");
    let error = match end {
        RunEnd::Succeeded | RunEnd::SucceededWithWarnings => None,
        RunEnd::FailedClean | RunEnd::Cancelled | RunEnd::Undone | RunEnd::Dirty => {
            Some(summary.state.clone())
        }
    };
    let mut attributes = vec![
        ("runbook.run.id", summary.run.clone()),
        ("runbook.name", summary.name.clone()),
        ("runbook.operator", summary.operator.clone()),
        ("runbook.outcome", summary.state.clone()),
    ];
    attributes.extend(
        summary.environment.clone().map(|environment| ("deployment.environment.name", environment)),
    );
    let name = format!("runbook {}", summary.name);
    let mut spans = vec![TraceSpan {
        id: root,
        parent: None,
        name,
        from: summary.started,
        to: ended,
        attributes,
        error,
    }];
    spans.extend(summary.timeline.spans().iter().map(|span| trace_span(summary, root, span)));
    Some(spans)
}

fn trace_span(summary: &Summary, root: u64, span: &TimelineSpan) -> TraceSpan {
    let step = span.step.as_ref().and_then(|id| summary.steps.iter().find(|step| step.id == *id));
    let activity = span.activity.text();
    let name =
        span.step.as_ref().map_or_else(|| activity.clone(), |step| format!("{step}: {activity}"));
    let mut attributes =
        vec![("runbook.activity", activity), ("runbook.outcome", span.end.word().to_owned())];
    attributes.extend(step.into_iter().flat_map(step_attributes));
    let error = match span.end {
        SpanEnd::Open | SpanEnd::Good | SpanEnd::Warned => None,
        SpanEnd::Failed => Some(
            step.and_then(|step| step.fault.as_ref())
                .map_or_else(|| "failed".to_owned(), |fault| fault.class.name().to_owned()),
        ),
        SpanEnd::CutOff => Some("cut off".to_owned()),
    };
    let parent = parent_key(summary, span).map_or(root, |group| span_id(&summary.run, &group));
    TraceSpan {
        id: span_id(&summary.run, &span_key(span)),
        parent: Some(parent),
        name,
        from: span.from,
        to: span.to.unwrap_or(span.from),
        attributes,
        error,
    }
}

fn step_attributes(step: &StepSummary) -> Vec<(&'static str, String)> {
    vec![
        ("runbook.step.id", step.id.clone()),
        ("runbook.step.uses", step.uses.clone()),
        ("runbook.plugin.digest", step.digest.clone()),
    ]
}

/// The key of the span of the group that a step is part of: that of `restore` for
/// `restore.backup`, that of `vacuum` for `vacuum[orders]`.
fn parent_key(summary: &Summary, span: &TimelineSpan) -> Option<String> {
    let step = span.step.as_deref()?;
    let groups = summary.timeline.spans().iter().filter(|group| group.activity == Activity::Group);
    let contains_step = |group: &&TimelineSpan| {
        let rest = group.step.as_deref().and_then(|group_id| step.strip_prefix(group_id));
        rest.is_some_and(|rest| rest.starts_with(['.', '[']))
    };
    groups
        .filter(contains_step)
        .max_by_key(|group| group.step.as_ref().map(String::len))
        .map(span_key)
}

/// A text that identifies a span within a run.
fn span_key(span: &TimelineSpan) -> String {
    format!(
        "{}\n{}\n{}",
        span.step.as_deref().unwrap_or_default(),
        span.activity.text(),
        span.from.as_nanosecond()
    )
}

/// The id of the span with this key. It is never 0, which stands for no span.
fn span_id(run: &str, key: &str) -> u64 {
    let digest = Digest::of(format!("{run}\n{key}").as_bytes());
    let hex =
        digest.as_str().trim_start_matches("sha256:").get(..16).unwrap_or_default().to_owned();
    u64::from_str_radix(&hex, 16).unwrap_or(1).max(1)
}
