//! The access report as one file for a browser.

use crate::html_page::{self, escape};
use crate::phrases::counted;
use runbook_authority::access_report::{AccessReport, BoundaryStatus, Detail, Origin, PluginEntry, Row, RunbookEntry};
use std::fmt::Write as _;

const STYLE: &str = ".r{font-weight:600;white-space:nowrap}.critical{color:#a40e26}.high{color:#bc4c00}.medium{color:#7d4e00}.low,.info{color:#57606a}.why{color:#57606a}\
@media(prefers-color-scheme:dark){.critical{color:#ff7b72}.high{color:#ffa657}.medium{color:#e3b341}.low,.info,.why{color:#8b949e}}";

/// The whole page.
pub(super) fn render(report: &AccessReport) -> String {
    let mut page = html_page::begin("What may run here", STYLE);
    page.push_str("<h1>What may run here</h1>\n");
    let _ = writeln!(
        page,
        "<p>{}, {}, {}.</p>",
        counted(report.runbooks.len(), "runbook"),
        counted(report.plugins.len(), "plugin"),
        super::verdict(report),
    );
    push_findings(&mut page, report);
    if !report.runbooks.is_empty() {
        page.push_str("<h2>Runbooks</h2>\n");
        report.runbooks.iter().for_each(|runbook| push_runbook(&mut page, runbook));
    }
    if !report.plugins.is_empty() {
        page.push_str("<h2>Plugins</h2>\n");
        report.plugins.iter().for_each(|plugin| push_plugin(&mut page, plugin));
    }
    page.push_str(html_page::END);
    page
}

fn push_findings(page: &mut String, report: &AccessReport) {
    if report.findings.is_empty() {
        return;
    }
    page.push_str("<h2>Findings</h2>\n<table><tr><th>Risk<th>Rule<th>Where<th>What<th>What to do</tr>\n");
    for finding in &report.findings {
        let row = finding.rule.row();
        let location = format!("<br><code>{}</code>", escape(&finding.location.to_string()));
        let _ = writeln!(
            page,
            "<tr><td class=\"r {0}\">{0}<td><code>{1}</code> {2}<td>{3}{4}<td>{5}<td>{6}</tr>",
            finding.risk.name(),
            row.id,
            row.name,
            escape(&finding.subject),
            location,
            escape(&finding.message),
            row.help
        );
    }
    page.push_str("</table>\n");
}

fn push_runbook(page: &mut String, runbook: &RunbookEntry) {
    let environment = runbook.environment.as_ref().map(|name| format!(", environment {}", escape(name))).unwrap_or_default();
    let _ = writeln!(page, "<h3><code>{}</code> ({}{environment})</h3>", escape(&runbook.file), escape(&runbook.name));
    push_details(page, &runbook.details);
    for step in &runbook.steps {
        let _ = writeln!(page, "<details open><summary>{} <code>{}</code></summary>", escape(&step.step), escape(&step.uses));
        push_rows(page, &step.rows);
        push_details(page, &step.details);
        page.push_str("</details>\n");
    }
    if !runbook.flows.is_empty() {
        page.push_str("<details open><summary>Flows: what can reach what</summary>\n<table>\n");
        for flow in &runbook.flows {
            let _ = writeln!(page, "<tr><td class=\"r {0}\">{0}<td>{1}</tr>", flow.risk.name(), escape(&flow.sentence()));
        }
        page.push_str("</table></details>\n");
    }
    if !runbook.written.is_empty() {
        page.push_str("<details><summary>Every key of its files</summary>\n");
        push_details(page, &runbook.written);
        page.push_str("</details>\n");
    }
}

/// What the runbook's text says.
fn push_details(page: &mut String, details: &[Detail]) {
    if details.is_empty() {
        return;
    }
    page.push_str("<table>\n");
    for detail in details {
        let _ = writeln!(page, "<tr><td><code>{}</code><td><pre>{}</pre></tr>", escape(&detail.name), escape(&detail.text));
    }
    page.push_str("</table>\n");
}

fn push_plugin(page: &mut String, plugin: &PluginEntry) {
    let wasi = if plugin.needs_inert_wasi { ", needs inert WASI" } else { "" };
    let origin = match &plugin.origin {
        Origin::Bundled => "Bundled with this program.".to_owned(),
        Origin::File { path, signature, .. } => format!("File <code>{}</code>, signature: {}.", escape(path), escape(signature)),
    };
    let _ = writeln!(
        page,
        "<details><summary>{} {}: {}</summary><p><code>{}</code>, {} bytes{wasi}</p><p>{origin}</p>",
        escape(&plugin.reference),
        escape(&plugin.version),
        escape(&plugin.description),
        escape(&plugin.digest),
        plugin.size_bytes
    );
    push_rows(page, &plugin.rows);
    page.push_str("</details>\n");
}

fn push_rows(page: &mut String, rows: &[Row]) {
    // A column that nobody asked for is not there: an empty one would read as "no".
    let (is_compared, is_counted) = (rows.iter().any(|row| row.boundary.is_some()), rows.iter().any(|row| row.used.is_some()));
    page.push_str("<table><tr><th>Risk<th>Slot<th>Verb<th>What it may do<th>Granted at<th>Imported");
    page.push_str(if is_compared { "<th>Boundary" } else { "" });
    page.push_str(if is_counted { "<th>Used</tr>\n" } else { "</tr>\n" });
    for row in rows {
        let place =
            row.granted.as_ref().map(|granted| format!("<code>{}:{}</code>", escape(&granted.place.file), granted.place.line));
        let boundary = match &row.boundary {
            None => String::new(),
            Some(BoundaryStatus::Within) => "<td>within".to_owned(),
            Some(BoundaryStatus::Exceeded { witness }) => {
                format!("<td><span class=\"r critical\">beyond</span> {}", escape(witness))
            }
        };
        let imported = if row.imported.is_empty() { "no" } else { "yes" };
        let sent: String = row.used_secrets.iter().map(|(secret, n)| format!("<br>secret {}: {n}", escape(secret))).collect();
        let used = row.used.map(|count| format!("<td>{count}{sent}")).unwrap_or_default();
        let _ = writeln!(
            page,
            "<tr><td class=\"r {0}\">{0}<td>{1}<td><code>{2}</code><td>{3}<div class=\"why\">{4}</div><td>{5}<td>{imported}{boundary}{used}</tr>",
            row.risk.name(),
            escape(&row.slot),
            escape(&row.verb),
            escape(&row.sentence),
            escape(&row.reason),
            place.unwrap_or_default(),
        );
    }
    page.push_str("</table>\n");
}
