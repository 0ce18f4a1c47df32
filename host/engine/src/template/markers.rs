//! Finds the template markers of a text.

/// Whether a text contains a template marker.
pub fn has_markers(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// The inside of a string that is exactly one `{{ … }}`.
pub fn sole_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}") && !has_markers(inner)).then_some(inner)
}
