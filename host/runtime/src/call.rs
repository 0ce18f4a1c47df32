//! [`Linked`], and one call of it: a fresh store and instance, a deadline around everything,
//! nothing kept.

use crate::bindings::runbook::plugin::types::{self as wit, Job};
use crate::capabilities::{clock, sql};
use crate::compile::{PrepareError, PreparedComponent};
use crate::engine_pool::PooledEngine;
use crate::fault::Fault as WitFault;
use crate::host::{CallId, CallTrace, Host};
use crate::limits::{CallLimits, LimitReached};
use crate::outcome::CallOutcome;
use crate::outgoing::Outgoing;
use crate::permit::{Permit, Permitted};
use crate::response::{RawResponse, ResponseValidator};
use crate::services::Services;
use crate::value::Schema;
use runbook_authority::Effective;
use runbook_contract::{Call, ErrorClass, Fault, Kind, Mode, Phase, Response};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wasmtime::{Store, Trap};

/// Why an earlier attempt may still be running outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfinished {
    /// Something is still running and cannot be ended.
    StillRuns(Fault),
    /// It could not be found out whether an earlier attempt is still running.
    Unasked(Fault),
}

/// One operation with its grants: everything that is needed to call it. Cheap to clone.
#[derive(Clone)]
pub struct Linked(Arc<LinkedInner>);

struct LinkedInner {
    prepared: PreparedComponent,
    operation: String,
    plugin: Arc<str>,
    digest: Arc<str>,
    kind: Kind,
    input: Schema,
    output: Schema,
    effective: Arc<Effective>,
    limits: Arc<CallLimits>,
    services: Arc<Services>,
}

impl Linked {
    /// Joins a prepared component, one of its operations and what that was granted.
    ///
    /// # Errors
    /// [`PrepareError::UnknownOperation`], and [`PrepareError::Schema`] if a schema of the
    /// operation cannot be used.
    pub fn new(
        prepared: &PreparedComponent,
        operation: &str,
        effective: Effective,
        limits: CallLimits,
        services: Services,
    ) -> Result<Self, PrepareError> {
        let manifest = prepared.manifest();
        let plugin = || manifest.name.clone();
        let Some(declared) = manifest.operations.get(operation) else {
            return Err(PrepareError::UnknownOperation {
                plugin: plugin(),
                operation: operation.to_owned(),
            });
        };
        let schema = |schema| {
            Schema::parse(schema).map_err(|source| PrepareError::Schema {
                plugin: plugin(),
                operation: operation.to_owned(),
                source,
            })
        };
        Ok(Self(Arc::new(LinkedInner {
            prepared: prepared.clone(),
            operation: operation.to_owned(),
            plugin: Arc::from(manifest.name.as_str()),
            digest: Arc::from(prepared.digest().as_str()),
            kind: declared.kind,
            input: schema(&declared.input)?,
            output: schema(&declared.output)?,
            effective: Arc::new(effective),
            limits: Arc::new(limits),
            services: Arc::new(services),
        })))
    }

    /// The name of the plugin, as its manifest says.
    pub fn plugin(&self) -> &str {
        &self.0.plugin
    }

    /// The digest of its component.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// Ends what an earlier attempt of the step still does outside, within what this operation is
    /// granted, and returns what was ended. Call it before a step is observed, repeated or undone
    /// that may have an attempt without an answer.
    ///
    /// # Errors
    /// [`Unfinished::StillRuns`] and [`Unfinished::Unasked`], with what a person can do.
    pub async fn end_earlier(&self, call: &Call) -> Result<Vec<String>, Unfinished> {
        let inner = &*self.0;
        let deadline = Instant::now() + call.timeout.min(inner.limits.timeout);
        // No guest runs: it is the host that ends its own sessions, before whatever follows.
        let mut host = inner.host(call, deadline).in_mode(Mode::Effects);
        let ended = host.end_earlier_sessions().await;
        let shown = |fault: WitFault| fault_of_guest(host.shown_fault(fault));
        ended.map_err(|unfinished| match unfinished {
            sql::Unfinished::StillRuns(fault) => Unfinished::StillRuns(shown(fault)),
            sql::Unfinished::Unasked(fault) => Unfinished::Unasked(shown(fault)),
        })
    }

    /// Calls the operation. It always comes back: at the end of the call, at its deadline, or when
    /// `cancel` completes.
    ///
    /// `permit` limits it further: to approved effects, and as long as the run holds its locks.
    pub async fn call(
        &self,
        call: Call,
        permit: Permit,
        cancel: impl Future<Output = ()> + Send,
    ) -> CallOutcome {
        let inner = &*self.0;
        let timeout = call.timeout.min(inner.limits.timeout);
        let deadline = Instant::now() + timeout;
        let mut cancel = pin!(cancel);
        let taken = tokio::select! {
            biased;
            () = &mut cancel => Err(cancelled()),
            taken = inner.prepared.0.pool.take() => Ok(taken),
            () = tokio::time::sleep_until(deadline) => Err(timed_out(&inner.operation, timeout)),
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(fault) => return inner.outcome(Err(fault), CallTrace::default()),
        };
        let mut store = inner.store(taken.place, &call, &permit, deadline);
        let result = {
            let guest = inner.guest(&mut store, taken.place, &call, timeout);
            tokio::select! {
                biased;
                () = cancel => Err(cancelled()),
                result = guest => result,
                () = tokio::time::sleep_until(deadline) => Err(timed_out(&inner.operation, timeout)),
            }
        };
        // The store is dropped here, whatever happened: after a trap nothing in it can be trusted.
        let remains = store.into_data().into_trace();
        // Released only now, because the store occupies its place in the pool.
        drop(taken);
        inner.outcome(result, remains)
    }
}

impl std::fmt::Debug for Linked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Linked")
            .field("operation", &self.0.operation)
            .field("prepared", &self.0.prepared)
            .finish_non_exhaustive()
    }
}

impl LinkedInner {
    fn host(&self, request: &Call, deadline: Instant) -> Host {
        let id = CallId {
            run: request.run.to_string(),
            step: request.step.to_string(),
            attempt: request.attempt,
            plugin: Arc::clone(&self.plugin),
            digest: Arc::clone(&self.digest),
        };
        Host::new(
            Arc::clone(&self.effective),
            mode_of(&request.phase, self.kind, request.mode),
            Arc::clone(&self.services),
            Arc::clone(&self.limits),
            id,
            deadline,
        )
    }

    fn store(
        &self,
        place: &PooledEngine,
        request: &Call,
        permit: &Permit,
        deadline: Instant,
    ) -> Store<Host> {
        let host = self.host(request, deadline).permitting(Permitted::new(permit, &self.effective));
        let mut store = Store::new(place.instance.engine(), host);
        store.limiter(|host| &mut host.growth);
        store.set_hostcall_fuel(self.limits.host_call_bytes);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }

    async fn guest(
        &self,
        store: &mut Store<Host>,
        place: &PooledEngine,
        request: &Call,
        timeout: Duration,
    ) -> Result<Response, Fault> {
        self.input.check(&request.input).map_err(|mismatch| {
            let message =
                format!("the input of `{}` does not fit its schema: {mismatch}", self.operation);
            Fault::new(ErrorClass::Invalid, "input.schema", message)
        })?;
        let job = Job {
            run_id: request.run.to_string(),
            step: request.step.to_string(),
            attempt: request.attempt,
            input: request.input.to_string(),
            deadline_ms: clock::now_ms()
                .saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            dry_run: mode_of(&request.phase, self.kind, request.mode) == Mode::ReadOnly,
            unanswered_ms: request
                .unanswered
                .map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
        };
        let answered =
            self.instantiate_and_call(store, place, request, &job).await.map_err(|stopped| {
                match stopped {
                    NoAnswer::Phase => self.wrong_phase(&request.phase),
                    NoAnswer::Engine(error) => stopped_by_engine(&error),
                }
            })?;
        let received = answered.map_err(fault_of_guest)?;
        ResponseValidator { operation: &self.operation, output: &self.output, limits: &self.limits }
            .validate(received)
    }

    async fn instantiate_and_call(
        &self,
        store: &mut Store<Host>,
        place: &PooledEngine,
        request: &Call,
        job: &Job,
    ) -> Result<Result<RawResponse, WitFault>, NoAnswer> {
        let operation = self.operation.as_str();
        match (self.kind, &request.phase) {
            (Kind::Probe, Phase::Check) => {
                let indices = place.exports.probe.as_ref().ok_or(NoAnswer::Phase)?;
                let instance = place.instance.instantiate_async(&mut *store).await?;
                let guest = indices.load(&mut *store, &instance)?;
                Ok(guest.call_check(&mut *store, operation, job).await?.map(RawResponse::Report))
            }
            (Kind::SmokeTest, Phase::Check) => {
                let indices = place.exports.smoke_test.as_ref().ok_or(NoAnswer::Phase)?;
                let instance = place.instance.instantiate_async(&mut *store).await?;
                let guest = indices.load(&mut *store, &instance)?;
                Ok(guest.call_run(&mut *store, operation, job).await?.map(RawResponse::Verdicts))
            }
            (Kind::Step, phase) => {
                let indices = place.exports.step.as_ref().ok_or(NoAnswer::Phase)?;
                let instance = place.instance.instantiate_async(&mut *store).await?;
                let guest = indices.load(&mut *store, &instance)?;
                Ok(match phase {
                    Phase::Check => return Err(NoAnswer::Phase),
                    Phase::Plan => guest
                        .call_plan(&mut *store, operation, job)
                        .await?
                        .map(RawResponse::Proposal),
                    Phase::Apply { proposal, drift: _ } => {
                        let proposal = wit::Proposal::from(proposal);
                        guest
                            .call_apply(&mut *store, operation, job, &proposal)
                            .await?
                            .map(RawResponse::Applied)
                    }
                    Phase::Observe => guest
                        .call_observe(&mut *store, operation, job)
                        .await?
                        .map(RawResponse::Observation),
                    Phase::Undo { before } => guest
                        .call_undo(&mut *store, operation, job, &before.to_string())
                        .await?
                        .map(RawResponse::Undone),
                })
            }
            (Kind::Probe | Kind::SmokeTest, _) => Err(NoAnswer::Phase),
        }
    }

    fn wrong_phase(&self, phase: &Phase) -> Fault {
        let message = format!(
            "`{}` is a {}, so it has no `{}`",
            self.operation,
            self.kind.name(),
            phase.name()
        );
        Fault::new(ErrorClass::Invalid, "call.phase", message)
    }

    /// Scrubs everything that leaves the call.
    fn outcome(&self, result: Result<Response, Fault>, remains: CallTrace) -> CallOutcome {
        let scrubber = self.services.scrubber.current();
        let outgoing = Outgoing::new(&scrubber);
        let mut logs = remains.log.into_lines(&outgoing);
        let result = result
            .and_then(|response| outgoing.response(response, &mut logs))
            .map_err(|fault| outgoing.fault(&fault));
        let denials = remains.denials.into_iter().map(|denial| outgoing.denial(denial)).collect();
        CallOutcome { result, logs, denials, host_calls: remains.calls }
    }
}

/// Why there is no answer of the plugin.
enum NoAnswer {
    /// The operation has no such phase.
    Phase,
    /// A trap, a limit, or a guest that breaks the rules of the component model.
    Engine(wasmtime::Error),
}

impl From<wasmtime::Error> for NoAnswer {
    fn from(error: wasmtime::Error) -> Self {
        Self::Engine(error)
    }
}

/// The mode of a call. A probe, a plan and an observation are always read-only. A smoke test is the
/// one check that acts: it cleans up after itself.
fn mode_of(phase: &Phase, kind: Kind, mode: Mode) -> Mode {
    match (phase, kind) {
        (Phase::Check, Kind::Probe | Kind::Step) | (Phase::Plan | Phase::Observe, _) => {
            Mode::ReadOnly
        }
        (Phase::Check, Kind::SmokeTest) | (Phase::Apply { .. } | Phase::Undo { .. }, _) => mode,
    }
}

fn cancelled() -> Fault {
    Fault::new(ErrorClass::Cancelled, "cancelled", "the run was cancelled")
}

fn timed_out(operation: &str, timeout: Duration) -> Fault {
    let message = format!("`{operation}` was stopped after {timeout:?}, its timeout");
    Fault::new(ErrorClass::Timeout, "timeout", message)
}

fn fault_of_guest(fault: WitFault) -> Fault {
    Fault::new(fault.class.into(), fault.code, fault.message)
}

fn stopped_by_engine(error: &wasmtime::Error) -> Fault {
    if let Some(limit) = error.downcast_ref::<LimitReached>() {
        return Fault::new(ErrorClass::Limit, limit.code(), limit.to_string());
    }
    // The engine has no type for this one; a test holds the text.
    if format!("{error:#}").contains("fuel allocated for hostcalls has been exhausted") {
        let message = "the plugin passed more data to the host in one call than it may";
        return Fault::new(ErrorClass::Limit, "limit.host-call-bytes", message);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => {
            let message = "the plugin panicked or aborted; its last log line may say why";
            Fault::new(ErrorClass::Trap, "trap.panic", message)
        }
        Some(Trap::StackOverflow) => Fault::new(
            ErrorClass::Trap,
            "trap.stack-overflow",
            "the plugin called itself too deeply",
        ),
        Some(trap) => {
            Fault::new(ErrorClass::Trap, "trap", format!("the plugin was stopped: {trap}"))
        }
        None => Fault::new(
            ErrorClass::Trap,
            "trap",
            format!("the plugin was stopped: {:#}", error.root_cause()),
        ),
    }
}
