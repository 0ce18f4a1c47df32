//! The access report in the formats for reviewers and programs.

mod html;
mod json;
mod sarif;
mod text;

use runbook_authority::access_report::AccessReport;

/// A format of the access report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewFormat {
    /// For a person's terminal, and for `git diff`.
    Text,
    /// For programs; its schema is `schema/review.v1.json`.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// One file for a browser, without any script.
    Html,
}

/// Every format: name and what it is for.
pub const REVIEW_FORMATS: &[(ReviewFormat, &str, &str)] = &[
    (ReviewFormat::Text, "text", "for a person's terminal"),
    (ReviewFormat::Json, "json", "for programs"),
    (ReviewFormat::Sarif, "sarif", "for code scanning"),
    (ReviewFormat::Html, "html", "one file for a browser"),
];

impl ReviewFormat {
    /// The format called `name`.
    pub fn find(name: &str) -> Option<Self> {
        REVIEW_FORMATS.iter().find(|(_, known, _)| *known == name).map(|(format, ..)| *format)
    }
}

/// The number of findings with the worst risk, and the risk of the riskiest right. A right that is
/// intended has a risk but is no finding, so both are shown.
fn summary(report: &AccessReport) -> String {
    let findings = crate::phrases::pluralize(report.findings.len(), "finding");
    let worst = report
        .highest_finding_risk()
        .map(|risk| format!(", the worst of them {}", risk.name()))
        .unwrap_or_default();
    let right = report
        .highest_granted_risk()
        .map(|risk| format!("; the riskiest right is {}", risk.name()))
        .unwrap_or_default();
    findings + &worst + &right
}

/// An access report in a format.
pub fn render(format: ReviewFormat, report: &AccessReport) -> String {
    match format {
        ReviewFormat::Text => text::render(report),
        ReviewFormat::Json => json::render(report),
        ReviewFormat::Sarif => sarif::render(report),
        ReviewFormat::Html => html::render(report),
    }
}
