//! The report for a person's terminal.

use crate::phrases::{case_text, short};
use crate::printed::{one_line, push_line, value_text};
use crate::summary::{Execution, StepStatus, StepSummary, Summary};
use crate::table::table;
use runbook_document::format_duration;
use runbook_engine::{RunEnd, Section};
use std::fmt::Write as _;

/// The report of a run.
pub(crate) fn render(summary: &Summary) -> String {
    let mut text = String::new();
    push_line(&mut text, format_args!("{} ({})", summary.title, summary.name));
    text.push_str(&head(summary));
    let _ = writeln!(text, "\n{}", table(&rows(summary)));
    for step in summary.steps.iter().filter(|step| needs_detail(step)) {
        let _ = write!(text, "\n{}", step_detail(step));
    }
    let _ = write!(text, "{}\n{}", stays(summary), conclusion(summary));
    runbook_text::printed(&text).into_owned()
}

/// How a run ended, for an operator who has read line by line what it did.
pub fn closing(summary: &Summary) -> String {
    let took = format_duration(summary.duration());
    let text = format!(
        "{}\n{}\nrun {}, took {took}",
        stays(summary),
        conclusion(summary),
        short(&summary.run)
    );
    runbook_text::printed(&text).into_owned()
}

/// How a run ended or what it waits for, for somebody who was told nothing else of it: a line of
/// one that simply succeeded; else also each step that did not do what it should.
pub fn outcome(summary: &Summary) -> String {
    let is_plain = summary.end == Some(RunEnd::Succeeded) && summary.to_continue.is_none();
    if !is_plain {
        let wrong: Vec<_> = shown(summary).filter(|step| is_wrong(step.state)).map(row).collect();
        let wrong = if wrong.is_empty() { String::new() } else { table(&wrong) + "\n" };
        let wrong = runbook_text::printed(&wrong).into_owned();
        return wrong + closing(summary).trim_start_matches('\n');
    }
    let took = format_duration(summary.duration());
    let text =
        one_line(&format!("{} run {}, took {took}", conclusion(summary), short(&summary.run)));
    runbook_text::printed(&text).into_owned()
}

/// What a failed run has changed for good; empty if nothing.
fn stays(summary: &Summary) -> String {
    let stays =
        summary.steps.iter().filter(|step| step.stays() && step.state != StepStatus::Undone);
    let stays: Vec<_> = stays.map(|step| step.id.as_str()).collect();
    if stays.is_empty() || summary.cause.is_none() {
        return String::new();
    }
    format!(
        "\n{}\n",
        one_line(&format!("Stays, as the runbook says it cannot be undone: {}", stays.join(", ")))
    )
}

/// `run …, started … by …, took …`.
fn head(summary: &Summary) -> String {
    let mut parts = vec![
        format!("run {}", short(&summary.run)),
        format!(
            "started {} by {}",
            summary.started.strftime("%Y-%m-%d %H:%M:%S UTC"),
            summary.operator
        ),
    ];
    parts.push(summary.lasted());
    if let Some(environment) = &summary.environment {
        parts.push(format!("environment {environment}"));
    }
    let mut text = String::new();
    push_line(&mut text, format_args!("{}", parts.join(", ")));
    if let Some(run) = &summary.retry_of {
        push_line(&mut text, format_args!("tries run {} again", short(run)));
    }
    if let Some(window) = &summary.window {
        push_line(&mut text, format_args!("warning: {window}"));
    }
    for (name, value) in &summary.params {
        push_line(&mut text, format_args!("{name} = {}", value_text(value)));
    }
    text
}

/// Whether somebody should look at a step that stands so.
fn is_wrong(state: StepStatus) -> bool {
    match state {
        StepStatus::Warned
        | StepStatus::Failed
        | StepStatus::UnknownOutcome
        | StepStatus::UndoFailed => true,
        StepStatus::Pending
        | StepStatus::Skipped
        | StepStatus::WaitingForPerson
        | StepStatus::Running
        | StepStatus::Succeeded
        | StepStatus::Undoing
        | StepStatus::Undone => false,
    }
}

fn rows(summary: &Summary) -> Vec<Vec<String>> {
    shown(summary).map(row).collect()
}

fn shown(summary: &Summary) -> impl Iterator<Item = &StepSummary> {
    summary.steps.iter().filter(|step| match step.section {
        Section::Preflight
        | Section::Step
        | Section::Verify
        | Section::Finally
        | Section::Guard
        | Section::Check => true,
        Section::Undo | Section::Notify => step.state != StepStatus::Pending,
    })
}

fn row(step: &StepSummary) -> Vec<String> {
    let took = if step.attempts == 0 { String::new() } else { format_duration(step.duration()) };
    let attempts =
        if step.attempts > 1 { format!("{} attempts", step.attempts) } else { String::new() };
    vec![
        format!("{} {}", step.state.sign(), step.id),
        step.state.word().to_owned(),
        took,
        attempts,
        step.titled(),
    ]
}

fn needs_detail(step: &StepSummary) -> bool {
    step.is_for_a_person()
        || step.answers.is_some()
        || step.approval_void.is_some()
        || step.doubt.is_some()
        || step.fault.is_some()
        || step.cases.iter().any(|case| case.outcome != runbook_engine::Outcome::Pass)
}

/// What a person has answered, by whom, and what counts no more.
pub(crate) fn answer_lines(step: &StepSummary) -> Vec<String> {
    let by = step.approved_by.join(", ");
    let fields = step.answers.iter().filter_map(serde_json::Value::as_object).flatten();
    let answers =
        fields.map(|(name, value)| format!("{name} = {} (answered by {by})", value_text(value)));
    step.approval_void.clone().into_iter().chain(step.doubt.clone()).chain(answers).collect()
}

fn step_detail(step: &StepSummary) -> String {
    let mut text = String::new();
    push_line(&mut text, format_args!("{}: {}", step.id, step.title));
    for line in step.instructions.iter().flat_map(|text| text.lines()) {
        push_line(&mut text, format_args!("  | {line}"));
    }
    for line in answer_lines(step) {
        push_line(&mut text, format_args!("  {line}"));
    }
    if let Some(fault) = &step.fault {
        push_line(
            &mut text,
            format_args!("  {} ({}, {})", fault.message, fault.class.name(), fault.code),
        );
    }
    for case in &step.cases {
        push_line(&mut text, format_args!("  {:<7} {}", case.outcome.name(), case_text(case)));
    }
    for log in &step.logs {
        push_line(&mut text, format_args!("  | {}", log.message));
    }
    text
}

fn conclusion(summary: &Summary) -> String {
    let cause = summary.cause.as_ref().map(|cause| format!("Because {cause}.")).unwrap_or_default();
    match (summary.end, &summary.paused) {
        (Some(end), _) => {
            let next = summary
                .to_continue
                .as_ref()
                .map(|next| format!("\n{}", one_line(&format!("Next: {next}."))));
            let said = one_line(format!("{} {cause}", summary.end_text(end)).trim_end());
            format!("{said}{}", next.unwrap_or_default())
        }
        (None, Some(reason)) => {
            let next = summary.to_continue.as_deref().unwrap_or_default();
            format!(
                "{}\n{}",
                one_line(&format!("Paused: {reason}.")),
                one_line(&format!("Next: {next}."))
            )
        }
        (None, None) => unfinished(summary),
    }
}

fn unfinished(summary: &Summary) -> String {
    let (state, run) = (&summary.state, short(&summary.run));
    match &summary.execution {
        Execution::Unknown => {
            format!(
                "Not ended: {state}. If nothing executes it any more, continue with \
                     `runbook resume {run}`."
            )
        }
        Execution::By(who) => one_line(&format!(
            "Not ended: {state}, executed by {who}. `runbook show {run} --follow` shows how it \
             goes."
        )),
        Execution::StandsStill { pid, host } => one_line(&format!(
            "Not ended: {state}. Process {pid} on {host} is alive but stands still: it was \
             stopped, or its machine slept, for longer than its lease.\n\
             Next: let it go on (`kill -CONT {pid}` there), or take the run over with \
             `runbook resume {run}`: the process then begins nothing more. `runbook cancel {run}` \
             ends the run from here."
        )),
        Execution::Nobody => {
            format!(
                "Interrupted: nobody executes it any more.\n\
                     Next: continue with `runbook resume {run}`, or end it with \
                     `runbook cancel {run}`."
            )
        }
    }
}

/// Rows of a plan or a list in aligned columns.
pub fn plan_table(rows: &[Vec<String>]) -> String {
    table(rows)
}
