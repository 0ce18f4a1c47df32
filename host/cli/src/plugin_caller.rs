//! Connects engine and runtime: each call of the engine becomes a call of a component.

use crate::audit_log::{AuditWriter, Purpose};
use crate::context::Context;
use crate::failure::Failure;
use crate::missing_paths::{self, MissingPath};
use crate::operator_words;
use crate::prepared::{GrantedSite, PreparedRunbook};
use crate::secret_source::RunSecrets;
use crate::system_clock::monotonic;
use runbook_authority::EffectiveGrants;
use runbook_authority::gate::{ApprovedEffect, Rule, denial_of_proposal};
use runbook_authority::targets::{FileEntry, SecretOrigin};
use runbook_contract::{
    Call, CallReturn, DriftPolicy, Effect, ErrorClass, Fault, FaultEffect, Json, LogLevel, LogLine,
    Phase, Proposal, RunId, StepId,
};
use runbook_engine::{EFFECTS_OFF, LEASE_LOST, LeaseWatch, Misfit, Operate, STILL_RUNS};
use runbook_runtime::{
    self as runtime, CallLimits, CallOutcome, CodeOrigin, Compiler, EarlierAttemptError,
    LeaseCheck, LinkedOperation, Permit, Runtime, RuntimeConfig, SecretFetchError,
    VerifiedComponent,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tracing::Instrument as _;

/// Calls the plugins of one runbook.
pub struct PluginCaller {
    linked: BTreeMap<StepId, LinkedOperation>,
    /// The plugin and the operation of each call site.
    operations: BTreeMap<StepId, (Arc<VerifiedComponent>, String)>,
    /// What each call site is granted.
    grants: BTreeMap<StepId, EffectiveGrants>,
    purpose: Purpose,
    audit: Arc<AuditWriter>,
    secrets: Arc<RunSecrets>,
}

/// A secret that a call site needs and that cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub struct UnavailableSecret {
    /// The call site that needs the secret.
    pub site: StepId,
    /// Which secret it is, and why it cannot be read.
    pub why: SecretFetchError,
    /// Where it comes from.
    pub origin: Option<SecretOrigin>,
}

impl UnavailableSecret {
    /// What the operator can do, by where the secret comes from.
    pub fn help(&self) -> String {
        match &self.origin {
            Some(SecretOrigin::Age(_)) | None => {
                "`runbook secret list STORE` shows what an age store has, and \
                 `runbook secret set STORE#NAME` puts it there"
                    .to_owned()
            }
            Some(SecretOrigin::Sops(FileEntry { file, .. })) => format!(
                "`sops decrypt {}` must work here, with a key of `--identity FILE` or of `sops`",
                runbook_text::file_argument(&file.to_string())
            ),
            Some(SecretOrigin::Credential(name)) => format!(
                "the service needs `LoadCredential={name}:…` or `SetCredentialEncrypted={name}:…`; \
                 systemd passes credentials to services only"
            ),
            Some(SecretOrigin::Variable(name)) => {
                format!("start `runbook` with the variable {name} in its environment")
            }
            Some(SecretOrigin::Program(_)) => {
                "run the program of the target by hand, with its arguments, and look at what it \
                 prints"
                    .to_owned()
            }
            Some(SecretOrigin::Vault(_)) => {
                "`runbook doctor --targets FILE` tries the target of Vault; its address, its \
                 `auth`, and `mount`, `path` and `field` of the secret decide"
                    .to_owned()
            }
        }
    }
}

impl PluginCaller {
    /// Compiles (or takes from the cache) and links every plugin of the runbook, and opens the
    /// run's part of the audit log.
    pub fn new(
        context: &Context,
        prepared: &PreparedRunbook,
        run: RunId,
        purpose: Purpose,
    ) -> Result<Self, Failure> {
        let audit = Arc::new(AuditWriter::open(context, prepared, run, purpose)?);
        let on_compile = runtime::OnCompile::new(announce_compilation);
        let defaults = RuntimeConfig::with_cache(Some(context.cache.clone()));
        let config = RuntimeConfig { on_compile, compiler: Compiler::this_program(), ..defaults };
        let runtime = Runtime::new(config).map_err(Failure::engine)?;
        let (secrets, services) =
            RunSecrets::with_services(context, prepared, &run, purpose, audit.sink());
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
            let link = LinkedOperation::new(
                component,
                &site.operation,
                site.grants.clone(),
                CallLimits::default(),
                services.clone(),
            );
            linked.insert(step.clone(), link.map_err(Failure::engine)?);
        }
        let of_site = |(step, site): (&StepId, &GrantedSite)| {
            (step.clone(), (Arc::clone(&site.plugin), site.operation.clone()))
        };
        let operations = prepared.sites.iter().map(of_site).collect();
        let grants =
            prepared.sites.iter().map(|(step, site)| (step.clone(), site.grants.clone())).collect();
        Ok(Self { linked, operations, grants, purpose, audit, secrets })
    }

    /// The secrets that these call sites may need and that cannot be read: the store does not
    /// exist, no key opens it, or it has no such entry. Reads each secret, and warns of those that are
    /// too old or expire.
    pub fn unavailable_secrets(
        &self,
        is_needed: impl Fn(&StepId) -> bool,
    ) -> Vec<UnavailableSecret> {
        let mut checked = BTreeSet::new();
        let mut found = Vec::new();
        for (site, grants) in self.grants.iter().filter(|(site, _)| is_needed(site)) {
            for name in grants.secrets() {
                if checked.insert(name)
                    && let Err(why) = self.secrets.check(name)
                {
                    let origin = grants.secret_origins().get(name).map(|origin| (*origin).clone());
                    found.push(UnavailableSecret { site: site.clone(), why, origin });
                }
            }
        }
        found
    }

    /// The first thing that a call needs and this machine does not have. Checked only in a preview:
    /// in a run an earlier step may create it, and the plugin itself reports what it lacks.
    fn missing(&self, site: &StepId) -> Option<MissingPath> {
        match self.purpose {
            Purpose::Preview => {
                let grants = self.grants.get(site)?;
                let stores = || missing_paths::stores(grants).into_iter().next();
                missing_paths::of(grants).into_iter().next().or_else(stores)
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

    fn denied_effect(&self, site: &StepId, proposal: &Proposal) -> Option<Fault> {
        let denial = denial_of_proposal(self.grants.get(site)?, &approved_effects(proposal))?;
        let fault = Fault::new(ErrorClass::Denied, "denied", denial.to_string());
        Some(Fault { effect: FaultEffect::None, ..fault })
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
        let session_messages = self.end_earlier_sessions(&call).await?;
        let started_call = self.audit.record_call_start(&call, linked.plugin(), linked.digest());
        // A separate task, so that a plugin that computes does not block other steps. It is aborted
        // when this future is dropped.
        let (permit, stop) = (permit(&call, leases.clone()), leases.stop().clone());
        let task = AbortOnDrop(tokio::spawn(
            async move { linked.call(call, permit, stop.requested()).await }.in_current_span(),
        ));
        let outcome = task.await;
        self.audit.record_call_end(&started_call, &outcome);
        let had_effect = |calls: &&runtime::HostCallCounts| {
            calls.allowed > calls.without_effect
                && calls.verb.effect() == runbook_authority::VerbEffect::Change
        };
        let changing_verbs: BTreeSet<String> = outcome
            .host_calls
            .iter()
            .filter(had_effect)
            .map(|calls| calls.verb.full_name())
            .collect();
        let changing_verbs: Vec<String> = changing_verbs.into_iter().collect();
        let mut logs: Vec<LogLine> = session_messages
            .into_iter()
            .map(|message| LogLine { level: LogLevel::Warn, message })
            .collect();
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
                changing_verbs,
            }),
            Err(fault) => {
                // The call had no effect if the host allowed none of its changes, or if none of
                // them was committed.
                let effect = if changing_verbs.is_empty() {
                    FaultEffect::None
                } else {
                    FaultEffect::Possible
                };
                let mut fault =
                    operator_words::fault(fault, &outcome.denials, &self.grants[&call_site]);
                let last_denial = outcome.denials.last().map(|denial| denial.rule);
                if fault.class == ErrorClass::Denied && last_denial == Some(Rule::EffectsOff) {
                    EFFECTS_OFF.clone_into(&mut fault.code);
                }
                Err(Fault { logs, effect, ..fault })
            }
        }
    }
}

impl PluginCaller {
    /// Ends what an earlier attempt of the call's step still does outside of the host, before the
    /// step is observed, repeated or undone. An undo by another operation may have other targets,
    /// so the targets of the step itself come first. Returns messages for the log of the call.
    async fn end_earlier_sessions(&self, call: &Call) -> Result<Vec<String>, Fault> {
        if !may_follow_attempt(call) {
            return Ok(Vec::new());
        }
        let step_operation = call.site.undone_step().and_then(|step| self.linked.get(&step));
        let mut session_messages = Vec::new();
        for (linked, is_own) in step_operation
            .map(|linked| (linked, false))
            .into_iter()
            .chain([(&self.linked[&call.site], true)])
        {
            match linked.end_earlier_sessions(call).await {
                Ok(messages) => session_messages.extend(messages),
                // This call itself has begun nothing.
                Err(EarlierAttemptError::StillRunning(fault)) => {
                    return Err(Fault {
                        code: STILL_RUNS.to_owned(),
                        effect: FaultEffect::None,
                        ..fault
                    });
                }
                // An observation fails, because a decision would rest on it. An undo by another
                // operation may continue.
                Err(EarlierAttemptError::Unknown(fault))
                    if is_own && matches!(call.phase, Phase::Observe) =>
                {
                    return Err(fault);
                }
                Err(EarlierAttemptError::Unknown(fault)) => session_messages.push(fault.message),
            }
        }
        Ok(session_messages)
    }
}

/// Whether an earlier attempt of the step or of its undo may have been made whose answer never
/// came.
fn may_follow_attempt(call: &Call) -> bool {
    match call.phase {
        Phase::Observe | Phase::Undo { .. } => true,
        Phase::Plan | Phase::Check => call.attempt > 1 || call.site.undone_step().is_some(),
        // The plan phase came just before and has ended earlier attempts.
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

/// The limits of a call in addition to its grant: only while the run holds its locks, and only the
/// approved effects, if drift is refused.
fn permit(call: &Call, leases: LeaseWatch) -> Permit {
    let lease_check: LeaseCheck = Arc::new(move || leases.holds(monotonic()));
    let approved = match &call.phase {
        Phase::Apply { proposal, drift: DriftPolicy::Deny } => Some(approved_effects(proposal)),
        Phase::Apply { drift: DriftPolicy::Warn, .. }
        | Phase::Check
        | Phase::Plan
        | Phase::Observe
        | Phase::Undo { .. } => None,
    };
    Permit { lease_check: Some(lease_check), approved_effects: approved }
}

/// The effects of a proposal, which the gate compares with those of the call.
fn approved_effects(proposal: &Proposal) -> Vec<ApprovedEffect> {
    let approved_effect = |effect: &Effect| {
        let Effect { verb, target, summary } = effect.clone();
        ApprovedEffect { verb, target, summary }
    };
    proposal.effects.iter().map(approved_effect).collect()
}

/// Warns if a compiled plugin could not be stored in the cache: each start then takes longer.
fn warn_about_cache(origin: &CodeOrigin) {
    match origin {
        CodeOrigin::Cached | CodeOrigin::Compiled { problem: None } => {}
        CodeOrigin::Compiled { problem: Some(problem) } => {
            crate::ui::minor_warning(&format!("compiled plugins cannot be kept: {problem}"));
        }
    }
}

/// The size in bytes from which on the compilation of a component is announced.
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
