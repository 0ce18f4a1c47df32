//! Writes the audit log of a run: records of calls, host calls and actions of operators.

use crate::audit_records::{
    AuditLogRecord, InterventionOpened, LoggedDecision, RunOpened, json_members,
};
use crate::audited_runbook;
use crate::context::Context;
use crate::failpoints;
use crate::failure::Failure;
use crate::prepared::PreparedRunbook;
use runbook_authority::{GateDecision, VerbEffect};
use runbook_engine::{Call, RunId};
use runbook_journal::RunLock;
use runbook_journal::audit::{AuditError, AuditLog, Durability, Rotation, RunAudit};
use runbook_runtime::{
    AuditEvent, AuditRecord, AuditSink, AuditWriteError, CallOutcome, resolve_symlinks,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// The purpose of a chain of records without plugin calls: an operator acts on a run.
const INTERVENTION: &str = "intervention";

/// Why plugins are called. Only the calls of `Run` count as uses in a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To execute the runbook, or to undo it.
    Run,
    /// To show what a run would do: a plan or a dry run.
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

/// Writes the audit records of one run in this process.
pub struct AuditWriter {
    run: Arc<RunAudit>,
}

/// A call of a plugin that has begun.
pub struct StartedCall {
    step: String,
    attempt: u32,
    since: Instant,
}

impl AuditWriter {
    /// Opens the run's part of the audit log. Without it no plugin is called.
    pub fn open(
        context: &Context,
        prepared: &PreparedRunbook,
        run: RunId,
        purpose: Purpose,
    ) -> Result<Self, Failure> {
        check_location(context)?;
        let audited_runbook = audited_runbook::of(prepared);
        let opened = RunOpened {
            purpose: purpose.name(),
            runbook: prepared.runbook.source().name(),
            path: &audited_runbook.runbook_key.file,
            environment: audited_runbook.runbook_key.environment.as_deref(),
            prefix: &audited_runbook.prefix,
            name: &prepared.runbook.name.value,
            operator: &context.operator,
            version: env!("CARGO_PKG_VERSION"),
        };
        let log = AuditLog::new(&context.audit_log, Rotation::default());
        let opened = log.open_run(&run.to_string(), format_args!("{}", json_members(&opened)));
        let run = opened.map_err(|error| {
            Failure::engine(error)
                .hint("nothing runs without its audit log; name another folder with `--audit-log`")
        })?;
        Ok(Self { run: Arc::new(run) })
    }

    /// The function to which the runtime reports host calls.
    pub fn sink(&self) -> AuditSink {
        let run = Arc::clone(&self.run);
        Arc::new(move |record| {
            write(&run, record).map_err(|error| AuditWriteError { reason: error.to_string() })
        })
    }

    /// Records that a plugin is called. If the record cannot be written, the first host call of the
    /// plugin fails.
    pub fn record_call_start(&self, call: &Call, plugin: &str, digest: &str) -> StartedCall {
        let (step, attempt) = (call.step.as_str(), call.attempt);
        let record =
            AuditLogRecord::Called { step, attempt, phase: call.phase.name(), plugin, digest };
        let _ = append(&self.run, Durability::Buffered, &record);
        StartedCall { step: step.to_owned(), attempt, since: Instant::now() }
    }

    /// Records how a call ended.
    pub fn record_call_end(&self, started_call: &StartedCall, outcome: &CallOutcome) {
        let ended = match &outcome.result {
            Ok(_) => "ok",
            Err(fault) => &fault.code,
        };
        let duration_us = started_call.since.elapsed().as_micros();
        let record = AuditLogRecord::Ended {
            step: &started_call.step,
            attempt: started_call.attempt,
            ended,
            duration_us,
        };
        let _ = append(&self.run, Durability::Flushed, &record);
    }
}

/// Records that an operator takes a lock from a run. Must be called before the lock is taken.
///
/// # Errors
/// The record cannot be written; the lock must then not be taken.
pub fn record_lock_taken(context: &Context, lock: &RunLock, reason: &str) -> Result<(), Failure> {
    check_location(context)?;
    let by = &context.operator;
    let opened = InterventionOpened {
        purpose: INTERVENTION,
        operator: by,
        version: env!("CARGO_PKG_VERSION"),
    };
    let log = AuditLog::new(&context.audit_log, Rotation::default());
    let opened =
        log.open_run(&lock.holder.run.to_string(), format_args!("{}", json_members(&opened)));
    let record = AuditLogRecord::LockTaken { lock: &lock.name, token: lock.token, by, reason };
    let written = opened.and_then(|run| append(&run, Durability::Flushed, &record));
    written.map_err(|error| {
        Failure::engine(error)
            .hint("no lock is taken without the audit log; name another folder with `--audit-log`")
    })
}

/// Fails if the administrator has set the folder of the audit log and the operator has set another
/// one.
fn check_location(context: &Context) -> Result<(), Failure> {
    let Some(administrator_folder) = &context.host_audit_log else { return Ok(()) };
    let resolve = |path: &Path| std::path::absolute(path).map(|path| resolve_symlinks(&path));
    if resolve(administrator_folder)? == resolve(&context.audit_log)? {
        return Ok(());
    }
    let message = format!(
        "runs on this host write their audit log to `{}`, as `/etc/runbook/settings.toml` says, \
         and not to `{}`",
        administrator_folder.display(),
        context.audit_log.display()
    );
    Err(Failure::refused(message).hint("leave `--audit-log` out, and unset `RUNBOOK_AUDIT_LOG`"))
}

fn write(run: &RunAudit, record: &AuditRecord<'_>) -> Result<(), AuditError> {
    let call = record.call;
    let (step, plugin, attempt, digest) = (call.step, call.plugin, call.attempt, call.digest);
    match record.event {
        AuditEvent::Judged { decision: GateDecision::Allow, .. } => failpoints::on_entry(),
        AuditEvent::Judged { decision: GateDecision::Deny(_), .. } => {}
        AuditEvent::Returned { .. } => failpoints::on_return(),
    }
    match record.event {
        AuditEvent::Judged { slot, verb, operation, secrets, target_secrets, decision } => {
            // The records of changes and denials are flushed before the call continues.
            let durability = match (decision, verb.effect()) {
                (GateDecision::Allow, VerbEffect::Read) => Durability::Buffered,
                (GateDecision::Allow, VerbEffect::Change) | (GateDecision::Deny(_), _) => {
                    Durability::Flushed
                }
            };
            let decision = match decision {
                GateDecision::Allow => LoggedDecision::Allow,
                GateDecision::Deny(denial) => LoggedDecision::Deny {
                    rule: denial.rule.name(),
                    key: denial.rule.key(verb.row().capability).unwrap_or_default(),
                    target: &denial.target,
                    place: &denial.location,
                },
            };
            let function = verb.full_name();
            let record = AuditLogRecord::Judged {
                step,
                attempt,
                plugin,
                digest,
                slot,
                function,
                operation,
                secrets,
                target_secrets,
                decision,
            };
            append(run, durability, &record)
        }
        AuditEvent::Returned { slot, verb, bytes, duration } => {
            let (function, duration_us) = (verb.full_name(), duration.as_micros());
            append(
                run,
                Durability::Buffered,
                &AuditLogRecord::Returned { step, attempt, slot, function, bytes, duration_us },
            )
        }
    }
}

fn append(
    run: &RunAudit,
    durability: Durability,
    record: &AuditLogRecord<'_>,
) -> Result<(), AuditError> {
    run.append(durability, format_args!("{}", json_members(record)))
}
