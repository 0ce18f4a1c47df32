//! The access report as one file for a browser.

use crate::html_page::{self, fragment};
use crate::phrases::pluralize;
use minijinja::value::Serde;
use minijinja::{Value, context};
use runbook_authority::access_report::{
    AccessReport, AccessRow, BoundaryStatus, Detail, Finding, PluginEntry, PluginOrigin,
    RunbookEntry,
};
use serde::Serialize;

/// Styles of this page alone.
const STYLE: &str = include_str!("../../templates/access_report.css");

/// The access report as one HTML page.
pub(super) fn render(report: &AccessReport) -> String {
    let body = context! {
        runbook_count => pluralize(report.runbooks.len(), "runbook"),
        plugin_count => pluralize(report.plugins.len(), "plugin"),
        summary => super::summary(report),
        findings => report.findings.iter().map(finding).collect::<Vec<_>>(),
        runbooks => report.runbooks.iter().map(runbook).collect::<Vec<_>>(),
        plugins => report.plugins.iter().map(plugin).collect::<Vec<_>>(),
    };
    html_page::page("What may run here", STYLE, "access_report.html", body)
}

fn finding(finding: &Finding) -> Value {
    let rule = finding.rule.row();
    context! {
        risk => finding.risk.name(),
        id => rule.id,
        name => rule.name,
        help => rule.help,
        subject => &finding.subject,
        message => &finding.message,
        location => finding.location.to_string(),
    }
}

fn runbook(runbook: &RunbookEntry) -> Value {
    let step = |step: &runbook_authority::access_report::StepEntry| {
        context! { id => &step.step, uses => &step.uses, rows => rows(&step.rows), withheld => Serde(&step.withheld), details => details(&step.details) }
    };
    let flow = |flow: &runbook_authority::access_report::Flow| {
        context! { risk => flow.risk.name(), sentence => flow.sentence() }
    };
    context! {
        file => &runbook.file,
        name => &runbook.name,
        environment => &runbook.environment,
        details => details(&runbook.details),
        steps => runbook.steps.iter().map(step).collect::<Vec<_>>(),
        flows => runbook.flows.iter().map(flow).collect::<Vec<_>>(),
        written => details(&runbook.file_entries),
    }
}

fn plugin(plugin: &PluginEntry) -> Value {
    let file = match &plugin.origin {
        PluginOrigin::Bundled => None,
        PluginOrigin::File { path, signature, .. } => Some(context! { path, signature }),
    };
    context! {
        reference => &plugin.reference,
        version => &plugin.version,
        description => &plugin.description,
        digest => &plugin.digest,
        size_bytes => plugin.size_bytes,
        needs_inert_wasi => plugin.needs_inert_wasi,
        file,
        rows => rows(&plugin.rows),
    }
}

/// The table of details; empty if there are none.
fn details(details: &[Detail]) -> Value {
    if details.is_empty() {
        return Value::from_safe_string(String::new());
    }
    fragment("access_report_details.html", context! { details => Serde(details) })
}

/// A row of the table of verbs, for the template.
#[derive(Serialize)]
struct GrantTableRow<'a> {
    risk: &'static str,
    slot: &'a str,
    verb: &'a str,
    sentence: &'a str,
    reason: &'a str,
    needed_by: Option<&'a str>,
    place: Option<String>,
    imported: &'static str,
    is_within: bool,
    /// The witness: a call that the grant allows and the boundary does not.
    beyond: Option<&'a str>,
    used: Option<u64>,
    secrets: Vec<Value>,
}

fn rows(rows: &[AccessRow]) -> Value {
    // A column without data is left out, because an empty one would read as "no".
    let (is_compared, is_counted) =
        (rows.iter().any(|row| row.boundary.is_some()), rows.iter().any(|row| row.used.is_some()));
    let rows: Vec<_> = rows.iter().map(table_row).collect();
    fragment("access_report_rows.html", context! { is_compared, is_counted, rows => Serde(&rows) })
}

fn table_row(row: &AccessRow) -> GrantTableRow<'_> {
    let (is_within, beyond) = match &row.boundary {
        None => (false, None),
        Some(BoundaryStatus::Within) => (true, None),
        Some(BoundaryStatus::Exceeded { witness }) => (false, Some(witness.as_str())),
    };
    GrantTableRow {
        risk: row.risk.name(),
        slot: &row.slot,
        verb: &row.verb,
        sentence: &row.sentence,
        reason: &row.reason,
        needed_by: row.needed_by.as_deref(),
        place: row
            .granted
            .as_ref()
            .map(|granted| format!("{}:{}", granted.place.file, granted.place.line)),
        imported: if row.imported.is_empty() { "no" } else { "yes" },
        is_within,
        beyond,
        used: row.used,
        secrets: row.used_secrets.iter().map(|(name, times)| context! { name, times }).collect(),
    }
}
