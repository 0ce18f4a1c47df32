//! Templates and expressions: Jinja, strict, without effects.
//!
//! An undefined name is an error, never an empty text or a silent `false`. `steps.stop-app.output` may be written with the
//! dashes of the id, although Jinja would read them as minus.

use crate::ids::StepId;
use crate::operate::Json;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use std::collections::BTreeSet;

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
}

impl Default for Scope<'_> {
    fn default() -> Self {
        let empty = serde_json::Map::new;
        Self { params: empty(), steps: &|_| None, run: empty(), locals: empty() }
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
    let environment = environment();
    let text = plain_ids(text, form);
    let found = match form {
        Form::Template => environment.template_from_str(&text).map(|template| template.undeclared_variables(true)),
        Form::Expression => environment.compile_expression(&text).map(|expression| expression.undeclared_variables(true)),
    };
    let found = found.map_err(|error| TemplateError::Syntax { message: describe(&error) })?;
    let globals: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
    Ok(found.into_iter().filter(|path| !globals.contains(path.split('.').next().unwrap_or_default())).collect())
}

/// How a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text with `{{ … }}` in it.
    Template,
    /// The inside of one `{{ … }}`.
    Expression,
}

/// The filters and tests that a text uses and no template has, as in "filter `loud`": Jinja itself says so only when it
/// comes to them, and that may be in the middle of a run.
pub fn unknown_words(text: &str, form: Form) -> Vec<String> {
    let environment = environment();
    let mut state = environment.empty_state();
    let words = words(text, form);
    let mut unknown = Vec::new();
    for (place, word) in words.iter().enumerate() {
        let before = |back: usize| place.checked_sub(back).map(|place| words[place].as_str());
        let is_test = before(1) == Some("is") || (before(1) == Some("not") && before(2) == Some("is"));
        let (noun, kind) = match before(1) {
            Some("|") => ("filter", state.apply_filter(word, &[]).err().map(|error| error.kind())),
            _ if is_test && word != "not" => ("test", state.perform_test(word, &[]).err().map(|error| error.kind())),
            _ => continue,
        };
        if matches!(kind, Some(ErrorKind::UnknownFilter | ErrorKind::UnknownTest)) {
            unknown.push(format!("{noun} `{word}`"));
        }
    }
    unknown
}

/// The words and signs inside the markers of a text, without what is quoted.
fn words(text: &str, form: Form) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut inside = form == Form::Expression;
    let mut quote: Option<char> = None;
    let mut continues = false;
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        if form == Form::Template && quote.is_none() {
            inside = (inside || rest.starts_with("{{") || rest.starts_with("{%"))
                && !rest.starts_with("}}")
                && !rest.starts_with("%}");
        }
        let is_word = inside && quote.is_none() && (c.is_alphanumeric() || c == '_');
        match (is_word, continues, words.last_mut()) {
            (true, true, Some(word)) => word.push(c),
            (true, _, _) => words.push(c.to_string()),
            (false, _, _) if inside && quote.is_none() && !c.is_whitespace() => words.push(c.to_string()),
            (false, _, _) => {}
        }
        continues = is_word;
        if inside && (c == '\'' || c == '"') {
            quote = match quote {
                Some(open) if open == c => None,
                Some(open) => Some(open),
                None => Some(c),
            };
        }
    }
    words
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

fn render_text(text: &str, scope: &Scope<'_>) -> Result<Json, TemplateError> {
    if !has_markers(text) {
        return Ok(Json::from(text));
    }
    if let Some(inner) = sole_expression(text) {
        return evaluate(inner, scope);
    }
    let context = context_for(text, Form::Template, scope)?;
    let rendered = environment().render_str(&plain_ids(text, Form::Template), context);
    rendered.map(Json::from).map_err(|error| TemplateError::Compute { message: describe(&error) })
}

/// The value of an expression.
///
/// # Errors
/// A [`TemplateError`].
pub fn evaluate(expression: &str, scope: &Scope<'_>) -> Result<Json, TemplateError> {
    let context = context_for(expression, Form::Expression, scope)?;
    let environment = environment();
    let text = plain_ids(expression, Form::Expression);
    let compute = |error: Error| TemplateError::Compute { message: describe(&error) };
    let value = environment.compile_expression(&text).and_then(|compiled| compiled.eval(context)).map_err(compute)?;
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

/// Whether a text has anything to render.
pub fn has_markers(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// The inside of a string that is exactly one `{{ … }}`.
pub fn sole_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}") && !has_markers(inner)).then_some(inner)
}

/// The engine of all templates: lenient look-up, because [`context_for`] has refused every missing name already unless the
/// text gives a default; and strict printing, so that nothing missing ever becomes an empty text.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(|out, state, value| {
        if value.is_undefined() {
            return Err(Error::new(ErrorKind::UndefinedError, "a value is not there"));
        }
        minijinja::escape_formatter(out, state, value)
    });
    environment.add_filter("seconds", seconds);
    environment.add_filter("bytes", bytes);
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
    let detail = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
    detail.trim_end_matches('.').to_owned()
}

/// Builds what the text refers to and nothing else.
fn context_for(text: &str, form: Form, scope: &Scope<'_>) -> Result<Value, TemplateError> {
    let lenient = gives_default(text);
    let mut steps = serde_json::Map::new();
    for path in references(text, form)? {
        let parts: Vec<&str> = path.split('.').collect();
        if parts[0] == "steps" {
            add_step(&mut steps, &parts, scope, Strictness::of(lenient))?;
        } else if !lenient {
            check_path(&parts, scope)?;
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

impl Strictness {
    fn of(lenient: bool) -> Self {
        if lenient { Self::Lenient } else { Self::Strict }
    }
}

/// Whether the author has thought of a missing value.
fn gives_default(text: &str) -> bool {
    ["default", "is defined", "is undefined", "is not defined"].iter().any(|word| text.contains(word))
}

fn add_step(
    steps: &mut serde_json::Map<String, Json>,
    parts: &[&str],
    scope: &Scope<'_>,
    strictness: Strictness,
) -> Result<(), TemplateError> {
    let missing = |reason: String| TemplateError::Missing { path: parts.join("."), reason };
    let Some(key) = parts.get(1) else { return Err(missing(": name the step, as in `steps.backup.output`".to_owned())) };
    let Some((id, view)) = (scope.steps)(key) else {
        return if strictness == Strictness::Lenient { Ok(()) } else { Err(missing(": it has not run yet".to_owned())) };
    };
    let entry = match view {
        StepView::AtRunTime => return Err(TemplateError::AtRunTime { path: parts.join(".") }),
        StepView::Absent(_) if strictness == Strictness::Lenient => return Ok(()),
        StepView::Absent(reason) => {
            return Err(missing(format!(": {reason}; a default helps, as in `{} | default(0)`", parts.join("."))));
        }
        StepView::Done { outcome, output } => serde_json::json!({ "outcome": outcome, "output": output }),
    };
    if strictness == Strictness::Strict {
        find(&entry, &parts[2..]).map_err(|key| missing(format!(": the output of `{id}` has no `{key}`")))?;
    }
    steps.insert((*key).to_owned(), entry);
    Ok(())
}

fn check_path(parts: &[&str], scope: &Scope<'_>) -> Result<(), TemplateError> {
    let missing = |reason: String| TemplateError::Missing { path: parts.join("."), reason };
    let root = match parts[0] {
        "params" => &Json::Object(scope.params.clone()),
        "run" => &Json::Object(scope.run.clone()),
        local => scope.locals.get(local).ok_or_else(|| missing(String::new()))?,
    };
    find(root, &parts[1..]).map_err(|_| missing(String::new()))
}

/// Follows a path; the key that is missing is the error. What is behind a list, a text or a number is a method, which Jinja
/// itself checks.
fn find<'a>(value: &Json, path: &[&'a str]) -> Result<(), &'a str> {
    const METHODS: &[&str] = &["items", "keys", "values", "get"];
    let (Some(key), Json::Object(entries)) = (path.first(), value) else { return Ok(()) };
    match entries.get(*key) {
        Some(inner) => find(inner, &path[1..]),
        None if METHODS.contains(key) => Ok(()),
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
mod tests {
    use super::*;

    #[test]
    fn a_filter_or_a_test_that_does_not_exist_is_found_before_it_is_reached() {
        let words = |text: &str| unknown_words(text, Form::Template);
        assert_eq!(words("{{ a | loud }} {{ b is not oddd }}"), ["filter `loud`", "test `oddd`"]);
        assert_eq!(words("{{ a | default(0) | seconds }} {% if b is not defined and c is none %}x{% endif %}"), [""; 0]);
        assert_eq!(words("a | loud {{ 'b | loud' ~ \"is oddd\" }} c is oddd"), [""; 0]);
        assert_eq!(unknown_words("steps.a.output.lag | loud > 3", Form::Expression), ["filter `loud`"]);
    }
}
