//! Templates and expressions: Jinja, strict, without effects.
//!
//! An undefined name is an error, never an empty text or a silent `false`. `steps.stop-app.output` may be written with the
//! dashes of the id, although Jinja would read them as minus; `steps['stop-app']` is the same.

mod limits;
pub(crate) mod markers;
mod reading;

pub use markers::{has_markers, sole_expression};
pub use reading::Form;

use crate::known::{Known, below};
use limits::Printed;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use reading::{Missing, Reading, Reference};
use runbook_contract::{Json, StepId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Why a template has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is not a template.
    #[error("{message}")]
    Syntax {
        /// What is wrong.
        message: String,
    },
    /// A name has no value.
    #[error("`{path}` is not there{reason}")]
    Missing {
        /// The name, as written.
        path: String,
        /// Why, after a colon; may be empty.
        reason: String,
    },
    /// The value depends on what a step will answer, and this is a dry run.
    #[error("known only at run time (`{path}`)")]
    AtRunTime {
        /// The name, as written.
        path: String,
    },
    /// It cannot be computed.
    #[error("{message}")]
    Compute {
        /// Why.
        message: String,
    },
}

/// What is known of another step when a template is rendered.
#[derive(Debug, Clone, PartialEq)]
pub enum StepView {
    /// It has run.
    Done {
        /// `pass`, `warn`, `fail`, `unknown`.
        outcome: &'static str,
        /// Its output; null if it has none.
        output: Json,
    },
    /// It did not run, or has no output; the text says why.
    Absent(String),
    /// It would run, and this is a dry run.
    AtRunTime,
}

/// Finds a step by its [`template_key`]. A look-up and not a map, because a run of a thousand steps would otherwise copy a
/// thousand outputs for each of them.
pub type StepLookup<'a> = &'a dyn Fn(&str) -> Option<(StepId, StepView)>;

/// The names that a template can use.
#[derive(Clone)]
pub struct Scope<'a> {
    /// `params`
    pub params: serde_json::Map<String, Json>,
    /// `steps`
    pub steps: StepLookup<'a>,
    /// `run`
    pub run: serde_json::Map<String, Json>,
    /// Others, such as the item of `for_each`, `outcome`, `output`.
    pub locals: serde_json::Map<String, Json>,
    /// Parameters that come from an output which is cut, with what they come from.
    pub cut: BTreeMap<String, String>,
    /// Names that have a value only at run time: the item of a `for_each` whose list is not known yet.
    pub later: BTreeSet<String>,
}

impl Default for Scope<'_> {
    fn default() -> Self {
        let empty = serde_json::Map::new;
        let (cut, later) = (BTreeMap::new(), BTreeSet::new());
        Self { params: empty(), steps: &|_| None, run: empty(), locals: empty(), cut, later }
    }
}

/// The names that a text refers to, as dotted paths: `params.incident`, `steps.stop_app.output.id`.
pub type References = BTreeSet<String>;

/// The key of a step in templates: its id with `_` for `-`.
pub fn template_key(id: &StepId) -> String {
    id.as_str().replace('-', "_")
}

/// The key of a step of a nested file, by the key that templates of that file call it.
pub fn inner_key(group: &StepId, key: &str) -> String {
    format!("{}.{key}", template_key(group))
}

/// What `{{ … }}` or an expression refers to.
pub fn references(text: &str, form: Form) -> Result<References, TemplateError> {
    Ok(reading_of(text, form)?.references.into_iter().map(|reference| reference.path.join(".")).collect())
}

/// The names in a text that must have a value, each with the keys behind it.
pub(crate) fn required(text: &str, form: Form) -> Vec<Vec<String>> {
    let found = reading_of(text, form).map(|found| found.references).unwrap_or_default();
    found.into_iter().filter(|reference| reference.missing == reading::Missing::Mistake).map(|reference| reference.path).collect()
}

/// The names in a text that are compared with values that stand beside them.
pub(crate) fn comparisons(text: &str, form: Form) -> Vec<reading::Comparison> {
    reading_of(text, form).map(|found| found.comparisons).unwrap_or_default()
}

/// What a text is made of, without what every template knows (`range`, …).
fn reading_of(text: &str, form: Form) -> Result<Reading, TemplateError> {
    let mut found =
        reading::read(&plain_ids(text, form), form).map_err(|error| TemplateError::Syntax { message: describe(&error) })?;
    found.references.retain(|reference| ENVIRONMENT.globals().all(|(name, _)| reference.path[0] != name));
    Ok(found)
}

/// The filters and tests that a text uses and no template has, as in "filter `loud`": Jinja itself says so only when it
/// comes to them, and that may be in the middle of a run.
pub fn unknown_words(text: &str, form: Form) -> Vec<String> {
    let Ok(found) = reading_of(text, form) else { return Vec::new() };
    let mut state = ENVIRONMENT.empty_state();
    let mut unknown = Vec::new();
    for filter in &found.filters {
        let kind = state.apply_filter(filter, &[]).err().map(|error| error.kind());
        unknown.extend((kind == Some(ErrorKind::UnknownFilter)).then(|| format!("filter `{filter}`")));
    }
    for test in &found.tests {
        let kind = state.perform_test(test, &[]).err().map(|error| error.kind());
        unknown.extend((kind == Some(ErrorKind::UnknownTest)).then(|| format!("test `{test}`")));
    }
    unknown
}

/// Filters of templates that people write, for what was probably meant by an unknown one.
const FILTERS: &[&str] = &[
    "abs",
    "capitalize",
    "default",
    "first",
    "float",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "replace",
    "reverse",
    "round",
    "select",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
];

/// The filter that was probably meant by a word that [`unknown_words`] tells.
pub fn nearest_filter(unknown: &str) -> Option<&'static str> {
    let name = unknown.strip_prefix("filter `")?.strip_suffix('`')?;
    let mut state = ENVIRONMENT.empty_state();
    let is_there =
        |filter: &&str| state.apply_filter(filter, &[]).err().map(|error| error.kind()) != Some(ErrorKind::UnknownFilter);
    runbook_document::nearest(name, FILTERS.iter().copied().filter(is_there))
}

/// The first output that a value's templates read and that is not whole, as its step says by `truncated`.
pub fn cut_in(value: &Json, scope: &Scope<'_>) -> Option<String> {
    match value {
        Json::String(text) if has_markers(text) => cut_in_text(text, Form::Template, scope),
        Json::Array(items) => items.iter().find_map(|item| cut_in(item, scope)),
        Json::Object(entries) => entries.values().find_map(|value| cut_in(value, scope)),
        Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_) => None,
    }
}

/// The same for one text.
pub fn cut_in_text(text: &str, form: Form, scope: &Scope<'_>) -> Option<String> {
    let found = reading_of(text, form).ok()?;
    found.references.iter().find_map(|reference| {
        let (root, key) = (reference.path.first()?, reference.path.get(1)?);
        match root.as_str() {
            "params" => scope.cut.get(key).cloned(),
            "steps" => match (scope.steps)(key)? {
                (_, StepView::Done { output, .. }) if is_cut(&output, reference.path.get(3..).unwrap_or_default()) => {
                    Some(format!("steps.{}.output", shown(key)))
                }
                (_, StepView::Done { .. } | StepView::Absent(_) | StepView::AtRunTime) => None,
            },
            _ => None,
        }
    })
}

/// Whether what is read of an output by these keys is not whole. Outputs of several parts (items, nested files, suites) are maps
/// of outputs, so what is not whole may stand further in.
fn is_cut(output: &Json, keys: &[String]) -> bool {
    if says_cut(output) {
        return true;
    }
    match (keys.split_first(), output) {
        (Some((key, rest)), Json::Object(entries)) => entries.get(key).is_some_and(|inner| is_cut(inner, rest)),
        (None, Json::Object(entries)) => entries.values().any(|inner| is_cut(inner, &[])),
        (_, Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_)) => false,
    }
}

/// Whether an operation says by its output that a list in it is not whole.
pub fn says_cut(output: &Json) -> bool {
    output.get("truncated") == Some(&Json::Bool(true))
}

/// A step's key as its id is written.
fn shown(key: &str) -> String {
    key.replace('_', "-")
}

/// A path as it is written in a runbook.
fn shown_path(path: &[String]) -> String {
    match path {
        [root, step, rest @ ..] if root == "steps" => [&[root.clone(), shown(step)], rest].concat().join("."),
        path => path.join("."),
    }
}

/// Renders every string in a JSON value.
///
/// A string that is exactly one `{{ … }}` becomes the value itself, with its type.
///
/// # Errors
/// The first [`TemplateError`], with the path of the string in `value`.
pub fn render(value: &Json, scope: &Scope<'_>) -> Result<Json, TemplateError> {
    match value {
        Json::String(text) => render_text(text, scope),
        Json::Array(items) => items.iter().map(|item| render(item, scope)).collect(),
        Json::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok((key.clone(), render(value, scope)?)));
            entries.collect::<Result<serde_json::Map<_, _>, _>>().map(Json::Object)
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => Ok(value.clone()),
    }
}

/// The same as far as it is known: a string whose value is not known stays as it is written.
pub fn render_known(value: &Json, scope: &Scope<'_>) -> Json {
    match value {
        Json::String(text) => render_text(text, scope).unwrap_or_else(|_| value.clone()),
        Json::Array(items) => items.iter().map(|item| render_known(item, scope)).collect(),
        Json::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), render_known(value, scope))).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
    }
}

/// The same before all steps have run: places whose value is known only at run time stay as they are written, and are named.
///
/// # Errors
/// The first [`TemplateError`] but `AtRunTime`.
pub fn render_partly(value: &Json, scope: &Scope<'_>) -> Result<Known, TemplateError> {
    let mut known = Known { value: Json::Null, unknown: Vec::new(), sampled: Vec::new() };
    known.value = partly(value, scope, "", &mut known.unknown)?;
    Ok(known)
}

fn partly(value: &Json, scope: &Scope<'_>, pointer: &str, unknown: &mut Vec<String>) -> Result<Json, TemplateError> {
    match value {
        Json::String(text) => match render_text(text, scope) {
            Err(TemplateError::AtRunTime { .. }) => {
                unknown.push(pointer.to_owned());
                Ok(value.clone())
            }
            rendered => rendered,
        },
        Json::Array(items) => {
            let items = items.iter().enumerate();
            items.map(|(number, item)| partly(item, scope, &format!("{pointer}/{number}"), unknown)).collect()
        }
        Json::Object(entries) => {
            let entries =
                entries.iter().map(|(key, value)| Ok((key.clone(), partly(value, scope, &below(pointer, key), unknown)?)));
            entries.collect::<Result<serde_json::Map<_, _>, _>>().map(Json::Object)
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => Ok(value.clone()),
    }
}

fn render_text(text: &str, scope: &Scope<'_>) -> Result<Json, TemplateError> {
    if !has_markers(text) {
        return Ok(Json::from(text));
    }
    if let Some(inner) = sole_expression(text) {
        return evaluate(inner, scope);
    }
    let context = context_for(text, Form::Template, scope)?;
    let compute = |error: Error| TemplateError::Compute { message: describe(&error) };
    let text = plain_ids(text, Form::Template);
    let mut printed = Printed::default();
    let template = ENVIRONMENT.template_from_str(&text).map_err(compute)?;
    drop(template.render_captured_to(context, &mut printed).map_err(compute)?);
    Ok(Json::from(printed.into_text()))
}

/// The value of an expression.
///
/// # Errors
/// A [`TemplateError`].
pub fn evaluate(expression: &str, scope: &Scope<'_>) -> Result<Json, TemplateError> {
    let context = context_for(expression, Form::Expression, scope)?;
    let text = plain_ids(expression, Form::Expression);
    let compute = |error: Error| TemplateError::Compute { message: describe(&error) };
    let value = ENVIRONMENT.compile_expression(&text).and_then(|compiled| compiled.eval(context)).map_err(compute)?;
    if value.is_undefined() {
        return Err(TemplateError::Missing { path: expression.trim().to_owned(), reason: String::new() });
    }
    serde_json::to_value(&value).map_err(|error| TemplateError::Compute { message: error.to_string() })
}

/// The truth of an expression, which must be `true` or `false`: a text or a number is a mistake, not a yes.
///
/// # Errors
/// A [`TemplateError`].
pub fn holds(expression: &str, scope: &Scope<'_>) -> Result<bool, TemplateError> {
    let value = evaluate(expression, scope)?;
    value.as_bool().ok_or_else(|| TemplateError::Compute {
        message: format!("`{}` is {value}, and must be true or false", expression.trim()),
    })
}

/// It is the same for all templates, and making it costs more than most of them.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// The engine of all templates: lenient look-up, because [`context_for`] has refused every missing name already unless the
/// text gives a default; and strict printing, so that nothing missing ever becomes an empty text.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(|out, state, value| {
        if value.is_undefined() {
            return Err(Error::new(ErrorKind::UndefinedError, "an expression in it gives no value, such as an element that a list does not have; `| default(…)` says what stands there then"));
        }
        minijinja::escape_formatter(out, state, value)
    });
    environment.add_filter("seconds", seconds);
    environment.add_filter("bytes", bytes);
    limits::limit(&mut environment);
    environment
}

#[expect(clippy::needless_pass_by_value, clippy::cast_precision_loss, reason = "the signature and numbers of minijinja filters")]
fn seconds(text: String) -> Result<f64, Error> {
    runbook_document::parse_duration(&text)
        .map(|duration| duration.as_millis() as f64 / 1000.0)
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("`{text}` is not a duration, such as `5m`")))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of minijinja filters")]
fn bytes(text: String) -> Result<u64, Error> {
    runbook_document::parse_byte_size(&text)
        .map(|size| size.0)
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("`{text}` is not a size, such as `10MiB`")))
}

fn describe(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "the template does not come to an end".to_owned();
    }
    if let Some(source) = std::error::Error::source(error).filter(|_| error.kind() == ErrorKind::WriteFailure) {
        return source.to_string();
    }
    let detail = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
    detail.trim_end_matches('.').to_owned()
}

/// Builds what the text refers to and nothing else.
fn context_for(text: &str, form: Form, scope: &Scope<'_>) -> Result<Value, TemplateError> {
    let mut steps = serde_json::Map::new();
    for reference in reading_of(text, form)?.references {
        let strictness = strictness_of(&reference, scope);
        if reference.path[0] == "steps" {
            add_step(&mut steps, &reference.path, scope, strictness)?;
        } else if scope.later.contains(&reference.path[0]) {
            return Err(TemplateError::AtRunTime { path: shown_path(&reference.path) });
        } else if strictness == Strictness::Strict {
            check_path(&reference.path, scope)?;
        }
    }
    let mut context = scope.locals.clone();
    context.insert("params".to_owned(), Json::Object(scope.params.clone()));
    context.insert("run".to_owned(), Json::Object(scope.run.clone()));
    context.insert("steps".to_owned(), Json::Object(steps));
    serde_json::from_value(Json::Object(context)).map_err(|error| TemplateError::Compute { message: error.to_string() })
}

/// Whether a missing name is an error at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strictness {
    Strict,
    Lenient,
}

fn strictness_of(reference: &Reference, scope: &Scope<'_>) -> Strictness {
    match &reference.missing {
        Missing::Mistake => Strictness::Strict,
        Missing::MistakeBehind(known) if has_value(known, scope) => Strictness::Strict,
        Missing::Fine | Missing::MistakeBehind(_) => Strictness::Lenient,
    }
}

fn has_value(path: &[String], scope: &Scope<'_>) -> bool {
    if path[0] == "steps" {
        return add_step(&mut serde_json::Map::new(), path, scope, Strictness::Strict).is_ok();
    }
    check_path(path, scope).is_ok()
}

fn add_step(
    steps: &mut serde_json::Map<String, Json>,
    path: &[String],
    scope: &Scope<'_>,
    strictness: Strictness,
) -> Result<(), TemplateError> {
    let written = shown_path(path);
    let missing = |reason: String| TemplateError::Missing { path: written.clone(), reason };
    let Some(key) = path.get(1) else { return Err(missing(": name the step, as in `steps.backup.output`".to_owned())) };
    let Some((id, view)) = (scope.steps)(key) else {
        return if strictness == Strictness::Lenient { Ok(()) } else { Err(missing(": it has not run yet".to_owned())) };
    };
    let entry = match view {
        StepView::AtRunTime => return Err(TemplateError::AtRunTime { path: written }),
        StepView::Absent(_) if strictness == Strictness::Lenient => return Ok(()),
        StepView::Absent(reason) => {
            return Err(missing(format!(": {reason}; a default helps, as in `{written} | default(0)`")));
        }
        StepView::Done { outcome, output } => serde_json::json!({ "outcome": outcome, "output": output }),
    };
    if strictness == Strictness::Strict {
        find(&entry, &path[2..]).map_err(|key| missing(format!(": the output of `{id}` has no `{key}`")))?;
    }
    // Behind a dot its dashes are `_`; in `steps['stop-app']` they are not.
    if key.contains('_') {
        steps.insert(shown(key), entry.clone());
    }
    steps.insert(key.clone(), entry);
    Ok(())
}

fn check_path(path: &[String], scope: &Scope<'_>) -> Result<(), TemplateError> {
    let missing = |reason: String| TemplateError::Missing { path: shown_path(path), reason };
    let (root, rest) = match path[0].as_str() {
        "params" => (&scope.params, &path[1..]),
        "run" => (&scope.run, &path[1..]),
        _ => (&scope.locals, path),
    };
    let Some((key, rest)) = rest.split_first() else { return Ok(()) };
    let value = root.get(key).ok_or_else(|| missing(String::new()))?;
    find(value, rest).map_err(|_| missing(String::new()))
}

/// Follows a path; the key that is missing is the error. What is behind a list, a text or a number is a method, which Jinja
/// itself checks.
fn find<'a>(value: &Json, path: &'a [String]) -> Result<(), &'a str> {
    const METHODS: &[&str] = &["items", "keys", "values", "get"];
    let (Some(key), Json::Object(entries)) = (path.first(), value) else { return Ok(()) };
    match entries.get(key) {
        Some(inner) => find(inner, &path[1..]),
        None if METHODS.contains(&key.as_str()) => Ok(()),
        None => Err(key),
    }
}

/// Writes the dashes of ids after `steps.` as `_`, outside string literals, and inside the markers only.
fn plain_ids(text: &str, form: Form) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = form == Form::Expression;
    let mut quote: Option<char> = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if form == Form::Template && quote.is_none() {
            inside = if inside {
                !(rest.starts_with("}}") || rest.starts_with("%}"))
            } else {
                rest.starts_with("{{") || rest.starts_with("{%")
            };
        }
        if inside && quote.is_none() && rest.starts_with("steps.") && !ends_in_word(&out) {
            let tail = &rest["steps.".len()..];
            let end = tail.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).unwrap_or(tail.len());
            let id = tail[..end].trim_end_matches('-');
            out.push_str("steps.");
            out.push_str(&id.replace('-', "_"));
            rest = &tail[id.len()..];
            continue;
        }
        if inside {
            quote = match quote {
                Some(open) if open == c => None,
                None if c == '\'' || c == '"' => Some(c),
                other => other,
            };
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

fn ends_in_word(text: &str) -> bool {
    text.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.')
}

/// Whether an expression has a value that never changes.
pub fn constant(expression: &str) -> Option<Json> {
    let none = references(expression, Form::Expression).ok()?.is_empty();
    if none { evaluate(expression, &Scope::default()).ok() } else { None }
}

#[cfg(test)]
mod tests;
