//! Every template and expression is read once before anything runs: its syntax, and every name in
//! it.

use super::text_span::{TextSpan, narrow, narrow_to};
use super::{graph_section, items, with_nearest};
use crate::event::Section;
use crate::graph::{Ancestry, Graph};
use crate::model::{Expectation, ForEach, Items, Runbook, Step, UndoDeclaration};
use crate::template::{
    Form, TemplateError, comparisons, has_markers, nearest_filter, references, required,
    sole_expression, template_key, unknown_words,
};
use runbook_contract::{Json, Outcome, StepId};
use runbook_document::{Diagnostic, Diagnostics, Node, Source, Span, Table, Value, suggestion};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What `run.` offers everywhere.
const RUN_ALWAYS: &[&str] = &["id", "name", "title", "started", "environment", "operator"];
/// What `run.` offers when the result is known: in `[[finally]]` and `[[notify]]`.
const RUN_AT_END: &[&str] = &["outcome", "duration", "cause", "failed_step"];

/// All that a file names, looked up and not searched: a file of ten thousand steps is read ten
/// thousand times otherwise.
struct Catalog<'a> {
    params: Vec<&'a str>,
    /// The ids of all steps, for better messages.
    ids: Vec<&'a str>,
    /// Where the step stands that a template calls by this key.
    by_key: BTreeMap<String, usize>,
    /// The number in the graph of the step at each place, if it is part of it.
    numbers: Vec<Option<usize>>,
    sections: Vec<Section>,
    order: Ancestry,
    steps: &'a [Step],
    /// What is read of outputs, as it is found.
    outputs: RefCell<Vec<OutputRead>>,
}

/// A place in the output of a step that a template reads, or `expect` names, and that must be
/// there.
#[derive(Debug, Clone)]
pub struct OutputRead {
    /// The file in which the template stands.
    pub source: Arc<Source>,
    /// Where the template stands in that file.
    pub span: Span,
    /// The step whose output it is.
    pub step: StepId,
    /// The keys from the top of the output on.
    pub path: Vec<String>,
    /// What is expected of that output.
    pub wanted: ExpectedType,
}

/// What a reader expects of an output.
#[derive(Debug, Clone, PartialEq)]
pub enum ExpectedType {
    /// Only that it is there, of whatever type.
    Anything,
    /// That it can be this value: something else depends on whether it is.
    Value(Json),
    /// A number in the output, or a measurement of this name.
    Number,
}

/// What the templates of a runbook read of outputs. The caller, who knows the schemas of the
/// outputs, compares them.
pub fn output_reads(runbook: &Runbook) -> Vec<OutputRead> {
    let catalog = Catalog::of(runbook, &Graph::new(&[]));
    walk(runbook, &catalog, &mut Diagnostics::default());
    catalog.outputs.into_inner()
}

impl<'a> Catalog<'a> {
    fn of(runbook: &'a Runbook, graph: &Graph) -> Self {
        let own = graph_section(runbook);
        let mut numbers = 0..graph.len();
        let steps = || runbook.steps.iter().enumerate();
        Self {
            params: runbook.params.iter().map(|param| param.name.name.as_str()).collect(),
            ids: runbook.steps.iter().map(|step| step.id.value.as_str()).collect(),
            by_key: steps()
                .rev()
                .map(|(place, step)| (template_key(&step.id.value), place))
                .collect(),
            numbers: steps()
                .map(|(_, step)| (step.section == own).then(|| numbers.next()).flatten())
                .collect(),
            sections: runbook.steps.iter().map(|step| step.section).collect(),
            order: graph.ancestry(),
            steps: &runbook.steps,
            outputs: RefCell::default(),
        }
    }

    /// Preflights, steps, verifies and finallies run in this order; among steps only what a step
    /// needs has surely run.
    fn has_run(&self, step: usize, before: usize) -> bool {
        match (self.numbers[step], self.numbers[before]) {
            (Some(step), Some(before)) => self.order.is_before(step, before),
            (Some(_) | None, None) | (None, Some(_)) => {
                step < before
                    && (self.sections[step] != self.sections[before]
                        || self.numbers[before].is_none())
            }
        }
    }
}

/// The reader of a text, which decides what the text can see.
#[derive(Clone, Copy)]
enum TextReader {
    /// The step at this place.
    Step(usize),
    /// A guard, which sees no step.
    Guard,
    /// A notification, which sees all of them.
    Notification,
}

/// The names that one text may use.
struct Names<'a> {
    catalog: &'a Catalog<'a>,
    reads: TextReader,
    /// A step may name itself: its undo is rendered when it has run.
    itself: bool,
    run: Vec<&'static str>,
    /// What is done about a step that has not surely run; `ID` is its id.
    earlier: &'static str,
    locals: Vec<&'a str>,
    /// What the step is done for, item by item.
    items: Option<&'a ForEach>,
    /// The step whose own output is called `output`: in its `until`.
    asker: Option<&'a StepId>,
}

impl Names<'_> {
    /// Notes what is read of the output of a step. The steps of a nested file know each other by
    /// their own ids.
    fn note_output(&self, path: &[String], wanted: ExpectedType, place: &TextSpan<'_>) {
        if let (Some(asker), [root, rest @ ..]) = (&self.asker, path)
            && root == "output"
            && !rest.is_empty()
        {
            let place = &TextSpan { source: place.source, span: narrow_to(place, path) };
            return self.note(asker, rest, wanted, place);
        }
        let [root, key, word, rest @ ..] = path else { return };
        if root != "steps" || word != "output" {
            return;
        }
        let reader = match self.reads {
            TextReader::Step(step) => self.catalog.steps.get(step),
            TextReader::Guard | TextReader::Notification => None,
        };
        let group =
            reader.and_then(|step| step.id.value.as_str().rsplit_once('.')).map(|(group, _)| group);
        let key = group.map_or_else(
            || key.clone(),
            |group| template_key(&StepId::new(format!("{group}.{key}"))),
        );
        let Some(step) =
            self.catalog.by_key.get(&key).and_then(|place| self.catalog.steps.get(*place))
        else {
            return;
        };
        let is_itself =
            self.itself && reader.is_some_and(|reader| reader.id.value == step.id.value);
        // The output of a step with items has those of its items, by key; an item itself knows its
        // own.
        let rest = if step.for_each.is_some() && !is_itself {
            rest.get(1..).unwrap_or_default()
        } else {
            rest
        };
        if !rest.is_empty() {
            let place = &TextSpan { source: place.source, span: narrow_to(place, path) };
            self.note(&step.id.value, rest, wanted, place);
        }
    }

    fn note(&self, step: &StepId, path: &[String], wanted: ExpectedType, place: &TextSpan<'_>) {
        let source = Arc::clone(place.source);
        let span = place.span.clone();
        self.catalog.outputs.borrow_mut().push(OutputRead {
            source,
            span,
            step: step.clone(),
            path: path.to_vec(),
            wanted,
        });
    }

    fn sees(&self, place: usize) -> bool {
        match self.reads {
            TextReader::Step(step) => {
                self.catalog.has_run(place, step) || (self.itself && place == step)
            }
            TextReader::Guard => false,
            TextReader::Notification => true,
        }
    }
}

pub(super) fn check(runbook: &Runbook, graph: &Graph, diagnostics: &mut Diagnostics) {
    walk(runbook, &Catalog::of(runbook, graph), diagnostics);
}

fn walk(runbook: &Runbook, catalog: &Catalog<'_>, diagnostics: &mut Diagnostics) {
    for (place, step) in runbook.steps.iter().enumerate() {
        let mut names = base(catalog, TextReader::Step(place));
        if step.section == Section::Check {
            names.earlier = "add `ID` to `depends_on`";
        }
        if step.section == Section::Finally {
            names.run = [RUN_ALWAYS, RUN_AT_END].concat();
        }
        check_step(step, names, diagnostics);
    }
    for guard in &runbook.guards {
        let earlier =
            "a guard is probed from the first step on, so it knows `params` and `run` only";
        check_step(
            &guard.probe,
            Names { earlier, ..base(catalog, TextReader::Guard) },
            diagnostics,
        );
    }
    for notify in &runbook.notifies {
        let names = Names {
            run: [RUN_ALWAYS, RUN_AT_END].concat(),
            ..base(catalog, TextReader::Notification)
        };
        table(notify.with.as_ref(), &notify.source, &names, diagnostics);
    }
}

fn base<'a>(catalog: &'a Catalog<'a>, reads: TextReader) -> Names<'a> {
    let earlier = "add `ID` to `needs`, or move it further up";
    Names {
        catalog,
        reads,
        itself: false,
        run: RUN_ALWAYS.to_vec(),
        earlier,
        locals: Vec::new(),
        items: None,
        asker: None,
    }
}

fn check_step<'a>(step: &'a Step, mut names: Names<'a>, diagnostics: &mut Diagnostics) {
    let source = &step.source;
    if let Some(for_each) = &step.for_each {
        match &for_each.items {
            Items::Expression(items) => {
                let place = TextSpan { source, span: items.span.clone() };
                text(&items.value, Form::Expression, &place, &names, diagnostics);
            }
            Items::Literal(items) => node(&items.value, source, &names, diagnostics),
        }
        names.locals.push(&for_each.name);
        names.items = Some(for_each);
        if let Some(key) = &for_each.key {
            diagnostics.extend(items::constant_key(
                for_each,
                &TextSpan { source, span: key.span.clone() },
            ));
            text(
                &key.value,
                Form::Template,
                &TextSpan { source, span: key.span.clone() },
                &names,
                diagnostics,
            );
        }
    }
    if let Some(when) = &step.when {
        text(
            &when.value,
            Form::Expression,
            &TextSpan { source, span: when.span.clone() },
            &names,
            diagnostics,
        );
    }
    if let Some(manual) = step.manual() {
        let place = TextSpan { source, span: manual.instructions.span.clone() };
        text(&manual.instructions.value, Form::Template, &place, &names, diagnostics);
    }
    table(step.with.as_ref(), source, &names, diagnostics);
    for expectation in &step.expect {
        match expectation {
            Expectation::Equals { path, at, value } => {
                node(value, source, &names, diagnostics);
                let wanted = if holds_template(value) {
                    ExpectedType::Anything
                } else {
                    ExpectedType::Value(value.to_json())
                };
                names.note(&step.id.value, path, wanted, &TextSpan { source, span: at.clone() });
            }
            Expectation::Within { path, at, .. } if !path.is_empty() => {
                names.note(
                    &step.id.value,
                    path,
                    ExpectedType::Number,
                    &TextSpan { source, span: at.clone() },
                );
            }
            Expectation::Within { .. } => {}
        }
    }
    if let Some(poll) = &step.poll {
        names.locals.extend(["outcome", "output"]);
        names.asker = Some(&step.id.value);
        text(
            &poll.until.value,
            Form::Expression,
            &TextSpan { source, span: poll.until.span.clone() },
            &names,
            diagnostics,
        );
        names.locals.truncate(names.locals.len() - 2);
        names.asker = None;
    }
    if let Some(UndoDeclaration::Explicit { with, .. }) = &step.undo {
        names.itself = true;
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

fn node(
    value: &Node,
    source: &std::sync::Arc<runbook_document::Source>,
    names: &Names<'_>,
    diagnostics: &mut Diagnostics,
) {
    let source = value.source(source);
    match &value.value {
        Value::String(string) => {
            let place = TextSpan { source, span: value.span.clone() };
            match sole_expression(string) {
                Some(inner) => text(inner, Form::Expression, &place, names, diagnostics),
                None if has_markers(string) => {
                    text(string, Form::Template, &place, names, diagnostics);
                }
                None => {}
            }
        }
        Value::Array(items) => items.iter().for_each(|item| node(item, source, names, diagnostics)),
        Value::Table(inner) => table(Some(inner), source, names, diagnostics),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn text(
    text: &str,
    form: Form,
    place: &TextSpan<'_>,
    names: &Names<'_>,
    diagnostics: &mut Diagnostics,
) {
    let found = match references(text, form) {
        Ok(found) => found,
        Err(TemplateError::Syntax { message } | TemplateError::Compute { message }) => {
            let what = match form {
                Form::Template => "this is not a template",
                Form::Expression => "this is not an expression",
            };
            let diagnostic = Diagnostic::error(
                "E0213",
                place.source,
                place.span.clone(),
                format!("{what}: {message}"),
            )
            .label("cannot be read");
            diagnostics.push(match instead(text, form) {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            });
            return;
        }
        Err(TemplateError::Missing { .. } | TemplateError::AtRunTime { .. }) => return,
    };
    let required = required(text, form);
    for path in &required {
        names.note_output(path, ExpectedType::Anything, place);
        diagnostics
            .extend(names.items.and_then(|for_each| items::wrong_read(for_each, path, place)));
    }
    for compared in comparisons(text, form) {
        diagnostics.extend(judge_outcome(&compared.path, &compared.value, place, names));
        if required.contains(&compared.path) {
            names.note_output(&compared.path, ExpectedType::Value(compared.value), place);
        }
    }
    for unknown in unknown_words(text, form) {
        let message = format!("a template has no {unknown}");
        let diagnostic = Diagnostic::error("E0213", place.source, place.span.clone(), message)
            .label("not known");
        diagnostics.push(match nearest_filter(&unknown) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic,
        });
    }
    for path in found {
        let parts: Vec<&str> = path.split('.').collect();
        if let Some(diagnostic) = judge(&parts, place, names) {
            diagnostics.push(diagnostic);
        }
    }
}

/// What was probably meant by a text that cannot be read.
fn instead(text: &str, form: Form) -> Option<&'static str> {
    if form == Form::Template {
        return None;
    }
    if text.trim().is_empty() {
        return Some("write what is to be computed, such as `params.count > 3`");
    }
    if has_markers(text) {
        return Some(
            "it is an expression already: leave the braces out, as in \
             `when = \"params.count > 3\"`",
        );
    }
    if text.contains("&&") || text.contains("||") {
        return Some("write `and`, `or` and `not`");
    }
    let is_comparison = |(at, _): (usize, &str)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + 1..].chars().next());
        matches!(before, Some('=' | '!' | '<' | '>')) || after == Some('=')
    };
    text.match_indices('=')
        .any(|found| !is_comparison(found))
        .then_some("two values are compared with `==`")
}

/// What is wrong with one reference.
fn judge(parts: &[&str], place: &TextSpan<'_>, names: &Names<'_>) -> Option<Diagnostic> {
    let error = |message: String| {
        Diagnostic::error("E0212", place.source, narrow(place, parts), message).label("not known")
    };
    match (parts[0], parts.get(1)) {
        ("params", Some(name)) => (!names.catalog.params.contains(name)).then(|| {
            with_nearest(
                error(format!("there is no parameter `{name}`")),
                name,
                &names.catalog.params,
            )
        }),
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
                diagnostic.help(
                    "an id is written as in the file: `steps.stop-app.output`, or \
                     `steps['stop-app'].output`",
                )
            } else {
                diagnostic
            })
        }
        ("secrets" | "secret", _) => {
            Some(error("a secret is no value, and cannot stand in a template".to_owned()).help(
                "name it in a target (`password = \"secret:NAME\"`, \
                 `headers = { Authorization = \"Bearer secret:NAME\" }`), or bind a slot to a \
                 target with `secret = \"NAME\"` and say in its `positions` where it may stand",
            ))
        }
        (local, _) if names.locals.contains(&local) => None,
        (other, _) => {
            let known =
                ["params", "steps", "run"].iter().chain(&names.locals).copied().collect::<Vec<_>>();
            Some(with_nearest(
                error(format!("`{other}` is not a name that a template knows")),
                other,
                &known,
            ))
        }
    }
}

fn judge_step(
    key: &str,
    names: &Names<'_>,
    error: impl Fn(String) -> Diagnostic,
) -> Option<Diagnostic> {
    let catalog = names.catalog;
    let Some(place) = catalog.by_key.get(key) else {
        let id = key.replace('_', "-");
        return Some(with_nearest(error(format!("there is no step `{id}`")), &id, &catalog.ids));
    };
    let id = catalog.ids[*place];
    (!names.sees(*place)).then(|| {
        error(format!("`{id}` may not have run before this")).help(names.earlier.replace("ID", id))
    })
}

/// A comparison of an outcome with what no outcome is called. Where an output is a number and so
/// on, its schema says.
fn judge_outcome(
    path: &[String],
    value: &Json,
    place: &TextSpan<'_>,
    names: &Names<'_>,
) -> Option<Diagnostic> {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let is_outcome = match words.as_slice() {
        ["outcome"] => names.asker.is_some(),
        ["steps", _, "outcome"] => true,
        _ => false,
    };
    let known: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
    if !is_outcome || value.as_str().is_some_and(|value| known.contains(&value)) {
        return None;
    }
    let message = format!("`{}` is never {value}", path.join("."));
    let diagnostic =
        Diagnostic::error("E0234", place.source, narrow_to(place, path), message).label("never so");
    Some(diagnostic.help(suggestion(value.as_str().unwrap_or_default(), &known)))
}

fn holds_template(value: &Node) -> bool {
    match &value.value {
        Value::String(text) => has_markers(text),
        Value::Array(items) => items.iter().any(holds_template),
        Value::Table(table) => table.entries.iter().any(|(_, value)| holds_template(value)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => false,
    }
}
