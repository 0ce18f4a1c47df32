//! `runbook exec --dry-run`: probes read, steps report what they would do, and the host denies
//! every effect.

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::plugin_caller::PluginCaller;
use crate::ui;
use runbook_engine::{
    AskedPlugins, DryFinding, DryRun, DryStep, Kind, Outcome, Plan, RunId, Section,
};
use runbook_report::push_line;
use std::fmt::Write as _;

/// Shows what would happen. A preflight that fails now decides how the program ends.
pub async fn run(
    context: &Context,
    plan: &Plan,
    caller: &PluginCaller,
    run: RunId,
    environment: Option<&str>,
) -> Result<ExitStatus, Failure> {
    let (operate, operator, audience) = (caller, &context.operator, AskedPlugins::Everybody);
    let found = DryRun { plan, operate, run, operator, environment, audience }.ask_all().await;
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
        let opens = window.opens_after(jiff::Timestamp::now());
        let _ = writeln!(text, "{}", runbook_engine::describe_closed(opens));
    }
    text.push('\n');
    let rows: Vec<_> = found.iter().flat_map(rows).collect();
    text.push_str(&runbook_report::table(&rows));
    let stopped = found.iter().find(|step| is_preflight(plan, step) && !is_good(&step.finding));
    let effects: usize = found.iter().map(n_effects).sum();
    let tests: Vec<String> = found
        .iter()
        .filter(|step| is_writing_test(plan, step))
        .map(|step| format!("`{}`", step.id))
        .collect();
    let _ = write!(text, "\n\n{}", conclusion(stopped, effects, &tests));
    ui::text(&text)?;
    Ok(if stopped.is_some() { ExitStatus::CheckFailed } else { ExitStatus::Success })
}

fn conclusion(stopped: Option<&DryStep>, effects: usize, tests: &[String]) -> String {
    match (stopped, tests) {
        (Some(step), _) => {
            format!("The run would stop at preflight `{}` and change nothing.", step.id)
        }
        (None, []) => {
            format!("{} would happen, as far as it is known now.", ui::counted(effects, "effect"))
        }
        (None, tests) => format!(
            "{} of steps would happen, as far as it is known now, and what smoke tests write and \
             remove again: {}.",
            ui::counted(effects, "effect"),
            tests.join(", ")
        ),
    }
}

/// Whether it is a smoke test that writes: what it would do is not known before.
fn is_writing_test(plan: &Plan, step: &DryStep) -> bool {
    let planned = plan.step(&step.id.as_written());
    let writes = planned
        .is_some_and(|planned| planned.facts.kind == Kind::SmokeTest && planned.facts.writes);
    writes && !matches!(step.finding, DryFinding::Skipped)
}

fn is_preflight(plan: &Plan, step: &DryStep) -> bool {
    plan.step(&step.id).is_some_and(|planned| planned.section == Section::Preflight)
}

fn is_good(finding: &DryFinding) -> bool {
    match finding {
        DryFinding::Found { outcome, .. } => matches!(outcome, Outcome::Pass | Outcome::Warn),
        DryFinding::Would(_)
        | DryFinding::Opens { .. }
        | DryFinding::Skipped
        | DryFinding::NotAsked
        | DryFinding::AtRunTime { .. } => true,
        DryFinding::Failed(_) => false,
    }
}

fn n_effects(step: &DryStep) -> usize {
    match &step.finding {
        DryFinding::Would(proposal) => proposal.effects.len(),
        DryFinding::Found { .. }
        | DryFinding::Opens { .. }
        | DryFinding::Skipped
        | DryFinding::NotAsked
        | DryFinding::AtRunTime { .. }
        | DryFinding::Failed(_) => 0,
    }
}

/// One line a finding; one more for each effect when there are several.
pub fn rows(step: &DryStep) -> Vec<Vec<String>> {
    let row = |word: &str, text: String| vec![step.id.to_string(), word.to_owned(), text];
    match &step.finding {
        DryFinding::Found { outcome, summary } => vec![row(outcome.name(), summary.clone())],
        DryFinding::Opens { steps } => {
            vec![row("opens", format!("stands for the {} below", ui::counted(*steps, "step")))]
        }
        DryFinding::NotAsked => vec![row("not asked", String::new())],
        DryFinding::Skipped => vec![row("skipped", "its `when` is false".to_owned())],
        DryFinding::AtRunTime { reason } => vec![row("later", reason.clone())],
        DryFinding::Failed(fault) => vec![row("cannot say", fault.message.clone())],
        DryFinding::Would(proposal) if proposal.effects.is_empty() => {
            vec![row("nothing", proposal.summary.clone())]
        }
        DryFinding::Would(proposal) => {
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
