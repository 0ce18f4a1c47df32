//! `runbook plan`: shows what a runbook would do. Steps are asked for their plans, with every
//! effect denied. Probes are not called.

use crate::audit_log::Purpose;
use crate::completion;
use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output_file;
use crate::parameters;
use crate::plan_file::{PlanFile, PlannedRun};
use crate::plan_form::PlanForm;
use crate::plugin_caller::PluginCaller;
use crate::prepare;
use crate::prepared::PreparedRunbook;
use crate::project;
use crate::shared_arguments::{ListFormat, RunbookArgs};
use crate::ui;
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_authority::{Grant, Verb};
use runbook_engine::model::{OnBreach, OutsidePolicy, SecretEntry, Step};
use runbook_engine::{
    Call, CallReturn, DryRun, DryRunResult, DryRunScope, DryStep, ErrorClass, Fault, Json,
    LeaseWatch, Operate, Plan, PlannedGuard, PlannedItems, PlannedStep, PlannedUndo, RunId,
    Section, StepId,
};
use runbook_report::{push_line, value_text};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

/// The arguments of `runbook plan`.
#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    /// The runbook: its file, or its name in this project (`runbook list`)
    #[arg(value_name = "FILE|NAME", add = ArgValueCompleter::new(completion::runbooks))]
    pub file: PathBuf,
    /// Its parameters and environment.
    #[command(flatten)]
    pub runbook: RunbookArgs,
    /// Contact nothing: show only what the file itself says
    #[arg(long, conflicts_with = "out")]
    pub offline: bool,
    /// Write the plan into a file, which `runbook exec --plan` runs once, and only if nothing
    /// differs then
    #[arg(long, value_name = "PLAN", value_hint = clap::ValueHint::FilePath)]
    pub out: Option<PathBuf>,
    /// text, or json: one JSON object (`runbook schema plan`)
    #[arg(long, value_enum, default_value = "text")]
    pub format: ListFormat,
}

/// Shows what a runbook would do, and writes the plan into a file if `--out` names one.
pub fn run(context: &Context, args: &PlanArgs) -> Result<ExitStatus, Failure> {
    args.out.iter().try_for_each(|path| {
        PlanFile::refuse_overwriting_other_file(path)
            .and_then(|()| output_file::refuse_overwriting_input(context, path))
    })?;
    let file = project::find(&context.project, &args.file)?;
    let prepared = prepare::from_file(context, &file, args.runbook.env.as_deref())?;
    let params = parameters::resolve(context, &prepared.runbook, &args.runbook.params)?;
    let plan = super::exec::plan(context, &prepared, &params, &file)?;
    let dry_run_scope = if args.offline { DryRunScope::NoPlugins } else { DryRunScope::Steps };
    let run = RunId::generate();
    let found = execution::block_on(async {
        let (plan, operator, environment) = (&plan, &context.operator, args.runbook.env.as_deref());
        if dry_run_scope == DryRunScope::NoPlugins {
            return Ok(DryRun {
                plan,
                operate: &OfflineOperate,
                run,
                operator,
                environment,
                dry_run_scope,
            }
            .ask_all()
            .await);
        }
        let caller = PluginCaller::new(context, &prepared, run, Purpose::Preview)?;
        Ok(DryRun { plan, operate: &caller, run, operator, environment, dry_run_scope }
            .ask_all()
            .await)
    })?;
    match args.format {
        ListFormat::Text => ui::text(&render(&prepared, &plan, &found, dry_run_scope))?,
        ListFormat::Json => {
            ui::json(&PlanForm::of(&file, &prepared, &plan, &found, dry_run_scope).json())?;
        }
    }
    if super::dry_run::is_denied(&found) {
        if args.out.is_some() {
            ui::note("no plan was written, because the run would be denied what it does");
        }
        return Ok(ExitStatus::Refused);
    }
    if let Some(path) = &args.out {
        let planned = PlannedRun {
            run,
            operator: &context.operator,
            journal: &context.journal,
            file: &file,
            prepared: &prepared,
            plan: &plan,
            found: &found,
        };
        PlanFile::of(&planned)?.write(path)?;
        let shown = path.display().to_string();
        ui::note(&format!(
            "written; to run exactly this, once: `runbook exec --plan {}`",
            runbook_text::file_argument(&shown)
        ));
    }
    Ok(ExitStatus::Success)
}

/// Calls no plugin, for `--offline`.
struct OfflineOperate;

impl Operate for OfflineOperate {
    async fn call(&self, _call: Call, _leases: LeaseWatch) -> Result<CallReturn, Fault> {
        Err(Fault::new(ErrorClass::Denied, "plan.offline", "nobody will be asked"))
    }
}

/// The plan as text: title, parameters and locks, then the steps in order, then the authority of
/// each call.
fn render(
    prepared: &PreparedRunbook,
    plan: &Plan,
    found: &[DryStep],
    dry_run_scope: DryRunScope,
) -> String {
    let mut text = String::new();
    push_line(&mut text, format_args!("{} ({})", plan.title, plan.name));
    for (name, value) in &plan.params {
        push_line(&mut text, format_args!("{name} = {}", value_text(value)));
    }
    if let Some(environment) = &prepared.environment {
        push_line(
            &mut text,
            format_args!(
                "{}",
                crate::environment_targets::describe(&prepared.runbook, environment)
            ),
        );
    }
    if !plan.locks.exclusive.is_empty() {
        push_line(&mut text, format_args!("locks: {}", plan.locks.exclusive.join(", ")));
    }
    if let Some(window) = &plan.window {
        let outside = OutsidePolicy::ALL
            .iter()
            .find(|(value, _)| *value == window.outside)
            .map_or("", |(_, name)| *name);
        let now = if window.is_open(jiff::Timestamp::now()) { "open now" } else { "closed now" };
        push_line(&mut text, format_args!("window: {window} ({now}; outside: {outside})"));
    }
    if !plan.guards.is_empty() {
        let rows: Vec<_> = plan.guards.iter().map(guard_row).collect();
        let _ = write!(text, "\nGuards\n{}\n", indent(&runbook_report::table(&rows)));
    }
    for (section, heading) in SECTIONS {
        let steps: Vec<_> = plan.section(*section).collect();
        if steps.is_empty() {
            continue;
        }
        let groups = groups(plan, *section);
        let step_order = StepOrder::of(&steps);
        let previous = std::iter::once(None).chain(steps.iter().map(|step| Some(*step)));
        let rows: Vec<_> = steps
            .iter()
            .zip(previous)
            .map(|(step, previous)| {
                row(step, order(step, previous, step_order), groups.get(&step.id))
            })
            .collect();
        let heading_note =
            if groups.is_empty() { "" } else { " (those with one number run at the same time)" };
        let _ =
            write!(text, "\n{heading}{heading_note}\n{}\n", indent(&runbook_report::table(&rows)));
    }
    let inputs: Vec<_> = found.iter().flat_map(input_rows).collect();
    if !inputs.is_empty() {
        let _ = write!(text, "\nInputs\n{}\n", indent(&runbook_report::table(&inputs)));
    }
    let has_answer = |step: &&DryStep| {
        !matches!(step.result, DryRunResult::NotAsked | DryRunResult::NestedFile { .. })
    };
    let answers: Vec<_> = found.iter().filter(has_answer).flat_map(super::dry_run::rows).collect();
    if dry_run_scope == DryRunScope::Steps && !answers.is_empty() {
        let _ =
            write!(text, "\nWhat the steps say\n{}\n", indent(&runbook_report::table(&answers)));
    }
    let secrets = secrets(prepared);
    if !secrets.is_empty() {
        let _ = write!(text, "\nSecrets, by name\n{}\n", indent(&runbook_report::table(&secrets)));
    }
    let _ = write!(text, "\nAuthority\n{}\n", indent(&authority(prepared)));
    let timeouts = timeouts(prepared);
    if !timeouts.is_empty() {
        let _ = write!(
            text,
            "\nTime: the target's limit holds for each call, whatever the step says\n{}\n",
            indent(&runbook_report::table(&timeouts))
        );
    }
    let n_changing = prepared.sites.values().filter(|site| site.may_change()).count();
    let contacted = match dry_run_scope {
        DryRunScope::NoPlugins => "Nothing was contacted.",
        DryRunScope::Steps | DryRunScope::ProbesAndSteps => {
            "Steps were asked, and could change nothing; `exec --dry-run` asks probes too."
        }
    };
    let _ =
        write!(text, "\n{} may change something. {contacted}", ui::pluralize(n_changing, "call"));
    if let Some(gaps) = super::dry_run::gaps(found) {
        let _ = write!(text, " {gaps}");
    }
    text
}

/// Rows with the inputs of a step and of its undo. Templates that are filled in later are shown
/// unchanged.
fn input_rows(step: &DryStep) -> Vec<Vec<String>> {
    let entries = |input: &Json| {
        let entry = |(name, value): (&String, &Json)| {
            format!("{name} = {}", runbook_text::json(&value.to_string()))
        };
        input.as_object().into_iter().flatten().map(entry).collect::<Vec<_>>().join(", ")
    };
    let mut rows = vec![(step.id.to_string(), entries(&step.input))];
    let undo = || step.id.undo().to_string();
    match &step.undo {
        Some(Ok(input)) => rows.push((undo(), entries(input))),
        Some(Err(reason)) => rows
            .push((undo(), format!("could not be done, so the step would not be begun: {reason}"))),
        None => {}
    }
    rows.into_iter().filter(|(_, text)| !text.is_empty()).map(|(id, text)| vec![id, text]).collect()
}

fn guard_row(guard: &PlannedGuard) -> Vec<String> {
    let response = OnBreach::ALL
        .iter()
        .find(|(value, _)| *value == guard.on_breach)
        .map_or("", |(_, name)| *name);
    let condition = match guard.in_a_row {
        1 => "when it is breached".to_owned(),
        times => format!("when it is breached {times} times in a row"),
    };
    let every = runbook_document::format_duration(guard.every);
    vec![
        guard.id().to_string(),
        guard.probe.uses.clone(),
        format!("every {every}"),
        format!("{response} {condition}"),
    ]
}

/// The group number of each step in a section. Steps of one group run at the same time. Empty if no
/// two steps do.
fn groups(plan: &Plan, section: Section) -> BTreeMap<StepId, usize> {
    let mut groups: BTreeMap<StepId, usize> = BTreeMap::new();
    let mut end_groups: BTreeMap<StepId, usize> = BTreeMap::new();
    // A step may come before those that it needs, so this repeats until nothing changes. There is
    // no cycle, so the loop ends.
    let mut is_stable = false;
    while !is_stable {
        is_stable = true;
        for step in plan.section(section) {
            // A nested file ends when all its steps have ended.
            let needed =
                step.needs.iter().filter_map(|id| end_groups.get(id)).max().map(|group| group + 1);
            let enclosing_group =
                step.group.as_ref().and_then(|enclosing| groups.get(enclosing)).copied();
            let group = needed.max(enclosing_group).unwrap_or(1);
            is_stable &= groups.insert(step.id.clone(), group) == Some(group);
            let enclosing = std::iter::successors(step.group.as_ref(), |enclosing| {
                plan.step(enclosing)?.group.as_ref()
            });
            for id in std::iter::once(&step.id).chain(enclosing) {
                let end = end_groups.entry(id.clone()).or_insert(group);
                is_stable &= *end >= group;
                *end = group.max(*end);
            }
        }
    }
    let numbers: BTreeSet<usize> = groups.values().copied().collect();
    if numbers.len() == groups.len() { BTreeMap::new() } else { groups }
}

const SECTIONS: &[(Section, &str)] = &[
    (Section::Preflight, "Preflight"),
    (Section::Step, "Steps"),
    (Section::Verify, "Verify"),
    (Section::Finally, "Finally"),
];

/// Whether each step of a section only waits for the one above, so that the order need not be
/// shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StepOrder {
    Sequential,
    Branched,
}

impl StepOrder {
    fn of(steps: &[&PlannedStep]) -> Self {
        let follows = |pair: &[&PlannedStep]| match pair[1].needs.as_slice() {
            [] => pair[1].group.as_ref() == Some(&pair[0].id),
            // The row above may be the last step of the nested file that this step needs.
            [only] => *only == pair[0].id || pair[0].id.as_str().starts_with(&format!("{only}.")),
            _ => false,
        };
        if steps.windows(2).all(follows) { Self::Sequential } else { Self::Branched }
    }
}

fn row(step: &PlannedStep, order: String, group: Option<&usize>) -> Vec<String> {
    let undo = match &step.undo {
        PlannedUndo::NotNeeded => String::new(),
        PlannedUndo::Auto => "undo: its own".to_owned(),
        PlannedUndo::Explicit { .. } => "undo: as written".to_owned(),
        PlannedUndo::Irreversible { reason } => format!("irreversible: {reason}"),
    };
    let order =
        [order, repetition(step)].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    vec![
        group.map_or_else(|| step.id.to_string(), |group| format!("{group}  {}", step.id)),
        step.uses.clone(),
        order.join("; "),
        [undo, approval(step)].join("; ").trim_matches([';', ' ']).to_owned(),
    ]
}

/// The approval that a step waits for.
fn approval(step: &PlannedStep) -> String {
    let Some(approval) = &step.approval else { return String::new() };
    let who = if approval.approvers.is_empty() {
        String::new()
    } else {
        format!(" of {}", approval.approvers.join(", "))
    };
    format!("waits for {}{who}", ui::pluralize(approval.quorum as usize, "approval"))
}

/// The items that a step is repeated for, and how many of them run at once.
fn repetition(step: &PlannedStep) -> String {
    let Some(for_each) = &step.for_each else { return String::new() };
    let items = match &for_each.items {
        PlannedItems::Expression(text) => text.trim().to_owned(),
        PlannedItems::Literal(Json::Array(items)) => ui::pluralize(items.len(), "item"),
        PlannedItems::Literal(Json::Object(entries)) => ui::pluralize(entries.len(), "item"),
        PlannedItems::Literal(other) => other.to_string(),
    };
    let at_once = if for_each.max_parallel > 1 {
        format!(", {} at once", for_each.max_parallel)
    } else {
        String::new()
    };
    format!("for each of {items}{at_once}")
}

/// The steps that a step waits for; empty if each step only waits for the one above.
fn order(step: &PlannedStep, previous: Option<&PlannedStep>, step_order: StepOrder) -> String {
    match (step.needs.as_slice(), previous, step_order) {
        (_, None, _) | (_, Some(_), StepOrder::Sequential) => String::new(),
        ([], Some(_), StepOrder::Branched) if step.group.is_some() => String::new(),
        ([], Some(_), StepOrder::Branched) => "at once".to_owned(),
        (needs, Some(_), StepOrder::Branched) => {
            let names =
                needs.iter().map(runbook_engine::StepId::as_str).collect::<Vec<_>>().join(", ");
            format!("after {names}")
        }
    }
}

/// The description of a target. For a secret that is rotated it includes whom its store is encrypted
/// to. For a program it includes its environment variables, because they
/// can change what it does.
fn target_text(grant: &Grant) -> String {
    let target = &grant.target;
    let recipients = target.recipients();
    if grant.verbs.contains(&Verb::SecretsRotate) && !recipients.is_empty() {
        return format!("{}; encrypted to {}", target.describe(), recipients.join(", "));
    }
    let variables = target.variables();
    let with = if variables.is_empty() {
        String::new()
    } else {
        format!("; with environment {}", variables.join(", "))
    };
    target.describe() + &with
}

/// The grants as a table: one row for each slot of each call.
fn authority(prepared: &PreparedRunbook) -> String {
    let mut rows = Vec::new();
    for (id, site) in prepared.calls() {
        for grant in site.grants.iter() {
            let verbs: Vec<_> = grant.verbs.iter().map(|verb| verb.full_name()).collect();
            rows.push(vec![
                id.to_string(),
                grant.slot.clone(),
                verbs.join(", "),
                target_text(grant),
                grant.target.location(),
            ]);
        }
    }
    runbook_report::table(&rows)
}

/// Rows for steps whose `timeout` is longer than that of a target. Then the shorter limit of the
/// target applies to each call.
fn timeouts(prepared: &PreparedRunbook) -> Vec<Vec<String>> {
    let row = |step: &Step| {
        let step_timeout = step.timeout?;
        let site = prepared.sites.get(&step.id.value)?;
        let shorter = site
            .grants
            .iter()
            .filter(|grant| grant.target.timeout().is_some_and(|limit| limit < step_timeout));
        let limits: Vec<String> = shorter
            .filter_map(|grant| {
                let limit = runbook_document::format_duration(grant.target.timeout()?);
                Some(format!(
                    "each call to `{}` at most {limit} ({})",
                    grant.target.name,
                    grant.target.location()
                ))
            })
            .collect();
        let step_timeout = format!("at most {}", runbook_document::format_duration(step_timeout));
        (!limits.is_empty())
            .then(|| vec![step.id.value.to_string(), step_timeout, limits.join(", ")])
    };
    prepared.runbook.steps.iter().filter_map(row).collect()
}

/// Rows for the secrets that calls use: name, source and calls.
fn secrets(prepared: &PreparedRunbook) -> Vec<Vec<String>> {
    let users = prepared.users_of_secrets();
    let row = |secret: &SecretEntry| {
        let users = users.get(secret.name.name.as_str())?.join(", ");
        Some(vec![secret.name.name.clone(), secret.source_uri.value.clone(), users])
    };
    prepared.runbook.secrets.iter().filter_map(row).collect()
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
