//! The report for a person's terminal.

use crate::phrases::{case_text, short_run_id};
use crate::single_line::{one_line, push_line, value_text};
use crate::summary::{ExecutionStatus, StepStatus, StepSummary, Summary};
use crate::table::table;
use runbook_document::format_duration;
use runbook_engine::{RunEnd, Section};
use std::fmt::Write as _;

/// The report of a run.
pub(crate) fn render(summary: &Summary) -> String {
    let mut text = String::new();
    push_line(&mut text, format_args!("{} ({})", summary.title, summary.name));
    text.push_str(&heading(summary));
    let _ = writeln!(text, "\n{}", table(&rows(summary)));
    for step in summary.steps.iter().filter(|step| needs_detail(step)) {
        let _ = write!(text, "\n{}", step_detail(step));
    }
    let _ = write!(text, "{}\n{}", irreversible_text(summary), conclusion(summary));
    runbook_text::for_terminal(&text).into_owned()
}

/// How a run ended, for an operator who has followed it in the live view.
pub fn closing_text(summary: &Summary) -> String {
    let took = format_duration(summary.duration());
    let text = format!(
        "{}\n{}\nrun {}, took {took}",
        irreversible_text(summary),
        conclusion(summary),
        short_run_id(&summary.run)
    );
    runbook_text::for_terminal(&text).into_owned()
}

/// How a run ended or what it waits for, for a reader without a live view: one line if the run
/// succeeded without warnings, otherwise also each step that needs attention.
pub fn outcome_text(summary: &Summary) -> String {
    let is_plain_success = summary.end == Some(RunEnd::Succeeded) && summary.next_action.is_none();
    if !is_plain_success {
        let rows: Vec<_> =
            shown_steps(summary).filter(|step| needs_attention(step.state)).map(row).collect();
        let steps = if rows.is_empty() { String::new() } else { table(&rows) + "\n" };
        let steps = runbook_text::for_terminal(&steps).into_owned();
        return steps + closing_text(summary).trim_start_matches('\n');
    }
    let took = format_duration(summary.duration());
    let text = one_line(&format!(
        "{} run {}, took {took}",
        conclusion(summary),
        short_run_id(&summary.run)
    ));
    runbook_text::for_terminal(&text).into_owned()
}

/// The steps of a failed run whose changes cannot be undone, in a line; empty if there is none.
fn irreversible_text(summary: &Summary) -> String {
    let steps = summary
        .steps
        .iter()
        .filter(|step| step.is_irreversibly_changed() && step.state != StepStatus::Undone);
    let steps: Vec<_> = steps.map(|step| step.id.as_str()).collect();
    if steps.is_empty() || summary.cause.is_none() {
        return String::new();
    }
    format!(
        "\n{}\n",
        one_line(&format!("Stays, as the runbook says it cannot be undone: {}", steps.join(", ")))
    )
}

/// `run …, started … by …, took …`.
fn heading(summary: &Summary) -> String {
    let mut parts = vec![
        format!("run {}", short_run_id(&summary.run)),
        format!(
            "started {} by {}",
            summary.started.strftime("%Y-%m-%d %H:%M:%S UTC"),
            summary.operator
        ),
    ];
    parts.push(summary.duration_text());
    if let Some(environment) = &summary.environment {
        parts.push(format!("environment {environment}"));
    }
    let mut text = String::new();
    push_line(&mut text, format_args!("{}", parts.join(", ")));
    if let Some(run) = &summary.retry_of {
        push_line(&mut text, format_args!("tries run {} again", short_run_id(run)));
    }
    if let Some(window) = &summary.window {
        push_line(&mut text, format_args!("warning: {window}"));
    }
    for (name, value) in &summary.params {
        push_line(&mut text, format_args!("{name} = {}", value_text(value)));
    }
    text
}

/// Whether somebody should look at a step in this state.
fn needs_attention(state: StepStatus) -> bool {
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
    shown_steps(summary).map(row).collect()
}

fn shown_steps(summary: &Summary) -> impl Iterator<Item = &StepSummary> {
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
        step.title_and_result(),
    ]
}

fn needs_detail(step: &StepSummary) -> bool {
    step.is_for_a_person()
        || step.answers.is_some()
        || step.approval_void_reason.is_some()
        || step.recovery.is_some()
        || step.fault.is_some()
        || step.cases.iter().any(|case| case.outcome != runbook_engine::Outcome::Pass)
}

/// Lines about the answers and approvals of a step, and about an approval that is no longer valid.
pub(crate) fn answer_lines(step: &StepSummary) -> Vec<String> {
    let by = step.approved_by.join(", ");
    let fields = step.answers.iter().filter_map(serde_json::Value::as_object).flatten();
    let answers =
        fields.map(|(name, value)| format!("{name} = {} (answered by {by})", value_text(value)));
    step.approval_void_reason
        .clone()
        .into_iter()
        .chain(step.recovery.clone())
        .chain(answers)
        .collect()
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
                .next_action
                .as_ref()
                .map(|next| format!("\n{}", one_line(&format!("Next: {next}."))));
            let end = one_line(format!("{} {cause}", summary.end_text(end)).trim_end());
            format!("{end}{}", next.unwrap_or_default())
        }
        (None, Some(reason)) => {
            let next = summary.next_action.as_deref().unwrap_or_default();
            format!(
                "{}\n{}",
                one_line(&format!("Paused: {reason}.")),
                one_line(&format!("Next: {next}."))
            )
        }
        (None, None) => unfinished_run_text(summary),
    }
}

fn unfinished_run_text(summary: &Summary) -> String {
    let (state, run) = (&summary.state, short_run_id(&summary.run));
    match &summary.execution {
        ExecutionStatus::Unknown => {
            format!(
                "Not ended: {state}. If nothing executes it any more, continue with \
                     `runbook resume {run}`."
            )
        }
        ExecutionStatus::Somebody(who) => one_line(&format!(
            "Not ended: {state}, executed by {who}. `runbook show {run} --follow` shows how it \
             goes."
        )),
        ExecutionStatus::Stalled { pid, host } => one_line(&format!(
            "Not ended: {state}. Process {pid} on {host} is alive but stands still: it was \
             stopped, or its machine slept, for longer than its lease.\n\
             Next: let it go on (`kill -CONT {pid}` there), or take the run over with \
             `runbook resume {run}`: the process then begins nothing more. `runbook cancel {run}` \
             ends the run from here."
        )),
        ExecutionStatus::Nobody => {
            format!(
                "Interrupted: nobody executes it any more.\n\
                     Next: continue with `runbook resume {run}`, or end it with \
                     `runbook cancel {run}`."
            )
        }
    }
}
