//! The ledger for a terminal, and for `git diff`: one line a fact, always in the same order.

use crate::line::counted;
use crate::table::table;
use runbook_authority::ledger::{Detail, Finding, Ledger, Origin, PluginEntry, Row, RunbookEntry, Standing};
use std::fmt::Write as _;

/// Findings, then runbooks, then plugins.
pub(super) fn render(ledger: &Ledger) -> String {
    let mut text = String::new();
    if !ledger.findings.is_empty() {
        text.push_str("Findings\n");
        ledger.findings.iter().for_each(|finding| push_finding(&mut text, finding));
        text.push('\n');
    }
    ledger.runbooks.iter().for_each(|runbook| push_runbook(&mut text, runbook));
    ledger.plugins.iter().for_each(|plugin| push_plugin(&mut text, plugin));
    let _ = write!(
        text,
        "{}, {}, {}; the highest risk is {}.",
        counted(ledger.runbooks.len(), "runbook"),
        counted(ledger.plugins.len(), "plugin"),
        counted(ledger.findings.len(), "finding"),
        ledger.worst().name()
    );
    text
}

fn push_finding(text: &mut String, finding: &Finding) {
    let row = finding.rule.row();
    let _ = writeln!(text, "  {:<8}  {} {}  {}", finding.risk.name(), row.id, row.name, finding.subject);
    let _ = writeln!(text, "            {}", finding.message);
    let _ = writeln!(text, "            at {}", finding.location);
}

fn push_runbook(text: &mut String, runbook: &RunbookEntry) {
    let environment = runbook.environment.as_ref().map(|name| format!(", environment {name}")).unwrap_or_default();
    let _ = writeln!(text, "Runbook {} ({}{environment})", runbook.file, runbook.name);
    push_details(text, "  ", &runbook.details);
    for step in &runbook.steps {
        let _ = writeln!(text, "  {}  {}", step.step, step.uses);
        if step.rows.is_empty() {
            text.push_str("    nothing: it is given no slot\n");
        }
        push_rows(text, &step.rows);
        push_details(text, "    ", &step.details);
    }
    if !runbook.flows.is_empty() {
        text.push_str("  Flows: what can reach what\n");
        let rows: Vec<_> = runbook.flows.iter().map(|flow| vec![flow.risk.name().to_owned(), flow.sentence()]).collect();
        push_indented(text, &table(&rows));
    }
    text.push('\n');
}

fn push_plugin(text: &mut String, plugin: &PluginEntry) {
    let _ = writeln!(text, "Plugin {} ({} {}): {}", plugin.reference, plugin.name, plugin.version, plugin.description);
    let wasi = if plugin.needs_inert_wasi { ", needs inert WASI" } else { "" };
    let _ = writeln!(text, "  {}, {} bytes{wasi}", plugin.digest, plugin.size_bytes);
    let _ = match &plugin.origin {
        Origin::Bundled => writeln!(text, "  bundled with this program"),
        Origin::File { path, signature, .. } => writeln!(text, "  file {path}, signature: {signature}"),
    };
    push_rows(text, &plugin.rows);
    text.push('\n');
}

/// Rows, then the author's reason once for each slot.
fn push_rows(text: &mut String, rows: &[Row]) {
    let lines: Vec<_> = rows.iter().map(cells).collect();
    push_indented(text, &table(&lines));
    let mut slot = None;
    for row in rows.iter().filter(|row| !row.reason.is_empty()) {
        if slot.replace(&row.slot) != Some(&row.slot) {
            let _ = writeln!(text, "    why `{}`: {}", row.slot, row.reason);
        }
    }
}

/// What the runbook's text says, one line each. Of a text with several lines, each following line begins with `|`.
fn push_details(text: &mut String, indent: &str, details: &[Detail]) {
    for detail in details {
        let mut lines = detail.text.lines();
        let _ = writeln!(text, "{indent}{}: {}", detail.name, lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(text, "{indent}  | {line}");
        }
    }
}

fn cells(row: &Row) -> Vec<String> {
    let place = row.granted.as_ref().map(|granted| format!("[{}:{}]", granted.place.file, granted.place.line));
    let mut notes: Vec<String> = place.into_iter().collect();
    if row.imported.is_empty() {
        notes.push("not imported".to_owned());
    }
    match &row.boundary {
        Some(Standing::Exceeded { witness }) if witness.is_empty() => notes.push("BEYOND THE BOUNDARY".to_owned()),
        Some(Standing::Exceeded { witness }) => notes.push(format!("BEYOND THE BOUNDARY: {witness}")),
        Some(Standing::Within) => notes.push("within the boundary".to_owned()),
        None => {}
    }
    match row.used {
        Some(0) => notes.push("never used".to_owned()),
        Some(1) => notes.push("used once".to_owned()),
        Some(count) => notes.push(format!("used {count} times")),
        None => {}
    }
    let sentence = if notes.is_empty() { row.sentence.clone() } else { format!("{}  {}", row.sentence, notes.join(", ")) };
    vec![row.risk.name().to_owned(), row.slot.clone(), row.verb.clone(), sentence]
}

fn push_indented(text: &mut String, block: &str) {
    for line in block.lines() {
        let _ = writeln!(text, "    {line}");
    }
}
