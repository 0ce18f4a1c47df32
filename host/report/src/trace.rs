//! A run as a trace: what `OpenTelemetry` calls spans, with the names, parents and attributes that
//! they have there.
//!
//! Inputs, outputs and texts of plugins are not part of it: a tracing backend is read by more
//! people than a journal.

use crate::summary::{StepSummary, Summary};
use crate::timeline::{Activity, SpanEnd, TimelineSpan};
use jiff::Timestamp;
use runbook_authority::Digest;
use runbook_engine::RunEnd;

/// A span of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSpan {
    /// Stable: the same for the same span, however often it is sent.
    pub id: u64,
    /// The span that it is part of; `None` for the run.
    pub parent: Option<u64>,
    /// What it is called.
    pub name: String,
    /// When it began.
    pub from: Timestamp,
    /// When it ended; the same as `from` if nobody knows.
    pub to: Timestamp,
    /// What is known of it, by the names of `OpenTelemetry`'s conventions where there are any.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed, in one word; `None` if it did not.
    pub error: Option<String>,
}

/// The trace of a run that has ended; `None` while it goes on. Its id is the run's.
pub fn trace(summary: &Summary) -> Option<Vec<TraceSpan>> {
    let (ended, end) = (summary.ended?, summary.end?);
    let root = id(&summary.run, "run");
    let failed = match end {
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
        error: failed,
    }];
    spans.extend(summary.timeline.spans().iter().map(|span| of_span(summary, root, span)));
    Some(spans)
}

fn of_span(summary: &Summary, root: u64, span: &TimelineSpan) -> TraceSpan {
    let step = span.step.as_ref().and_then(|id| summary.steps.iter().find(|step| step.id == *id));
    let what = span.activity.text();
    let name = span.step.as_ref().map_or_else(|| what.clone(), |step| format!("{step}: {what}"));
    let mut attributes =
        vec![("runbook.activity", what), ("runbook.outcome", span.end.word().to_owned())];
    attributes.extend(step.into_iter().flat_map(of_step));
    let error = match span.end {
        SpanEnd::Open | SpanEnd::Good | SpanEnd::Warned => None,
        SpanEnd::Failed => Some(
            step.and_then(|step| step.fault.as_ref())
                .map_or_else(|| "failed".to_owned(), |fault| fault.class.name().to_owned()),
        ),
        SpanEnd::CutOff => Some("cut off".to_owned()),
    };
    let parent = parent(summary, span).map_or(root, |group| id(&summary.run, &group));
    TraceSpan {
        id: id(&summary.run, &key(span)),
        parent: Some(parent),
        name,
        from: span.from,
        to: span.to.unwrap_or(span.from),
        attributes,
        error,
    }
}

fn of_step(step: &StepSummary) -> Vec<(&'static str, String)> {
    vec![
        ("runbook.step.id", step.id.clone()),
        ("runbook.step.uses", step.uses.clone()),
        ("runbook.plugin.digest", step.digest.clone()),
    ]
}

/// The span of the nested file, or of the list, that a step is part of: `restore.backup` of
/// `restore`, `vacuum[orders]` of `vacuum`.
fn parent(summary: &Summary, span: &TimelineSpan) -> Option<String> {
    let step = span.step.as_deref()?;
    let groups = summary.timeline.spans().iter().filter(|group| group.activity == Activity::Group);
    let holds = |group: &&TimelineSpan| {
        let rest = group.step.as_deref().and_then(|of| step.strip_prefix(of));
        rest.is_some_and(|rest| rest.starts_with(['.', '[']))
    };
    groups.filter(holds).max_by_key(|group| group.step.as_ref().map(String::len)).map(key)
}

/// What tells a span of a run from every other.
fn key(span: &TimelineSpan) -> String {
    format!(
        "{}\n{}\n{}",
        span.step.as_deref().unwrap_or_default(),
        span.activity.text(),
        span.from.as_nanosecond()
    )
}

/// Never 0, which stands for no span.
fn id(run: &str, what: &str) -> u64 {
    let digest = Digest::of(format!("{run}\n{what}").as_bytes());
    let hex =
        digest.as_str().trim_start_matches("sha256:").get(..16).unwrap_or_default().to_owned();
    u64::from_str_radix(&hex, 16).unwrap_or(1).max(1)
}
