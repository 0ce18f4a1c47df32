//! Templates and expressions: Jinja, strict, without effects.
//!
//! An undefined name is an error, never an empty text or a silent `false`. `steps.stop-app.output`
//! may be written with the dashes of the id, although Jinja would read them as minus;
//! `steps['stop-app']` is the same.

mod context;
mod cut;
mod limits;
pub(crate) mod markers;
mod reading;
mod words;

pub use cut::{cut_in, cut_in_text, is_marked_cut};
pub use markers::{has_markers, sole_expression};
pub use reading::Form;
pub use words::{nearest_filter, unknown_words};

use crate::known::{Known, below};
use context::context_for;
use limits::Printed;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use reading::Reading;
use runbook_contract::{Json, StepId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Why a template has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is not a template.
    #[error("{message}")]
    Syntax {
        /// What is wrong with the text, for people.
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
    /// The value of the template cannot be computed.
    #[error("{message}")]
    Compute {
        /// What went wrong, for people.
        message: String,
    },
}

/// What is known of another step when a template is rendered.
#[derive(Debug, Clone, PartialEq)]
pub enum StepView {
    /// The step has run, and has a result.
    Done {
        /// The outcome by its name: `pass`, `warn`, `fail` or `unknown`.
        outcome: &'static str,
        /// Its output; null if it has none.
        output: Json,
    },
    /// It did not run, or has no output; the text says why.
    Absent(String),
    /// It would run, and this is a dry run.
    AtRunTime,
}

/// Finds a step by its [`template_key`]. A look-up and not a map, because a run of a thousand steps
/// would otherwise copy a thousand outputs for each of them.
pub type StepLookup<'a> = &'a dyn Fn(&str) -> Option<(StepId, StepView)>;

/// The names that a template can use.
#[derive(Clone)]
pub struct Scope<'a> {
    /// What templates see as `params`.
    pub params: serde_json::Map<String, Json>,
    /// What templates see as `steps`.
    pub steps: StepLookup<'a>,
    /// What templates see as `run`.
    pub run: serde_json::Map<String, Json>,
    /// Others, such as the item of `for_each`, `outcome`, `output`.
    pub locals: serde_json::Map<String, Json>,
    /// Parameters that come from an output which was cut off, with the name of that output.
    pub cut: BTreeMap<String, String>,
    /// Names that have a value only at run time: the item of a `for_each` whose list is not known
    /// yet.
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
///
/// # Errors
/// [`TemplateError::Syntax`] if the text is no template or no expression.
pub fn references(text: &str, form: Form) -> Result<References, TemplateError> {
    Ok(reading_of(text, form)?
        .references
        .into_iter()
        .map(|reference| reference.path.join("."))
        .collect())
}

/// The names in a text that must have a value, each with the keys behind it.
pub(crate) fn required(text: &str, form: Form) -> Vec<Vec<String>> {
    let found = reading_of(text, form).map(|found| found.references).unwrap_or_default();
    found
        .into_iter()
        .filter(|reference| reference.missing == reading::IfMissing::Error)
        .map(|reference| reference.path)
        .collect()
}

/// The names in a text that are compared with values that stand beside them.
pub(crate) fn comparisons(text: &str, form: Form) -> Vec<reading::Comparison> {
    reading_of(text, form).map(|found| found.comparisons).unwrap_or_default()
}

/// What a text is made of, without what every template knows (`range`, …).
fn reading_of(text: &str, form: Form) -> Result<Reading, TemplateError> {
    let mut found = reading::read(&plain_ids(text, form), form)
        .map_err(|error| TemplateError::Syntax { message: describe(&error) })?;
    found
        .references
        .retain(|reference| ENVIRONMENT.globals().all(|(name, _)| reference.path[0] != name));
    Ok(found)
}

/// A step's key as its id is written.
fn shown(key: &str) -> String {
    key.replace('_', "-")
}

/// A path as it is written in a runbook.
fn shown_path(path: &[String]) -> String {
    match path {
        [root, step, rest @ ..] if root == "steps" => {
            [&[root.clone(), shown(step)], rest].concat().join(".")
        }
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
            let entries =
                entries.iter().map(|(key, value)| Ok((key.clone(), render(value, scope)?)));
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
        Json::Object(entries) => {
            entries.iter().map(|(key, value)| (key.clone(), render_known(value, scope))).collect()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
    }
}

/// The same before all steps have run: places whose value is known only at run time stay as they
/// are written, and are named.
///
/// # Errors
/// The first [`TemplateError`] but `AtRunTime`.
pub fn render_partly(value: &Json, scope: &Scope<'_>) -> Result<Known, TemplateError> {
    let mut known = Known { value: Json::Null, unknown: Vec::new(), sampled: Vec::new() };
    known.value = partly(value, scope, "", &mut known.unknown)?;
    Ok(known)
}

fn partly(
    value: &Json,
    scope: &Scope<'_>,
    pointer: &str,
    unknown: &mut Vec<String>,
) -> Result<Json, TemplateError> {
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
            items
                .map(|(number, item)| partly(item, scope, &format!("{pointer}/{number}"), unknown))
                .collect()
        }
        Json::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| {
                Ok((key.clone(), partly(value, scope, &below(pointer, key), unknown)?))
            });
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
    let value = ENVIRONMENT
        .compile_expression(&text)
        .and_then(|compiled| compiled.eval(context))
        .map_err(compute)?;
    if value.is_undefined() {
        return Err(TemplateError::Missing {
            path: expression.trim().to_owned(),
            reason: String::new(),
        });
    }
    serde_json::to_value(&value)
        .map_err(|error| TemplateError::Compute { message: error.to_string() })
}

/// The truth of an expression, which must be `true` or `false`: a text or a number is a mistake,
/// not a yes.
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

/// The engine of all templates: lenient look-up, because [`context_for`] has refused every missing
/// name already unless the text gives a default; and strict printing, so that nothing missing ever
/// becomes an empty text.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(|out, state, value| {
        if value.is_undefined() {
            return Err(Error::new(
                ErrorKind::UndefinedError,
                "an expression in it gives no value, such as an element that a list does not have; \
                 `| default(…)` gives a value for that case",
            ));
        }
        minijinja::escape_formatter(out, state, value)
    });
    environment.add_filter("seconds", seconds);
    environment.add_filter("bytes", bytes);
    limits::limit(&mut environment);
    environment
}

#[expect(
    clippy::needless_pass_by_value,
    clippy::cast_precision_loss,
    reason = "the signature and numbers of minijinja filters"
)]
fn seconds(text: String) -> Result<f64, Error> {
    runbook_document::parse_duration(&text)
        .map(|duration| duration.as_millis() as f64 / 1000.0)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidOperation,
                format!("`{text}` is not a duration, such as `5m`"),
            )
        })
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of minijinja filters")]
fn bytes(text: String) -> Result<u64, Error> {
    runbook_document::parse_byte_size(&text).map(|size| size.0).ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, format!("`{text}` is not a size, such as `10MiB`"))
    })
}

fn describe(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "the template does not come to an end".to_owned();
    }
    if let Some(source) =
        std::error::Error::source(error).filter(|_| error.kind() == ErrorKind::WriteFailure)
    {
        return source.to_string();
    }
    let detail = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
    detail.trim_end_matches('.').to_owned()
}

/// Writes the dashes of ids after `steps.` as `_`, outside string literals, and inside the markers
/// only.
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
            let end = tail
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
                .unwrap_or(tail.len());
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
