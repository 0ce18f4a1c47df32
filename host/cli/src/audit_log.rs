//! The audit log as runs write it: what the runtime and the operator tell, as members of JSON records.

use crate::audited;
use crate::context::Context;
use crate::failpoints;
use crate::failure::Failure;
use crate::prepared::Prepared;
use runbook_authority::{Decision, Effect};
use runbook_engine::{Call, RunId};
use runbook_journal::audit::{AuditError, AuditLog, Rotation, RunAudit, Urgency};
use runbook_runtime::{AuditEvent, AuditRecord, AuditSink, AuditUnavailable, CallOutcome, follow_links};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Why plugins are called. Only what a run did counts as used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To do what the runbook says, or to undo it.
    Run,
    /// To say what a run would do: a plan or a dry run.
    Preview,
}

impl Purpose {
    /// Its name in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Preview => "preview",
        }
    }
}

/// The records of one run in this process.
pub struct AuditWriter {
    run: Arc<RunAudit>,
}

/// A call of a plugin that has begun.
pub struct Called {
    step: String,
    attempt: u32,
    since: Instant,
}

impl AuditWriter {
    /// Opens the run's part of the audit log. Without it nothing runs.
    pub fn open(context: &Context, prepared: &Prepared, run: RunId, purpose: Purpose) -> Result<Self, Failure> {
        let runbook = json(prepared.runbook.source().name());
        let (name, operator) = (json(&prepared.runbook.name.value), json(&context.operator));
        check_place(context)?;
        let audited = audited::of(prepared);
        let (file, prefix) = (json(&audited.at.file), json(&audited.prefix));
        let environment = audited.at.environment.as_deref().map_or_else(|| "null".to_owned(), json);
        let opened = AuditLog::new(&context.audit_log, Rotation::default()).open_run(
            &run.to_string(),
            format_args!(
                "\"purpose\":\"{}\",\"runbook\":{runbook},\"path\":{file},\"environment\":{environment},\"prefix\":{prefix},\"name\":{name},\"operator\":{operator},\"version\":\"{}\"",
                purpose.name(),
                env!("CARGO_PKG_VERSION")
            ),
        );
        let run = opened.map_err(|error| {
            Failure::engine(error).hint("nothing runs without its audit log; name another folder with `--audit-log`")
        })?;
        Ok(Self { run: Arc::new(run) })
    }

    /// Where the runtime tells of host calls.
    pub fn sink(&self) -> AuditSink {
        let run = Arc::clone(&self.run);
        Arc::new(move |record| write(&run, record).map_err(|error| AuditUnavailable { reason: error.to_string() }))
    }

    /// Tells that a plugin is called. If it cannot be kept, the first host call of the plugin finds that out.
    pub fn called(&self, call: &Call, plugin: &str, digest: &str) -> Called {
        let phase = call.phase.name();
        let (step, attempt) = (call.step.as_str(), call.attempt);
        let members = format_args!(
            "\"kind\":\"called\",\"step\":{},\"attempt\":{attempt},\"phase\":\"{phase}\",\"plugin\":{},\"digest\":\"{digest}\"",
            json(step),
            json(plugin)
        );
        let _ = self.run.append(Urgency::Buffered, members);
        Called { step: step.to_owned(), attempt, since: Instant::now() }
    }

    /// Tells how a call ended.
    pub fn ended(&self, called: &Called, outcome: &CallOutcome) {
        let ended = match &outcome.result {
            Ok(_) => "\"ok\"".to_owned(),
            Err(fault) => json(&fault.code),
        };
        let duration_us = called.since.elapsed().as_micros();
        let members = format_args!(
            "\"kind\":\"ended\",\"step\":{},\"attempt\":{},\"ended\":{ended},\"duration_us\":{duration_us}",
            json(&called.step),
            called.attempt
        );
        let _ = self.run.append(Urgency::Flushed, members);
    }
}

/// An audit log that the administrator placed cannot be moved by who runs something.
fn check_place(context: &Context) -> Result<(), Failure> {
    let Some(of_host) = &context.audit_log_of_host else { return Ok(()) };
    let real = |path: &Path| std::path::absolute(path).map(|path| follow_links(&path));
    if real(of_host)? == real(&context.audit_log)? {
        return Ok(());
    }
    let message = format!(
        "runs on this host write their audit log to `{}`, as `/etc/runbook/settings.toml` says, and not to `{}`",
        of_host.display(),
        context.audit_log.display()
    );
    Err(Failure::refused(message).hint("leave `--audit-log` out, and unset `RUNBOOK_AUDIT_LOG`"))
}

fn write(run: &RunAudit, record: &AuditRecord<'_>) -> Result<(), AuditError> {
    let call = record.call;
    let (step, plugin, attempt, digest) = (json(call.step), json(call.plugin), call.attempt, call.digest);
    match record.event {
        AuditEvent::Judged { decision: Decision::Allow, .. } => failpoints::on_entry(),
        AuditEvent::Judged { decision: Decision::Deny(_), .. } => {}
        AuditEvent::Returned { .. } => failpoints::on_return(),
    }
    match record.event {
        AuditEvent::Judged { slot, verb, operation, secrets, target_secrets, decision } => {
            let (word, rule) = match decision {
                Decision::Allow => ("allow", String::new()),
                Decision::Deny(denial) => {
                    let key = denial.rule.key(verb.row().capability).unwrap_or_default();
                    let (target, place) = (json(&denial.target), json(&denial.place));
                    let rule = denial.rule.name();
                    ("deny", format!(",\"rule\":\"{rule}\",\"key\":\"{key}\",\"target\":{target},\"place\":{place}"))
                }
            };
            // What changes something is out of this program's hands before it happens; so is every refusal.
            let urgency = match (decision, verb.effect()) {
                (Decision::Allow, Effect::Read) => Urgency::Buffered,
                (Decision::Allow, Effect::Change) | (Decision::Deny(_), _) => Urgency::Flushed,
            };
            let (verb, slot, operation) = (verb.row(), json(slot), json(operation));
            let secrets = [("secrets", secrets), ("target_secrets", target_secrets)].map(|(key, names)| {
                let names: Vec<String> = names.iter().map(|name| json(name)).collect();
                if names.is_empty() { String::new() } else { format!(",\"{key}\":[{}]", names.join(",")) }
            });
            let secrets = secrets.concat();
            let (family, verb) = (verb.capability.name(), verb.name);
            run.append(
                urgency,
                format_args!(
                    "\"kind\":\"judged\",\"step\":{step},\"attempt\":{attempt},\"plugin\":{plugin},\"digest\":\"{digest}\",\"slot\":{slot},\"function\":\"{family}.{verb}\",\"operation\":{operation}{secrets},\"decision\":\"{word}\"{rule}"
                ),
            )
        }
        AuditEvent::Returned { slot, verb, bytes, duration } => {
            let duration_us = duration.as_micros();
            let (function, slot) = (verb.full_name(), json(slot));
            run.append(
                Urgency::Buffered,
                format_args!(
                    "\"kind\":\"returned\",\"step\":{step},\"attempt\":{attempt},\"slot\":{slot},\"function\":\"{function}\",\"bytes\":{bytes},\"duration_us\":{duration_us}"
                ),
            )
        }
    }
}

/// A JSON string.
fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}
