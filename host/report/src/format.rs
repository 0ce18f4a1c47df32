//! The formats in which a run can be reported: one table.

use crate::summary::Summary;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a person's terminal.
    Text,
    /// For programs.
    Json,
    /// For CI.
    Junit,
    /// To paste into an incident.
    Markdown,
}

/// Every format: name and what it is for.
pub const FORMATS: &[(Format, &str, &str)] = &[
    (Format::Text, "text", "for a person's terminal"),
    (Format::Json, "json", "for programs"),
    (Format::Junit, "junit", "for CI"),
    (Format::Markdown, "markdown", "to paste into an incident"),
];

impl Format {
    /// The format called `name`.
    pub fn find(name: &str) -> Option<Self> {
        FORMATS.iter().find(|(_, known, _)| *known == name).map(|(format, ..)| *format)
    }
}

/// A run in a format.
pub fn render(format: Format, summary: &Summary) -> String {
    match format {
        Format::Text => crate::text::render(summary),
        Format::Json => crate::json::render(summary),
        Format::Junit => crate::junit::render(summary),
        Format::Markdown => crate::markdown::render(summary),
    }
}
