//! Finds outputs that are incomplete: the operation marks them with `truncated`.

use super::{Form, Scope, StepView, contents_of, has_markers, id_of_key};
use runbook_contract::Json;

/// The name of the first truncated output to which the templates of a value refer.
pub fn truncated_output_in(value: &Json, scope: &Scope<'_>) -> Option<String> {
    match value {
        Json::String(text) if has_markers(text) => {
            truncated_output_in_text(text, Form::Template, scope)
        }
        Json::Array(items) => items.iter().find_map(|item| truncated_output_in(item, scope)),
        Json::Object(entries) => {
            entries.values().find_map(|value| truncated_output_in(value, scope))
        }
        Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_) => None,
    }
}

/// As [`truncated_output_in`], for one text.
pub fn truncated_output_in_text(text: &str, form: Form, scope: &Scope<'_>) -> Option<String> {
    let found = contents_of(text, form).ok()?;
    found.references.iter().find_map(|reference| {
        let (root, key) = (reference.path.first()?, reference.path.get(1)?);
        match root.as_str() {
            "params" => scope.truncated_params.get(key).cloned(),
            "steps" => match (scope.steps)(key)? {
                (_, StepView::Done { output, .. })
                    if is_truncated(&output, reference.path.get(3..).unwrap_or_default()) =>
                {
                    Some(format!("steps.{}.output", id_of_key(key)))
                }
                (_, StepView::Done { .. } | StepView::Absent(_) | StepView::AtRunTime) => None,
            },
            _ => None,
        }
    })
}

/// Whether the part of an output at these keys is truncated. The outputs of steps with items or a
/// nested file are maps of outputs, so the mark may be further inside.
fn is_truncated(output: &Json, keys: &[String]) -> bool {
    if is_marked_truncated(output) {
        return true;
    }
    match (keys.split_first(), output) {
        (Some((key, rest)), Json::Object(entries)) => {
            entries.get(key).is_some_and(|inner| is_truncated(inner, rest))
        }
        (None, Json::Object(entries)) => entries.values().any(|inner| is_truncated(inner, &[])),
        (_, Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_)) => {
            false
        }
    }
}

/// Whether an output is marked as truncated.
pub fn is_marked_truncated(output: &Json) -> bool {
    output.get("truncated") == Some(&Json::Bool(true))
}
