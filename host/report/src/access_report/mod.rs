//! The ledger of authority in the forms in which reviewers and programs read it.

mod html;
mod json;
mod sarif;
mod text;

use runbook_authority::access_report::AccessReport;

/// A format of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerFormat {
    /// For a person's terminal, and for `git diff`.
    Text,
    /// For programs; its schema is `schema/audit.v1.json`.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// One file for a browser, without any script.
    Html,
}

/// Every format: name and what it is for.
pub const LEDGER_FORMATS: &[(LedgerFormat, &str, &str)] = &[
    (LedgerFormat::Text, "text", "for a person's terminal"),
    (LedgerFormat::Json, "json", "for programs"),
    (LedgerFormat::Sarif, "sarif", "for code scanning"),
    (LedgerFormat::Html, "html", "one file for a browser"),
];

impl LedgerFormat {
    /// The format called `name`.
    pub fn find(name: &str) -> Option<Self> {
        LEDGER_FORMATS.iter().find(|(_, known, _)| *known == name).map(|(format, ..)| *format)
    }
}

/// How many findings there are and how bad the worst is, and beside it how much harm the riskiest right can do: two facts, because a
/// right that is meant is no finding.
fn verdict(ledger: &AccessReport) -> String {
    let findings = crate::event_lines::counted(ledger.findings.len(), "finding");
    let worst = ledger.worst_finding().map(|risk| format!(", the worst of them {}", risk.name())).unwrap_or_default();
    let right = ledger.riskiest_right().map(|risk| format!("; the riskiest right is {}", risk.name())).unwrap_or_default();
    findings + &worst + &right
}

/// A ledger in a format.
pub fn render(format: LedgerFormat, ledger: &AccessReport) -> String {
    match format {
        LedgerFormat::Text => text::render(ledger),
        LedgerFormat::Json => json::render(ledger),
        LedgerFormat::Sarif => sarif::render(ledger),
        LedgerFormat::Html => html::render(ledger),
    }
}
