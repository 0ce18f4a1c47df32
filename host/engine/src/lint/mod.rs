//! Checks of a runbook that need no plugins: names, order, templates.

mod items;
mod secret_like;
mod templates;
mod text_span;

pub use templates::{ExpectedType, OutputRead, output_reads};

use crate::event::Section;
use crate::graph::Graph;
use crate::model::{Bind, Runbook, Step};
use crate::template;
use runbook_contract::StepId;
use runbook_document::{Diagnostic, Diagnostics, nearest};
use std::collections::{BTreeMap, BTreeSet};

/// Reports everything that is wrong with a runbook as a whole. `outer_targets` are the names of the
/// targets of the files in which it is nested.
pub(crate) fn check_runbook(
    runbook: &Runbook,
    outer_targets: &[String],
    diagnostics: &mut Diagnostics,
) {
    check_ids(runbook, diagnostics);
    let graph = check_order(runbook, diagnostics);
    check_open_branches(runbook, &graph, diagnostics);
    check_binds(runbook, outer_targets, diagnostics);
    templates::check(runbook, &graph, diagnostics);
    check_unreachable(runbook, diagnostics);
    secret_like::check(runbook, diagnostics);
    // Only without other errors, because steps with errors may have been dropped.
    if runbook.steps.is_empty() && !diagnostics.has_errors() {
        let diagnostic = Diagnostic::error(
            "E0202",
            runbook.source(),
            runbook.name.span.clone(),
            "the runbook has no step",
        );
        diagnostics
            .push(diagnostic.label("does nothing").help("add `[[step]]` with `id` and `uses`"));
    }
}

/// The part of the file whose steps form a graph: the checks of a suite, the steps of a runbook.
pub(crate) fn graph_section(runbook: &Runbook) -> Section {
    if runbook.section(Section::Check).next().is_some() { Section::Check } else { Section::Step }
}

/// The numbered steps of `[[step]]` or `[[check]]`, and their graph.
pub(crate) fn step_graph(runbook: &Runbook) -> Graph {
    let needs = |step: &Step| {
        step.needs.as_ref().map(|needs| needs.iter().map(|need| need.value.clone()).collect())
    };
    let graph_steps = runbook.section(graph_section(runbook));
    let steps: Vec<_> = graph_steps.map(|step| (step.id.value.clone(), needs(step))).collect();
    Graph::new(&steps)
}

/// Reports ids that are used twice. Different ids have different keys in templates, because an id
/// contains no `_`.
fn check_ids(runbook: &Runbook, diagnostics: &mut Diagnostics) {
    let mut seen: BTreeMap<&StepId, &Step> = BTreeMap::new();
    for step in runbook.steps.iter().chain(runbook.guards.iter().map(|guard| &guard.probe)) {
        if let Some(first) = seen.get(&step.id.value) {
            let place = first.source.place(&first.id.span);
            let message = format!("id `{}` is used twice; first at {place}", step.id.value);
            let diagnostic =
                Diagnostic::error("E0207", &step.source, step.id.span.clone(), message);
            diagnostics.push(
                diagnostic
                    .label("used again")
                    .help("give it an id of its own: the journal is kept by ids"),
            );
        } else {
            seen.insert(&step.id.value, step);
        }
    }
}

fn check_order(runbook: &Runbook, diagnostics: &mut Diagnostics) -> Graph {
    let section = graph_section(runbook);
    let steps: Vec<&Step> = runbook.section(section).collect();
    let (verb, key, noun) = match section {
        Section::Check => ("depends on", "depends_on", "check"),
        Section::Preflight
        | Section::Step
        | Section::Verify
        | Section::Finally
        | Section::Guard
        | Section::Undo
        | Section::Notify => ("needs", "needs", "step"),
    };
    let names: Vec<&str> = steps.iter().map(|step| step.id.value.as_str()).collect();
    let known: BTreeSet<&str> = names.iter().copied().collect();
    for step in &steps {
        for need in step.needs.iter().flatten().filter(|need| !known.contains(need.value.as_str()))
        {
            let message =
                format!("{} {verb} `{}`, and there is no such {noun}", step.subject(), need.value);
            let diagnostic = Diagnostic::error("E0210", &step.source, need.span.clone(), message)
                .label(format!("no such {noun}"));
            let others: Vec<&str> =
                names.iter().copied().filter(|name| *name != step.id.value.as_str()).collect();
            diagnostics.push(with_nearest(diagnostic, need.value.as_str(), &others));
        }
    }
    let graph = step_graph(runbook);
    if let Some(cycle) = graph.cycle() {
        let mut path: Vec<String> =
            cycle.iter().map(|number| format!("`{}`", names[*number])).collect();
        path.push(path[0].clone());
        let step = steps[cycle[0]];
        let span = step
            .needs
            .as_ref()
            .and_then(|needs| needs.first())
            .map_or(&step.id.span, |need| &need.span)
            .clone();
        let message = format!(
            "the {noun}s wait for each other in a cycle: {}",
            path.join(&format!(" {verb} "))
        );
        let diagnostic = Diagnostic::error("E0211", &step.source, span, message);
        diagnostics.push(
            diagnostic.label("closes the cycle").help(format!("remove one of these from `{key}`")),
        );
        // A graph with a cycle has no order, so checks that need the order are skipped.
        return Graph::new(&[]);
    }
    graph
}

/// Warns of a step without `needs` after parallel branches: it waits only for the step above it,
/// and not for the other branches.
fn check_open_branches(runbook: &Runbook, graph: &Graph, diagnostics: &mut Diagnostics) {
    let steps: Vec<&Step> = runbook.section(Section::Step).collect();
    if graph.len() != steps.len() || graph_section(runbook) != Section::Step {
        return;
    }
    let mut unmerged: Vec<usize> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        // Only the steps above this one count.
        unmerged.retain(|branch| !graph.needs(number).contains(branch));
        if let (None, [_, ..]) = (&step.needs, unmerged.as_slice()) {
            let names: Vec<String> =
                unmerged.iter().map(|step| format!("`{}`", steps[*step].id.value)).collect();
            let above = &steps[number - 1].id.value;
            let message = format!(
                "{} waits for `{above}` only, and not for {}",
                step.subject(),
                names.join(", ")
            );
            let all: Vec<String> = unmerged
                .iter()
                .copied()
                .chain([number - 1])
                .map(|step| format!("\"{}\"", steps[step].id.value))
                .collect();
            let help = format!(
                "write `needs = [{}]`, or `needs = [\"{above}\"]` if that is meant",
                all.join(", ")
            );
            let diagnostic =
                Diagnostic::warning("E0233", &step.source, step.id.span.clone(), message);
            diagnostics.push(diagnostic.label("has no `needs`").help(help));
            unmerged.clear();
        }
        unmerged.push(number);
    }
}

fn check_binds(runbook: &Runbook, outer_targets: &[String], diagnostics: &mut Diagnostics) {
    let own_names = runbook.targets.iter().map(|target| target.name.name.as_str());
    let names: Vec<&str> = own_names.chain(outer_targets.iter().map(String::as_str)).collect();
    for site in runbook.call_sites() {
        for Bind { slot, target } in
            site.bind.iter().filter(|bind| !names.contains(&bind.target.value.as_str()))
        {
            let message = format!(
                "slot `{}` of `{}` is bound to `{}`, and there is no such target",
                slot.value, site.step, target.value
            );
            let diagnostic = Diagnostic::error("E0218", site.source, target.span.clone(), message)
                .label("no such target");
            let help = format!(
                "add `[targets.{}]`, or `include` a file that has it; a nested file also sees the \
                 targets of the file that nests it",
                target.value
            );
            diagnostics.push(match nearest(&target.value, names.iter().copied()) {
                Some(_) => with_nearest(diagnostic, &target.value, &names),
                None => diagnostic.help(help),
            });
        }
    }
}

/// Reports steps that can never run, because their `when` is always false.
fn check_unreachable(runbook: &Runbook, diagnostics: &mut Diagnostics) {
    for step in &runbook.steps {
        let Some(when) = &step.when else { continue };
        if template::constant(&when.value) == Some(false.into()) {
            let message = format!("{} never runs: its `when` is always false", step.subject());
            let diagnostic = Diagnostic::error("E0227", &step.source, when.span.clone(), message)
                .label("always false");
            diagnostics.push(diagnostic.help("remove the step, or let `when` depend on something"));
        }
    }
}

/// Adds a suggestion of the nearest name, or the list of all names.
fn with_nearest(diagnostic: Diagnostic, typed: &str, names: &[&str]) -> Diagnostic {
    match nearest(typed, names.iter().copied()) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None if names.is_empty() => diagnostic,
        None => diagnostic.help(format!("there are: {}", names.join(", "))),
    }
}
