//! Checks every template and expression before anything runs: its syntax, and every name in it.

use super::text_span::{TextSpan, span_of_name, span_of_path};
use super::{graph_section, items, with_nearest};
use crate::event::Section;
use crate::graph::{Ancestry, Graph};
use crate::model::{Expectation, ForEach, Items, Runbook, Step, UndoDeclaration};
use crate::template::{
    Form, TemplateError, comparisons, has_markers, nearest_filter, references, required_paths,
    sole_expression, template_key, unknown_filters_and_tests,
};
use runbook_contract::{Json, Outcome, StepId};
use runbook_document::{Diagnostic, Diagnostics, Node, Source, Span, Table, Value, suggestion};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The names after `run.` that are known everywhere.
const RUN_ALWAYS: &[&str] = &["id", "name", "title", "started", "environment", "operator"];
/// The names after `run.` that are known when the result is: in `[[finally]]` and `[[notify]]`.
const RUN_AT_END: &[&str] = &["outcome", "duration", "cause", "failed_step"];

/// Indexes of the names in a file, so that a check of ten thousand steps does not search all steps
/// for each of them.
struct Catalog<'a> {
    params: Vec<&'a str>,
    /// The ids of all steps, for better messages.
    ids: Vec<&'a str>,
    /// The position of the step with this key in templates.
    by_key: BTreeMap<String, usize>,
    /// For the step at each position, its number in the graph; `None` if it is not part of the
    /// graph.
    numbers: Vec<Option<usize>>,
    sections: Vec<Section>,
    order: Ancestry,
    steps: &'a [Step],
    /// The reads of outputs that were found so far.
    outputs: RefCell<Vec<OutputRead>>,
}

/// A path in the output of a step that must exist, because a template reads it or `expect` names
/// it.
#[derive(Debug, Clone)]
pub struct OutputRead {
    /// The file in which the template stands.
    pub source: Arc<Source>,
    /// Where the template stands in that file.
    pub span: Span,
    /// The step whose output it is.
    pub step: StepId,
    /// The keys from the root of the output.
    pub path: Vec<String>,
    /// What is expected at that path.
    pub expected: ExpectedType,
}

/// What a template or `expect` requires of a value in an output.
#[derive(Debug, Clone, PartialEq)]
pub enum ExpectedType {
    /// That it exists, with any type.
    Anything,
    /// That it can be this value, because it is compared with it.
    Value(Json),
    /// A number in the output, or a measurement of this name.
    Number,
}

/// The reads of outputs in a runbook. The caller knows the schemas of the outputs, and compares
/// them.
pub fn output_reads(runbook: &Runbook) -> Vec<OutputRead> {
    let catalog = Catalog::new(runbook, &Graph::new(&[]));
    walk(runbook, &catalog, &mut Diagnostics::default());
    catalog.outputs.into_inner()
}

impl<'a> Catalog<'a> {
    fn new(runbook: &'a Runbook, graph: &Graph) -> Self {
        let graph_section = graph_section(runbook);
        let mut numbers = 0..graph.len();
        let steps = || runbook.steps.iter().enumerate();
        Self {
            params: runbook.params.iter().map(|param| param.name.name.as_str()).collect(),
            ids: runbook.steps.iter().map(|step| step.id.value.as_str()).collect(),
            by_key: steps()
                .rev()
                .map(|(position, step)| (template_key(&step.id.value), position))
                .collect(),
            numbers: steps()
                .map(|(_, step)| (step.section == graph_section).then(|| numbers.next()).flatten())
                .collect(),
            sections: runbook.steps.iter().map(|step| step.section).collect(),
            order: graph.ancestry(),
            steps: &runbook.steps,
            outputs: RefCell::default(),
        }
    }

    /// Whether `step` has surely run before `before` begins: it is in an earlier section, or the
    /// other step needs it.
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

/// What a text belongs to, which decides the names that it can use.
#[derive(Clone, Copy)]
enum TextReader {
    /// The step at this position.
    Step(usize),
    /// A guard, which can use no step.
    Guard,
    /// A notification, which can use all steps.
    Notification,
}

/// The names that one text may use.
struct Names<'a> {
    catalog: &'a Catalog<'a>,
    reader: TextReader,
    /// Whether a step can use its own output: in its undo, which is rendered after it has run.
    sees_itself: bool,
    run: Vec<&'static str>,
    /// The help if a step may not have run yet; `ID` stands for its id.
    help_if_not_run: &'static str,
    locals: Vec<&'a str>,
    /// The `for_each` of the step, if it has one.
    items: Option<&'a ForEach>,
    /// The step whose output is called `output`: in its `until`.
    polled_step: Option<&'a StepId>,
}

impl Names<'_> {
    /// Records a read of the output of a step. Within a nested file, steps are named by their ids
    /// in that file.
    fn note_output(&self, path: &[String], expected: ExpectedType, place: &TextSpan<'_>) {
        if let (Some(polled_step), [root, rest @ ..]) = (&self.polled_step, path)
            && root == "output"
            && !rest.is_empty()
        {
            let place = &TextSpan { source: place.source, span: span_of_path(place, path) };
            return self.note(polled_step, rest, expected, place);
        }
        let [root, key, word, rest @ ..] = path else { return };
        if root != "steps" || word != "output" {
            return;
        }
        let reader = match self.reader {
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
            self.sees_itself && reader.is_some_and(|reader| reader.id.value == step.id.value);
        // The output of a step with items is a map of the outputs of its items. An item itself uses
        // its own output.
        let rest = if step.for_each.is_some() && !is_itself {
            rest.get(1..).unwrap_or_default()
        } else {
            rest
        };
        if !rest.is_empty() {
            let place = &TextSpan { source: place.source, span: span_of_path(place, path) };
            self.note(&step.id.value, rest, expected, place);
        }
    }

    fn note(&self, step: &StepId, path: &[String], expected: ExpectedType, place: &TextSpan<'_>) {
        let source = Arc::clone(place.source);
        let span = place.span.clone();
        self.catalog.outputs.borrow_mut().push(OutputRead {
            source,
            span,
            step: step.clone(),
            path: path.to_vec(),
            expected,
        });
    }

    fn sees(&self, position: usize) -> bool {
        match self.reader {
            TextReader::Step(step) => {
                self.catalog.has_run(position, step) || (self.sees_itself && position == step)
            }
            TextReader::Guard => false,
            TextReader::Notification => true,
        }
    }
}

pub(super) fn check(runbook: &Runbook, graph: &Graph, diagnostics: &mut Diagnostics) {
    walk(runbook, &Catalog::new(runbook, graph), diagnostics);
}

fn walk(runbook: &Runbook, catalog: &Catalog<'_>, diagnostics: &mut Diagnostics) {
    for (position, step) in runbook.steps.iter().enumerate() {
        let mut names = names_for(catalog, TextReader::Step(position));
        if step.section == Section::Check {
            names.help_if_not_run = "add `ID` to `depends_on`";
        }
        if step.section == Section::Finally {
            names.run = [RUN_ALWAYS, RUN_AT_END].concat();
        }
        check_step(step, names, diagnostics);
    }
    for guard in &runbook.guards {
        let help_if_not_run =
            "a guard is probed from the first step on, so it knows `params` and `run` only";
        check_step(
            &guard.probe,
            Names { help_if_not_run, ..names_for(catalog, TextReader::Guard) },
            diagnostics,
        );
    }
    for notify in &runbook.notifies {
        let names = Names {
            run: [RUN_ALWAYS, RUN_AT_END].concat(),
            ..names_for(catalog, TextReader::Notification)
        };
        check_table(notify.with.as_ref(), &notify.source, &names, diagnostics);
    }
}

fn names_for<'a>(catalog: &'a Catalog<'a>, reader: TextReader) -> Names<'a> {
    let help_if_not_run = "add `ID` to `needs`, or move it further up";
    Names {
        catalog,
        reader,
        sees_itself: false,
        run: RUN_ALWAYS.to_vec(),
        help_if_not_run,
        locals: Vec::new(),
        items: None,
        polled_step: None,
    }
}

fn check_step<'a>(step: &'a Step, mut names: Names<'a>, diagnostics: &mut Diagnostics) {
    let source = &step.source;
    if let Some(for_each) = &step.for_each {
        match &for_each.items {
            Items::Expression(items) => {
                let place = TextSpan { source, span: items.span.clone() };
                check_text(&items.value, Form::Expression, &place, &names, diagnostics);
            }
            Items::Literal(items) => check_node(&items.value, source, &names, diagnostics),
        }
        names.locals.push(&for_each.name);
        names.items = Some(for_each);
        if let Some(key) = &for_each.key {
            diagnostics.extend(items::constant_key(
                for_each,
                &TextSpan { source, span: key.span.clone() },
            ));
            check_text(
                &key.value,
                Form::Template,
                &TextSpan { source, span: key.span.clone() },
                &names,
                diagnostics,
            );
        }
    }
    if let Some(when) = &step.when {
        check_text(
            &when.value,
            Form::Expression,
            &TextSpan { source, span: when.span.clone() },
            &names,
            diagnostics,
        );
    }
    if let Some(manual) = step.manual() {
        let place = TextSpan { source, span: manual.instructions.span.clone() };
        check_text(&manual.instructions.value, Form::Template, &place, &names, diagnostics);
    }
    check_table(step.with.as_ref(), source, &names, diagnostics);
    for expectation in &step.expect {
        match expectation {
            Expectation::Equals { path, at, value } => {
                check_node(value, source, &names, diagnostics);
                let expected = if holds_template(value) {
                    ExpectedType::Anything
                } else {
                    ExpectedType::Value(value.to_json())
                };
                names.note(&step.id.value, path, expected, &TextSpan { source, span: at.clone() });
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
        names.polled_step = Some(&step.id.value);
        check_text(
            &poll.until.value,
            Form::Expression,
            &TextSpan { source, span: poll.until.span.clone() },
            &names,
            diagnostics,
        );
        names.locals.truncate(names.locals.len() - 2);
        names.polled_step = None;
    }
    if let Some(UndoDeclaration::Explicit { with, .. }) = &step.undo {
        names.sees_itself = true;
        check_table(with.as_ref(), source, &names, diagnostics);
    }
}

fn check_table(
    table: Option<&Table>,
    source: &std::sync::Arc<runbook_document::Source>,
    names: &Names<'_>,
    diagnostics: &mut Diagnostics,
) {
    for (_, value) in table.iter().flat_map(|table| &table.entries) {
        check_node(value, source, names, diagnostics);
    }
}

fn check_node(
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
                Some(inner) => check_text(inner, Form::Expression, &place, names, diagnostics),
                None if has_markers(string) => {
                    check_text(string, Form::Template, &place, names, diagnostics);
                }
                None => {}
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| check_node(item, source, names, diagnostics));
        }
        Value::Table(inner) => check_table(Some(inner), source, names, diagnostics),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn check_text(
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
            diagnostics.push(match syntax_help(text, form) {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            });
            return;
        }
        Err(TemplateError::Missing { .. } | TemplateError::AtRunTime { .. }) => return,
    };
    let required_paths = required_paths(text, form);
    for path in &required_paths {
        names.note_output(path, ExpectedType::Anything, place);
        diagnostics.extend(
            names.items.and_then(|for_each| items::missing_item_key(for_each, path, place)),
        );
    }
    for compared in comparisons(text, form) {
        diagnostics.extend(check_outcome_comparison(&compared.path, &compared.value, place, names));
        if required_paths.contains(&compared.path) {
            names.note_output(&compared.path, ExpectedType::Value(compared.value), place);
        }
    }
    for unknown in unknown_filters_and_tests(text, form) {
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
        if let Some(diagnostic) = check_reference(&parts, place, names) {
            diagnostics.push(diagnostic);
        }
    }
}

/// The help for a text that cannot be parsed, if a common mistake is recognized.
fn syntax_help(text: &str, form: Form) -> Option<&'static str> {
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

/// The error if a reference names something that does not exist or is not known yet.
fn check_reference(parts: &[&str], place: &TextSpan<'_>, names: &Names<'_>) -> Option<Diagnostic> {
    let error = |message: String| {
        Diagnostic::error("E0212", place.source, span_of_name(place, parts), message)
            .label("not known")
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
            let is_known_at_end = RUN_AT_END.contains(name);
            let message = if is_known_at_end {
                format!("`run.{name}` is known only at the end, in `[[finally]]` and `[[notify]]`")
            } else {
                format!("there is no `run.{name}`")
            };
            with_nearest(error(message), name, &names.run)
        }),
        ("steps", Some(key)) => check_step_reference(key, names, error),
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
            let candidates =
                ["params", "steps", "run"].iter().chain(&names.locals).copied().collect::<Vec<_>>();
            Some(with_nearest(
                error(format!("`{other}` is not a name that a template knows")),
                other,
                &candidates,
            ))
        }
    }
}

fn check_step_reference(
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
        error(format!("`{id}` may not have run before this"))
            .help(names.help_if_not_run.replace("ID", id))
    })
}

/// The error if an outcome is compared with a value that is no outcome. Comparisons of outputs are
/// checked by their schemas.
fn check_outcome_comparison(
    path: &[String],
    value: &Json,
    place: &TextSpan<'_>,
    names: &Names<'_>,
) -> Option<Diagnostic> {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let is_outcome = match words.as_slice() {
        ["outcome"] => names.polled_step.is_some(),
        ["steps", _, "outcome"] => true,
        _ => false,
    };
    let outcomes: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
    if !is_outcome || value.as_str().is_some_and(|value| outcomes.contains(&value)) {
        return None;
    }
    let message = format!("`{}` is never {value}", path.join("."));
    let diagnostic = Diagnostic::error("E0234", place.source, span_of_path(place, path), message)
        .label("never so");
    Some(diagnostic.help(suggestion(value.as_str().unwrap_or_default(), &outcomes)))
}

fn holds_template(value: &Node) -> bool {
    match &value.value {
        Value::String(text) => has_markers(text),
        Value::Array(items) => items.iter().any(holds_template),
        Value::Table(table) => table.entries.iter().any(|(_, value)| holds_template(value)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => false,
    }
}
