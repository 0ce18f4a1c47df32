//! `runbook plan`: what a runbook would do. Steps are asked for their plans, in which every effect is denied; probes are not asked.

use crate::args::PlanArgs;
use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::operate::Operator;
use crate::prepare::{self, Prepared};
use crate::ui;
use runbook_authority::Effect;
use runbook_engine::model::{OnBreach, Outside, SecretEntry};
use runbook_engine::{
    Answered, Audience, Call, DryFinding, DryStep, ErrorClass, Fault, Json, Operate, OperationFacts, Plan, PlannedGuard,
    PlannedItems, PlannedStep, PlannedUndo, RunId, Section, StepId, resolve_params,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Shows the plan.
pub fn run(context: &Context, args: &PlanArgs) -> Result<ExitStatus, Failure> {
    let prepared = prepare::from_file(context, &args.runbook.file, args.runbook.env.as_deref())?;
    let params = resolve_params(&prepared.runbook, &args.runbook.set).map_err(Failure::findings)?;
    let plan = super::exec::plan(context, &prepared, &params, &args.runbook.file)?;
    let audience = if args.offline { Audience::Nobody } else { Audience::Steps };
    let found = execution::block_on(async {
        let run = RunId::generate();
        let (environment, who) = (args.runbook.env.as_deref(), &context.operator);
        if audience == Audience::Nobody {
            return Ok(runbook_engine::dry_run(&plan, &Unasked, run, who, environment, audience).await);
        }
        let operator = Operator::new(context, &prepared, run)?;
        Ok(runbook_engine::dry_run(&plan, &operator, run, who, environment, audience).await)
    })?;
    ui::text(&render(&prepared, &plan, &found, audience))?;
    Ok(ExitStatus::Success)
}

/// Stands for plugins that are not even loaded.
struct Unasked;

impl Operate for Unasked {
    fn facts(&self, _step: &StepId) -> &OperationFacts {
        unreachable!("the plan carries what is known of its operations")
    }

    async fn call(&self, _call: Call) -> Result<Answered, Fault> {
        Err(Fault::new(ErrorClass::Denied, "plan.offline", "nobody is asked"))
    }
}

/// Title, parameters, locks; the steps in order with what each needs, does and how it is undone; the authority of each.
fn render(prepared: &Prepared, plan: &Plan, found: &[DryStep], audience: Audience) -> String {
    let mut text = format!("{} ({})\n", plan.title, plan.name);
    for (name, value) in &plan.params {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let _ = writeln!(text, "{name} = {value}");
    }
    if !plan.locks.exclusive.is_empty() {
        let _ = writeln!(text, "locks: {}", plan.locks.exclusive.join(", "));
    }
    if let Some(window) = &plan.window {
        let outside = Outside::ALL.iter().find(|(value, _)| *value == window.outside).map_or("", |(_, name)| *name);
        let now = if window.is_open(jiff::Timestamp::now()) { "open now" } else { "closed now" };
        let _ = writeln!(text, "window: {window} ({now}; outside: {outside})");
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
        let rows: Vec<_> = steps.iter().map(|step| row(plan, step, groups.get(&step.id))).collect();
        let together = if groups.is_empty() { "" } else { " (those with one number run at the same time)" };
        let _ = write!(text, "\n{heading}{together}\n{}\n", indent(&runbook_report::table(&rows)));
    }
    let inputs: Vec<_> = found.iter().flat_map(input_rows).collect();
    if !inputs.is_empty() {
        let _ = write!(text, "\nInputs\n{}\n", indent(&runbook_report::table(&inputs)));
    }
    let says = |step: &&DryStep| !matches!(step.finding, DryFinding::NotAsked | DryFinding::Opens { .. });
    let said: Vec<_> = found.iter().filter(says).flat_map(super::dry_run::rows).collect();
    if audience == Audience::Steps && !said.is_empty() {
        let _ = write!(text, "\nWhat the steps say\n{}\n", indent(&runbook_report::table(&said)));
    }
    let secrets = secrets(prepared, plan);
    if !secrets.is_empty() {
        let _ = write!(text, "\nSecrets, by name\n{}\n", indent(&runbook_report::table(&secrets)));
    }
    let _ = write!(text, "\nAuthority\n{}\n", indent(&authority(prepared, plan)));
    let writing = prepared.sites.values().filter(|site| changes(site)).count();
    let contacted = match audience {
        Audience::Nobody => "Nothing was contacted.",
        Audience::Steps | Audience::Everybody => "Steps were asked, and could change nothing; `exec --dry-run` asks probes too.",
    };
    let _ = write!(text, "\n{} may change something. {contacted}", ui::counted(writing, "call"));
    text
}

/// What a step and its undo are given; templates that are filled in later stand as they are.
fn input_rows(step: &DryStep) -> Vec<Vec<String>> {
    let entries = |input: &Json| {
        let entry = |(name, value): (&String, &Json)| format!("{name} = {value}");
        input.as_object().into_iter().flatten().map(entry).collect::<Vec<_>>().join(", ")
    };
    let mut rows = vec![(step.id.to_string(), entries(&step.input))];
    let undo = || step.id.undo().to_string();
    match &step.undo {
        Some(Ok(input)) => rows.push((undo(), entries(input))),
        Some(Err(reason)) => rows.push((undo(), format!("could not be done, so the step would not be begun: {reason}"))),
        None => {}
    }
    rows.into_iter().filter(|(_, text)| !text.is_empty()).map(|(id, text)| vec![id, text]).collect()
}

fn guard_row(guard: &PlannedGuard) -> Vec<String> {
    let response = OnBreach::ALL.iter().find(|(value, _)| *value == guard.on_breach).map_or("", |(_, name)| *name);
    let looks = match guard.in_a_row {
        1 => "when it is breached".to_owned(),
        looks => format!("when it is breached {looks} times in a row"),
    };
    let every = runbook_document::format_duration(guard.every);
    vec![guard.id().to_string(), guard.look.uses.clone(), format!("every {every}"), format!("{response} {looks}")]
}

/// For each step of a section the number of its group: steps of one group run at the same time. Empty if no two steps do.
fn groups(plan: &Plan, section: Section) -> BTreeMap<StepId, usize> {
    let mut groups: BTreeMap<StepId, usize> = BTreeMap::new();
    // A step may stand before what it needs; there is no circle, so this comes to an end.
    let mut settled = false;
    while !settled {
        settled = true;
        for step in plan.section(section) {
            let group = step.needs.iter().filter_map(|id| groups.get(id)).max().map_or(1, |group| group + 1);
            settled &= groups.insert(step.id.clone(), group) == Some(group);
        }
    }
    let different: BTreeSet<usize> = groups.values().copied().collect();
    if different.len() == groups.len() { BTreeMap::new() } else { groups }
}

const SECTIONS: &[(Section, &str)] =
    &[(Section::Preflight, "Preflight"), (Section::Step, "Steps"), (Section::Verify, "Verify"), (Section::Finally, "Finally")];

fn row(plan: &Plan, step: &PlannedStep, group: Option<&usize>) -> Vec<String> {
    let undo = match &step.undo {
        PlannedUndo::NotNeeded => String::new(),
        PlannedUndo::Auto => "undo: its own".to_owned(),
        PlannedUndo::Explicit { .. } => "undo: as written".to_owned(),
        PlannedUndo::Irreversible { reason } => format!("irreversible: {reason}"),
    };
    let order = [order(plan, step), repetition(step)].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    vec![
        group.map_or_else(|| step.id.to_string(), |group| format!("{group}  {}", step.id)),
        step.uses.clone(),
        order.join("; "),
        [undo, approval(step)].join("; ").trim_matches([';', ' ']).to_owned(),
    ]
}

/// Whose approval it waits for.
fn approval(step: &PlannedStep) -> String {
    let Some(approval) = &step.approval else { return String::new() };
    let who = if approval.approvers.is_empty() { String::new() } else { format!(" of {}", approval.approvers.join(", ")) };
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
    let at_once = if for_each.max_parallel > 1 { format!(", {} at once", for_each.max_parallel) } else { String::new() };
    format!("for each of {items}{at_once}")
}

/// What must be settled before, unless it is just the step above.
fn order(plan: &Plan, step: &PlannedStep) -> String {
    let steps: Vec<_> = plan.section(step.section).map(|known| &known.id).collect();
    let above = steps.iter().position(|id| **id == step.id).and_then(|index| index.checked_sub(1)).map(|index| steps[index]);
    let needs: Vec<&StepId> = step.needs.iter().filter(|id| steps.contains(id)).collect();
    match (needs.as_slice(), above) {
        ([], None) => String::new(),
        ([], Some(_)) if step.group.is_some() => String::new(),
        ([], Some(_)) => "at once".to_owned(),
        ([only], Some(above)) if *only == above => String::new(),
        (needs, _) => format!("after {}", needs.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ")),
    }
}

/// One line for each slot of each call: what it may do, to what, and where that is granted.
fn authority(prepared: &Prepared, plan: &Plan) -> String {
    let ids = plan.listing().into_iter().map(|listing| listing.id);
    let mut rows = Vec::new();
    for id in ids {
        let Some(site) = prepared.sites.get(&id) else { continue };
        for grant in site.effective.iter() {
            let verbs: Vec<_> = grant.verbs.iter().map(|verb| verb.full_name()).collect();
            rows.push(vec![id.to_string(), grant.slot.clone(), verbs.join(", "), grant.target.describe(), grant.target.place()]);
        }
    }
    runbook_report::table(&rows)
}

/// Each secret that a call uses: its name, where it is kept, and which calls.
fn secrets(prepared: &Prepared, plan: &Plan) -> Vec<Vec<String>> {
    let users = |name: &str| {
        let ids = plan.listing().into_iter().map(|listing| listing.id);
        let uses = |id: &StepId| {
            let site = prepared.sites.get(id);
            site.is_some_and(|site| site.effective.secrets().contains(&name))
        };
        ids.filter(uses).map(|id| id.to_string()).collect::<Vec<_>>()
    };
    let row = |secret: &SecretEntry| {
        let users = users(&secret.name.name);
        (!users.is_empty()).then(|| vec![secret.name.name.clone(), secret.source_uri.value.clone(), users.join(", ")])
    };
    prepared.runbook.secrets.iter().filter_map(row).collect()
}

fn changes(site: &prepare::Site) -> bool {
    site.effective.iter().any(|grant| grant.verbs.iter().any(|verb| verb.effect() == Effect::Change))
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
