//! Writes the audit log of a run: calls, host calls and actions of operators, as records.

use crate::audit_records::{AuditLogRecord, Judgement, LogOpened, RunOpened, members};
use crate::audited;
use crate::context::Context;
use crate::failpoints;
use crate::failure::Failure;
use crate::prepared::Prepared;
use runbook_authority::{GateDecision, VerbEffect};
use runbook_engine::{Call, RunId};
use runbook_journal::LockOfRun;
use runbook_journal::audit::{AuditError, AuditLog, Rotation, RunAudit, Urgency};
use runbook_runtime::{
    AuditEvent, AuditRecord, AuditSink, AuditUnavailable, CallOutcome, follow_links,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// The purpose of a chain without plugin calls: a person acts on a run.
const INTERVENTION: &str = "intervention";

/// Why plugins are called. Only what a run did counts as used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Plugins are called to do what the runbook says, or to undo it.
    Run,
    /// Plugins are called to say what a run would do: a plan or a dry run.
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
    pub fn open(
        context: &Context,
        prepared: &Prepared,
        run: RunId,
        purpose: Purpose,
    ) -> Result<Self, Failure> {
        check_place(context)?;
        let audited = audited::of(prepared);
        let opened = RunOpened {
            purpose: purpose.name(),
            runbook: prepared.runbook.source().name(),
            path: &audited.at.file,
            environment: audited.at.environment.as_deref(),
            prefix: &audited.prefix,
            name: &prepared.runbook.name.value,
            operator: &context.operator,
            version: env!("CARGO_PKG_VERSION"),
        };
        let log = AuditLog::new(&context.audit_log, Rotation::default());
        let opened = log.open_run(&run.to_string(), format_args!("{}", members(&opened)));
        let run = opened.map_err(|error| {
            Failure::engine(error)
                .hint("nothing runs without its audit log; name another folder with `--audit-log`")
        })?;
        Ok(Self { run: Arc::new(run) })
    }

    /// The observer through which the runtime reports host calls.
    pub fn sink(&self) -> AuditSink {
        let run = Arc::clone(&self.run);
        Arc::new(move |record| {
            write(&run, record).map_err(|error| AuditUnavailable { reason: error.to_string() })
        })
    }

    /// Records that a plugin is called. If the record cannot be written, the first host call of the
    /// plugin fails.
    pub fn called(&self, call: &Call, plugin: &str, digest: &str) -> Called {
        let (step, attempt) = (call.step.as_str(), call.attempt);
        let record =
            AuditLogRecord::Called { step, attempt, phase: call.phase.name(), plugin, digest };
        let _ = append(&self.run, Urgency::Buffered, &record);
        Called { step: step.to_owned(), attempt, since: Instant::now() }
    }

    /// Tells how a call ended.
    pub fn ended(&self, called: &Called, outcome: &CallOutcome) {
        let ended = match &outcome.result {
            Ok(_) => "ok",
            Err(fault) => &fault.code,
        };
        let duration_us = called.since.elapsed().as_micros();
        let record = AuditLogRecord::Ended {
            step: &called.step,
            attempt: called.attempt,
            ended,
            duration_us,
        };
        let _ = append(&self.run, Urgency::Flushed, &record);
    }
}

/// Records that a person takes a lock from a run, before it is taken.
///
/// # Errors
/// It cannot be written down; then the lock must stay where it is.
pub fn lock_taken(context: &Context, lock: &LockOfRun, reason: &str) -> Result<(), Failure> {
    check_place(context)?;
    let by = &context.operator;
    let opened =
        LogOpened { purpose: INTERVENTION, operator: by, version: env!("CARGO_PKG_VERSION") };
    let log = AuditLog::new(&context.audit_log, Rotation::default());
    let opened = log.open_run(&lock.holder.run.to_string(), format_args!("{}", members(&opened)));
    let record = AuditLogRecord::LockTaken { lock: &lock.name, token: lock.token, by, reason };
    let written = opened.and_then(|run| append(&run, Urgency::Flushed, &record));
    written.map_err(|error| {
        Failure::engine(error)
            .hint("no lock is taken without the audit log; name another folder with `--audit-log`")
    })
}

/// The operator of a run cannot move the audit log that the administrator has set.
fn check_place(context: &Context) -> Result<(), Failure> {
    let Some(of_host) = &context.audit_log_of_host else { return Ok(()) };
    let real = |path: &Path| std::path::absolute(path).map(|path| follow_links(&path));
    if real(of_host)? == real(&context.audit_log)? {
        return Ok(());
    }
    let message = format!(
        "runs on this host write their audit log to `{}`, as `/etc/runbook/settings.toml` says, \
         and not to `{}`",
        of_host.display(),
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
            // The record of a change, and of every denial, is handed to the operating system before
            // it takes effect.
            let urgency = match (decision, verb.effect()) {
                (GateDecision::Allow, VerbEffect::Read) => Urgency::Buffered,
                (GateDecision::Allow, VerbEffect::Change) | (GateDecision::Deny(_), _) => {
                    Urgency::Flushed
                }
            };
            let decision = match decision {
                GateDecision::Allow => Judgement::Allow,
                GateDecision::Deny(denial) => Judgement::Deny {
                    rule: denial.rule.name(),
                    key: denial.rule.key(verb.row().capability).unwrap_or_default(),
                    target: &denial.target,
                    place: &denial.place,
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
            append(run, urgency, &record)
        }
        AuditEvent::Returned { slot, verb, bytes, duration } => {
            let (function, duration_us) = (verb.full_name(), duration.as_micros());
            append(
                run,
                Urgency::Buffered,
                &AuditLogRecord::Returned { step, attempt, slot, function, bytes, duration_us },
            )
        }
    }
}

fn append(run: &RunAudit, urgency: Urgency, record: &AuditLogRecord<'_>) -> Result<(), AuditError> {
    run.append(urgency, format_args!("{}", members(record)))
}
