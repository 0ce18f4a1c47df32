//! Finds which texts both an argument pattern and an expression allow.

use crate::pattern::{ArgumentPattern, Language, difference};

/// Whether some text matches both expressions. What cannot be compared does.
pub(super) fn may_match(pattern: &ArgumentPattern, expression: &str) -> bool {
    let names = Language::regex(pattern.expression());
    let found = names.and_then(|names| difference(&names, &[&Language::regex(expression)?], &[]));
    !matches!(found, Ok(None))
}

/// Whether every text of the pattern matches the expression. What cannot be compared does not.
pub(super) fn always_matches(pattern: &ArgumentPattern, expression: &str) -> bool {
    let names = Language::regex(pattern.expression());
    let other = names.and_then(|names| difference(&names, &[], &[&Language::regex(expression)?]));
    matches!(other, Ok(None))
}
