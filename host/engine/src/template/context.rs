//! Builds the values for a template. Every name to which it refers is checked before it is
//! rendered.

use super::contents::{IfMissing, Reference};
use super::{Form, Scope, StepView, TemplateError, contents_of, id_of_key, path_as_written};
use minijinja::Value;
use runbook_contract::Json;

/// The values of the names to which the text refers.
///
/// # Errors
/// A name has no value, and the text has no default for it.
pub(super) fn context_for(
    text: &str,
    form: Form,
    scope: &Scope<'_>,
) -> Result<Value, TemplateError> {
    let mut steps = serde_json::Map::new();
    for reference in contents_of(text, form)?.references {
        let strictness = strictness_of(&reference, scope);
        if reference.path[0] == "steps" {
            add_step(&mut steps, &reference.path, scope, strictness)?;
        } else if scope.run_time_names.contains(&reference.path[0]) {
            return Err(TemplateError::AtRunTime { path: path_as_written(&reference.path) });
        } else if strictness == Strictness::Strict {
            check_path(&reference.path, scope)?;
        }
    }
    let mut context = scope.locals.clone();
    context.insert("params".to_owned(), Json::Object(scope.params.clone()));
    context.insert("run".to_owned(), Json::Object(scope.run.clone()));
    context.insert("steps".to_owned(), Json::Object(steps));
    serde_json::from_value(Json::Object(context))
        .map_err(|error| TemplateError::Compute { message: error.to_string() })
}

/// Whether a missing name is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strictness {
    Strict,
    Lenient,
}

fn strictness_of(reference: &Reference, scope: &Scope<'_>) -> Strictness {
    match &reference.missing {
        IfMissing::Error => Strictness::Strict,
        IfMissing::ErrorIfPresent(known) if has_value(known, scope) => Strictness::Strict,
        IfMissing::Allowed | IfMissing::ErrorIfPresent(_) => Strictness::Lenient,
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
    let written_path = path_as_written(path);
    let missing = |reason: String| TemplateError::Missing { path: written_path.clone(), reason };
    let Some(key) = path.get(1) else {
        return Err(missing(": name the step, as in `steps.backup.output`".to_owned()));
    };
    let Some((id, view)) = (scope.steps)(key) else {
        return if strictness == Strictness::Lenient {
            Ok(())
        } else {
            Err(missing(": it has not run yet".to_owned()))
        };
    };
    let entry = match view {
        StepView::AtRunTime => return Err(TemplateError::AtRunTime { path: written_path }),
        StepView::Absent(_) if strictness == Strictness::Lenient => return Ok(()),
        StepView::Absent(reason) => {
            return Err(missing(format!(
                ": {reason}; a default helps, as in `{written_path} | default(0)`"
            )));
        }
        StepView::Done { outcome, output } => {
            serde_json::json!({ "outcome": outcome, "output": output })
        }
    };
    if strictness == Strictness::Strict {
        find(&entry, &path[2..])
            .map_err(|key| missing(format!(": the output of `{id}` has no `{key}`")))?;
    }
    // `steps.stop-app` was rewritten to `steps.stop_app`; `steps['stop-app']` was not.
    if key.contains('_') {
        steps.insert(id_of_key(key), entry.clone());
    }
    steps.insert(key.clone(), entry);
    Ok(())
}

fn check_path(path: &[String], scope: &Scope<'_>) -> Result<(), TemplateError> {
    let missing = |reason: String| TemplateError::Missing { path: path_as_written(path), reason };
    let (root, rest) = match path[0].as_str() {
        "params" => (&scope.params, &path[1..]),
        "run" => (&scope.run, &path[1..]),
        _ => (&scope.locals, path),
    };
    let Some((key, rest)) = rest.split_first() else { return Ok(()) };
    let value = root.get(key).ok_or_else(|| missing(String::new()))?;
    find(value, rest).map_err(|_| missing(String::new()))
}

/// Checks that a path has a value.
///
/// # Errors
/// The first key that is missing. Keys of lists, texts and numbers are methods, which the template
/// engine checks.
fn find<'a>(value: &Json, path: &'a [String]) -> Result<(), &'a str> {
    const METHODS: &[&str] = &["items", "keys", "values", "get"];
    let (Some(key), Json::Object(entries)) = (path.first(), value) else { return Ok(()) };
    match entries.get(key) {
        Some(inner) => find(inner, &path[1..]),
        None if METHODS.contains(&key.as_str()) => Ok(()),
        None => Err(key),
    }
}
