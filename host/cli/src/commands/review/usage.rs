//! Reads from the audit log what the runs of this host used: allowed calls, counted by runbook,
//! step, plugin and verb.

use crate::audit_log::Purpose;
use crate::commands::audit::{run_id_of, text};
use crate::context::Context;
use crate::failure::Failure;
use runbook_authority::access_report::{RunbookKey, UsageCounts};
use runbook_authority::{VERBS, Verb};
use runbook_journal::audit::{self, ChainRecord};
use std::collections::BTreeMap;

/// One call that the gate allowed.
pub(super) struct UsedCall {
    /// The runbook that ran.
    pub runbook_key: RunbookKey,
    /// The step as in the runbook's file; for an item, its step.
    pub step: String,
    /// The digest of the plugin.
    pub digest: String,
    /// The slot that the plugin named.
    pub slot: String,
    /// The verb that the call used.
    pub verb: Verb,
    /// The call in one line.
    pub operation: String,
    /// The `secrets` slots whose values the host inserted into it.
    pub secrets: Vec<String>,
    /// The names of the secrets that the target itself added to it.
    pub target_secrets: Vec<String>,
    /// Whether the decision was about the call itself or about something that it led to.
    pub subject: DecisionSubject,
}

/// What a decision of the gate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecisionSubject {
    /// The call itself.
    Call,
    /// An address, a redirect, a container or an image that the call led to.
    FollowUp,
}

/// The calls that the gate allowed in all runs of this host, without plans and dry runs.
pub(super) fn used_calls(context: &Context) -> Result<Vec<UsedCall>, Failure> {
    let opened = audit::host_records(&context.audit_log).map_err(Failure::usage)?;
    let runs: BTreeMap<&str, (RunbookKey, &str)> = opened
        .iter()
        .filter(|record| {
            text(record, "kind") == "run-opened" && text(record, "purpose") == Purpose::Run.name()
        })
        .map(|record| {
            let environment =
                record.body.get("environment").and_then(|value| value.as_str()).map(str::to_owned);
            (
                text(record, "run"),
                (
                    RunbookKey { file: text(record, "path").to_owned(), environment },
                    text(record, "prefix"),
                ),
            )
        })
        .collect();
    let mut calls = Vec::new();
    for (file, records) in &audit::run_records(&context.audit_log).map_err(Failure::usage)? {
        let Some((runbook_key, prefix)) = runs.get(run_id_of(file)) else { continue };
        calls.extend(records.iter().filter_map(|record| used_call(record, runbook_key, prefix)));
    }
    Ok(calls)
}

/// The call that a record is about, if the gate allowed it.
fn used_call(record: &ChainRecord, runbook_key: &RunbookKey, prefix: &str) -> Option<UsedCall> {
    let operation = text(record, "operation");
    if text(record, "kind") != "judged" || text(record, "decision") != "allow" {
        return None;
    }
    let verb = VERBS.iter().find(|row| row.verb.full_name() == text(record, "function"))?.verb;
    let step = step_of_item(text(record, "step"));
    let names = |key: &str| -> Vec<String> {
        let names = record.body.get(key).and_then(|names| names.as_array()).into_iter().flatten();
        names.filter_map(|name| name.as_str()).map(str::to_owned).collect()
    };
    Some(UsedCall {
        runbook_key: runbook_key.clone(),
        step: step.strip_prefix(prefix).unwrap_or(&step).to_owned(),
        digest: text(record, "digest").to_owned(),
        slot: text(record, "slot").to_owned(),
        verb,
        operation: operation.to_owned(),
        secrets: names("secrets"),
        target_secrets: names("target_secrets"),
        subject: decision_subject(operation),
    })
}

/// The step that an item belongs to: `vacuum` of `vacuum[orders]`, `vacuum/undo` of
/// `vacuum[orders]/undo`.
fn step_of_item(step: &str) -> String {
    match (step.find('['), step.rfind(']')) {
        (Some(open), Some(close)) if open < close => {
            format!("{}{}", &step[..open], &step[close + 1..])
        }
        (Some(_) | None, _) => step.to_owned(),
    }
}

/// How often each verb was used, by step and by plugin.
pub(super) fn usage_counts(context: &Context) -> Result<UsageCounts, Failure> {
    let mut usage_counts = UsageCounts::default();
    for call in used_calls(context)?.iter().filter(|call| call.subject == DecisionSubject::Call) {
        usage_counts.count(&call.runbook_key, &call.step, &call.digest, &call.slot, call.verb);
        for slot in &call.secrets {
            usage_counts.count(&call.runbook_key, &call.step, &call.digest, slot, Verb::SecretsUse);
        }
        for secret in &call.target_secrets {
            usage_counts.count_secret(&call.runbook_key, &call.step, &call.slot, call.verb, secret);
        }
    }
    Ok(usage_counts)
}

fn decision_subject(operation: &str) -> DecisionSubject {
    let is_follow_up = ["connect ", "redirect ", "container ", "image "]
        .iter()
        .any(|prefix| operation.starts_with(prefix));
    if is_follow_up { DecisionSubject::FollowUp } else { DecisionSubject::Call }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_an_item_counts_for_its_step() {
        for (step, site) in [
            ("vacuum", "vacuum"),
            ("vacuum[orders]", "vacuum"),
            ("vacuum[a]b[c]", "vacuum"),
            ("vacuum[orders]/undo", "vacuum/undo"),
            ("night.vacuum[orders]", "night.vacuum"),
            ("notify/2", "notify/2"),
        ] {
            assert_eq!(step_of_item(step), site, "{step}");
        }
    }
}
