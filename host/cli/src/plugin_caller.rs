//! Connects engine and runtime: calls of the engine become calls of components.

use crate::audit_log::{AuditWriter, Purpose};
use crate::context::Context;
use crate::failure::Failure;
use crate::missing_things::{self, Missing};
use crate::operator_words;
use crate::prepared::{Prepared, Site};
use crate::secret_source::{AgeSecretSource, secret_stores};
use crate::system_clock::monotonic;
use runbook_authority::Effective;
use runbook_authority::gate::{ApprovedEffect, Rule};
use runbook_contract::{
    Call, CallReturn, Drift, Effect, ErrorClass, Fault, FaultEffect, Json, LogLevel, LogLine,
    Phase, Proposal, RunId, StepId,
};
use runbook_engine::{LEASE_LOST, LeaseWatch, Misfit, Operate, STILL_RUNS};
use runbook_runtime::{
    self as runtime, CallLimits, CallOutcome, CodeOrigin, Compiler, Launcher, Linked, Permit,
    PermitCheck, Runtime, RuntimeConfig, SecretSource, SecretUnavailable, Services, SharedScrubber,
    Unfinished, Verified,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use tracing::Instrument as _;

/// Calls the plugins of one runbook.
pub struct PluginCaller {
    linked: BTreeMap<StepId, Linked>,
    /// The plugin and the operation of each call site.
    operations: BTreeMap<StepId, (Arc<Verified>, String)>,
    /// What each call site is granted.
    effective: BTreeMap<StepId, Effective>,
    purpose: Purpose,
    audit: Arc<AuditWriter>,
    secrets: Arc<AgeSecretSource>,
    /// Where the store of each secret is.
    stores: BTreeMap<String, PathBuf>,
}

/// A secret that a call site needs and that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// The call site that needs the secret.
    pub site: StepId,
    /// Which secret it is, and why it cannot be had.
    pub why: SecretUnavailable,
}

impl PluginCaller {
    /// Compiles (or takes from the cache) and links every plugin of the runbook, and opens the
    /// run's part of the audit log.
    pub fn new(
        context: &Context,
        prepared: &Prepared,
        run: RunId,
        purpose: Purpose,
    ) -> Result<Self, Failure> {
        let audit = Arc::new(AuditWriter::open(context, prepared, run, purpose)?);
        let on_compile = runtime::OnCompile::tell(announce_compilation);
        let usual = RuntimeConfig::with_cache(Some(context.cache.clone()));
        let config = RuntimeConfig { on_compile, compiler: Compiler::this_program(), ..usual };
        let runtime = Runtime::new(config).map_err(Failure::engine)?;
        let secrets = Arc::new(AgeSecretSource::new(context, prepared)?);
        let services = Services {
            secrets: Arc::clone(&secrets) as Arc<dyn SecretSource>,
            scrubber: SharedScrubber::default(),
            audit: Some(audit.sink()),
            launcher: Some(Launcher::this_program()),
            ..Services::none()
        };
        let mut compiled = HashMap::new();
        let mut linked = BTreeMap::new();
        for (step, site) in &prepared.sites {
            let component = match compiled.get(site.plugin.digest()) {
                Some(component) => component,
                None => {
                    let component = runtime.prepare(&site.plugin).map_err(Failure::engine)?;
                    warn_about_cache(component.origin());
                    compiled.entry(site.plugin.digest().clone()).or_insert(component)
                }
            };
            let link = Linked::new(
                component,
                &site.operation,
                site.effective.clone(),
                CallLimits::default(),
                services.clone(),
            );
            linked.insert(step.clone(), link.map_err(Failure::engine)?);
        }
        let of_site = |(step, site): (&StepId, &Site)| {
            (step.clone(), (Arc::clone(&site.plugin), site.operation.clone()))
        };
        let operations = prepared.sites.iter().map(of_site).collect();
        let effective = prepared
            .sites
            .iter()
            .map(|(step, site)| (step.clone(), site.effective.clone()))
            .collect();
        let stores = secret_stores(&prepared.runbook, &prepared.folder)?;
        Ok(Self { linked, operations, effective, purpose, audit, secrets, stores })
    }

    /// The secrets that these call sites may need and that cannot be had: there is no store, no key
    /// opens it, or it has no such entry. It opens each store, warns of secrets that are too old or
    /// expire, and keeps no value.
    pub fn unavailable_secrets(&self, is_needed: impl Fn(&StepId) -> bool) -> Vec<Unavailable> {
        let mut checked = BTreeSet::new();
        let mut found = Vec::new();
        for (site, effective) in self.effective.iter().filter(|(site, _)| is_needed(site)) {
            for name in effective.secrets() {
                if checked.insert(name)
                    && let Err(why) = self.secrets.check(name)
                {
                    found.push(Unavailable { site: site.clone(), why });
                }
            }
        }
        found
    }

    /// What a call would need and this machine does not have, before it is made. A run makes the
    /// call all the same: an earlier step may have made what was missing, and what a plugin does
    /// without it is its own to say.
    fn missing(&self, site: &StepId) -> Option<Missing> {
        match self.purpose {
            Purpose::Preview => {
                let effective = self.effective.get(site)?;
                let stores = || missing_things::stores(effective, &self.stores).into_iter().next();
                missing_things::of(effective).into_iter().next().or_else(stores)
            }
            Purpose::Run => None,
        }
    }
}

impl Operate for PluginCaller {
    fn misfits(&self, site: &StepId, input: &Json) -> Vec<Misfit> {
        let Some((plugin, operation)) = self.operations.get(site) else { return Vec::new() };
        crate::misfits::misfits(plugin, operation, input)
    }

    async fn call(&self, call: Call, leases: LeaseWatch) -> Result<CallReturn, Fault> {
        let linked = self
            .linked
            .get(&call.site)
            .expect("the engine calls only call sites of the runbook that was prepared")
            .clone();
        let call_site = call.site.clone();
        if let Some(missing) = self.missing(&call_site) {
            let fault = Fault::new(ErrorClass::NotFound, "target.not-there", missing.to_string());
            return Err(Fault { effect: FaultEffect::None, ..fault });
        }
        let ended = self.end_earlier(&call).await?;
        let called = self.audit.called(&call, linked.plugin(), linked.digest());
        // A task of its own, so that a plugin that computes does not hold up other branches;
        // dropped with this future.
        let (permit, stop) = (permit(&call, leases.clone()), leases.stop().clone());
        let task = AbortOnDrop(tokio::spawn(
            async move { linked.call(call, permit, stop.asked()).await }.in_current_span(),
        ));
        let outcome = task.await;
        self.audit.ended(&called, &outcome);
        let changed = |calls: &&runtime::HostCalls| {
            calls.allowed > calls.without_effect
                && calls.verb.effect() == runbook_authority::VerbEffect::Change
        };
        let acted: BTreeSet<String> =
            outcome.host_calls.iter().filter(changed).map(|calls| calls.verb.full_name()).collect();
        let acted: Vec<String> = acted.into_iter().collect();
        let mut logs: Vec<LogLine> =
            ended.into_iter().map(|message| LogLine { level: LogLevel::Warn, message }).collect();
        logs.extend(outcome.logs);
        logs.extend(
            outcome
                .denials
                .iter()
                .map(|denial| LogLine { level: LogLevel::Error, message: denial.to_string() }),
        );
        if let Some(denial) = outcome.denials.iter().find(|denial| denial.rule == Rule::Lease) {
            return Err(Fault {
                class: ErrorClass::Unknown,
                code: LEASE_LOST.to_owned(),
                message: denial.to_string(),
                logs,
                effect: FaultEffect::Possible,
            });
        }
        match outcome.result {
            Ok(response) => Ok(CallReturn {
                response: operator_words::response(response, &outcome.denials),
                logs,
                acted,
            }),
            Err(fault) => {
                // A call did not happen if the host let none of its changes through, or none that
                // was made final.
                let effect =
                    if acted.is_empty() { FaultEffect::None } else { FaultEffect::Possible };
                let fault =
                    operator_words::fault(fault, &outcome.denials, &self.effective[&call_site]);
                Err(Fault { logs, effect, ..fault })
            }
        }
    }
}

impl PluginCaller {
    /// Ends what an earlier attempt of the call's step still does outside, before anything of it is
    /// seen, repeated or undone. An undo by another operation may have other targets, so the step's
    /// own are asked first.
    async fn end_earlier(&self, call: &Call) -> Result<Vec<String>, Fault> {
        if !may_follow_an_attempt(call) {
            return Ok(Vec::new());
        }
        let of_step = call.site.undoes().and_then(|step| self.linked.get(&step));
        let mut ended = Vec::new();
        for (linked, is_own) in of_step
            .map(|linked| (linked, false))
            .into_iter()
            .chain([(&self.linked[&call.site], true)])
        {
            match linked.end_earlier(call).await {
                Ok(said) => ended.extend(said),
                // Of this call nothing was begun.
                Err(Unfinished::StillRuns(fault)) => {
                    return Err(Fault {
                        code: STILL_RUNS.to_owned(),
                        effect: FaultEffect::None,
                        ..fault
                    });
                }
                // What only looks at it is told, so that whoever decides by it knows; an undo
                // elsewhere may go on.
                Err(Unfinished::Unasked(fault))
                    if is_own && matches!(call.phase, Phase::Observe) =>
                {
                    return Err(fault);
                }
                Err(Unfinished::Unasked(fault)) => ended.push(fault.message),
            }
        }
        Ok(ended)
    }
}

/// Whether an attempt of the step, or of its undo, may have been made before this call, so that its
/// answer never came.
fn may_follow_an_attempt(call: &Call) -> bool {
    match call.phase {
        Phase::Observe | Phase::Undo { .. } => true,
        Phase::Plan | Phase::Check => call.attempt > 1 || call.site.undoes().is_some(),
        // Its plan was asked for just before.
        Phase::Apply { .. } => false,
    }
}

/// A task that is aborted when its handle is dropped.
struct AbortOnDrop(tokio::task::JoinHandle<CallOutcome>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::future::Future for AbortOnDrop {
    type Output = CallOutcome;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context).map(|joined| match joined {
            Ok(outcome) => outcome,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        })
    }
}

/// What the call may begin, beside what is granted: what was approved, as long as its run holds its
/// locks.
fn permit(call: &Call, leases: LeaseWatch) -> Permit {
    let in_time: PermitCheck = Arc::new(move || leases.holds(monotonic()));
    let approved = match &call.phase {
        Phase::Apply { proposal, drift: Drift::Refused } => Some(approved(proposal)),
        Phase::Apply { drift: Drift::Told, .. }
        | Phase::Check
        | Phase::Plan
        | Phase::Observe
        | Phase::Undo { .. } => None,
    };
    Permit { in_time: Some(in_time), approved }
}

fn approved(proposal: &Proposal) -> Vec<ApprovedEffect> {
    let of = |effect: &Effect| {
        let Effect { verb, target, summary } = effect.clone();
        ApprovedEffect { verb, target, summary }
    };
    proposal.effects.iter().map(of).collect()
}

/// Without the cache every start takes longer, which deserves a warning but not an error.
fn warn_about_cache(origin: &CodeOrigin) {
    match origin {
        CodeOrigin::Cached | CodeOrigin::Compiled { problem: None } => {}
        CodeOrigin::Compiled { problem: Some(problem) } => {
            crate::ui::advice(&format!("compiled plugins cannot be kept: {problem}"));
        }
    }
}

/// A component of this size or more takes so long to compile that the operator is told, in bytes.
const LONG_TO_COMPILE: usize = 1 << 20;

fn announce_compilation(plugin: &str, bytes: usize) {
    if bytes >= LONG_TO_COMPILE {
        let tenths = bytes * 10 / 1_000_000;
        crate::ui::note(&format!(
            "compiling plugin `{plugin}` ({}.{} MB), once",
            tenths / 10,
            tenths % 10
        ));
    }
}
