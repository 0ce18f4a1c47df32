//! The host side of one call, and [`Host::enter`], through which every host function passes.
//!
//! Invariant: no file in `capabilities/` judges a call itself. Each host function describes to
//! `enter` what it is about to do, before it touches anything, and continues only if `enter` allows
//! it.

use crate::capabilities::TokenCache;
use crate::fault::{Fault, FaultClass};
use crate::inert_wasi::Wasi;
use crate::kept::Kept;
use crate::launcher::Launcher;
use crate::limits::{CallLimits, Growth};
use crate::log::Log;
use crate::net::resolve::Resolver;
use crate::outgoing::Outgoing;
use crate::permit::Permitted;
use crate::services::{AuditCall, AuditEvent, AuditRecord, Services};
use runbook_authority::gate::{self, Denial, Rule};
use runbook_authority::{Effective, GateDecision, Grant, Operation, Target, Verb, VerbEffect};
use runbook_contract::Mode;
use runbook_secrets::{Scrubber, Secret};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often one verb was used on one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCalls {
    /// The slot that the calls were made on.
    pub slot: String,
    /// The verb that the calls used.
    pub verb: Verb,
    /// Calls that were let through.
    pub allowed: u32,
    /// Calls that were denied.
    pub denied: u32,
    /// How many of the calls that were let through certainly changed nothing, because what they
    /// began was never made final.
    pub without_effect: u32,
}

/// Which call a host function belongs to.
#[derive(Debug, Clone)]
pub(crate) struct CallId {
    pub(crate) run: String,
    pub(crate) step: String,
    pub(crate) attempt: u32,
    pub(crate) plugin: Arc<str>,
    pub(crate) digest: Arc<str>,
}

/// One call of one host function. What is opened by [`Host::enter`] is closed when this is dropped,
/// however the function ends.
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

/// What a host function has begun and can still take back.
struct UncommittedCall {
    slot: String,
    verb: Verb,
    /// How often the gate was asked for it.
    count: u32,
    commit: Commit,
}

/// Whether what was begun has been told to become final. Until then it did not happen, however the
/// call ends; and what the other side says that it took back did not happen either.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commit(Arc<AtomicU8>);

/// Nothing was told yet.
const NOT_SENT: u8 = 0;
/// It was told to become final.
const SENT: u8 = 1;
/// It did not happen, and never will.
const VOID: u8 = 2;

impl Commit {
    /// Marks the call as sent: from here on its effect is unknown until the other side has
    /// answered.
    ///
    /// # Errors
    /// The call is over, and its caller was told that nothing happened, so it must not be made
    /// final now.
    pub(crate) fn send(&self) -> Result<(), Fault> {
        match self.0.compare_exchange(NOT_SENT, SENT, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(SENT) => Ok(()),
            Err(_) => Err(Fault::new(FaultClass::Cancelled, "cancelled", "the call is over")),
        }
    }

    /// The other side has answered that it rolled everything back.
    pub(crate) fn void(&self) {
        self.0.store(VOID, Ordering::Release);
    }

    /// Whether it may have happened.
    pub(crate) fn is_sent(&self) -> bool {
        self.0.load(Ordering::Acquire) == SENT
    }

    /// The call is over. Whether it did not happen; then it never will.
    fn close(&self) -> bool {
        self.0.compare_exchange(NOT_SENT, VOID, Ordering::AcqRel, Ordering::Acquire) != Err(SENT)
    }
}

/// A host function that was let in and has not come back.
struct ActiveHostCall {
    slot: String,
    verb: Verb,
    since: std::time::Instant,
    /// The span of the call in the program's log.
    span: tracing::Span,
}

/// The state of one call: what it may do, what it did. One call, one `Host`; nothing survives it.
pub(crate) struct Host {
    effective: Arc<Effective>,
    mode: Mode,
    permit: Permitted,
    services: Arc<Services>,
    limits: Arc<CallLimits>,
    id: CallId,
    deadline: Instant,
    entered: u32,
    open: Option<ActiveHostCall>,
    provisional: Vec<UncommittedCall>,
    moved: u64,
    written: u64,
    calls: Vec<HostCalls>,
    denials: Vec<Denial>,
    pub(crate) growth: Growth,
    pub(crate) log: Log,
    /// What capabilities keep until the call is over, such as open connections.
    pub(crate) kept: Kept,
    /// Behind a lock that is never taken, because what is inside cannot be shared between threads
    /// and `Host` must be.
    pub(crate) wasi: Option<Box<Mutex<Wasi>>>,
}

/// What a call leaves behind.
#[derive(Default)]
pub(crate) struct CallTrace {
    pub(crate) log: Log,
    pub(crate) calls: Vec<HostCalls>,
    pub(crate) denials: Vec<Denial>,
}

/// How many denials are kept: the first ones show what is wrong, and a plugin that keeps asking
/// must not exhaust memory.
const KEPT_DENIALS: usize = 100;

impl Host {
    pub(crate) fn new(
        effective: Arc<Effective>,
        mode: Mode,
        services: Arc<Services>,
        limits: Arc<CallLimits>,
        id: CallId,
        deadline: Instant,
    ) -> Self {
        let growth = Growth::new(&limits);
        let log = Log::new(&limits);
        Self {
            effective,
            mode,
            permit: Permitted::unlimited(),
            services,
            limits,
            id,
            deadline,
            entered: 0,
            open: None,
            provisional: Vec::new(),
            moved: 0,
            written: 0,
            calls: Vec::new(),
            denials: Vec::new(),
            growth,
            log,
            kept: Kept::default(),
            wasi: None,
        }
    }

    /// The same, in another mode.
    pub(crate) fn in_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// The same, with less than what is granted.
    pub(crate) fn permitting(self, permit: Permitted) -> Self {
        Self { permit, ..self }
    }

    /// Checks a host call: the gate, then approved effects, limits, the audit log and the locks of
    /// the run, in this order; `Ok` lets the host function continue. A denial is a value for the
    /// guest, without the reason, which is kept for the operator.
    pub(crate) fn enter(&mut self, operation: &Operation<'_>) -> Result<(), Fault> {
        let decision = match gate::decide(&self.effective, self.mode, operation) {
            GateDecision::Allow => self.permit.decide(operation),
            denied @ GateDecision::Deny(_) => denied,
        };
        self.entered = self.entered.saturating_add(1);
        if self.entered > self.limits.host_calls {
            let message =
                format!("the plugin made more than {} host calls", self.limits.host_calls);
            return Err(Fault::new(FaultClass::Limit, "limit.host-calls", message));
        }
        self.audit(operation, &decision)?;
        // Last of all: between this and the effect nothing may take time.
        let decision = match decision {
            GateDecision::Allow
                if operation.verb().effect() == VerbEffect::Change && !self.permit.is_in_time() =>
            {
                let late = GateDecision::Deny(out_of_time(operation));
                self.audit(operation, &late)?;
                late
            }
            decision => decision,
        };
        self.count(operation, &decision);
        match decision {
            GateDecision::Allow => Ok(()),
            GateDecision::Deny(denial) => {
                if self.denials.len() < KEPT_DENIALS {
                    self.denials.push(denial);
                }
                Err(Fault::denied())
            }
        }
    }

    /// What a slot is bound to. Ask [`enter`](Self::enter) first: this does not judge.
    pub(crate) fn target(&self, slot: &str) -> Result<Arc<Target>, Fault> {
        self.effective.get(slot).map(|grant| Arc::clone(&grant.target)).ok_or_else(Fault::denied)
    }

    /// The sql target that a process target names as its `connection`.
    pub(crate) fn connection(&self, name: &str) -> Result<Arc<Target>, Fault> {
        self.effective.connection(name).cloned().ok_or_else(Fault::denied)
    }

    /// A secret that a target names. From here on it is removed from everything that leaves.
    pub(crate) async fn secret(&self, name: &str) -> Result<Secret, Fault> {
        let secret =
            self.services.secrets.fetch(name).await.map_err(|error| secret_fault(&error))?;
        self.services.scrubber.learn(name, &secret);
        Ok(secret)
    }

    /// Removes `part`, a part of secret `name` that gives it away, from everything that leaves from
    /// here on.
    pub(crate) fn learn(&self, name: &str, part: &str) {
        self.services.scrubber.learn(&format!("{name}, in part"), &Secret::from(part));
    }

    /// Removes a token, which the host got for secret `name`, from everything that leaves from here
    /// on.
    pub(crate) fn learn_token(&self, name: &str, token: &Secret) {
        self.services.scrubber.learn(&format!("{name}, its token"), token);
    }

    /// The tokens that were fetched so far.
    pub(crate) fn tokens(&self) -> &TokenCache {
        &self.services.tokens
    }

    /// All grants of the step.
    pub(crate) fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.effective.iter()
    }

    /// The id of the run that the call belongs to.
    pub(crate) fn run(&self) -> &str {
        &self.id.run
    }

    /// The step, as it calls.
    pub(crate) fn step(&self) -> &str {
        &self.id.step
    }

    /// What programs are started by.
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

    /// Who is asked for the addresses of a name.
    pub(crate) fn resolver(&self) -> Resolver {
        self.services.resolver.clone()
    }

    /// What can be known of a secret without its value.
    pub(crate) async fn describe_secret(&self, name: &str) -> Result<crate::SecretFacts, Fault> {
        self.services.secrets.describe(name).await.map_err(|error| secret_fault(&error))
    }

    /// Removes every secret that was used so far.
    pub(crate) fn scrubber(&self) -> Scrubber {
        self.services.scrubber.current()
    }

    /// A fault as a guest sees it: a server may quote what it was sent. Its message is that of the
    /// server until then: what was made one line before would not be recognised.
    pub(crate) fn shown_fault(&self, fault: Fault) -> Fault {
        shown_fault(fault, &self.scrubber())
    }

    /// The time that is left, at most `cap`. A host function that can take long ends by itself
    /// within it, with a fault that says what it was doing; one that does not is cut off (its
    /// future is dropped).
    pub(crate) fn remaining(&self, cap: Duration) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).min(cap)
    }

    /// A fault of what the host does by itself: a denial with its reason, which no guest sees.
    pub(crate) fn explained(&self, fault: Fault) -> Fault {
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

    /// The host function that was just let in, `count` times, changes nothing before
    /// [`Commit::send`], nor if [`Commit::void`] follows.
    pub(crate) fn provisional(&mut self, slot: &str, verb: Verb, count: usize) -> Commit {
        let commit = Commit::default();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.provisional.push(UncommittedCall {
            slot: slot.to_owned(),
            verb,
            count,
            commit: commit.clone(),
        });
        commit
    }

    /// The verbs that may have changed something so far.
    #[cfg(test)]
    pub(crate) fn acted(&self) -> Vec<Verb> {
        let changed = |calls: &&HostCalls| {
            calls.allowed > calls.without_effect && calls.verb.effect() == VerbEffect::Change
        };
        self.calls.iter().filter(changed).map(|calls| calls.verb).collect()
    }

    /// Counts what the plugin itself writes into files, and says when it is too much.
    pub(crate) fn writes(&mut self, bytes: usize) -> Result<(), Fault> {
        self.written = self.written.saturating_add(bytes as u64);
        let limit = self.limits.written;
        if self.written > limit {
            let message =
                format!("the plugin wrote more than {limit} bytes into files in one call");
            return Err(Fault::new(FaultClass::Limit, "limit.files-written", message));
        }
        Ok(())
    }

    /// Counts data that goes out to the world, or comes in from it.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(bytes as u64);
    }

    /// Tells the audit what was judged. Without its record nothing happens.
    fn audit(&mut self, operation: &Operation<'_>, decision: &GateDecision) -> Result<(), Fault> {
        let (slot, verb) = (operation.slot(), operation.verb());
        let dialect = self.effective.get(slot).and_then(|grant| grant.target.dialect());
        let scrubber = self.services.scrubber.current();
        let outgoing = Outgoing::new(&scrubber);
        let canonical = operation.canonical(dialect, &|text| scrubber.text(text));
        // Slots are a guest's words until the gate has found them.
        let (named, clean) = (outgoing.line(slot), outgoing.line(&canonical));
        let secrets: Vec<_> =
            operation.secret_slots().into_iter().map(|slot| outgoing.line(slot)).collect();
        let secrets: Vec<_> = secrets.iter().map(String::as_str).collect();
        let target_secrets =
            if is_follow_up(operation) { Vec::new() } else { self.target_secrets(slot) };
        let event = AuditEvent::Judged {
            slot: &named,
            verb,
            operation: &clean,
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
            GateDecision::Allow if self.open.is_none() => {
                let span = tracing::info_span!("host call", slot = %named, verb = %verb.full_name(), operation = %clean);
                self.open = Some(ActiveHostCall {
                    slot: slot.to_owned(),
                    verb,
                    since: std::time::Instant::now(),
                    span,
                });
            }
            GateDecision::Allow => {}
            GateDecision::Deny(denial) => {
                let (verb, rule) = (verb.full_name(), denial.rule.name());
                let (target, place) = (&denial.target, &denial.place);
                tracing::warn!(slot = %named, %verb, operation = %clean, rule, target, place, "denied");
            }
        }
        Ok(())
    }

    /// The secrets that a slot's target puts into what it does, with those of its connection. A
    /// secret that is itself the target is what its slot stands for.
    fn target_secrets(&self, slot: &str) -> Vec<&str> {
        let Some(grant) = self.effective.get(slot) else { return Vec::new() };
        let connected = self.effective.lent(grant).map(|target| target.secrets());
        let mut names = grant.target.injected_secrets();
        names.extend(connected.unwrap_or_default());
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Tells the audit that a host function has come back.
    fn leave(&mut self) {
        for UncommittedCall { slot, verb, count, commit } in std::mem::take(&mut self.provisional) {
            if commit.close()
                && let Some(calls) =
                    self.calls.iter_mut().find(|calls| calls.verb == verb && calls.slot == slot)
            {
                calls.without_effect += count;
            }
        }
        let bytes = std::mem::take(&mut self.moved);
        let Some(open) = self.open.take() else { return };
        tracing::debug!(parent: &open.span, bytes, "returned");
        let Some(audit) = &self.services.audit else { return };
        let event = AuditEvent::Returned {
            slot: &open.slot,
            verb: open.verb,
            bytes,
            duration: open.since.elapsed(),
        };
        // It has happened already; the next decision finds that the audit is gone, and stops there.
        let _ = audit(&AuditRecord { call: self.audit_call(), event });
    }

    fn audit_call(&self) -> AuditCall<'_> {
        let CallId { run, step, attempt, plugin, digest } = &self.id;
        AuditCall { run, step, attempt: *attempt, plugin, digest }
    }

    fn count(&mut self, operation: &Operation<'_>, decision: &GateDecision) {
        let (slot, verb) = (operation.slot(), operation.verb());
        let denied = matches!(decision, GateDecision::Deny(_));
        if !denied && is_follow_up(operation) {
            return;
        }
        if let Some(calls) =
            self.calls.iter_mut().find(|calls| calls.verb == verb && calls.slot == slot)
        {
            calls.allowed += u32::from(!denied);
            calls.denied += u32::from(denied);
        } else if self.calls.len() < KEPT_DENIALS {
            let slot = slot.to_owned();
            let (allowed, denied) = (u32::from(!denied), u32::from(denied));
            self.calls.push(HostCalls { slot, verb, allowed, denied, without_effect: 0 });
        }
    }
}

/// A fault as a guest sees it.
pub(crate) fn shown_fault(fault: Fault, scrubber: &Scrubber) -> Fault {
    Fault { message: Outgoing::new(scrubber).line(&fault.message), ..fault }
}

/// Whether the gate was asked about the same host call before, when less was known.
fn is_follow_up(operation: &Operation<'_>) -> bool {
    match operation {
        Operation::Connect { .. }
        | Operation::Token { .. }
        | Operation::Redirect { .. }
        | Operation::Container { .. }
        | Operation::Create { .. }
        | Operation::Image { .. }
        | Operation::Resolver { .. } => true,
        Operation::Exec { .. }
        | Operation::Http { .. }
        | Operation::Sql { .. }
        | Operation::Docker { .. }
        | Operation::Secret { .. }
        | Operation::Files { .. }
        | Operation::Process { .. }
        | Operation::Endpoint { .. }
        | Operation::Lookup { .. } => false,
    }
}

fn out_of_time(operation: &Operation<'_>) -> Denial {
    let reason = "the run's locks were not renewed in time, and somebody else may hold them by now"
        .to_owned();
    let (target, place) = (String::new(), String::new());
    Denial {
        rule: Rule::Lease,
        slot: operation.slot().to_owned(),
        verb: operation.verb(),
        reason,
        target,
        place,
    }
}

fn secret_fault(error: &crate::SecretUnavailable) -> Fault {
    Fault::new(FaultClass::NotFound, "secrets.unavailable", error.to_string())
}
