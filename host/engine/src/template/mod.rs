//! Templates and expressions: Jinja, strict, without effects.
//!
//! An undefined name is an error, never an empty text or a silent `false`. `steps.stop-app.output`
//! may be written with the dashes of the id, although Jinja would read them as minus;
//! `steps['stop-app']` is the same.

mod contents;
mod context;
mod limits;
pub(crate) mod markers;
mod truncated;
mod unknown_filters;

pub use contents::Form;
pub use markers::{has_markers, sole_expression};
pub use truncated::{is_marked_truncated, truncated_output_in, truncated_output_in_text};
pub use unknown_filters::{nearest_filter, unknown_filters_and_tests};

use crate::partial_input::{PartialInput, below};
use contents::TemplateContents;
use context::context_for;
use limits::BoundedOutput;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
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
        /// Why, beginning with a colon; may be empty.
        reason: String,
    },
    /// The value depends on the result of a step, and this is a dry run.
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

/// What a template can use of another step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepView {
    /// The step has run, and has a result.
    Done {
        /// The outcome by its name: `pass`, `warn`, `fail` or `unknown`.
        outcome: &'static str,
        /// Its output; null if it has none.
        output: Json,
    },
    /// The step did not run, or has no output; with the reason.
    Absent(String),
    /// The step would run, and this is a dry run.
    AtRunTime,
}

/// Finds a step by its [`template_key`]. A function and not a map, because a map would copy the
/// outputs of all steps for each template.
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
    /// Other names, such as the item of `for_each`, `outcome` and `output`.
    pub locals: serde_json::Map<String, Json>,
    /// The parameters whose value comes from a truncated output, each with the name of that output.
    pub truncated_params: BTreeMap<String, String>,
    /// Names that have a value only at run time: the item of a `for_each` whose list is not known
    /// yet.
    pub run_time_names: BTreeSet<String>,
}

impl Default for Scope<'_> {
    fn default() -> Self {
        let empty = serde_json::Map::new;
        let (truncated_params, run_time_names) = (BTreeMap::new(), BTreeSet::new());
        Self {
            params: empty(),
            steps: &|_| None,
            run: empty(),
            locals: empty(),
            truncated_params,
            run_time_names,
        }
    }
}

/// The names that a text refers to, as dotted paths: `params.incident`, `steps.stop_app.output.id`.
pub type References = BTreeSet<String>;

/// The key of a step in templates: its id with `_` for `-`.
pub fn template_key(id: &StepId) -> String {
    id.as_str().replace('-', "_")
}

/// The key of a step of a nested file in the whole run. `key` is its key in templates of that file.
pub fn inner_key(group: &StepId, key: &str) -> String {
    format!("{}.{key}", template_key(group))
}

/// The names to which a template or an expression refers.
///
/// # Errors
/// [`TemplateError::Syntax`] if the text is no template or no expression.
pub fn references(text: &str, form: Form) -> Result<References, TemplateError> {
    Ok(contents_of(text, form)?
        .references
        .into_iter()
        .map(|reference| reference.path.join("."))
        .collect())
}

/// The names in a text that must have a value, each with its keys.
pub(crate) fn required_paths(text: &str, form: Form) -> Vec<Vec<String>> {
    let found = contents_of(text, form).map(|found| found.references).unwrap_or_default();
    found
        .into_iter()
        .filter(|reference| reference.missing == contents::IfMissing::Error)
        .map(|reference| reference.path)
        .collect()
}

/// The comparisons of names with literal values in a text.
pub(crate) fn comparisons(text: &str, form: Form) -> Vec<contents::Comparison> {
    contents_of(text, form).map(|found| found.comparisons).unwrap_or_default()
}

/// The contents of a text, without references to globals of the template engine (`range`, …).
fn contents_of(text: &str, form: Form) -> Result<TemplateContents, TemplateError> {
    let mut found = contents::read_contents(&with_underscored_ids(text, form), form)
        .map_err(|error| TemplateError::Syntax { message: error_message(&error) })?;
    found
        .references
        .retain(|reference| ENVIRONMENT.globals().all(|(name, _)| reference.path[0] != name));
    Ok(found)
}

/// The id of a step, from its key in templates.
fn id_of_key(key: &str) -> String {
    key.replace('_', "-")
}

/// A path as it is written in a runbook.
fn path_as_written(path: &[String]) -> String {
    match path {
        [root, step, rest @ ..] if root == "steps" => {
            [&[root.clone(), id_of_key(step)], rest].concat().join(".")
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

/// Renders every string whose value is known. All other strings stay as they are written.
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

/// Renders a JSON value before all steps have run. Strings whose value is known only at run time
/// stay as they are written, and their places are returned.
///
/// # Errors
/// The first [`TemplateError`] but `AtRunTime`.
pub fn render_partially(value: &Json, scope: &Scope<'_>) -> Result<PartialInput, TemplateError> {
    let mut partial =
        PartialInput { value: Json::Null, unknown: Vec::new(), sample_places: Vec::new() };
    partial.value = render_partially_at(value, scope, "", &mut partial.unknown)?;
    Ok(partial)
}

fn render_partially_at(
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
                .map(|(number, item)| {
                    render_partially_at(item, scope, &format!("{pointer}/{number}"), unknown)
                })
                .collect()
        }
        Json::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| {
                Ok((key.clone(), render_partially_at(value, scope, &below(pointer, key), unknown)?))
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
    let compute_error = |error: Error| TemplateError::Compute { message: error_message(&error) };
    let text = with_underscored_ids(text, Form::Template);
    let mut printed = BoundedOutput::default();
    let template = ENVIRONMENT.template_from_str(&text).map_err(compute_error)?;
    drop(template.render_captured_to(context, &mut printed).map_err(compute_error)?);
    Ok(Json::from(printed.into_text()))
}

/// The value of an expression.
///
/// # Errors
/// A [`TemplateError`].
pub fn evaluate(expression: &str, scope: &Scope<'_>) -> Result<Json, TemplateError> {
    let context = context_for(expression, Form::Expression, scope)?;
    let text = with_underscored_ids(expression, Form::Expression);
    let compute_error = |error: Error| TemplateError::Compute { message: error_message(&error) };
    let value = ENVIRONMENT
        .compile_expression(&text)
        .and_then(|compiled| compiled.eval(context))
        .map_err(compute_error)?;
    if value.is_undefined() {
        return Err(TemplateError::Missing {
            path: expression.trim().to_owned(),
            reason: String::new(),
        });
    }
    serde_json::to_value(&value)
        .map_err(|error| TemplateError::Compute { message: error.to_string() })
}

/// The value of a condition, which must be `true` or `false`: a text or a number is an error.
///
/// # Errors
/// A [`TemplateError`].
pub fn holds(expression: &str, scope: &Scope<'_>) -> Result<bool, TemplateError> {
    let value = evaluate(expression, scope)?;
    value.as_bool().ok_or_else(|| TemplateError::Compute {
        message: format!("`{}` is {value}, and must be true or false", expression.trim()),
    })
}

/// The environment of all templates. It is made once, because that takes longer than to render most
/// templates.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// Makes the environment. Lookup is lenient, because [`context_for`] has already refused every
/// missing name for which the text has no default. Printing is strict, so that a missing value
/// never becomes an empty text.
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
    limits::apply_limits(&mut environment);
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

fn error_message(error: &Error) -> String {
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

/// Replaces `-` by `_` in ids after `steps.`, inside of template markers and outside of string
/// literals.
fn with_underscored_ids(text: &str, form: Form) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_inside_marker = form == Form::Expression;
    let mut quote: Option<char> = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if form == Form::Template && quote.is_none() {
            is_inside_marker = if is_inside_marker {
                !(rest.starts_with("}}") || rest.starts_with("%}"))
            } else {
                rest.starts_with("{{") || rest.starts_with("{%")
            };
        }
        if is_inside_marker && quote.is_none() && rest.starts_with("steps.") && !ends_in_word(&out)
        {
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
        if is_inside_marker {
            quote = match quote {
                Some(opening) if opening == c => None,
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

/// The value of an expression that refers to no name; `None` if it refers to one, or is wrong.
pub fn constant(expression: &str) -> Option<Json> {
    let is_constant = references(expression, Form::Expression).ok()?.is_empty();
    if is_constant { evaluate(expression, &Scope::default()).ok() } else { None }
}

#[cfg(test)]
mod tests;
