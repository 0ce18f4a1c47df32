//! Compares an argument pattern with a regular expression.

use crate::pattern::{ArgumentPattern, Language, difference};

/// Whether some text matches both expressions. True if they are too complex to compare.
pub(super) fn may_match(pattern: &ArgumentPattern, expression: &str) -> bool {
    let language = Language::regex(pattern.expression());
    let shared_text =
        language.and_then(|language| difference(&language, &[&Language::regex(expression)?], &[]));
    !matches!(shared_text, Ok(None))
}

/// Whether every text of the pattern matches the expression. False if they are too complex to
/// compare.
pub(super) fn always_matches(pattern: &ArgumentPattern, expression: &str) -> bool {
    let language = Language::regex(pattern.expression());
    let counterexample =
        language.and_then(|language| difference(&language, &[], &[&Language::regex(expression)?]));
    matches!(counterexample, Ok(None))
}
