//! `runbook audit show` and `runbook audit verify`: show and verify the audit log.

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use runbook_journal::audit::{self, ChainRecord};
use runbook_report::push_line;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// How many ids are listed if the beginning of an id is ambiguous.
const MAX_SHOWN_IDS: usize = 5;

/// The commands under `runbook audit`.
#[derive(Debug, clap::Subcommand)]
pub enum AuditCommand {
    /// Show what a run did, host call by host call
    Show {
        /// The run's id, or as much of it as is unambiguous [default: the newest]
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        run: Option<String>,
        /// As JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Check that no record was changed, removed or moved
    Verify {
        /// The head that an earlier `verify` printed: every record up to it must still be there
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
        /// Also fail if a run was killed and its records are not sealed yet; the next run on this
        /// host seals them
        #[arg(long)]
        strict: bool,
    },
}

/// Runs `runbook audit show` or `runbook audit verify`.
pub fn run(context: &Context, command: &AuditCommand) -> Result<ExitStatus, Failure> {
    match command {
        AuditCommand::Show { run, json } => show(context, run.as_deref(), (*json).into()),
        AuditCommand::Verify { head, strict } => verify(
            context,
            head.as_deref(),
            if *strict { UnsealedPolicy::Fail } else { UnsealedPolicy::Report },
        ),
    }
}

/// The output format of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AuditFormat {
    /// One line a record, for people.
    Lines,
    /// One JSON object a line.
    Json,
}

impl From<bool> for AuditFormat {
    fn from(json: bool) -> Self {
        if json { Self::Json } else { Self::Lines }
    }
}

/// How a chain counts whose process was killed before it could seal the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnsealedPolicy {
    /// It is reported, but the log counts as complete.
    Report,
    /// The log counts as incomplete.
    Fail,
}

/// Verifies all chains. The exit code is 1 if anything is wrong.
fn verify(
    context: &Context,
    head: Option<&str>,
    unsealed: UnsealedPolicy,
) -> Result<ExitStatus, Failure> {
    let verification = audit::verify(&context.audit_log).map_err(Failure::usage)?;
    let mut text = String::new();
    for problem in &verification.problems {
        let line = if problem.line == 0 { String::new() } else { format!(":{}", problem.line) };
        push_line(&mut text, format_args!("BROKEN  {}{line}: {}", problem.file, problem.what));
    }
    for file in &verification.live_chains {
        push_line(&mut text, format_args!("open    {file}: the run goes on; what is there fits"));
    }
    for file in &verification.unsealed {
        push_line(
            &mut text,
            format_args!(
                "open    {file}: its process was killed; what is there fits, and the next run on \
                 this host seals it against cuts"
            ),
        );
    }
    let is_known = head.is_none_or(|head| has_record(context, head));
    if !is_known {
        let _ = writeln!(
            text,
            "BROKEN  the chain does not hold the head that was given: records after it were cut \
             off or rewritten"
        );
    }
    let is_sealed = unsealed == UnsealedPolicy::Report || verification.unsealed.is_empty();
    let is_whole = verification.problems.is_empty() && is_known && is_sealed;
    let verdict = if is_whole { "whole" } else { "NOT whole" };
    let (records, runs) = (
        ui::pluralize(usize::try_from(verification.records).unwrap_or(usize::MAX), "record"),
        verification.runs,
    );
    let runs = ui::pluralize(usize::try_from(runs).unwrap_or(usize::MAX), "chain");
    let _ = write!(
        text,
        "The audit log is {verdict}: {records}, {runs} of runs.\nhead {}",
        verification.head
    );
    ui::text(&text)?;
    Ok(if is_whole { ExitStatus::Success } else { ExitStatus::Failed })
}

/// Whether the host's chain has a record with this hash.
fn has_record(context: &Context, head: &str) -> bool {
    audit::host_records(&context.audit_log)
        .is_ok_and(|records| records.iter().any(|record| record.hash == head))
}

/// Shows the records of one run.
fn show(context: &Context, run: Option<&str>, format: AuditFormat) -> Result<ExitStatus, Failure> {
    let all = audit::run_records(&context.audit_log).map_err(Failure::usage)?;
    // Ids of runs begin with a timestamp (UUID v7), so the greatest is the newest.
    let newest = || all.iter().map(|(name, _)| run_id_of(name)).max().map(str::to_owned);
    let Some(wanted) = run.map(str::to_owned).or_else(newest) else {
        return Err(Failure::usage(format!(
            "the audit log `{}` has no run yet",
            context.audit_log.display()
        )));
    };
    let found: Vec<_> =
        all.iter().filter(|(name, _)| run_id_of(name).starts_with(&wanted)).collect();
    let ids: BTreeSet<&str> = found.iter().map(|(name, _)| run_id_of(name)).collect();
    let place = context.audit_log.display();
    match ids.len() {
        0 => {
            let newest = newest().map_or_else(
                || "it has no run yet".to_owned(),
                |newest| format!("its newest run is `{newest}`"),
            );
            return Err(Failure::usage(format!("the audit log `{place}` has no run `{wanted}`"))
                .hint(newest));
        }
        1 => {}
        count => {
            let shown_ids: Vec<String> =
                ids.iter().rev().take(MAX_SHOWN_IDS).map(|id| format!("`{id}`")).collect();
            let message = format!("{count} runs of the audit log `{place}` begin with `{wanted}`");
            return Err(Failure::usage(message)
                .hint(format!("write more of the id; the newest: {}", shown_ids.join(", "))));
        }
    }
    let mut lines = Vec::new();
    for record in in_order_of_time(&found) {
        match format {
            AuditFormat::Lines => lines.push(columns(record)),
            AuditFormat::Json => ui::json(&serde_json::Value::Object(record.body.clone()))?,
        }
    }
    if format == AuditFormat::Lines {
        ui::text(&runbook_report::table(&lines))?;
    }
    Ok(ExitStatus::Success)
}

/// The records of several chains in the order of time. A resumed run has a chain for each process,
/// and the names of the chains are not ordered by time.
fn in_order_of_time<'a>(chains: &[&'a (String, Vec<ChainRecord>)]) -> Vec<&'a ChainRecord> {
    let mut chains: Vec<(&str, Option<jiff::Timestamp>, &Vec<ChainRecord>)> = chains
        .iter()
        .map(|(name, records)| {
            (
                run_id_of(name),
                records.first().and_then(|record| text(record, "at").parse().ok()),
                records,
            )
        })
        .collect();
    // Processes of one run do not overlap, and the records within a chain are in order.
    chains.sort_by_key(|(run, begun, _)| (*run, *begun));
    chains.into_iter().flat_map(|(.., records)| records).collect()
}

/// The id of the run from the name of a chain: those of resumed runs have `-NUMBER` at the end.
pub fn run_id_of(name: &str) -> &str {
    name.get(..36).unwrap_or(name)
}

/// The text at a key of a record; empty if there is none.
pub fn text<'a>(record: &'a ChainRecord, key: &str) -> &'a str {
    record.body.get(key).and_then(|value| value.as_str()).unwrap_or_default()
}

fn number(record: &ChainRecord, key: &str) -> u64 {
    record.body.get(key).and_then(serde_json::Value::as_u64).unwrap_or_default()
}

fn columns(record: &ChainRecord) -> Vec<String> {
    let kind = text(record, "kind");
    let time = text(record, "at")
        .split(['T', 'Z'])
        .nth(1)
        .map(|time| time.get(..12).unwrap_or(time))
        .unwrap_or_default();
    let duration = || {
        format!(
            "{}.{:03} ms",
            number(record, "duration_us") / 1_000,
            number(record, "duration_us") % 1_000
        )
    };
    let (what, detail) = match kind {
        "called" => (
            format!("{} {}", text(record, "plugin"), text(record, "phase")),
            text(record, "digest").chars().take(19).collect(),
        ),
        "ended" => (text(record, "ended").to_owned(), duration()),
        "judged" => {
            let rule = text(record, "rule");
            let part = |name: &str, key: &str| match text(record, key) {
                "" => String::new(),
                found => format!("{name}`{found}`"),
            };
            let target_note = format!(
                "{}{}{}",
                part(" of target ", "target"),
                part(", key ", "key"),
                part(", ", "place")
            );
            let denied = if rule.is_empty() {
                String::new()
            } else {
                format!("DENIED by rule `{rule}`{target_note}: ")
            };
            (
                format!("{} on `{}`", text(record, "function"), text(record, "slot")),
                format!("{denied}{}", text(record, "operation")),
            )
        }
        "returned" => (
            format!("{} on `{}`", text(record, "function"), text(record, "slot")),
            format!("{} B in {}", number(record, "bytes"), duration()),
        ),
        "lock-taken" => (
            format!("lock `{}`", text(record, "lock")),
            format!("by {}: {}", text(record, "by"), text(record, "reason")),
        ),
        _ => (String::new(), String::new()),
    };
    let step = text(record, "step");
    let step = if step.is_empty() {
        String::new()
    } else {
        format!("{step}#{}", number(record, "attempt"))
    };
    vec![time.to_owned(), step, kind.to_owned(), what, detail]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_of_a_resumed_run_are_in_the_order_in_which_they_happened() {
        let chain = |name: &str, times: &[&str]| {
            let record = |at: &&str| {
                let body = serde_json::json!({ "at": at });
                let serde_json::Value::Object(body) = body else { unreachable!("it is an object") };
                ChainRecord { sequence: 1, previous: String::new(), hash: String::new(), body }
            };
            (name.to_owned(), times.iter().map(record).collect::<Vec<_>>())
        };
        let run = "0190aa11-22bb-7c3d-8e4f-5a6b7c8d9e0f";
        let other = "0190aa11-22bb-7c3d-8e4f-5a6b7c8d9e10";
        // The order in which a folder lists them: the tenth and the second process before the
        // first.
        let chains = [
            chain(&format!("{run}-10"), &["2026-11-21T12:00:00.5Z"]),
            chain(&format!("{run}-2"), &["2026-11-21T11:00:00Z", "2026-11-21T11:00:00.001Z"]),
            chain(run, &["2026-11-21T10:00:00.25Z", "2026-11-21T10:00:01Z"]),
            chain(other, &["2026-11-21T10:30:00Z"]),
        ];
        let found: Vec<&str> = in_order_of_time(&chains.iter().collect::<Vec<_>>())
            .into_iter()
            .map(|record| text(record, "at"))
            .collect();
        let expected = [
            "2026-11-21T10:00:00.25Z",
            "2026-11-21T10:00:01Z",
            "2026-11-21T11:00:00Z",
            "2026-11-21T11:00:00.001Z",
            "2026-11-21T12:00:00.5Z",
            "2026-11-21T10:30:00Z",
        ];
        assert_eq!(found, expected);
    }
}
