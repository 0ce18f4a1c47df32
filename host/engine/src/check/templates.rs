//! Every template and expression is read once before anything runs: its syntax, and every name in it.

use super::{Place, graph_section, with_nearest};
use crate::event::Section;
use crate::graph::Graph;
use crate::model::{Expectation, Items, Runbook, Step, UndoDeclaration};
use crate::template::{Form, TemplateError, has_markers, references, sole_expression, template_key, unknown_words};
use runbook_document::{Diagnostic, Diagnostics, Node, Span, Table, Value};
use std::collections::BTreeSet;

/// What `run.` offers everywhere.
const RUN_ALWAYS: &[&str] = &["id", "name", "title", "started", "environment", "operator"];
/// What `run.` offers when the result is known: in `[[finally]]` and `[[notify]]`.
const RUN_AT_END: &[&str] = &["outcome", "duration", "cause", "failed_step"];

/// The names that one text may use.
struct Names<'a> {
    params: Vec<&'a str>,
    /// Steps that have run when the text is rendered.
    steps: BTreeSet<&'a str>,
    /// All steps of the file, for better messages.
    all_steps: Vec<&'a str>,
    run: Vec<&'static str>,
    /// What is done about a step that has not surely run; `ID` is its id.
    earlier: &'static str,
    locals: Vec<&'a str>,
}

pub(super) fn check(runbook: &Runbook, graph: &Graph, diagnostics: &mut Diagnostics) {
    let mut numbers = 0..;
    for (index, step) in runbook.steps.iter().enumerate() {
        let number = (step.section == graph_section(runbook)).then(|| numbers.next()).flatten();
        let names = names_of(runbook, graph, index, number);
        check_step(step, names, diagnostics);
    }
    for guard in &runbook.guards {
        let earlier = "a guard looks from the first step on, so it knows `params` and `run` only";
        check_step(&guard.look, Names { earlier, ..base(runbook, std::iter::empty()) }, diagnostics);
    }
    for notify in &runbook.notifies {
        let names = Names { run: [RUN_ALWAYS, RUN_AT_END].concat(), ..base(runbook, runbook.steps.iter()) };
        table(notify.with.as_ref(), &notify.source, &names, diagnostics);
    }
}

fn base<'a>(runbook: &'a Runbook, steps: impl Iterator<Item = &'a Step>) -> Names<'a> {
    Names {
        params: runbook.params.iter().map(|param| param.name.name.as_str()).collect(),
        steps: steps.map(|step| step.id.value.as_str()).collect(),
        all_steps: runbook.steps.iter().map(|step| step.id.value.as_str()).collect(),
        run: RUN_ALWAYS.to_vec(),
        earlier: "add `ID` to `needs`, or move it further up",
        locals: Vec::new(),
    }
}

/// Preflights, steps, verifies and finallies run in this order; among steps only what a step needs has surely run.
fn names_of<'a>(runbook: &'a Runbook, graph: &Graph, index: usize, number: Option<usize>) -> Names<'a> {
    let step = &runbook.steps[index];
    let ancestors = number.filter(|number| *number < graph.len()).map(|number| graph.ancestors(number));
    let steps: Vec<&Step> = runbook.section(graph_section(runbook)).collect();
    let earlier = runbook.steps[..index].iter().filter(|earlier| earlier.section != step.section || number.is_none());
    let needed = ancestors.into_iter().flatten().map(|ancestor| steps[ancestor]);
    let mut names = base(runbook, earlier.chain(needed));
    if step.section == Section::Check {
        names.earlier = "add `ID` to `depends_on`";
    }
    if step.section == Section::Finally {
        names.run = [RUN_ALWAYS, RUN_AT_END].concat();
    }
    names
}

fn check_step<'a>(step: &'a Step, mut names: Names<'a>, diagnostics: &mut Diagnostics) {
    let source = &step.source;
    if let Some(for_each) = &step.for_each {
        match &for_each.items {
            Items::Expression(items) => {
                let place = Place { source, span: items.span.clone() };
                text(&items.value, Form::Expression, &place, &names, diagnostics);
            }
            Items::Literal(items) => node(&items.value, source, &names, diagnostics),
        }
        names.locals.push(&for_each.name);
        if let Some(key) = &for_each.key {
            text(&key.value, Form::Template, &Place { source, span: key.span.clone() }, &names, diagnostics);
        }
    }
    if let Some(when) = &step.when {
        text(&when.value, Form::Expression, &Place { source, span: when.span.clone() }, &names, diagnostics);
    }
    if let Some(manual) = &step.manual {
        let place = Place { source, span: manual.instructions.span.clone() };
        text(&manual.instructions.value, Form::Template, &place, &names, diagnostics);
    }
    table(step.with.as_ref(), source, &names, diagnostics);
    for expectation in &step.expect {
        match expectation {
            Expectation::Equals { value, .. } => node(value, source, &names, diagnostics),
            Expectation::Within { .. } => {}
        }
    }
    if let Some(poll) = &step.poll {
        names.locals.extend(["outcome", "output"]);
        text(&poll.until.value, Form::Expression, &Place { source, span: poll.until.span.clone() }, &names, diagnostics);
        names.locals.truncate(names.locals.len() - 2);
    }
    if let Some(UndoDeclaration::Explicit { with, .. }) = &step.undo {
        names.steps.insert(step.id.value.as_str());
        table(with.as_ref(), source, &names, diagnostics);
    }
}

fn table(
    table: Option<&Table>,
    source: &std::sync::Arc<runbook_document::Source>,
    names: &Names<'_>,
    diagnostics: &mut Diagnostics,
) {
    for (_, value) in table.iter().flat_map(|table| &table.entries) {
        node(value, source, names, diagnostics);
    }
}

fn node(value: &Node, source: &std::sync::Arc<runbook_document::Source>, names: &Names<'_>, diagnostics: &mut Diagnostics) {
    match &value.value {
        Value::String(string) => {
            let place = Place { source, span: value.span.clone() };
            match sole_expression(string) {
                Some(inner) => text(inner, Form::Expression, &place, names, diagnostics),
                None if has_markers(string) => text(string, Form::Template, &place, names, diagnostics),
                None => {}
            }
        }
        Value::Array(items) => items.iter().for_each(|item| node(item, source, names, diagnostics)),
        Value::Table(inner) => table(Some(inner), source, names, diagnostics),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn text(text: &str, form: Form, place: &Place<'_>, names: &Names<'_>, diagnostics: &mut Diagnostics) {
    let found = match references(text, form) {
        Ok(found) => found,
        Err(TemplateError::Syntax { message } | TemplateError::Compute { message }) => {
            let message = format!("this is not a template: {message}");
            diagnostics.push(Diagnostic::error("E0213", place.source, place.span.clone(), message).label("cannot be read"));
            return;
        }
        Err(TemplateError::Missing { .. } | TemplateError::AtRunTime { .. }) => return,
    };
    for unknown in unknown_words(text, form) {
        let message = format!("a template has no {unknown}");
        diagnostics.push(Diagnostic::error("E0213", place.source, place.span.clone(), message).label("not known"));
    }
    for path in found {
        let parts: Vec<&str> = path.split('.').collect();
        if let Some(diagnostic) = judge(&parts, place, names) {
            diagnostics.push(diagnostic);
        }
    }
}

/// What is wrong with one reference.
fn judge(parts: &[&str], place: &Place<'_>, names: &Names<'_>) -> Option<Diagnostic> {
    let error = |message: String| Diagnostic::error("E0212", place.source, narrow(place, parts), message).label("not known");
    match (parts[0], parts.get(1)) {
        ("params", Some(name)) => (!names.params.contains(name))
            .then(|| with_nearest(error(format!("there is no parameter `{name}`")), name, &names.params)),
        ("run", Some(name)) => (!names.run.contains(name)).then(|| {
            let late = RUN_AT_END.contains(name);
            let message = if late {
                format!("`run.{name}` is known only at the end, in `[[finally]]` and `[[notify]]`")
            } else {
                format!("there is no `run.{name}`")
            };
            with_nearest(error(message), name, &names.run)
        }),
        ("steps", Some(key)) => judge_step(key, names, error),
        ("params" | "run" | "steps", None) => {
            let message = format!("`{0}` needs a name after it, as in `{0}.NAME`", parts[0]);
            let diagnostic = error(message);
            Some(if parts[0] == "steps" {
                diagnostic.help("an id is written as in the file: `steps.stop-app.output`, or `steps['stop-app'].output`")
            } else {
                diagnostic
            })
        }
        ("secrets" | "secret", _) => Some(error("a secret is no value, and cannot stand in a template".to_owned()).help(
            "name it in a target (`password = \"secret:NAME\"`, `headers = { Authorization = \"Bearer secret:NAME\" }`), \
                 or bind a slot to a target with `secret = \"NAME\"` and say in its `positions` where it may stand",
        )),
        (local, _) if names.locals.contains(&local) => None,
        (other, _) => {
            let known = ["params", "steps", "run"].iter().chain(&names.locals).copied().collect::<Vec<_>>();
            Some(with_nearest(error(format!("`{other}` is not a name that a template knows")), other, &known))
        }
    }
}

fn judge_step(key: &str, names: &Names<'_>, error: impl Fn(String) -> Diagnostic) -> Option<Diagnostic> {
    let matches = |id: &&&str| template_key(&crate::ids::StepId::from(**id)) == key;
    if names.steps.iter().any(|id| matches(&id)) {
        return None;
    }
    Some(match names.all_steps.iter().find(matches) {
        Some(id) => error(format!("`{id}` has not surely run before this")).help(names.earlier.replace("ID", id)),
        None => {
            with_nearest(error(format!("there is no step `{}`", key.replace('_', "-"))), &key.replace('_', "-"), &names.all_steps)
        }
    })
}

/// The name itself within the text, if it stands there literally; otherwise the whole text.
fn narrow(place: &Place<'_>, parts: &[&str]) -> Span {
    let Some(text) = place.source.text().get(place.span.clone()) else { return place.span.clone() };
    let plain = parts.iter().take(2).copied().collect::<Vec<_>>().join(".");
    let dashed = plain.replace('_', "-");
    let found = [plain.as_str(), dashed.as_str()].into_iter().find_map(|name| text.find(name).map(|at| (at, name.len())));
    found.map_or_else(|| place.span.clone(), |(at, length)| place.span.start + at..place.span.start + at + length)
}
