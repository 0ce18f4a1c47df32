//! The one place where engine and runtime meet: calls of the engine become calls of components.

use crate::audit_log::{AuditWriter, Purpose};
use crate::context::Context;
use crate::execution::monotonic;
use crate::failure::Failure;
use crate::missing_things::{self, Missing};
use crate::operator_words;
use crate::prepare::{Prepared, Site};
use crate::secret_store;
use runbook_authority::Effective;
use runbook_authority::gate::{ApprovedEffect, Rule};
use runbook_authority::{Texts, template_diagnostic, template_in};
use runbook_contract::{
    Call, CallReturn, Drift, Effect, ErrorClass, Fault, FaultEffect, Json, LogLevel, LogLine, Phase, Proposal, RunId, StepId,
};
use runbook_document::{Diagnostic, Located};
use runbook_engine::{LEASE_LOST, LeaseWatch, Misfit, Operate, Runbook, STILL_RUNS};
use runbook_runtime::{
    self as runtime, BoxFuture, CallOutcome, CodeOrigin, Compiler, InTime, Launcher, Limits, Linked, Permit, Runtime,
    RuntimeConfig, SecretFacts, SecretSource, SecretUnavailable, Services, SharedScrubber, Unfinished, Verified,
};
use runbook_secrets::{Secret, Source, Store};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
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
    /// The call site.
    pub site: StepId,
    /// The secret, and why.
    pub why: SecretUnavailable,
}

impl PluginCaller {
    /// Compiles (or takes from the cache) and links every plugin of the runbook, and opens the run's part of the audit log.
    pub fn new(context: &Context, prepared: &Prepared, run: RunId, purpose: Purpose) -> Result<Self, Failure> {
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
            let link = Linked::new(component, &site.operation, site.effective.clone(), Limits::default(), services.clone());
            linked.insert(step.clone(), link.map_err(Failure::engine)?);
        }
        let of_site = |(step, site): (&StepId, &Site)| (step.clone(), (Arc::clone(&site.plugin), site.operation.clone()));
        let operations = prepared.sites.iter().map(of_site).collect();
        let effective = prepared.sites.iter().map(|(step, site)| (step.clone(), site.effective.clone())).collect();
        let stores = secret_stores(&prepared.runbook, &prepared.folder)?;
        Ok(Self { linked, operations, effective, purpose, audit, secrets, stores })
    }

    /// The secrets that these call sites may need and that cannot be had: there is no store, nobody can open it, or it has no such
    /// entry. Opens each store, and warns of a secret that is too old or expires. No value is kept.
    pub fn unavailable_secrets(&self, is_needed: impl Fn(&StepId) -> bool) -> Vec<Unavailable> {
        let mut looked = BTreeSet::new();
        let mut found = Vec::new();
        for (site, effective) in self.effective.iter().filter(|(site, _)| is_needed(site)) {
            for name in effective.secrets() {
                if looked.insert(name)
                    && let Err(why) = self.secrets.look(name)
                {
                    found.push(Unavailable { site: site.clone(), why });
                }
            }
        }
        found
    }

    /// What a call would need and this machine does not have, before it is made. A run makes the call all the same: an earlier step may
    /// have made what was missing, and what a plugin does without it is its own to say.
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
        let linked =
            self.linked.get(&call.site).expect("the engine calls only call sites of the runbook that was prepared").clone();
        let call_site = call.site.clone();
        if let Some(missing) = self.missing(&call_site) {
            let fault = Fault::new(ErrorClass::NotFound, "target.not-there", missing.to_string());
            return Err(Fault { effect: FaultEffect::None, ..fault });
        }
        let ended = self.end_earlier(&call).await?;
        let called = self.audit.called(&call, linked.plugin(), linked.digest());
        // A task of its own, so that a plugin that computes does not hold up other branches; dropped with this future.
        let (permit, stop) = (permit(&call, leases.clone()), leases.stop().clone());
        let task = AbortOnDrop(tokio::spawn(async move { linked.call(call, permit, stop.asked()).await }.in_current_span()));
        let outcome = task.await;
        self.audit.ended(&called, &outcome);
        let changed = |calls: &&runtime::HostCalls| {
            calls.allowed > calls.without_effect && calls.verb.effect() == runbook_authority::Effect::Change
        };
        let acted: BTreeSet<String> = outcome.host_calls.iter().filter(changed).map(|calls| calls.verb.full_name()).collect();
        let acted: Vec<String> = acted.into_iter().collect();
        let mut logs: Vec<LogLine> = ended.into_iter().map(|message| LogLine { level: LogLevel::Warn, message }).collect();
        logs.extend(outcome.logs);
        logs.extend(outcome.denials.iter().map(|denial| LogLine { level: LogLevel::Error, message: denial.to_string() }));
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
            Ok(response) => Ok(CallReturn { response: operator_words::response(response, &outcome.denials), logs, acted }),
            Err(fault) => {
                // What the host let no change through for, or none that was made final, did not happen.
                let effect = if acted.is_empty() { FaultEffect::None } else { FaultEffect::Possible };
                let fault = operator_words::fault(fault, &outcome.denials, &self.effective[&call_site]);
                Err(Fault { logs, effect, ..fault })
            }
        }
    }
}

impl PluginCaller {
    /// Ends what an earlier attempt of the call's step still does outside, before anything of it is seen, repeated or undone. An undo by
    /// another operation may have other targets, so the step's own are asked first.
    async fn end_earlier(&self, call: &Call) -> Result<Vec<String>, Fault> {
        if !may_follow_an_attempt(call) {
            return Ok(Vec::new());
        }
        let of_step = call.site.undoes().and_then(|step| self.linked.get(&step));
        let mut ended = Vec::new();
        for (linked, is_own) in of_step.map(|linked| (linked, false)).into_iter().chain([(&self.linked[&call.site], true)]) {
            match linked.end_earlier(call).await {
                Ok(said) => ended.extend(said),
                // Of this call nothing was begun.
                Err(Unfinished::StillRuns(fault)) => {
                    return Err(Fault { code: STILL_RUNS.to_owned(), effect: FaultEffect::None, ..fault });
                }
                // What only looks at it is told, so that whoever decides by it knows; an undo elsewhere may go on.
                Err(Unfinished::Unasked(fault)) if is_own && matches!(call.phase, Phase::Observe) => return Err(fault),
                Err(Unfinished::Unasked(fault)) => ended.push(fault.message),
            }
        }
        Ok(ended)
    }
}

/// Whether an attempt of the step, or of its undo, may have been made before this call, so that its answer never came.
fn may_follow_an_attempt(call: &Call) -> bool {
    match call.phase {
        Phase::Observe | Phase::Undo { .. } => true,
        Phase::Plan | Phase::Check => call.attempt > 1 || call.site.undoes().is_some(),
        // Its plan was asked for just before.
        Phase::Apply { .. } => false,
    }
}

/// A task that ends when nobody waits for it any more.
struct AbortOnDrop(tokio::task::JoinHandle<CallOutcome>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::future::Future for AbortOnDrop {
    type Output = CallOutcome;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context).map(|joined| match joined {
            Ok(outcome) => outcome,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        })
    }
}

/// The secrets of a runbook, from their stores; each store is opened when one of its secrets is first needed.
struct AgeSecretSource {
    context: Context,
    entries: HashMap<String, Entry>,
    stores: Mutex<HashMap<PathBuf, Arc<Store>>>,
    warned: Mutex<BTreeSet<String>>,
}

struct Entry {
    source: Source,
    path: PathBuf,
    max_age: Option<Duration>,
    expires: Option<jiff::civil::Date>,
}

impl AgeSecretSource {
    fn new(context: &Context, prepared: &Prepared) -> Result<Self, Failure> {
        let entries = entries(&prepared.runbook, &prepared.folder)?;
        Ok(Self { context: context.clone(), entries, stores: Mutex::default(), warned: Mutex::default() })
    }

    /// Opens a store once. It may ask for a passphrase, so it runs where waiting is allowed.
    fn store(&self, entry: &Entry) -> Result<Arc<Store>, String> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&entry.path) {
            return Ok(Arc::clone(store));
        }
        let store = match secret_store::open(&self.context, &entry.path) {
            Ok(Some(store)) => Arc::new(store),
            Ok(None) => return Err(format!("there is no secret store `{}`", entry.path.display())),
            Err(Failure::Error { error, hints, .. }) => {
                let hint = hints.first().map(|hint| format!("; {hint}")).unwrap_or_default();
                return Err(format!("{error}{hint}"));
            }
            Err(Failure::Findings { .. } | Failure::BrokenPipe) => return Err("the store cannot be opened".to_owned()),
        };
        stores.insert(entry.path.clone(), Arc::clone(&store));
        Ok(store)
    }

    /// Whether it can be had.
    fn look(&self, name: &str) -> Result<(), SecretUnavailable> {
        self.with(name, |entry, store| {
            self.warn_if_old(name, entry, store);
            store.get(entry.source.name()).map(drop)
        })
    }

    fn with<T>(&self, name: &str, use_it: impl FnOnce(&Entry, &Store) -> Option<T>) -> Result<T, SecretUnavailable> {
        let unavailable = |reason: String| SecretUnavailable { name: name.to_owned(), reason };
        let entry = self.entries.get(name).ok_or_else(|| unavailable("`[secrets]` does not have it".to_owned()))?;
        let store = tokio::task::block_in_place(|| self.store(entry)).map_err(unavailable)?;
        use_it(entry, &store)
            .ok_or_else(|| unavailable(format!("`{}` has no secret `{}`", entry.path.display(), entry.source.name())))
    }
}

impl AgeSecretSource {
    /// Says once that a secret is older than the runbook wants it, or expires soon.
    fn warn_if_old(&self, name: &str, entry: &Entry, store: &Store) {
        let now = jiff::Timestamp::now();
        let old = entry.max_age.zip(store.changed(entry.source.name())).and_then(|(limit, changed)| {
            let age = now.duration_since(changed).unsigned_abs();
            (age > limit).then(|| format!("is {} old and should be at most {}", days(age), days(limit)))
        });
        let expiring = entry.expires.and_then(|date| expiry(date, now.to_zoned(jiff::tz::TimeZone::UTC).date()));
        let is_new = self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        for warning in old.into_iter().chain(expiring).filter(|_| is_new) {
            let place = format!("{}#{}", entry.path.display(), entry.source.name());
            let place = runbook_text::file(&place);
            crate::ui::warning(&format!("secret `{name}` {warning}; `runbook secret rotate {place}`"));
        }
    }
}

/// Days before the end of a secret from which on it is warned about.
const EXPIRY_NOTICE: i32 = 14;

/// What to say of a secret that is good until `last`.
fn expiry(last: jiff::civil::Date, today: jiff::civil::Date) -> Option<String> {
    let left = last.since((jiff::Unit::Day, today)).ok()?.get_days();
    match left {
        ..0 => Some(format!("expired on {last}, {} ago", crate::ui::counted(left.unsigned_abs() as usize, "day"))),
        0 => Some("expires today".to_owned()),
        1..=EXPIRY_NOTICE => Some(format!("expires in {}, on {last}", crate::ui::counted(left.unsigned_abs() as usize, "day"))),
        _ => None,
    }
}

fn days(duration: Duration) -> String {
    crate::ui::counted(usize::try_from(duration.as_secs() / 86_400).unwrap_or(usize::MAX), "day")
}

impl SecretSource for AgeSecretSource {
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretUnavailable>> {
        Box::pin(async move {
            self.with(name, |entry, store| {
                self.warn_if_old(name, entry, store);
                store.get(entry.source.name())
            })
        })
    }

    fn describe<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<SecretFacts, SecretUnavailable>> {
        Box::pin(async move {
            self.with(name, |entry, store| {
                let changed = store.changed(entry.source.name())?;
                let expires = entry.max_age.and_then(|age| changed.checked_add(jiff::SignedDuration::try_from(age).ok()?).ok());
                Some(SecretFacts { name: entry.source.name().to_owned(), changed, expires })
            })
        })
    }
}

/// Where a secret comes from, or what is wrong with how the runbook says it.
pub fn source_of(secret: &runbook_engine::model::SecretEntry) -> Result<Source, Diagnostic> {
    let Located { value, span } = &secret.source_uri;
    if let Some(template) = template_in(value, Texts::OfTarget) {
        let subject = format!("the source of secret `{}`", secret.name.name);
        return Err(template_diagnostic(&subject, template, &secret.source, span.clone()));
    }
    value.parse().map_err(|error: runbook_secrets::SourceError| {
        Diagnostic::error("E0106", &secret.source, span.clone(), error.to_string()).label("no source")
    })
}

/// Where the store of each secret of a runbook is.
pub fn secret_stores(runbook: &Runbook, folder: &std::path::Path) -> Result<BTreeMap<String, PathBuf>, Failure> {
    Ok(entries(runbook, folder)?.into_iter().map(|(name, entry)| (name, entry.path)).collect())
}

fn entries(runbook: &Runbook, folder: &std::path::Path) -> Result<HashMap<String, Entry>, Failure> {
    let mut entries = HashMap::new();
    for secret in &runbook.secrets {
        let source = source_of(secret).map_err(|wrong| {
            let mut diagnostics = runbook_document::Diagnostics::default();
            diagnostics.push(wrong);
            Failure::findings(diagnostics)
        })?;
        let path = folder.join(source.path());
        entries.insert(secret.name.name.clone(), Entry { source, path, max_age: secret.max_age, expires: secret.expires });
    }
    Ok(entries)
}

/// What the call may begin, beside what is granted: what was approved, as long as its run holds its locks.
fn permit(call: &Call, leases: LeaseWatch) -> Permit {
    let in_time: InTime = Arc::new(move || leases.holds(monotonic()));
    let approved = match &call.phase {
        Phase::Apply { proposal, drift: Drift::Refused } => Some(approved(proposal)),
        Phase::Apply { drift: Drift::Told, .. } | Phase::Check | Phase::Plan | Phase::Observe | Phase::Undo { .. } => None,
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

/// A cache that cannot be used costs time at every start; that is worth a line, no more.
fn warn_about_cache(origin: &CodeOrigin) {
    match origin {
        CodeOrigin::Cached | CodeOrigin::Compiled { problem: None } => {}
        CodeOrigin::Compiled { problem: Some(problem) } => {
            crate::ui::warning(&format!("compiled plugins cannot be kept: {problem}"));
        }
    }
}

/// From this size on a plugin takes so long to compile that somebody who waits should know why.
const LONG_TO_COMPILE: usize = 1 << 20;

fn announce_compilation(plugin: &str, bytes: usize) {
    if bytes >= LONG_TO_COMPILE {
        let tenths = bytes * 10 / 1_000_000;
        crate::ui::note(&format!("compiling plugin `{plugin}` ({}.{} MB), once", tenths / 10, tenths % 10));
    }
}

#[cfg(test)]
mod tests {
    use super::expiry;
    use jiff::civil::date;

    #[test]
    fn a_secret_that_expires_is_warned_about_from_two_weeks_before() {
        let said = |year, month, day| expiry(date(year, month, day), date(2026, 11, 21));
        assert_eq!(said(2026, 12, 6), None);
        assert_eq!(said(2026, 12, 5).as_deref(), Some("expires in 14 days, on 2026-12-05"));
        assert_eq!(said(2026, 11, 22).as_deref(), Some("expires in 1 day, on 2026-11-22"));
        assert_eq!(said(2026, 11, 21).as_deref(), Some("expires today"));
        assert_eq!(said(2026, 11, 20).as_deref(), Some("expired on 2026-11-20, 1 day ago"));
        assert_eq!(said(2025, 11, 21).as_deref(), Some("expired on 2025-11-21, 365 days ago"));
    }
}
