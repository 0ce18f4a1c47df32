//! Finds filters and tests in templates that do not exist.

use super::{ENVIRONMENT, Form, contents_of};
use minijinja::ErrorKind;

/// The filters and tests in a text that do not exist, each as in "filter `loud`". The template
/// engine itself reports them only when it evaluates them, perhaps in the middle of a run.
pub fn unknown_filters_and_tests(text: &str, form: Form) -> Vec<String> {
    let Ok(found) = contents_of(text, form) else { return Vec::new() };
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

/// Common filters, to suggest one in place of an unknown filter.
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

/// The existing filter that is most similar to an unknown one, as [`unknown_filters_and_tests`]
/// returns it.
pub fn nearest_filter(unknown: &str) -> Option<&'static str> {
    let name = unknown.strip_prefix("filter `")?.strip_suffix('`')?;
    let mut state = ENVIRONMENT.empty_state();
    let exists = |filter: &&str| {
        state.apply_filter(filter, &[]).err().map(|error| error.kind())
            != Some(ErrorKind::UnknownFilter)
    };
    runbook_document::nearest(name, FILTERS.iter().copied().filter(exists))
}
