//! The access report for a terminal, and for `git diff`: one line for each fact, in a fixed order.

use crate::phrases::pluralize;
use crate::single_line::push_line;
use crate::table::table;
use runbook_authority::access_report::{
    AccessReport, AccessRow, BoundaryStatus, Detail, Finding, PluginEntry, PluginOrigin,
    RunbookEntry, UngrantedVerb,
};
use std::fmt::Write as _;

/// Findings, then runbooks, then plugins.
pub(super) fn render(report: &AccessReport) -> String {
    let mut text = String::new();
    if !report.findings.is_empty() {
        text.push_str("Findings\n");
        report.findings.iter().for_each(|finding| push_finding(&mut text, finding));
        text.push('\n');
    }
    report.runbooks.iter().for_each(|runbook| push_runbook(&mut text, runbook));
    report.plugins.iter().for_each(|plugin| push_plugin(&mut text, plugin));
    let _ = write!(
        text,
        "{}, {}, {}.",
        pluralize(report.runbooks.len(), "runbook"),
        pluralize(report.plugins.len(), "plugin"),
        super::summary(report)
    );
    runbook_text::for_terminal(&text).into_owned()
}

fn push_finding(text: &mut String, finding: &Finding) {
    let row = finding.rule.row();
    push_line(
        text,
        format_args!("  {:<8}  {} {}  {}", finding.risk.name(), row.id, row.name, finding.subject),
    );
    push_line(text, format_args!("            {}", finding.message));
    push_line(text, format_args!("            at {}", finding.location));
}

fn push_runbook(text: &mut String, runbook: &RunbookEntry) {
    let environment = runbook
        .environment
        .as_ref()
        .map(|name| format!(", environment {name}"))
        .unwrap_or_default();
    push_line(text, format_args!("Runbook {} ({}{environment})", runbook.file, runbook.name));
    push_details(text, "  ", &runbook.details);
    for step in &runbook.steps {
        push_line(text, format_args!("  {}  {}", step.step, step.uses));
        if step.rows.is_empty() && step.withheld.is_empty() {
            text.push_str("    nothing: it is given no slot\n");
        }
        push_rows(text, &step.rows);
        for UngrantedVerb { slot, verb, reason } in &step.withheld {
            push_line(text, format_args!("    not granted: {verb} on `{slot}`: {reason}"));
        }
        push_details(text, "    ", &step.details);
    }
    if !runbook.flows.is_empty() {
        text.push_str("  Flows: what can reach what\n");
        let rows: Vec<_> = runbook
            .flows
            .iter()
            .map(|flow| vec![flow.risk.name().to_owned(), flow.sentence()])
            .collect();
        push_indented(text, &table(&rows));
    }
    if !runbook.file_entries.is_empty() {
        text.push_str("  Every key of its files\n");
        push_details(text, "    ", &runbook.file_entries);
    }
    text.push('\n');
}

fn push_plugin(text: &mut String, plugin: &PluginEntry) {
    push_line(
        text,
        format_args!(
            "Plugin {} ({} {}): {}",
            plugin.reference, plugin.name, plugin.version, plugin.description
        ),
    );
    let wasi = if plugin.needs_inert_wasi { ", needs inert WASI" } else { "" };
    push_line(text, format_args!("  {}, {} bytes{wasi}", plugin.digest, plugin.size_bytes));
    match &plugin.origin {
        PluginOrigin::Bundled => text.push_str("  bundled with this program\n"),
        PluginOrigin::File { path, signature, .. } => {
            push_line(text, format_args!("  file {path}, signature: {signature}"));
        }
    }
    push_rows(text, &plugin.rows);
    text.push('\n');
}

/// Rows, then the author's reason once for each slot.
fn push_rows(text: &mut String, rows: &[AccessRow]) {
    let lines: Vec<_> = rows.iter().map(cells).collect();
    push_indented(text, &table(&lines));
    let mut slot = None;
    for row in rows.iter().filter(|row| !row.reason.is_empty()) {
        if slot.replace(&row.slot) != Some(&row.slot) {
            push_line(text, format_args!("    why `{}`: {}", row.slot, row.reason));
        }
    }
}

/// The details, one line each. If a text has several lines, each line after the first begins with
/// `|`.
fn push_details(text: &mut String, indent: &str, details: &[Detail]) {
    for detail in details {
        let mut lines = detail.text.lines();
        push_line(
            text,
            format_args!("{indent}{}: {}", detail.name, lines.next().unwrap_or_default()),
        );
        for line in lines {
            push_line(text, format_args!("{indent}  | {line}"));
        }
    }
}

fn cells(row: &AccessRow) -> Vec<String> {
    let place = row
        .granted
        .as_ref()
        .map(|granted| format!("[{}:{}]", granted.place.file, granted.place.line));
    let mut notes: Vec<String> = place.into_iter().chain(row.needed_by.clone()).collect();
    if row.imported.is_empty() {
        // The host itself uses what a secret comes from.
        let is_source = row.slot.starts_with("secrets.");
        notes.push(if is_source { "used by the host" } else { "not imported" }.to_owned());
    }
    match &row.boundary {
        Some(BoundaryStatus::Exceeded { witness }) if witness.is_empty() => {
            notes.push("BEYOND THE BOUNDARY".to_owned());
        }
        Some(BoundaryStatus::Exceeded { witness }) => {
            notes.push(format!("BEYOND THE BOUNDARY: {witness}"));
        }
        Some(BoundaryStatus::Within) => notes.push("within the boundary".to_owned()),
        None => {}
    }
    match row.used {
        Some(0) => notes.push("never used".to_owned()),
        Some(count) => notes.push(format!("used {}", times(count))),
        None => {}
    }
    notes.extend(
        row.used_secrets
            .iter()
            .map(|(secret, count)| format!("sent secret `{secret}` {}", times(*count))),
    );
    let sentence = if notes.is_empty() {
        row.sentence.clone()
    } else {
        format!("{}  {}", row.sentence, notes.join(", "))
    };
    vec![row.risk.name().to_owned(), row.slot.clone(), row.verb.clone(), sentence]
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn push_indented(text: &mut String, block: &str) {
    for line in block.lines() {
        push_line(text, format_args!("    {line}"));
    }
}
