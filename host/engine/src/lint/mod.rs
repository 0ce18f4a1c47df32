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

/// Reports everything that is wrong with the runbook as a whole.
///
/// `around` are the names of the targets of the files in which it is nested.
pub(crate) fn runbook(runbook: &Runbook, around: &[String], diagnostics: &mut Diagnostics) {
    ids(runbook, diagnostics);
    let graph = order(runbook, diagnostics);
    open_branches(runbook, &graph, diagnostics);
    binds(runbook, around, diagnostics);
    templates::check(runbook, &graph, diagnostics);
    unreachable(runbook, diagnostics);
    secret_like::check(runbook, diagnostics);
    // A step with mistakes counts as a step, so that a file of such steps is not called empty.
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
    let own = runbook.section(graph_section(runbook));
    let steps: Vec<_> = own.map(|step| (step.id.value.clone(), needs(step))).collect();
    Graph::new(&steps)
}

/// Reports ids that stand twice. Ids that differ in `-` and nothing else would be one name in
/// templates, but `_` is not part of an id.
fn ids(runbook: &Runbook, diagnostics: &mut Diagnostics) {
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

fn order(runbook: &Runbook, diagnostics: &mut Diagnostics) -> Graph {
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
        // A graph with a cycle has no order; what follows from the order cannot be checked.
        return Graph::new(&[]);
    }
    graph
}

/// Warns of a step that names no `needs` where branches are open: it waits for the step above, and
/// for no other.
fn open_branches(runbook: &Runbook, graph: &Graph, diagnostics: &mut Diagnostics) {
    let steps: Vec<&Step> = runbook.section(Section::Step).collect();
    if graph.len() != steps.len() || graph_section(runbook) != Section::Step {
        return;
    }
    let mut open: Vec<usize> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        // As far as the file was read: what waits further below does not wait here.
        open.retain(|branch| !graph.needs(number).contains(branch));
        if let (None, [_, ..]) = (&step.needs, open.as_slice()) {
            let names: Vec<String> =
                open.iter().map(|step| format!("`{}`", steps[*step].id.value)).collect();
            let above = &steps[number - 1].id.value;
            let message = format!(
                "{} waits for `{above}` only, and not for {}",
                step.subject(),
                names.join(", ")
            );
            let all: Vec<String> = open
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
            open.clear();
        }
        open.push(number);
    }
}

fn binds(runbook: &Runbook, around: &[String], diagnostics: &mut Diagnostics) {
    let own = runbook.targets.iter().map(|target| target.name.name.as_str());
    let names: Vec<&str> = own.chain(around.iter().map(String::as_str)).collect();
    for site in runbook.use_sites() {
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

/// Reports steps that can never run: their `when` is always false. What needs them still runs, as
/// for any skipped step.
fn unreachable(runbook: &Runbook, diagnostics: &mut Diagnostics) {
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

/// Adds what was probably meant, or what there is.
fn with_nearest(diagnostic: Diagnostic, typed: &str, names: &[&str]) -> Diagnostic {
    match nearest(typed, names.iter().copied()) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None if names.is_empty() => diagnostic,
        None => diagnostic.help(format!("there are: {}", names.join(", "))),
    }
}
