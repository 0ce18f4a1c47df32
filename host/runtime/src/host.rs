//! The host side of one call, and [`Host::enter`], through which every host function passes.
//!
//! Invariant: only `enter` decides whether a call is allowed. Each host function describes its
//! operation to `enter` before it has any effect, and continues only if `enter` returns `Ok`.

use crate::capabilities::TokenCache;
use crate::fault::{Fault, FaultClass};
use crate::inert_wasi::InertWasi;
use crate::launcher::Launcher;
use crate::limits::{CallLimits, MemoryLimiter};
use crate::log::Log;
use crate::net::resolve::Resolver;
use crate::permit::ActivePermit;
use crate::sanitizer::OutputSanitizer;
use crate::services::{AuditCall, AuditEvent, AuditRecord, FetchAttempt, SecretSource, Services};
use crate::storage::CallStorage;
use runbook_authority::gate::{self, Denial, Rule};
use runbook_authority::targets::Gateway;
use runbook_authority::{
    EffectiveGrants, GateDecision, GateRequest, Grant, Target, Verb, VerbEffect,
};
use runbook_contract::Mode;
use runbook_secrets::{Scrubber, Secret};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often one verb was used on one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCallCounts {
    /// The slot that the calls were made on.
    pub slot: String,
    /// The verb that the calls used.
    pub verb: Verb,
    /// Calls that were allowed.
    pub allowed: u32,
    /// Calls that were denied.
    pub denied: u32,
    /// The allowed calls that changed nothing, because they were never committed.
    pub without_effect: u32,
}

/// The call that a host function belongs to.
#[derive(Debug, Clone)]
pub(crate) struct CallId {
    pub(crate) run: String,
    pub(crate) step: String,
    pub(crate) attempt: u32,
    pub(crate) plugin: Arc<str>,
    pub(crate) digest: Arc<str>,
}

/// One call of one host function. [`Host::enter`] begins its audit record; dropping this value ends
/// it, however the function returns.
pub(crate) struct HostCall<'a>(&'a mut Host);

impl<'a> HostCall<'a> {
    pub(crate) fn new(host: &'a mut Host) -> Self {
        Self(host)
    }
}

impl Deref for HostCall<'_> {
    type Target = Host;

    fn deref(&self) -> &Host {
        self.0
    }
}

impl DerefMut for HostCall<'_> {
    fn deref_mut(&mut self) -> &mut Host {
        self.0
    }
}

impl Drop for HostCall<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A host call that has no effect until it is committed.
struct UncommittedCall {
    slot: String,
    verb: Verb,
    /// How many times the gate decided about this call.
    count: u32,
    commit: Commit,
}

/// The state of the commit of a host call: whether it was sent to the other side (a database, for
/// instance). Before that, and after the other side has reported a rollback, the call has no
/// effect.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commit(Arc<AtomicU8>);

/// The commit was not sent.
const NOT_SENT: u8 = 0;
/// The commit was sent, so the call may have an effect.
const SENT: u8 = 1;
/// The call has no effect: it was rolled back, or ended before the commit.
const NO_EFFECT: u8 = 2;

impl Commit {
    /// Marks the commit as sent: the effect is unknown until the other side has answered.
    ///
    /// # Errors
    /// The call has already ended and was reported as without effect, so it must not be committed.
    pub(crate) fn mark_sent(&self) -> Result<(), Fault> {
        match self.0.compare_exchange(NOT_SENT, SENT, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(SENT) => Ok(()),
            Err(_) => Err(Fault::new(FaultClass::Cancelled, "cancelled", "the call is over")),
        }
    }

    /// Records that the other side has rolled everything back.
    pub(crate) fn mark_rolled_back(&self) {
        self.0.store(NO_EFFECT, Ordering::Release);
    }

    /// Whether the call may have an effect.
    pub(crate) fn is_sent(&self) -> bool {
        self.0.load(Ordering::Acquire) == SENT
    }

    /// Ends the call. Returns true if it has no effect; a later commit is then refused.
    fn close(&self) -> bool {
        self.0.compare_exchange(NOT_SENT, NO_EFFECT, Ordering::AcqRel, Ordering::Acquire)
            != Err(SENT)
    }
}

/// A host function that was allowed and has not returned.
struct ActiveHostCall {
    slot: String,
    verb: Verb,
    started_at: std::time::Instant,
    /// The span of the call in the program's log.
    span: tracing::Span,
}

/// The state of one call of a plugin: its grants, its limits, and what it did. Each call has a
/// `Host` of its own.
pub(crate) struct Host {
    effective_grants: Arc<EffectiveGrants>,
    mode: Mode,
    permit: ActivePermit,
    services: Arc<Services>,
    limits: Arc<CallLimits>,
    id: CallId,
    deadline: Instant,
    calls_made: u32,
    active_call: Option<ActiveHostCall>,
    uncommitted_calls: Vec<UncommittedCall>,
    bytes_transferred: u64,
    bytes_written: u64,
    calls: Vec<HostCallCounts>,
    denials: Vec<Denial>,
    pub(crate) limiter: MemoryLimiter,
    pub(crate) log: Log,
    /// What capabilities keep until the call ends, such as open connections.
    pub(crate) storage: CallStorage,
    /// The lock only makes `Host` `Sync`, which `InertWasi` is not; it is never locked.
    pub(crate) wasi: Option<Box<Mutex<InertWasi>>>,
}

/// The record of a call, for its outcome.
#[derive(Default)]
pub(crate) struct CallTrace {
    pub(crate) log: Log,
    pub(crate) calls: Vec<HostCallCounts>,
    pub(crate) denials: Vec<Denial>,
}

/// How many denials are kept at most, so that a plugin cannot exhaust memory. The first ones are
/// the most useful.
const MAX_KEPT_DENIALS: usize = 100;

impl Host {
    pub(crate) fn new(
        effective_grants: Arc<EffectiveGrants>,
        mode: Mode,
        services: Arc<Services>,
        limits: Arc<CallLimits>,
        id: CallId,
        deadline: Instant,
    ) -> Self {
        let limiter = MemoryLimiter::new(&limits);
        let log = Log::new(&limits);
        Self {
            effective_grants,
            mode,
            permit: ActivePermit::unlimited(),
            services,
            limits,
            id,
            deadline,
            calls_made: 0,
            active_call: None,
            uncommitted_calls: Vec::new(),
            bytes_transferred: 0,
            bytes_written: 0,
            calls: Vec::new(),
            denials: Vec::new(),
            limiter,
            log,
            storage: CallStorage::default(),
            wasi: None,
        }
    }

    /// This host in another mode.
    pub(crate) fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// This host, with the further limits of `permit`.
    pub(crate) fn with_permit(self, permit: ActivePermit) -> Self {
        Self { permit, ..self }
    }

    /// Checks a host call: the gate, then approved effects, limits, the audit log and the locks of
    /// the run, in this order; `Ok` lets the host function continue. A denial is a value for the
    /// guest, without the reason, which is kept for the operator.
    pub(crate) fn enter(&mut self, request: &GateRequest<'_>) -> Result<(), Fault> {
        let decision = match gate::decide(&self.effective_grants, self.mode, request) {
            GateDecision::Allow => self.permit.decide(request),
            denied @ GateDecision::Deny(_) => denied,
        };
        self.calls_made = self.calls_made.saturating_add(1);
        if self.calls_made > self.limits.host_calls {
            let message =
                format!("the plugin made more than {} host calls", self.limits.host_calls);
            return Err(Fault::new(FaultClass::Limit, "limit.host-calls", message));
        }
        self.audit(request, &decision)?;
        // The leases are checked last, because they may expire at any time before the effect.
        let decision = match decision {
            GateDecision::Allow
                if request.verb().effect() == VerbEffect::Change && !self.permit.holds_leases() =>
            {
                let lease_denial = GateDecision::Deny(lease_lost_denial(request));
                self.audit(request, &lease_denial)?;
                lease_denial
            }
            decision => decision,
        };
        self.count(request, &decision);
        match decision {
            GateDecision::Allow => Ok(()),
            GateDecision::Deny(denial) => {
                self.keep_denial(denial);
                Err(Fault::denied())
            }
        }
    }

    /// Keeps a denial for the operator. When there are too many, the last of the kept ones makes
    /// room; the loss of the leases is always kept, because the step must then be looked at.
    fn keep_denial(&mut self, denial: Denial) {
        if self.denials.len() >= MAX_KEPT_DENIALS
            && let Some(index) = self.denials.iter().rposition(|kept| kept.rule != Rule::Lease)
        {
            self.denials.remove(index);
        }
        if self.denials.len() < MAX_KEPT_DENIALS {
            self.denials.push(denial);
        }
    }

    /// The target that a slot is bound to. Call [`enter`](Self::enter) first: this checks nothing.
    pub(crate) fn target(&self, slot: &str) -> Result<Arc<Target>, Fault> {
        self.effective_grants
            .get(slot)
            .map(|grant| Arc::clone(&grant.target))
            .ok_or_else(Fault::denied)
    }

    /// The sql target that a process target names as its `connection`.
    pub(crate) fn connection(&self, name: &str) -> Result<Arc<Target>, Fault> {
        self.effective_grants.connection(name).cloned().ok_or_else(Fault::denied)
    }

    /// The gateway through which the target of a slot is reached.
    pub(crate) fn gateway(&self, slot: &str) -> Result<Arc<Gateway>, Fault> {
        let grant = self.effective_grants.get(slot).ok_or_else(Fault::denied)?;
        self.effective_grants.gateway_of(grant).cloned().ok_or_else(Fault::denied)
    }

    /// A secret that a target names. From now on it is scrubbed from all output.
    pub(crate) async fn secret(&self, name: &str) -> Result<Secret, Fault> {
        let secret =
            self.services.secrets.fetch(name).await.map_err(|error| secret_fault(&error))?;
        self.services.scrubber.learn(name, &secret);
        Ok(secret)
    }

    /// Scrubs `part`, a part of secret `name` that would reveal it, from all output from now on.
    pub(crate) fn learn_part(&self, name: &str, part: &str) {
        self.services.scrubber.learn(&format!("{name}, in part"), &Secret::from(part));
    }

    /// Removes a token, which the host got for secret `name`, from everything that leaves from here
    /// on.
    pub(crate) fn learn_token(&self, name: &str, token: &Secret) {
        self.services.scrubber.learn(&format!("{name}, its token"), token);
    }

    /// Scrubs what a program printed that was to print secret `name` and failed.
    pub(crate) fn learn_printed(&self, name: &str, printed: &Secret) {
        self.services.scrubber.learn(&format!("{name}, as printed"), printed);
    }

    /// The source of secrets.
    pub(crate) fn secret_source(&self) -> Arc<dyn SecretSource> {
        Arc::clone(&self.services.secrets)
    }

    /// Scrubs a value of a secret from all output from now on.
    pub(crate) fn learn_value(&self, name: &str, value: &Secret) {
        self.services.scrubber.learn(name, value);
    }

    /// The tokens that were fetched so far.
    pub(crate) fn tokens(&self) -> &TokenCache {
        &self.services.tokens
    }

    /// All grants of the step.
    pub(crate) fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.effective_grants.iter()
    }

    /// The id of the run that the call belongs to.
    pub(crate) fn run(&self) -> &str {
        &self.id.run
    }

    /// The id of the step that makes the call.
    pub(crate) fn step(&self) -> &str {
        &self.id.step
    }

    /// The launcher that starts programs.
    pub(crate) fn launcher(&self) -> Result<Launcher, Fault> {
        let missing = || {
            Fault::new(
                FaultClass::Invalid,
                "process.launcher",
                "this host has nothing to start programs with",
            )
        };
        self.services.launcher.clone().ok_or_else(missing)
    }

    /// The resolver of host names.
    pub(crate) fn resolver(&self) -> Resolver {
        self.services.resolver.clone()
    }

    /// The facts about a secret, without its value.
    pub(crate) async fn describe_secret(&self, name: &str) -> Result<crate::SecretFacts, Fault> {
        self.services.secrets.describe(name).await.map_err(|error| secret_fault(&error))
    }

    /// A scrubber for every secret that was used so far.
    pub(crate) fn scrubber(&self) -> Scrubber {
        self.services.scrubber.current()
    }

    /// A fault for the guest, without secrets: a server may quote what it was sent. Pass the
    /// message as the server sent it, because a secret is not found in a text that was already
    /// shortened.
    pub(crate) fn scrubbed_fault(&self, fault: Fault) -> Fault {
        scrubbed_fault(fault, &self.scrubber())
    }

    /// The time until the deadline, at most `cap`. A slow host function should end by itself within
    /// this time, with a fault that says what it was doing; at the deadline its future is dropped.
    pub(crate) fn remaining(&self, cap: Duration) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).min(cap)
    }

    /// What the gate denied so far.
    pub(crate) fn denials(&self) -> &[Denial] {
        &self.denials
    }

    /// A fault for the operator: a denial gets its reason, which a guest must not see.
    pub(crate) fn with_denial_reason(&self, fault: Fault) -> Fault {
        match self.denials.last() {
            Some(denial) if fault.class == FaultClass::Denied => {
                Fault { message: denial.to_string(), ..fault }
            }
            Some(_) | None => fault,
        }
    }

    pub(crate) fn into_trace(mut self) -> CallTrace {
        if let Some(wasi) = self.wasi.take() {
            wasi.into_inner().unwrap_or_else(PoisonError::into_inner).drain(&mut self.log);
        }
        CallTrace { log: self.log, calls: self.calls, denials: self.denials }
    }

    /// Declares that the host function that was just allowed, `count` times, has no effect before
    /// [`Commit::mark_sent`], nor after [`Commit::mark_rolled_back`].
    pub(crate) fn begin_uncommitted(&mut self, slot: &str, verb: Verb, count: usize) -> Commit {
        let commit = Commit::default();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.uncommitted_calls.push(UncommittedCall {
            slot: slot.to_owned(),
            verb,
            count,
            commit: commit.clone(),
        });
        commit
    }

    /// The verbs that may have changed something so far.
    #[cfg(test)]
    pub(crate) fn verbs_that_acted(&self) -> Vec<Verb> {
        let may_have_changed = |calls: &&HostCallCounts| {
            calls.allowed > calls.without_effect && calls.verb.effect() == VerbEffect::Change
        };
        self.calls.iter().filter(may_have_changed).map(|calls| calls.verb).collect()
    }

    /// Counts the bytes that the plugin itself writes into files.
    ///
    /// # Errors
    /// The plugin has written more than its limit allows.
    pub(crate) fn count_written(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes_written = self.bytes_written.saturating_add(bytes as u64);
        let limit = self.limits.files_written_bytes;
        if self.bytes_written > limit {
            let message =
                format!("the plugin wrote more than {limit} bytes into files in one call");
            return Err(Fault::new(FaultClass::Limit, "limit.files-written", message));
        }
        Ok(())
    }

    /// Counts the bytes that the host function has sent or received, for the audit log.
    pub(crate) fn count_transferred(&mut self, bytes: usize) {
        self.bytes_transferred = self.bytes_transferred.saturating_add(bytes as u64);
    }

    /// Writes a decision to the audit log.
    ///
    /// # Errors
    /// The record cannot be written; the host function must not continue.
    fn audit(&mut self, request: &GateRequest<'_>, decision: &GateDecision) -> Result<(), Fault> {
        let (slot, verb) = (request.slot(), request.verb());
        let dialect = self.effective_grants.get(slot).and_then(|grant| grant.target.dialect());
        let scrubber = self.services.scrubber.current();
        let sanitizer = OutputSanitizer::new(&scrubber);
        let mut canonical = request.canonical(dialect, &|text| scrubber.text(text));
        if verb == Verb::SecretsRotate
            && let Some(grant) = self.effective_grants.get(slot)
        {
            canonical = recipients_text(&grant.target);
        }
        // The guest chooses the slot name, so it is not trusted before the gate has found it.
        let (slot_text, operation_text) = (sanitizer.line(slot), sanitizer.line(&canonical));
        let secrets: Vec<_> =
            request.secret_slots().into_iter().map(|slot| sanitizer.line(slot)).collect();
        let secrets: Vec<_> = secrets.iter().map(String::as_str).collect();
        let target_secrets =
            if is_follow_up(request) { Vec::new() } else { self.target_secrets(slot) };
        let event = AuditEvent::Judged {
            slot: &slot_text,
            verb,
            operation: &operation_text,
            secrets: &secrets,
            target_secrets: &target_secrets,
            decision,
        };
        if let Some(audit) = &self.services.audit {
            audit(&AuditRecord { call: self.audit_call(), event }).map_err(|error| {
                Fault::new(
                    FaultClass::Limit,
                    "audit.unavailable",
                    format!("{error}; nothing is done without its record"),
                )
            })?;
        }
        match decision {
            GateDecision::Allow if self.active_call.is_none() => {
                let span = tracing::info_span!("host call", slot = %slot_text, verb = %verb.full_name(), operation = %operation_text);
                self.active_call = Some(ActiveHostCall {
                    slot: slot.to_owned(),
                    verb,
                    started_at: std::time::Instant::now(),
                    span,
                });
            }
            GateDecision::Allow => {}
            GateDecision::Deny(denial) => {
                let (verb, rule) = (verb.full_name(), denial.rule.name());
                let (target, place) = (&denial.target, &denial.location);
                tracing::warn!(slot = %slot_text, %verb, operation = %operation_text, rule, target, place, "denied");
            }
        }
        Ok(())
    }

    /// The secrets that the target of a slot inserts into calls, with those of its connection and
    /// its gateway; not the secret of a target that is itself a secret.
    fn target_secrets(&self, slot: &str) -> Vec<&str> {
        let Some(grant) = self.effective_grants.get(slot) else { return Vec::new() };
        let connection_secrets =
            self.effective_grants.connection_of(grant).map(|target| target.secrets());
        let mut names = grant.target.injected_secrets();
        names.extend(connection_secrets.unwrap_or_default());
        let gateway = self.effective_grants.gateway_of(grant);
        names.extend(gateway.into_iter().flat_map(|gateway| gateway.secrets()));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Writes the end of a host function to the audit log.
    fn leave(&mut self) {
        for UncommittedCall { slot, verb, count, commit } in
            std::mem::take(&mut self.uncommitted_calls)
        {
            if commit.close()
                && let Some(calls) =
                    self.calls.iter_mut().find(|calls| calls.verb == verb && calls.slot == slot)
            {
                calls.without_effect += count;
            }
        }
        let bytes = std::mem::take(&mut self.bytes_transferred);
        let Some(active_call) = self.active_call.take() else { return };
        tracing::debug!(parent: &active_call.span, bytes, "returned");
        let Some(audit) = &self.services.audit else { return };
        let event = AuditEvent::Returned {
            slot: &active_call.slot,
            verb: active_call.verb,
            bytes,
            duration: active_call.started_at.elapsed(),
        };
        // The effect has already happened; if the audit log cannot be written, the next call of
        // `enter` fails.
        let _ = audit(&AuditRecord { call: self.audit_call(), event });
    }

    fn audit_call(&self) -> AuditCall<'_> {
        let CallId { run, step, attempt, plugin, digest } = &self.id;
        AuditCall { run, step, attempt: *attempt, plugin, digest }
    }

    fn count(&mut self, request: &GateRequest<'_>, decision: &GateDecision) {
        let (slot, verb) = (request.slot(), request.verb());
        let is_denied = matches!(decision, GateDecision::Deny(_));
        if !is_denied && is_follow_up(request) {
            return;
        }
        if let Some(calls) =
            self.calls.iter_mut().find(|calls| calls.verb == verb && calls.slot == slot)
        {
            calls.allowed += u32::from(!is_denied);
            calls.denied += u32::from(is_denied);
        } else if self.effective_grants.get(slot).is_some() || self.calls.len() < MAX_KEPT_DENIALS {
            // The calls on granted slots are never left out: they tell what may have changed.
            let slot = slot.to_owned();
            let (allowed, denied) = (u32::from(!is_denied), u32::from(is_denied));
            self.calls.push(HostCallCounts { slot, verb, allowed, denied, without_effect: 0 });
        }
    }
}

/// A fault for the guest, without secrets.
pub(crate) fn scrubbed_fault(fault: Fault, scrubber: &Scrubber) -> Fault {
    Fault { message: OutputSanitizer::new(scrubber).line(&fault.message), ..fault }
}

/// Whether this is a further decision about a host call that the gate has already allowed, made
/// when its address, container or image is known.
fn is_follow_up(request: &GateRequest<'_>) -> bool {
    match request {
        GateRequest::Connect { .. }
        | GateRequest::Gateway { .. }
        | GateRequest::Forward { .. }
        | GateRequest::Token { .. }
        | GateRequest::Redirect { .. }
        | GateRequest::Socket { .. }
        | GateRequest::Container { .. }
        | GateRequest::Create { .. }
        | GateRequest::Image { .. }
        | GateRequest::Resolver { .. }
        | GateRequest::FileRemoval { .. }
        | GateRequest::RedisFacts { .. } => true,
        GateRequest::Exec { .. }
        | GateRequest::Http { .. }
        | GateRequest::Health { .. }
        | GateRequest::Sql { .. }
        | GateRequest::Docker { .. }
        | GateRequest::Secret { .. }
        | GateRequest::Files { .. }
        | GateRequest::FileList { .. }
        | GateRequest::FileRename { .. }
        | GateRequest::Process { .. }
        | GateRequest::Endpoint { .. }
        | GateRequest::Lookup { .. }
        | GateRequest::System { .. }
        | GateRequest::Redis { .. }
        | GateRequest::Mail { .. }
        | GateRequest::Objects { .. } => false,
    }
}

fn lease_lost_denial(request: &GateRequest<'_>) -> Denial {
    let reason = "the run's locks were not renewed in time, and somebody else may hold them by now"
        .to_owned();
    let (target, location) = (String::new(), String::new());
    Denial {
        rule: Rule::Lease,
        slot: request.slot().to_owned(),
        verb: request.verb(),
        reason,
        target,
        location,
    }
}

/// Whom the store of a rotated secret is encrypted to, for the audit log.
fn recipients_text(target: &Target) -> String {
    match target.recipients().as_slice() {
        [] => "encrypted with its passphrase".to_owned(),
        keys => format!("encrypted to {}", keys.join(", ")),
    }
}

fn secret_fault(error: &crate::SecretFetchError) -> Fault {
    let code = match error.attempt {
        FetchAttempt::Failed => "secrets.unavailable",
        FetchAttempt::Withheld => runbook_contract::SECRET_WITHHELD,
    };
    Fault::new(FaultClass::NotFound, code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::host;
    use std::path::Path;

    fn write_request(slot: &str) -> GateRequest<'_> {
        GateRequest::Files { slot, verb: Verb::FilesWrite, path: "a" }
    }

    #[test]
    fn no_number_of_denied_calls_hides_what_was_allowed_or_that_the_leases_are_lost() {
        let folder = "[targets.f]\nfiles = \"/tmp\"\naccess = \"write\"\n";
        let mut host = host(&[("f", &["files.write"], "f")], folder, Path::new("/"));
        for number in 0..3 * MAX_KEPT_DENIALS {
            assert!(host.enter(&write_request(&format!("slot-{number}"))).is_err());
        }
        let lost = lease_lost_denial(&write_request("f"));
        host.keep_denial(lost);
        assert!(host.enter(&write_request("f")).is_ok());
        for number in 0..3 * MAX_KEPT_DENIALS {
            assert!(host.enter(&write_request(&format!("other-{number}"))).is_err());
        }
        assert_eq!(host.denials().last().map(|last| last.slot.as_str()), Some("other-299"));
        let trace = host.into_trace();
        assert!(trace.denials.len() <= MAX_KEPT_DENIALS);
        assert!(trace.denials.iter().any(|denial| denial.rule == Rule::Lease));
        let allowed: Vec<_> = trace.calls.iter().filter(|calls| calls.allowed > 0).collect();
        assert_eq!(allowed.len(), 1);
        assert_eq!((allowed[0].slot.as_str(), allowed[0].verb), ("f", Verb::FilesWrite));
    }
}
