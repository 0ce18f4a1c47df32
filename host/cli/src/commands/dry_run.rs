//! `runbook exec --dry-run`: probes read, steps report what they would do, and the host denies
//! every effect.

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::plugin_caller::PluginCaller;
use crate::ui;
use runbook_engine::{
    DryRun, DryRunResult, DryRunScope, DryStep, Kind, Outcome, Plan, RunId, Section,
};
use runbook_report::push_line;
use std::fmt::Write as _;

/// Shows what a run would do. The exit status is `CheckFailed` if a preflight fails.
pub async fn run(
    context: &Context,
    plan: &Plan,
    caller: &PluginCaller,
    run: RunId,
    environment: Option<&str>,
) -> Result<ExitStatus, Failure> {
    let (operate, operator, dry_run_scope) =
        (caller, &context.operator, DryRunScope::ProbesAndSteps);
    let found = DryRun { plan, operate, run, operator, environment, dry_run_scope }.ask_all().await;
    let mut text = String::new();
    push_line(
        &mut text,
        format_args!("{} ({}), dry run: nothing was changed", plan.title, plan.name),
    );
    if !plan.locks.exclusive.is_empty() {
        push_line(
            &mut text,
            format_args!("would hold the locks {}", plan.locks.exclusive.join(", ")),
        );
    }
    if let Some(window) =
        plan.window.as_ref().filter(|window| !window.is_open(jiff::Timestamp::now()))
    {
        let opens_at = window.opens_after(jiff::Timestamp::now());
        let _ = writeln!(text, "{}", runbook_engine::describe_closed_window(opens_at));
    }
    text.push('\n');
    let rows: Vec<_> = found.iter().flat_map(rows).collect();
    text.push_str(&runbook_report::table(&rows));
    let failed_preflight =
        found.iter().find(|step| is_preflight(plan, step) && !lets_run_continue(&step.result));
    let effects: usize = found.iter().map(n_effects).sum();
    let tests: Vec<String> = found
        .iter()
        .filter(|step| is_writing_test(plan, step))
        .map(|step| format!("`{}`", step.id))
        .collect();
    let _ = write!(text, "\n\n{}", conclusion(failed_preflight, effects, &tests));
    ui::text(&text)?;
    Ok(if failed_preflight.is_some() { ExitStatus::CheckFailed } else { ExitStatus::Success })
}

fn conclusion(failed_preflight: Option<&DryStep>, effects: usize, tests: &[String]) -> String {
    match (failed_preflight, tests) {
        (Some(step), _) => {
            format!("The run would stop at preflight `{}` and change nothing.", step.id)
        }
        (None, []) => {
            format!("{} would happen, as far as it is known now.", ui::pluralize(effects, "effect"))
        }
        (None, tests) => format!(
            "{} of steps would happen, as far as it is known now, and what smoke tests write and \
             remove again: {}.",
            ui::pluralize(effects, "effect"),
            tests.join(", ")
        ),
    }
}

/// Whether a step is a smoke test that writes. A dry run does not call it.
fn is_writing_test(plan: &Plan, step: &DryStep) -> bool {
    let planned = plan.step(&step.id.as_written());
    let writes = planned
        .is_some_and(|planned| planned.facts.kind == Kind::SmokeTest && planned.facts.writes);
    writes && !matches!(step.result, DryRunResult::Skipped)
}

fn is_preflight(plan: &Plan, step: &DryStep) -> bool {
    plan.step(&step.id).is_some_and(|planned| planned.section == Section::Preflight)
}

fn lets_run_continue(result: &DryRunResult) -> bool {
    match result {
        DryRunResult::Probed { outcome, .. } => matches!(outcome, Outcome::Pass | Outcome::Warn),
        DryRunResult::Proposed(_)
        | DryRunResult::NestedFile { .. }
        | DryRunResult::Skipped
        | DryRunResult::NotAsked
        | DryRunResult::AtRunTime { .. } => true,
        DryRunResult::Failed(_) => false,
    }
}

fn n_effects(step: &DryStep) -> usize {
    match &step.result {
        DryRunResult::Proposed(proposal) => proposal.effects.len(),
        DryRunResult::Probed { .. }
        | DryRunResult::NestedFile { .. }
        | DryRunResult::Skipped
        | DryRunResult::NotAsked
        | DryRunResult::AtRunTime { .. }
        | DryRunResult::Failed(_) => 0,
    }
}

/// The rows for the finding about a step: one, or one for each effect.
pub fn rows(step: &DryStep) -> Vec<Vec<String>> {
    let row = |word: &str, text: String| vec![step.id.to_string(), word.to_owned(), text];
    match &step.result {
        DryRunResult::Probed { outcome, summary } => vec![row(outcome.name(), summary.clone())],
        DryRunResult::NestedFile { steps } => {
            vec![row("nested", format!("stands for the {} below", ui::pluralize(*steps, "step")))]
        }
        DryRunResult::NotAsked => vec![row("not asked", String::new())],
        DryRunResult::Skipped => vec![row("skipped", "its `when` is false".to_owned())],
        DryRunResult::AtRunTime { reason } => vec![row("later", reason.clone())],
        DryRunResult::Failed(fault) => vec![row("cannot say", fault.message.clone())],
        DryRunResult::Proposed(proposal) if proposal.effects.is_empty() => {
            vec![row("nothing", proposal.summary.clone())]
        }
        DryRunResult::Proposed(proposal) => {
            let effects = proposal
                .effects
                .iter()
                .map(|effect| format!("{}: {}", effect.verb, effect.summary));
            let mut rows: Vec<_> =
                effects.map(|text| vec![String::new(), String::new(), text]).collect();
            rows[0] = row("would", rows[0][2].clone());
            rows
        }
    }
}
