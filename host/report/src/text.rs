//! The report for a person's terminal.

use crate::line::short;
use crate::summary::{Execution, StepState, StepSummary, Summary};
use crate::table::table;
use runbook_document::format_duration;
use runbook_engine::Section;
use std::fmt::Write as _;

/// The report of a run.
pub(crate) fn render(summary: &Summary) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{} ({})", summary.title, summary.name);
    let _ = writeln!(text, "{}", head(summary));
    let _ = writeln!(text, "\n{}", table(&rows(summary)));
    for step in summary.steps.iter().filter(|step| needs_detail(step)) {
        let _ = write!(text, "\n{}", step_detail(step));
    }
    let _ = write!(text, "{}\n{}", stays(summary), conclusion(summary));
    text
}

/// How a run ended, for somebody who was told line by line what it did.
pub fn closing(summary: &Summary) -> String {
    let took = format_duration(summary.duration());
    format!("{}\n{}\nrun {}, took {took}", stays(summary), conclusion(summary), short(&summary.run))
}

/// What a failed run has changed for good; empty if nothing.
fn stays(summary: &Summary) -> String {
    let stays = summary.steps.iter().filter(|step| step.stays() && step.state != StepState::Undone);
    let stays: Vec<_> = stays.map(|step| step.id.as_str()).collect();
    if stays.is_empty() || summary.cause.is_none() {
        return String::new();
    }
    format!("\nStays, as the runbook says it cannot be undone: {}\n", stays.join(", "))
}

/// `run …, started … by …, took …`.
fn head(summary: &Summary) -> String {
    let mut parts = vec![
        format!("run {}", short(&summary.run)),
        format!("started {} by {}", summary.started.strftime("%Y-%m-%d %H:%M:%S UTC"), summary.operator),
    ];
    let took = format_duration(summary.duration());
    parts.push(match &summary.execution {
        Execution::Unknown => format!("took {took}"),
        Execution::By(_) => format!("for {took} until now"),
        Execution::Nobody => format!("interrupted after {took}"),
    });
    if let Some(environment) = &summary.environment {
        parts.push(format!("environment {environment}"));
    }
    let mut text = parts.join(", ");
    if let Some(run) = &summary.retry_of {
        let _ = write!(text, "\ntries run {} again", short(run));
    }
    if let Some(window) = &summary.window {
        let _ = write!(text, "\nwarning: {window}");
    }
    for (name, value) in &summary.params {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        // What plugins say comes in without control characters; this is typed, or made by another program.
        let _ = write!(text, "\n{name} = {}", value.replace(char::is_control, " "));
    }
    text
}

fn rows(summary: &Summary) -> Vec<Vec<String>> {
    let shown = summary.steps.iter().filter(|step| match step.section {
        Section::Preflight | Section::Step | Section::Verify | Section::Finally | Section::Guard | Section::Check => true,
        Section::Undo | Section::Notify => step.state != StepState::Pending,
    });
    shown.map(row).collect()
}

fn row(step: &StepSummary) -> Vec<String> {
    let took = if step.attempts == 0 { String::new() } else { format_duration(step.duration()) };
    let attempts = if step.attempts > 1 { format!("{} attempts", step.attempts) } else { String::new() };
    vec![format!("{} {}", step.state.sign(), step.id), step.state.word().to_owned(), took, attempts, step.titled()]
}

fn needs_detail(step: &StepSummary) -> bool {
    step.is_for_a_person() || step.fault.is_some() || step.cases.iter().any(|case| case.outcome != runbook_engine::Outcome::Pass)
}

fn step_detail(step: &StepSummary) -> String {
    let mut text = format!("{}: {}\n", step.id, step.title);
    for line in step.instructions.iter().flat_map(|text| text.lines()) {
        let _ = writeln!(text, "  {line}");
    }
    if let Some(fault) = &step.fault {
        let _ = writeln!(text, "  {} ({}, {})", fault.message, fault.class.name(), fault.code);
    }
    for case in &step.cases {
        let _ = writeln!(text, "  {:<7} {}: {}", case.outcome.name(), case.name, case.detail);
    }
    for log in &step.logs {
        let _ = writeln!(text, "  | {}", log.message);
    }
    text
}

fn conclusion(summary: &Summary) -> String {
    let cause = summary.cause.as_ref().map(|cause| format!("Because {cause}.")).unwrap_or_default();
    match (summary.end, &summary.paused) {
        (Some(end), _) => {
            let next = summary.to_continue.as_ref().map(|next| format!("\nNext: {next}.")).unwrap_or_default();
            format!("{}{next}", format!("{} {cause}", summary.end_text(end)).trim_end())
        }
        (None, Some(reason)) => {
            let next = summary.to_continue.as_deref().unwrap_or_default();
            format!("Paused: {reason}.\nNext: {next}.")
        }
        (None, None) => unfinished(summary),
    }
}

fn unfinished(summary: &Summary) -> String {
    let (state, run) = (&summary.state, short(&summary.run));
    match &summary.execution {
        Execution::Unknown => {
            format!("Not ended: {state}. If nothing executes it any more, continue with `runbook resume {run}`.")
        }
        Execution::By(who) => format!("Not ended: {state}, executed by {who}. `runbook show {run} --follow` shows how it goes."),
        Execution::Nobody => {
            format!(
                "Interrupted: nobody executes it any more.\nNext: continue with `runbook resume {run}`, or end it with `runbook cancel {run}`."
            )
        }
    }
}

/// Rows of a plan or a list in aligned columns.
pub fn plan_table(rows: &[Vec<String>]) -> String {
    table(rows)
}
