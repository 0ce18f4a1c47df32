//! Nested runbooks and suites: parsed like any runbook, then inserted after the step that names
//! them.
//!
//! One run has one journal, one undo and one set of locks, and each name of a target has one
//! definition. A nested file cannot define it differently.

use super::{Loader, ParseContext};
use crate::event::Section;
use crate::lint;
use crate::model::{Group, Guard, NestedKind, Runbook, SecretEntry, Step, TargetEntry};
use crate::params;
use runbook_contract::StepId;
use runbook_document::{Diagnostic, Diagnostics, Source, Spanned, nearest};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How deep files may be nested. With more levels, readers lose track.
const MAX_DEPTH: usize = 4;

/// Reads every file that a step of the runbook nests, and inserts its steps.
pub(super) fn expand(
    runbook: &mut Runbook,
    parsing: &mut ParseContext<'_, '_>,
    diagnostics: &mut Diagnostics,
) {
    if runbook.steps.iter().all(|step| step.nested().is_none()) {
        return;
    }
    spell_out_needs(runbook);
    for step in runbook.steps.clone() {
        let Some(inner) = read(&step, parsing, diagnostics) else { continue };
        if step.nested().is_some_and(|nested| nested.kind == NestedKind::Runbook) {
            adopt_window(runbook, &inner, &step, diagnostics);
        }
        check_params(&step, &inner, diagnostics);
        merge_definitions(runbook, &inner, &step, diagnostics);
        insert_nested_steps(runbook, &step, inner);
    }
}

/// Sets `needs` of every step, because after steps are inserted the order in the file has no
/// meaning.
fn spell_out_needs(runbook: &mut Runbook) {
    let graph = lint::step_graph(runbook);
    let ids: Vec<StepId> =
        runbook.section(Section::Step).map(|step| step.id.value.clone()).collect();
    let steps = runbook.steps.iter_mut().filter(|step| step.section == Section::Step);
    for (number, step) in steps.enumerate() {
        let needs = graph
            .needs(number)
            .iter()
            .map(|need| Spanned { value: ids[*need].clone(), span: step.id.span.clone() });
        step.needs = Some(needs.collect());
    }
}

fn read(
    step: &Step,
    parsing: &mut ParseContext<'_, '_>,
    diagnostics: &mut Diagnostics,
) -> Option<Runbook> {
    let nested = step.nested()?;
    let name = &nested.file.value;
    let error = |code, message: String| {
        Diagnostic::error(code, &step.source, nested.file.span.clone(), message)
    };
    super::include::file_name(&step.source, name, &nested.file.span, diagnostics)?;
    if name.contains('/') || name.contains('\\') {
        let message = format!("`{name}` is not in the folder of the runbook");
        let help = "put it beside this one: every path in a run is relative to one folder";
        diagnostics.push(error("E0231", message).label("in another folder").help(help));
        return None;
    }
    if parsing.open_files.contains(name) || parsing.root.ends_with(name.as_str()) {
        diagnostics.push(
            error("E0231", format!("`{name}` would run itself"))
                .label("a cycle")
                .help("remove this step"),
        );
        return None;
    }
    if parsing.open_files.len() >= MAX_DEPTH {
        let message = format!("`{name}` is nested more than {MAX_DEPTH} deep");
        diagnostics.push(
            error("E0231", message).label("too deep").help("put its steps into the file above"),
        );
        return None;
    }
    let source = match (parsing.load)(name) {
        Ok(source) => source,
        Err(problem) => {
            let message = format!("`{name}` cannot be read: {problem}");
            let help = "give the name of a file in the folder of the runbook";
            diagnostics.push(error("E0225", message).label("needed here").help(help));
            return None;
        }
    };
    parsing.open_files.push(name.clone());
    let inner = super::read_with_nested(&source, parsing, diagnostics);
    parsing.open_files.pop();
    let mut inner = inner?;
    let is_suite = inner.steps.iter().any(|step| step.check.is_some());
    match (nested.kind, is_suite) {
        (NestedKind::Runbook, true) => {
            let message = format!("`{name}` is a suite: it has `[[check]]`");
            diagnostics.push(
                error("E0231", message)
                    .label("not a runbook")
                    .help(format!("write `suite = \"{name}\"`")),
            );
            return None;
        }
        (NestedKind::Suite, false) => {
            let message = format!("`{name}` is no suite: it has no `[[check]]`");
            diagnostics.push(
                error("E0231", message)
                    .label("not a suite")
                    .help(format!("write `runbook = \"{name}\"`")),
            );
            return None;
        }
        (NestedKind::Runbook, false) => {}
        (NestedKind::Suite, true) => select_checks(&mut inner, step, step.tags(), diagnostics),
    }
    Some(inner)
}

/// Leaves only the checks with one of the tags. A selection without a check is an error, because it
/// would always pass.
fn select_checks(inner: &mut Runbook, step: &Step, tags: &[String], diagnostics: &mut Diagnostics) {
    if tags.is_empty() {
        return;
    }
    let known: Vec<String> = inner
        .steps
        .iter()
        .filter_map(|step| step.check.as_ref())
        .flat_map(|check| check.tags.clone())
        .collect();
    for tag in tags.iter().filter(|tag| !known.contains(tag)) {
        let message = format!("no check of the suite has the tag `{tag}`");
        let diagnostic = Diagnostic::error("E0231", &step.source, step.id.span.clone(), message)
            .label("would check nothing");
        diagnostics.push(match nearest(tag, known.iter().map(String::as_str)) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic,
        });
    }
    let is_tagged = |step: &Step| {
        step.check.as_ref().is_none_or(|check| check.tags.iter().any(|tag| tags.contains(tag)))
    };
    inner.retain_steps(is_tagged);
}

/// Takes over the window of a nested runbook. Two different windows are an error.
fn adopt_window(
    runbook: &mut Runbook,
    inner: &Runbook,
    step: &Step,
    diagnostics: &mut Diagnostics,
) {
    let Some(window) = &inner.window else { return };
    match &runbook.window {
        None => runbook.window = Some(window.clone()),
        Some(own) if own == window => {}
        Some(_) => {
            let message = format!(
                "{} has a `[window]` of its own, and it is another than this runbook's",
                inner.source().name()
            );
            let diagnostic =
                Diagnostic::error("E0231", &step.source, step.id.span.clone(), message)
                    .label("two windows");
            diagnostics.push(diagnostic.help("give both the same `[window]`, or remove one"));
        }
    }
}

/// Checks the parameters that a step gives: their names, that none is missing, and the values
/// without templates.
fn check_params(step: &Step, inner: &Runbook, diagnostics: &mut Diagnostics) {
    let given =
        step.with.as_ref().map_or_else(|| serde_json::json!({}), runbook_document::Table::to_json);
    let given = given.as_object().cloned().unwrap_or_default();
    for problem in params::problems(&inner.params, &given, params::TemplateValues::NotRendered) {
        let node = step
            .with
            .as_ref()
            .and_then(|with| with.entries.iter().find(|(key, _)| key.name == problem.name));
        // The key may come from a file of inputs.
        let (source, span) = match node {
            Some((key, node)) => {
                (node.other_source.as_ref().unwrap_or(&step.source), key.span.clone())
            }
            None => (&step.source, step.id.span.clone()),
        };
        let message = format!("`with` of {}: {}", step.subject(), problem.message);
        diagnostics.push(Diagnostic::error("E0231", source, span, message).label("does not fit"));
    }
}

/// Adds the targets, secrets, locks, limits and sources of a nested file to those of the run.
fn merge_definitions(
    runbook: &mut Runbook,
    inner: &Runbook,
    step: &Step,
    diagnostics: &mut Diagnostics,
) {
    for target in &inner.targets {
        match runbook.targets.iter().find(|known| known.name.name == target.name.name) {
            None => runbook.targets.push(target.clone()),
            Some(known) if is_same_target(known, target) => {}
            Some(known) => {
                let (name, first) = (&target.name.name, known.source.place(&known.name.span));
                diagnostics.push(two_definitions(
                    step,
                    &format!("target `{name}`"),
                    &first,
                    &target.source.place(&target.name.span),
                ));
            }
        }
    }
    for secret in &inner.secrets {
        match runbook.secrets.iter().find(|known| known.name.name == secret.name.name) {
            None => runbook.secrets.push(secret.clone()),
            Some(known) if is_same_secret(known, secret) => {}
            Some(known) => {
                let (name, first) = (&secret.name.name, known.source.place(&known.name.span));
                diagnostics.push(two_definitions(
                    step,
                    &format!("secret `{name}`"),
                    &first,
                    &secret.source.place(&secret.name.span),
                ));
            }
        }
    }
    runbook.locks.exclusive.extend(inner.locks.exclusive.iter().cloned());
    runbook.locks.exclusive.sort();
    runbook.locks.exclusive.dedup();
    runbook.locks.wait = runbook.locks.wait.max(inner.locks.wait);
    runbook.limits.max_parallel = runbook.limits.max_parallel.min(inner.limits.max_parallel);
    runbook.limits.cleanup_timeout =
        runbook.limits.cleanup_timeout.max(inner.limits.cleanup_timeout);
    for source in &inner.sources {
        if runbook.sources.iter().all(|known| known.name() != source.name()) {
            runbook.sources.push(Arc::clone(source));
        }
    }
}

fn is_same_target(a: &TargetEntry, b: &TargetEntry) -> bool {
    let text = |entry: &TargetEntry| entry.table.to_json();
    text(a) == text(b)
}

fn is_same_secret(a: &SecretEntry, b: &SecretEntry) -> bool {
    a.table.to_json() == b.table.to_json()
}

fn two_definitions(step: &Step, what: &str, first: &str, second: &str) -> Diagnostic {
    let message = format!("{what} is one thing at {first} and another at {second}");
    let diagnostic = Diagnostic::error("E0231", &step.source, step.id.span.clone(), message)
        .label("two definitions in one run");
    diagnostic.help("rename one, or let both files include the same one")
}

/// Inserts the steps of a nested file. Their ids begin with the id of the step that nests it.
fn insert_nested_steps(runbook: &mut Runbook, step: &Step, mut inner: Runbook) {
    let id = &step.id.value;
    let mut own_groups = std::mem::take(&mut inner.groups);
    for group in &mut own_groups {
        group.id = id.inner(&group.id);
    }
    let kind = step.nested().map_or(NestedKind::Runbook, |nested| nested.kind);
    let (forward, finally) = nested_steps_in_order(&inner, id);
    let position = runbook
        .steps
        .iter()
        .position(|known| known.id.value == *id)
        .map_or(runbook.steps.len(), |at| at + 1);
    runbook.steps.splice(position..position, forward);
    let first_finally = runbook.steps.iter().position(|known| known.section == Section::Finally);
    let at = first_finally.unwrap_or(runbook.steps.len());
    runbook.steps.splice(at..at, finally);
    let guards = inner
        .guards
        .iter()
        .map(|guard| Guard { probe: nested_step(&guard.probe, id, Vec::new()), ..guard.clone() });
    runbook.guards.extend(guards);
    runbook.groups.push(Group {
        id: id.clone(),
        kind,
        file: step.nested().map(|nested| nested.file.value.clone()).unwrap_or_default(),
        params: inner.params.clone(),
        with: step.with.clone(),
        source: Arc::clone(&step.source),
        inner,
    });
    runbook.groups.append(&mut own_groups);
}

/// The preflights, steps and verifies of a nested file, in this order, as steps of the run; and its
/// `finally` steps.
fn nested_steps_in_order(inner: &Runbook, parent: &StepId) -> (Vec<Step>, Vec<Step>) {
    let graph = lint::step_graph(inner);
    let steps: Vec<&Step> = inner.section(Section::Step).collect();
    let mut previous: Vec<StepId> = Vec::new();
    let mut forward = Vec::new();
    for preflight in inner.section(Section::Preflight) {
        forward.push(nested_step(
            preflight,
            parent,
            std::mem::replace(&mut previous, vec![parent.inner(&preflight.id.value)]),
        ));
    }
    for (number, step) in steps.iter().enumerate() {
        let mut needs: Vec<StepId> =
            graph.needs(number).iter().map(|need| parent.inner(&steps[*need].id.value)).collect();
        if needs.is_empty() {
            needs.clone_from(&previous);
        }
        forward.push(nested_step(step, parent, needs));
    }
    // The verifies need all steps that no other step needs.
    let needed: BTreeSet<StepId> = forward
        .iter()
        .flat_map(|step| step.needs.iter().flatten())
        .map(|need| need.value.clone())
        .collect();
    let ids = forward.iter().map(|step| step.id.value.clone());
    let mut previous: Vec<StepId> = ids.filter(|id| !needed.contains(id)).collect();
    for verify in inner.section(Section::Verify) {
        forward.push(nested_step(
            verify,
            parent,
            std::mem::replace(&mut previous, vec![parent.inner(&verify.id.value)]),
        ));
    }
    for check in inner.section(Section::Check) {
        let needs = check.needs.iter().flatten().map(|need| parent.inner(&need.value)).collect();
        forward.push(nested_step(check, parent, needs));
    }
    let finally =
        inner.section(Section::Finally).map(|step| nested_step(step, parent, Vec::new())).collect();
    (forward, finally)
}

/// A step of a nested file as a step of the run.
fn nested_step(step: &Step, parent: &StepId, needs: Vec<StepId>) -> Step {
    let section = match step.section {
        Section::Preflight | Section::Step | Section::Verify | Section::Check => Section::Step,
        kept @ (Section::Finally | Section::Guard | Section::Undo | Section::Notify) => kept,
    };
    let span = step.id.span.clone();
    Step {
        section,
        id: Spanned { value: parent.inner(&step.id.value), span: span.clone() },
        needs: (section == Section::Step).then(|| {
            needs.into_iter().map(|value| Spanned { value, span: span.clone() }).collect()
        }),
        group: Some(
            step.group.as_ref().map_or_else(|| parent.clone(), |group| parent.inner(group)),
        ),
        ..step.clone()
    }
}

impl<'a, 'l> ParseContext<'a, 'l> {
    pub(super) fn new(
        root: &Arc<Source>,
        environment: Option<&'a str>,
        load: &'a mut Loader<'l>,
    ) -> Self {
        Self {
            root: std::path::PathBuf::from(root.name()),
            environment,
            load,
            open_files: Vec::new(),
            targets: Vec::new(),
        }
    }
}
