//! `runbook plan`: what a runbook would do. Steps are asked for their plans, in which every effect
//! is denied; probes are not asked.

use crate::audit_log::Purpose;
use crate::completion;
use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output_file;
use crate::parameters;
use crate::plan_file::{PlanFile, PlanFileContent};
use crate::plan_form::PlanForm;
use crate::plugin_caller::PluginCaller;
use crate::prepare;
use crate::prepared::Prepared;
use crate::project;
use crate::shared_arguments::{ListFormat, RunbookArgs};
use crate::ui;
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_authority::Target;
use runbook_engine::model::{OnBreach, OutsidePolicy, SecretEntry, Step};
use runbook_engine::{
    AskedPlugins, Call, CallReturn, DryFinding, DryRun, DryStep, ErrorClass, Fault, Json,
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
    /// How it is filled in.
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
        PlanFile::refuse_another(path).and_then(|()| output_file::refuse_loss(context, path))
    })?;
    let file = project::find(&context.project, &args.file)?;
    let prepared = prepare::from_file(context, &file, args.runbook.env.as_deref())?;
    let params = parameters::resolve(context, &prepared.runbook, &args.runbook.params)?;
    let plan = super::exec::plan(context, &prepared, &params, &file)?;
    let audience = if args.offline { AskedPlugins::Nobody } else { AskedPlugins::Steps };
    let run = RunId::generate();
    let found = execution::block_on(async {
        let (plan, operator, environment) = (&plan, &context.operator, args.runbook.env.as_deref());
        if audience == AskedPlugins::Nobody {
            return Ok(DryRun {
                plan,
                operate: &OfflineOperate,
                run,
                operator,
                environment,
                audience,
            }
            .ask_all()
            .await);
        }
        let caller = PluginCaller::new(context, &prepared, run, Purpose::Preview)?;
        Ok(DryRun { plan, operate: &caller, run, operator, environment, audience }.ask_all().await)
    })?;
    match args.format {
        ListFormat::Text => ui::text(&render(&prepared, &plan, &found, audience))?,
        ListFormat::Json => {
            ui::json(&PlanForm::of(&file, &prepared, &plan, &found, audience).json())?;
        }
    }
    if let Some(path) = &args.out {
        let planned = PlanFileContent {
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
            runbook_text::file(&shown)
        ));
    }
    Ok(ExitStatus::Success)
}

/// A caller that asks no plugin.
struct OfflineOperate;

impl Operate for OfflineOperate {
    async fn call(&self, _call: Call, _leases: LeaseWatch) -> Result<CallReturn, Fault> {
        Err(Fault::new(ErrorClass::Denied, "plan.offline", "nobody will be asked"))
    }
}

/// Title, parameters, locks; the steps in order with what each needs, does and how it is undone;
/// the authority of each.
fn render(prepared: &Prepared, plan: &Plan, found: &[DryStep], audience: AskedPlugins) -> String {
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
                crate::environment_targets::described(&prepared.runbook, environment)
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
        let line = Line::of(&steps);
        let above = std::iter::once(None).chain(steps.iter().map(|step| Some(*step)));
        let rows: Vec<_> = steps
            .iter()
            .zip(above)
            .map(|(step, above)| row(step, order(step, above, line), groups.get(&step.id)))
            .collect();
        let together =
            if groups.is_empty() { "" } else { " (those with one number run at the same time)" };
        let _ = write!(text, "\n{heading}{together}\n{}\n", indent(&runbook_report::table(&rows)));
    }
    let inputs: Vec<_> = found.iter().flat_map(input_rows).collect();
    if !inputs.is_empty() {
        let _ = write!(text, "\nInputs\n{}\n", indent(&runbook_report::table(&inputs)));
    }
    let says =
        |step: &&DryStep| !matches!(step.finding, DryFinding::NotAsked | DryFinding::Opens { .. });
    let said: Vec<_> = found.iter().filter(says).flat_map(super::dry_run::rows).collect();
    if audience == AskedPlugins::Steps && !said.is_empty() {
        let _ = write!(text, "\nWhat the steps say\n{}\n", indent(&runbook_report::table(&said)));
    }
    let secrets = secrets(prepared);
    if !secrets.is_empty() {
        let _ = write!(text, "\nSecrets, by name\n{}\n", indent(&runbook_report::table(&secrets)));
    }
    let _ = write!(text, "\nAuthority\n{}\n", indent(&authority(prepared)));
    let times = times(prepared);
    if !times.is_empty() {
        let _ = write!(
            text,
            "\nTime: the target's limit holds for each call, whatever the step says\n{}\n",
            indent(&runbook_report::table(&times))
        );
    }
    let writing = prepared.sites.values().filter(|site| site.changes()).count();
    let contacted = match audience {
        AskedPlugins::Nobody => "Nothing was contacted.",
        AskedPlugins::Steps | AskedPlugins::Everybody => {
            "Steps were asked, and could change nothing; `exec --dry-run` asks probes too."
        }
    };
    let _ = write!(text, "\n{} may change something. {contacted}", ui::counted(writing, "call"));
    text
}

/// What a step and its undo are given; templates that are filled in later stand as they are.
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
    let looks = match guard.in_a_row {
        1 => "when it is breached".to_owned(),
        looks => format!("when it is breached {looks} times in a row"),
    };
    let every = runbook_document::format_duration(guard.every);
    vec![
        guard.id().to_string(),
        guard.probe.uses.clone(),
        format!("every {every}"),
        format!("{response} {looks}"),
    ]
}

/// For each step of a section the number of its group: steps of one group run at the same time.
/// Empty if no two steps do.
fn groups(plan: &Plan, section: Section) -> BTreeMap<StepId, usize> {
    let mut groups: BTreeMap<StepId, usize> = BTreeMap::new();
    let mut ends: BTreeMap<StepId, usize> = BTreeMap::new();
    // A step may be before the steps that it needs; there is no cycle, so the loop ends.
    let mut settled = false;
    while !settled {
        settled = true;
        for step in plan.section(section) {
            // What stands for a nested file has ended when all steps of the file have.
            let needed =
                step.needs.iter().filter_map(|id| ends.get(id)).max().map(|group| group + 1);
            let opened = step.group.as_ref().and_then(|around| groups.get(around)).copied();
            let group = needed.max(opened).unwrap_or(1);
            settled &= groups.insert(step.id.clone(), group) == Some(group);
            let around = std::iter::successors(step.group.as_ref(), |around| {
                plan.step(around)?.group.as_ref()
            });
            for id in std::iter::once(&step.id).chain(around) {
                let end = ends.entry(id.clone()).or_insert(group);
                settled &= *end >= group;
                *end = group.max(*end);
            }
        }
    }
    let different: BTreeSet<usize> = groups.values().copied().collect();
    if different.len() == groups.len() { BTreeMap::new() } else { groups }
}

const SECTIONS: &[(Section, &str)] = &[
    (Section::Preflight, "Preflight"),
    (Section::Step, "Steps"),
    (Section::Verify, "Verify"),
    (Section::Finally, "Finally"),
];

/// Whether the steps of a section follow each other in one line, so that it need not be shown which
/// waits for which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Straight,
    Branched,
}

impl Line {
    fn of(steps: &[&PlannedStep]) -> Self {
        let follows = |pair: &[&PlannedStep]| match pair[1].needs.as_slice() {
            [] => pair[1].group.as_ref() == Some(&pair[0].id),
            // The last step of a nested file stands above what needs the file.
            [only] => *only == pair[0].id || pair[0].id.as_str().starts_with(&format!("{only}.")),
            _ => false,
        };
        if steps.windows(2).all(follows) { Self::Straight } else { Self::Branched }
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
    format!("waits for {}{who}", ui::counted(approval.quorum as usize, "approval"))
}

/// What it is repeated for, and how many at once.
fn repetition(step: &PlannedStep) -> String {
    let Some(for_each) = &step.for_each else { return String::new() };
    let items = match &for_each.items {
        PlannedItems::Expression(text) => text.trim().to_owned(),
        PlannedItems::Literal(Json::Array(items)) => ui::counted(items.len(), "item"),
        PlannedItems::Literal(Json::Object(entries)) => ui::counted(entries.len(), "item"),
        PlannedItems::Literal(other) => other.to_string(),
    };
    let at_once = if for_each.max_parallel > 1 {
        format!(", {} at once", for_each.max_parallel)
    } else {
        String::new()
    };
    format!("for each of {items}{at_once}")
}

/// The steps that must be settled before; empty where each step just follows the one above.
fn order(step: &PlannedStep, above: Option<&PlannedStep>, line: Line) -> String {
    match (step.needs.as_slice(), above, line) {
        (_, None, _) | (_, Some(_), Line::Straight) => String::new(),
        ([], Some(_), Line::Branched) if step.group.is_some() => String::new(),
        ([], Some(_), Line::Branched) => "at once".to_owned(),
        (needs, Some(_), Line::Branched) => {
            let names =
                needs.iter().map(runbook_engine::StepId::as_str).collect::<Vec<_>>().join(", ");
            format!("after {names}")
        }
    }
}

/// What a slot is bound to; of a program with the variables that it gets, because they can decide
/// what it runs.
fn thing(target: &Target) -> String {
    let variables = target.variables();
    let with = if variables.is_empty() {
        String::new()
    } else {
        format!("; with environment {}", variables.join(", "))
    };
    target.describe() + &with
}

/// One line for each slot of each call: what it may do, to what, and where that is granted.
fn authority(prepared: &Prepared) -> String {
    let mut rows = Vec::new();
    for (id, site) in prepared.calls() {
        for grant in site.effective.iter() {
            let verbs: Vec<_> = grant.verbs.iter().map(|verb| verb.full_name()).collect();
            rows.push(vec![
                id.to_string(),
                grant.slot.clone(),
                verbs.join(", "),
                thing(&grant.target),
                grant.target.place(),
            ]);
        }
    }
    runbook_report::table(&rows)
}

/// Steps that say how long they may take, where a target allows each call less: raising one without
/// the other changes nothing.
fn times(prepared: &Prepared) -> Vec<Vec<String>> {
    let row = |step: &Step| {
        let own = step.timeout?;
        let site = prepared.sites.get(&step.id.value)?;
        let shorter = site
            .effective
            .iter()
            .filter(|grant| grant.target.timeout().is_some_and(|limit| limit < own));
        let limits: Vec<String> = shorter
            .filter_map(|grant| {
                let limit = runbook_document::format_duration(grant.target.timeout()?);
                Some(format!(
                    "each call to `{}` at most {limit} ({})",
                    grant.target.name,
                    grant.target.place()
                ))
            })
            .collect();
        let own = format!("at most {}", runbook_document::format_duration(own));
        (!limits.is_empty()).then(|| vec![step.id.value.to_string(), own, limits.join(", ")])
    };
    prepared.runbook.steps.iter().filter_map(row).collect()
}

/// Each secret that a call uses: its name, where it is kept, and which calls.
fn secrets(prepared: &Prepared) -> Vec<Vec<String>> {
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
