//! Outputs that are incomplete: their step marks them with `truncated`.

use super::{Form, Scope, StepView, has_markers, reading_of, shown};
use runbook_contract::Json;

/// The first output that a value's templates read and that is not whole, as its step says by
/// `truncated`.
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
                (_, StepView::Done { output, .. })
                    if is_cut(&output, reference.path.get(3..).unwrap_or_default()) =>
                {
                    Some(format!("steps.{}.output", shown(key)))
                }
                (_, StepView::Done { .. } | StepView::Absent(_) | StepView::AtRunTime) => None,
            },
            _ => None,
        }
    })
}

/// Whether what is read of an output by these keys is not whole. Outputs of several parts (items,
/// nested files, suites) are maps of outputs, so what is not whole may stand further in.
fn is_cut(output: &Json, keys: &[String]) -> bool {
    if is_marked_cut(output) {
        return true;
    }
    match (keys.split_first(), output) {
        (Some((key, rest)), Json::Object(entries)) => {
            entries.get(key).is_some_and(|inner| is_cut(inner, rest))
        }
        (None, Json::Object(entries)) => entries.values().any(|inner| is_cut(inner, &[])),
        (_, Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_)) => {
            false
        }
    }
}

/// Whether an operation says by its output that a list in it is not whole.
pub fn is_marked_cut(output: &Json) -> bool {
    output.get("truncated") == Some(&Json::Bool(true))
}
