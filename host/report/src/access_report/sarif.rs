//! The findings as SARIF 2.1.0, which code scanning services read.

use runbook_authority::Risk;
use runbook_authority::access_report::{
    AccessReport, FINDING_RULES, Finding, FindingRow, Location,
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One run of one tool, with every rule and every finding.
pub(super) fn render(report: &AccessReport) -> String {
    let rules: Vec<Value> = FINDING_RULES.iter().map(rule).collect();
    let results: Vec<Value> = report.findings.iter().map(result).collect();
    let sarif = json!({
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "runbook", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    crate::single_line::json(&sarif)
}

fn rule(row: &FindingRow) -> Value {
    json!({
        "id": row.id,
        "name": row.name,
        "shortDescription": { "text": row.description },
        "help": { "text": row.help },
        "defaultConfiguration": { "level": level(row.risk) },
        "properties": { "security-severity": severity(row.risk) },
    })
}

fn result(finding: &Finding) -> Value {
    let row = finding.rule.row();
    let index = FINDING_RULES.iter().position(|known| known.rule == finding.rule);
    json!({
        "ruleId": row.id,
        "ruleIndex": index,
        "level": level(finding.risk),
        "message": { "text": format!("{}: {}", finding.subject, finding.message) },
        "locations": [location(&finding.location)],
    })
}

/// Where a finding is. Code scanning services show a result only with a location that has an
/// artifact.
fn location(location: &Location) -> Value {
    match location {
        Location::Line(place) => json!({
            "physicalLocation": {
                "artifactLocation": { "uri": uri(&place.file) },
                "region": { "startLine": place.line, "startColumn": place.column },
            },
        }),
        Location::File(file) => {
            json!({ "physicalLocation": { "artifactLocation": { "uri": uri(file) } } })
        }
        Location::Bundled(name) => json!({
            "physicalLocation": { "artifactLocation": { "uri": format!("bundled/{}", uri(name)) } },
            "logicalLocations": [{ "name": name, "kind": "module" }],
        }),
    }
}

fn level(risk: Risk) -> &'static str {
    match risk {
        Risk::Info => "none",
        Risk::Low => "note",
        Risk::Medium => "warning",
        Risk::High | Risk::Critical => "error",
    }
}

/// The scale of CVSS, by which code scanning services sort.
fn severity(risk: Risk) -> &'static str {
    match risk {
        Risk::Info => "0.0",
        Risk::Low => "3.0",
        Risk::Medium => "5.5",
        Risk::High => "8.0",
        Risk::Critical => "9.5",
    }
}

/// A path as a URI reference (RFC 3986).
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/@".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}
