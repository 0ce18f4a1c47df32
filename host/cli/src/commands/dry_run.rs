//! `runbook exec --dry-run`: probes read, steps report what they would do, and the host denies
//! every effect.

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::plugin_caller::PluginCaller;
use crate::ui;
use runbook_engine::{
    DryRun, DryRunResult, DryRunScope, DryStep, ErrorClass, Kind, Outcome, Plan, RunId, Section,
};
use runbook_report::push_line;
use std::fmt::Write as _;

/// Shows what a run would do. The exit status is `CheckFailed` if a preflight fails, `Refused` if a
/// step would be denied, and `Failed` if a step cannot begin.
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
    let tests: Vec<String> = found
        .iter()
        .filter(|step| is_writing_test(plan, step))
        .map(|step| format!("`{}`", step.id))
        .collect();
    let _ = write!(text, "\n\n{}", conclusion(failed_preflight, &found, &tests));
    ui::text(&text)?;
    Ok(if failed_preflight.is_some() { ExitStatus::CheckFailed } else { exit_status(&found) })
}

/// The exit status of a dry run in which no preflight failed: `Refused` if a step would be denied,
/// and `Failed` if a step cannot begin or could not say what it would do. What is not there yet may
/// be there when earlier steps have run.
fn exit_status(found: &[DryStep]) -> ExitStatus {
    let may_be_made = |step: &DryStep| match &step.result {
        DryRunResult::Failed(fault) => fault.class == ErrorClass::NotFound,
        DryRunResult::Probed { .. }
        | DryRunResult::Proposed(_)
        | DryRunResult::NestedFile { .. }
        | DryRunResult::Skipped
        | DryRunResult::NotAsked
        | DryRunResult::AtRunTime { .. }
        | DryRunResult::Denied(_) => true,
    };
    if is_denied(found) {
        ExitStatus::Refused
    } else if found.iter().all(may_be_made) {
        ExitStatus::Success
    } else {
        ExitStatus::Failed
    }
}

/// Whether the run would not be allowed to do what some step says it would do.
pub fn is_denied(found: &[DryStep]) -> bool {
    found.iter().any(|step| matches!(step.result, DryRunResult::Denied(_)))
}

fn conclusion(failed_preflight: Option<&DryStep>, found: &[DryStep], tests: &[String]) -> String {
    if let Some(step) = failed_preflight {
        return format!("The run would stop at preflight `{}` and change nothing.", step.id);
    }
    let n_effects: usize = found.iter().map(n_effects).sum();
    let effects = match (n_effects, gaps(found)) {
        (0, Some(_)) => "No effect is known now".to_owned(),
        (n_effects, _) => {
            let of_steps = if tests.is_empty() { "" } else { " of steps" };
            let effects = ui::pluralize(n_effects, "effect");
            format!("{effects}{of_steps} would happen, as far as it is known now")
        }
    };
    let tests = match tests {
        [] => String::new(),
        tests => {
            format!(", and what smoke tests write and remove again: {}", tests.join(", "))
        }
    };
    let gaps = gaps(found).map(|gaps| format!(" {gaps}")).unwrap_or_default();
    format!("{effects}{tests}.{gaps}")
}

/// The steps that would be denied, and those that could not say what they would do, in sentences;
/// `None` if there are none.
pub fn gaps(found: &[DryStep]) -> Option<String> {
    let ids = |is_counted: fn(&DryRunResult) -> bool| {
        let counted = found.iter().filter(|step| is_counted(&step.result));
        counted.map(|step| format!("`{}`", step.id)).collect::<Vec<_>>()
    };
    let denied = ids(|result| matches!(result, DryRunResult::Denied(_)));
    let silent = ids(|result| matches!(result, DryRunResult::Failed(_)));
    let mut sentences = Vec::new();
    if !denied.is_empty() {
        sentences.push(format!("The run would fail, because it is denied: {}.", denied.join(", ")));
    }
    if !silent.is_empty() {
        let steps = ui::pluralize(silent.len(), "step");
        let silent = silent.join(", ");
        sentences.push(format!("{steps} could not say what would happen: {silent}."));
    }
    (!sentences.is_empty()).then(|| sentences.join(" "))
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
        DryRunResult::Failed(_) | DryRunResult::Denied(_) => false,
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
        | DryRunResult::Failed(_)
        | DryRunResult::Denied(_) => 0,
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
        DryRunResult::Denied(fault) => vec![row("denied", fault.message.clone())],
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
