//! [`LinkedOperation`], and its calls: each call has a fresh store and instance, and a deadline;
//! nothing is kept for the next call.

use crate::bindings::runbook::plugin::types::{self as wit, Job};
use crate::capabilities::{clock, sql};
use crate::compile::{PrepareError, PreparedComponent};
use crate::engine_pool::LinkedComponent;
use crate::fault::Fault as WitFault;
use crate::host::{CallId, CallTrace, Host};
use crate::limits::{CallLimits, LimitReached};
use crate::outcome::CallOutcome;
use crate::permit::{ActivePermit, Permit};
use crate::response::{RawResponse, ResponseValidator};
use crate::sanitizer::OutputSanitizer;
use crate::services::Services;
use crate::value::Schema;
use runbook_authority::EffectiveGrants;
use runbook_contract::{Call, ErrorClass, Fault, Kind, Mode, Phase, Response};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wasmtime::{Store, Trap};

/// Why an earlier attempt may still be running outside of the host, such as in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EarlierAttemptError {
    /// The earlier attempt is still running and cannot be ended.
    StillRunning(Fault),
    /// It is unknown whether the earlier attempt is still running.
    Unknown(Fault),
}

/// One operation with its grants: everything that is needed to call it. Cheap to clone.
#[derive(Clone)]
pub struct LinkedOperation(Arc<LinkedOperationInner>);

struct LinkedOperationInner {
    prepared: PreparedComponent,
    operation: String,
    plugin: Arc<str>,
    digest: Arc<str>,
    kind: Kind,
    input: Schema,
    output: Schema,
    effective_grants: Arc<EffectiveGrants>,
    limits: Arc<CallLimits>,
    services: Arc<Services>,
}

impl LinkedOperation {
    /// Links an operation of a prepared component with its grants.
    ///
    /// # Errors
    /// [`PrepareError::UnknownOperation`], and [`PrepareError::Schema`] if a schema of the
    /// operation cannot be used.
    pub fn new(
        prepared: &PreparedComponent,
        operation: &str,
        effective_grants: EffectiveGrants,
        limits: CallLimits,
        services: Services,
    ) -> Result<Self, PrepareError> {
        let manifest = prepared.manifest();
        let plugin = || manifest.name.clone();
        let Some(declared_operation) = manifest.operations.get(operation) else {
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
        Ok(Self(Arc::new(LinkedOperationInner {
            prepared: prepared.clone(),
            operation: operation.to_owned(),
            plugin: Arc::from(manifest.name.as_str()),
            digest: Arc::from(prepared.digest().as_str()),
            kind: declared_operation.kind,
            input: schema(&declared_operation.input)?,
            output: schema(&declared_operation.output)?,
            effective_grants: Arc::new(effective_grants),
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

    /// Ends the database sessions that an earlier attempt of the step has left running on the
    /// targets of this operation. Returns a description of each session that was ended. Call it
    /// before a step is observed, repeated or undone if an earlier attempt has no answer.
    ///
    /// # Errors
    /// [`EarlierAttemptError::StillRunning`] and [`EarlierAttemptError::Unknown`], with what a
    /// person can do.
    pub async fn end_earlier_sessions(
        &self,
        call: &Call,
    ) -> Result<Vec<String>, EarlierAttemptError> {
        let inner = &*self.0;
        let deadline = Instant::now() + call.timeout.min(inner.limits.timeout);
        // No guest runs here: the host ends sessions of its own, also in a dry run.
        let mut host = inner.host(call, deadline).with_mode(Mode::Effects);
        let result = host.end_earlier_sessions().await;
        let scrubbed = |fault: WitFault| fault_of_guest(host.scrubbed_fault(fault));
        result.map_err(|error| match error {
            sql::EarlierAttemptError::StillRunning(fault) => {
                EarlierAttemptError::StillRunning(scrubbed(fault))
            }
            sql::EarlierAttemptError::Unknown(fault) => {
                EarlierAttemptError::Unknown(scrubbed(fault))
            }
        })
    }

    /// Calls the operation. It returns at the end of the call, at its deadline, or when `cancel`
    /// completes.
    ///
    /// `permit` limits the call further: to approved effects, and to the time in which the run
    /// holds its locks.
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
        let engine_permit = tokio::select! {
            biased;
            () = &mut cancel => Err(cancelled()),
            engine_permit = inner.prepared.0.pool.take() => Ok(engine_permit),
            () = tokio::time::sleep_until(deadline) => Err(timed_out(&inner.operation, timeout)),
        };
        let engine_permit = match engine_permit {
            Ok(engine_permit) => engine_permit,
            Err(fault) => return inner.outcome(Err(fault), CallTrace::default()),
        };
        let mut store = inner.store(engine_permit.engine, &call, &permit, deadline);
        let result = {
            let guest = inner.guest(&mut store, engine_permit.engine, &call, timeout);
            tokio::select! {
                biased;
                () = cancel => Err(cancelled()),
                result = guest => result,
                () = tokio::time::sleep_until(deadline) => Err(timed_out(&inner.operation, timeout)),
            }
        };
        // The store is dropped after every call, because its state cannot be trusted after a trap.
        let trace = store.into_data().into_trace();
        // Released after the store, which occupies an instance of the pool.
        drop(engine_permit);
        inner.outcome(result, trace)
    }
}

impl std::fmt::Debug for LinkedOperation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkedOperation")
            .field("operation", &self.0.operation)
            .field("prepared", &self.0.prepared)
            .finish_non_exhaustive()
    }
}

impl LinkedOperationInner {
    fn host(&self, request: &Call, deadline: Instant) -> Host {
        let id = CallId {
            run: request.run.to_string(),
            step: request.step.to_string(),
            attempt: request.attempt,
            plugin: Arc::clone(&self.plugin),
            digest: Arc::clone(&self.digest),
        };
        Host::new(
            Arc::clone(&self.effective_grants),
            effective_mode(&request.phase, self.kind, request.mode),
            Arc::clone(&self.services),
            Arc::clone(&self.limits),
            id,
            deadline,
        )
    }

    fn store(
        &self,
        engine: &LinkedComponent,
        request: &Call,
        permit: &Permit,
        deadline: Instant,
    ) -> Store<Host> {
        let host = self
            .host(request, deadline)
            .with_permit(ActivePermit::new(permit, &self.effective_grants));
        let mut store = Store::new(engine.instance.engine(), host);
        store.limiter(|host| &mut host.limiter);
        store.set_hostcall_fuel(self.limits.host_call_bytes);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }

    async fn guest(
        &self,
        store: &mut Store<Host>,
        engine: &LinkedComponent,
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
            dry_run: effective_mode(&request.phase, self.kind, request.mode) == Mode::ReadOnly,
            unanswered_ms: request
                .unanswered
                .map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
        };
        let guest_result =
            self.instantiate_and_call(store, engine, request, &job).await.map_err(|error| {
                match error {
                    CallError::Phase => self.wrong_phase(&request.phase),
                    CallError::Engine(error) => fault_of_engine_error(&error),
                }
            })?;
        let raw_response = guest_result.map_err(fault_of_guest)?;
        ResponseValidator { operation: &self.operation, output: &self.output, limits: &self.limits }
            .validate(raw_response)
    }

    async fn instantiate_and_call(
        &self,
        store: &mut Store<Host>,
        engine: &LinkedComponent,
        request: &Call,
        job: &Job,
    ) -> Result<Result<RawResponse, WitFault>, CallError> {
        let operation = self.operation.as_str();
        match (self.kind, &request.phase) {
            (Kind::Probe, Phase::Check) => {
                let indices = engine.exports.probe.as_ref().ok_or(CallError::Phase)?;
                let instance = engine.instance.instantiate_async(&mut *store).await?;
                let guest = indices.load(&mut *store, &instance)?;
                Ok(guest.call_check(&mut *store, operation, job).await?.map(RawResponse::Report))
            }
            (Kind::SmokeTest, Phase::Check) => {
                let indices = engine.exports.smoke_test.as_ref().ok_or(CallError::Phase)?;
                let instance = engine.instance.instantiate_async(&mut *store).await?;
                let guest = indices.load(&mut *store, &instance)?;
                Ok(guest.call_run(&mut *store, operation, job).await?.map(RawResponse::Verdicts))
            }
            (Kind::Step, phase) => {
                let indices = engine.exports.step.as_ref().ok_or(CallError::Phase)?;
                let instance = engine.instance.instantiate_async(&mut *store).await?;
                let guest = indices.load(&mut *store, &instance)?;
                Ok(match phase {
                    Phase::Check => return Err(CallError::Phase),
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
            (Kind::Probe | Kind::SmokeTest, _) => Err(CallError::Phase),
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

    /// The outcome of a call, with secrets scrubbed.
    fn outcome(&self, result: Result<Response, Fault>, trace: CallTrace) -> CallOutcome {
        let scrubber = self.services.scrubber.current();
        let sanitizer = OutputSanitizer::new(&scrubber);
        let mut logs = trace.log.into_lines(&sanitizer);
        let result = result
            .and_then(|response| sanitizer.response(response, &mut logs))
            .map_err(|fault| sanitizer.fault(&fault));
        let denials = trace.denials.into_iter().map(|denial| sanitizer.denial(denial)).collect();
        CallOutcome { result, logs, denials, host_calls: trace.calls }
    }
}

/// Why a call of the guest returned no result.
enum CallError {
    /// The operation does not have the phase.
    Phase,
    /// A trap, a limit, or a guest that breaks the rules of the component model.
    Engine(wasmtime::Error),
}

impl From<wasmtime::Error> for CallError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Engine(error)
    }
}

/// The mode of a call. A probe, a plan and an observation are always read-only. A smoke test is the
/// one check that acts: it cleans up after itself.
fn effective_mode(phase: &Phase, kind: Kind, mode: Mode) -> Mode {
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
    let timeout = crate::limits::format_limit(timeout);
    let message = format!("`{operation}` was stopped after {timeout}, its timeout");
    Fault::new(ErrorClass::Timeout, "timeout", message)
}

fn fault_of_guest(fault: WitFault) -> Fault {
    Fault::new(fault.class.into(), fault.code, fault.message)
}

fn fault_of_engine_error(error: &wasmtime::Error) -> Fault {
    if let Some(limit) = error.downcast_ref::<LimitReached>() {
        return Fault::new(ErrorClass::Limit, limit.code(), limit.to_string());
    }
    // wasmtime has no type for this error; a test checks that the text is the same.
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
