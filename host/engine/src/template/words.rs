//! Filters and tests of Jinja that templates may not use.

use super::{ENVIRONMENT, Form, reading_of};
use minijinja::ErrorKind;

/// The filters and tests that a text uses and no template has, as in "filter `loud`": Jinja itself
/// says so only when it comes to them, and that may be in the middle of a run.
pub fn unknown_words(text: &str, form: Form) -> Vec<String> {
    let Ok(found) = reading_of(text, form) else { return Vec::new() };
    let mut state = ENVIRONMENT.empty_state();
    let mut unknown = Vec::new();
    for filter in &found.filters {
        let kind = state.apply_filter(filter, &[]).err().map(|error| error.kind());
        unknown
            .extend((kind == Some(ErrorKind::UnknownFilter)).then(|| format!("filter `{filter}`")));
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
    let is_there = |filter: &&str| {
        state.apply_filter(filter, &[]).err().map(|error| error.kind())
            != Some(ErrorKind::UnknownFilter)
    };
    runbook_document::nearest(name, FILTERS.iter().copied().filter(is_there))
}
