//! The table of formats in which a run can be reported.

use crate::summary::Summary;
use std::path::Path;

/// A format in which a run can be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a person's terminal.
    Text,
    /// One JSON object, for programs.
    Json,
    /// JUnit XML, which CI servers read.
    Junit,
    /// To paste into an incident.
    Markdown,
    /// One file for a browser, with a timeline.
    Html,
}

/// Every format: its name, how its files end, and what it is for.
pub const FORMATS: &[(Format, &str, &str, &str)] = &[
    (Format::Text, "text", "txt", "for a person's terminal"),
    (Format::Json, "json", "json", "for programs"),
    (Format::Junit, "junit", "xml", "for CI"),
    (Format::Markdown, "markdown", "md", "to paste into an incident"),
    (Format::Html, "html", "html", "one file for a browser, with a timeline"),
];

impl Format {
    /// The format of a file, by the ending of its name.
    pub fn of_file(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?;
        FORMATS.iter().find(|(_, _, known, _)| *known == ending).map(|(format, ..)| *format)
    }

    /// The format called `name`.
    pub fn find(name: &str) -> Option<Self> {
        FORMATS.iter().find(|(_, known, ..)| *known == name).map(|(format, ..)| *format)
    }
}

/// A run in a format.
pub fn render(format: Format, summary: &Summary) -> String {
    match format {
        Format::Text => crate::text::render(summary),
        Format::Json => crate::json::render(summary),
        Format::Junit => crate::junit::render(summary),
        Format::Markdown => crate::markdown::render(summary),
        Format::Html => crate::html::render(summary),
    }
}
