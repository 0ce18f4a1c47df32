//! `runbook audit verify` and `runbook audit log`: the audit log of this host.

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use runbook_authority::VERBS;
use runbook_authority::ledger::Used;
use runbook_journal::audit::{self, Record};
use std::fmt::Write as _;

/// In which form records are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One line a record, for people.
    Lines,
    /// One JSON object a line.
    Json,
}

impl From<bool> for Form {
    fn from(json: bool) -> Self {
        if json { Self::Json } else { Self::Lines }
    }
}

/// Verifies the chains; status 1 if anything is wrong.
pub(super) fn verify(context: &Context, head: Option<&str>) -> Result<ExitStatus, Failure> {
    let verified = audit::verify(&context.audit_log).map_err(Failure::usage)?;
    let mut text = String::new();
    for problem in &verified.problems {
        let line = if problem.line == 0 { String::new() } else { format!(":{}", problem.line) };
        let _ = writeln!(text, "BROKEN  {}{line}: {}", problem.file, problem.what);
    }
    for file in &verified.open {
        let _ = writeln!(text, "open    {file}: the run goes on, or its process was killed; what is there fits");
    }
    let is_known = head.is_none_or(|head| knows(context, head));
    if !is_known {
        let _ =
            writeln!(text, "BROKEN  the chain does not hold the head that was given: records after it were cut off or rewritten");
    }
    let is_whole = verified.problems.is_empty() && is_known;
    let verdict = if is_whole { "whole" } else { "NOT whole" };
    let (records, runs) = (ui::counted(usize::try_from(verified.records).unwrap_or(usize::MAX), "record"), verified.runs);
    let runs = ui::counted(usize::try_from(runs).unwrap_or(usize::MAX), "chain");
    let _ = write!(text, "The audit log is {verdict}: {records}, {runs} of runs.\nhead {}", verified.head);
    ui::data(&text)?;
    Ok(if is_whole { ExitStatus::Success } else { ExitStatus::Failed })
}

/// Whether the host's chain has a record with this hash.
fn knows(context: &Context, head: &str) -> bool {
    audit::host_records(&context.audit_log).is_ok_and(|records| records.iter().any(|record| record.hash == head))
}

/// Shows the records of one run.
pub(super) fn log(context: &Context, run: Option<&str>, form: Form) -> Result<ExitStatus, Failure> {
    let all = audit::records_of(&context.audit_log).map_err(Failure::usage)?;
    // Ids of runs begin with their time, so the greatest is the newest.
    let newest = || all.iter().map(|(name, _)| id_of(name)).max().map(str::to_owned);
    let Some(wanted) = run.map(str::to_owned).or_else(newest) else {
        return Err(Failure::usage(format!("the audit log `{}` has no run yet", context.audit_log.display())));
    };
    let found: Vec<_> = all.iter().filter(|(name, _)| id_of(name).starts_with(&wanted)).collect();
    if found.is_empty() {
        return Err(Failure::usage(format!("the audit log has no run `{wanted}`")).hint("see `runbook runs`"));
    }
    let mut lines = Vec::new();
    for record in found.iter().flat_map(|(_, records)| records) {
        match form {
            Form::Lines => lines.push(line(record)),
            Form::Json => ui::data(&serde_json::Value::Object(record.body.clone()).to_string())?,
        }
    }
    if form == Form::Lines {
        ui::text(&runbook_report::table(&lines))?;
    }
    Ok(ExitStatus::Success)
}

/// The run's id: a resumed run has a number behind it.
fn id_of(name: &str) -> &str {
    name.get(..36).unwrap_or(name)
}

fn text<'a>(record: &'a Record, key: &str) -> &'a str {
    record.body.get(key).and_then(|value| value.as_str()).unwrap_or_default()
}

fn number(record: &Record, key: &str) -> u64 {
    record.body.get(key).and_then(serde_json::Value::as_u64).unwrap_or_default()
}

fn line(record: &Record) -> Vec<String> {
    let kind = text(record, "kind");
    let time = text(record, "at").split(['T', 'Z']).nth(1).map(|time| time.get(..12).unwrap_or(time)).unwrap_or_default();
    let duration = || format!("{}.{:03} ms", number(record, "duration_us") / 1_000, number(record, "duration_us") % 1_000);
    let (what, detail) = match kind {
        "called" => {
            (format!("{} {}", text(record, "plugin"), text(record, "phase")), text(record, "digest").chars().take(19).collect())
        }
        "ended" => (text(record, "ended").to_owned(), duration()),
        "judged" => {
            let rule = text(record, "rule");
            let denied = if rule.is_empty() { String::new() } else { format!("DENIED by rule `{rule}`: ") };
            (
                format!("{} on `{}`", text(record, "function"), text(record, "slot")),
                format!("{denied}{}", text(record, "operation")),
            )
        }
        "returned" => (
            format!("{} on `{}`", text(record, "function"), text(record, "slot")),
            format!("{} B in {}", number(record, "bytes"), duration()),
        ),
        _ => (String::new(), String::new()),
    };
    vec![time.to_owned(), format!("{}#{}", text(record, "step"), number(record, "attempt")), kind.to_owned(), what, detail]
}

/// How often each verb was used, by all runs of this host.
pub(super) fn used(context: &Context) -> Result<Used, Failure> {
    let mut used = Used::new();
    for record in audit::records_of(&context.audit_log).map_err(Failure::usage)?.iter().flat_map(|(_, records)| records) {
        // Counted by what came back: a call may be judged several times.
        if text(record, "kind") != "judged" || text(record, "decision") != "allow" || is_second_look(text(record, "operation")) {
            continue;
        }
        let Some(row) = VERBS.iter().find(|row| row.verb.full_name() == text(record, "function")) else { continue };
        *used.entry((text(record, "plugin").to_owned(), text(record, "slot").to_owned(), row.verb)).or_default() += 1;
    }
    Ok(used)
}

/// Whether a record is about a call that was judged before, when less was known of it.
fn is_second_look(operation: &str) -> bool {
    ["connect ", "redirect ", "container ", "image "].iter().any(|prefix| operation.starts_with(prefix))
}

/// What the runs of one runbook used: step, slot, and each operation in one line.
pub(super) fn operations(context: &Context, steps: &[&str], name: &str) -> Result<Vec<(String, String, String)>, Failure> {
    let names = audit::host_records(&context.audit_log).map_err(Failure::usage)?;
    let runs: Vec<&str> = names
        .iter()
        .filter(|record| text(record, "kind") == "run-opened" && text(record, "name") == name)
        .map(|record| text(record, "run"))
        .collect();
    let mut found = Vec::new();
    for (file, records) in audit::records_of(&context.audit_log).map_err(Failure::usage)? {
        if !runs.contains(&id_of(&file)) {
            continue;
        }
        for record in records.iter().filter(|record| text(record, "decision") == "allow") {
            // An item of a step, `vacuum[orders]`, is granted what its step is.
            let step = text(record, "step").split('[').next().unwrap_or_default();
            if steps.contains(&step) {
                found.push((step.to_owned(), text(record, "slot").to_owned(), text(record, "operation").to_owned()));
            }
        }
    }
    Ok(found)
}
