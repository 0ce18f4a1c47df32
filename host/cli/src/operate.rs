//! The one place where engine and runtime meet: calls of the engine become calls of components.

use crate::context::Context;
use crate::failure::Failure;
use crate::prepare::Prepared;
use crate::vault;
use runbook_document::Located;
use runbook_engine::{
    Answer, Answered, Call, Effect, ErrorClass, Fault, LogLevel, LogLine, Measurement, Mode, Operate, OperationFacts, Outcome, Phase, Proposal,
    RunId, Runbook, StepId, Verdict,
};
use runbook_runtime::{
    Allocation, BoxFuture, CallFault, CallRequest, CallResult, Limits, Linked, Runtime, RuntimeConfig, SecretFacts, SecretSource, SecretUnavailable,
    Services, SharedScrubber,
};
use runbook_secrets::{Secret, Source, Store};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Calls the plugins of one runbook.
pub struct Operator {
    linked: BTreeMap<StepId, Arc<Linked>>,
    facts: BTreeMap<StepId, OperationFacts>,
}

impl Operator {
    /// Compiles (or takes from the cache) and links every plugin of the runbook.
    pub async fn new(context: &Context, prepared: &Prepared, _run: RunId) -> Result<Self, Failure> {
        let config = RuntimeConfig { cache: Some(context.cache.clone()), allocation: Allocation::OnDemand, max_concurrent_calls: 256 };
        let runtime = Runtime::new(config).map_err(Failure::engine)?;
        let vault = Vault::new(context, prepared)?;
        let services = Arc::new(Services { secrets: Arc::new(vault), scrubber: SharedScrubber::default(), audit: None });
        let mut compiled = HashMap::new();
        let mut linked = BTreeMap::new();
        for (step, site) in &prepared.sites {
            let component = match compiled.get(site.plugin.digest()) {
                Some(component) => component,
                None => {
                    let component = runtime.prepare(&site.plugin).map_err(Failure::engine)?;
                    compiled.entry(site.plugin.digest().clone()).or_insert(component)
                }
            };
            let link = Linked::new(component, &site.operation, site.effective.clone(), Limits::default(), Arc::clone(&services));
            linked.insert(step.clone(), Arc::new(link.map_err(Failure::engine)?));
        }
        Ok(Self { linked, facts: prepared.facts.clone() })
    }
}

impl Operate for Operator {
    fn facts(&self, step: &StepId) -> &OperationFacts {
        self.facts.get(step).expect("the engine asks only for call sites of the runbook that was prepared")
    }

    async fn call(&self, call: Call) -> Result<Answered, Fault> {
        let linked = Arc::clone(self.linked.get(&call.step).expect("the engine calls only call sites of the runbook that was prepared"));
        // A task of its own, so that a plugin that computes does not hold up other branches; dropped with this future.
        let task = AbortOnDrop(tokio::spawn(async move { linked.call(request(call)).await }));
        let outcome = task.await;
        let mut logs: Vec<LogLine> = outcome.logs.into_iter().map(log_line).collect();
        logs.extend(outcome.denials.iter().map(|denial| LogLine { level: LogLevel::Error, message: denial.to_string() }));
        match outcome.result {
            Ok(result) => Ok(Answered { answer: answer(result), logs }),
            Err(CallFault { class, code, message }) => Err(Fault { class: class_of(class), code, message, logs }),
        }
    }
}

/// A task that ends when nobody waits for it any more.
struct AbortOnDrop(tokio::task::JoinHandle<runbook_runtime::CallOutcome>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::future::Future for AbortOnDrop {
    type Output = runbook_runtime::CallOutcome;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context).map(|joined| match joined {
            Ok(outcome) => outcome,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        })
    }
}

/// The secrets of a runbook, from their stores; each store is opened when one of its secrets is first needed.
struct Vault {
    context: Context,
    entries: HashMap<String, Entry>,
    stores: Mutex<HashMap<PathBuf, Arc<Store>>>,
}

struct Entry {
    source: Source,
    path: PathBuf,
    max_age: Option<Duration>,
}

impl Vault {
    fn new(context: &Context, prepared: &Prepared) -> Result<Self, Failure> {
        let entries = entries(&prepared.runbook, &prepared.folder)?;
        Ok(Self { context: context.clone(), entries, stores: Mutex::default() })
    }

    /// Opens a store once. It may ask for a passphrase, so it runs where waiting is allowed.
    fn store(&self, entry: &Entry) -> Result<Arc<Store>, String> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&entry.path) {
            return Ok(Arc::clone(store));
        }
        let store = match vault::open(&self.context, &entry.path) {
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

    fn with<T>(&self, name: &str, use_it: impl FnOnce(&Entry, &Store) -> Option<T>) -> Result<T, SecretUnavailable> {
        let unavailable = |reason: String| SecretUnavailable { name: name.to_owned(), reason };
        let entry = self.entries.get(name).ok_or_else(|| unavailable("`[secrets]` does not have it".to_owned()))?;
        let store = tokio::task::block_in_place(|| self.store(entry)).map_err(unavailable)?;
        use_it(entry, &store).ok_or_else(|| unavailable(format!("`{}` has no secret `{}`", entry.path.display(), entry.source.name())))
    }
}

impl SecretSource for Vault {
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretUnavailable>> {
        Box::pin(async move { self.with(name, |entry, store| store.get(entry.source.name())) })
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

fn entries(runbook: &Runbook, folder: &std::path::Path) -> Result<HashMap<String, Entry>, Failure> {
    let mut entries = HashMap::new();
    for secret in &runbook.secrets {
        let Located { value, span } = &secret.source_uri;
        let source: Source = value.parse().map_err(|error: runbook_secrets::SourceError| {
            let mut diagnostics = runbook_document::Diagnostics::default();
            diagnostics.push(runbook_document::Diagnostic::error("E0106", &secret.source, span.clone(), error.to_string()).help("write `age:secrets/prod.age#name`"));
            Failure::findings(diagnostics)
        })?;
        let path = folder.join(source.path());
        entries.insert(secret.name.name.clone(), Entry { source, path, max_age: secret.max_age });
    }
    Ok(entries)
}

fn request(call: Call) -> CallRequest {
    CallRequest {
        run: call.run.to_string(),
        step: call.step.to_string(),
        attempt: call.attempt,
        phase: match call.phase {
            Phase::Check => runbook_runtime::Phase::Check,
            Phase::Plan => runbook_runtime::Phase::Plan,
            Phase::Apply { proposal } => runbook_runtime::Phase::Apply { proposal: proposal_to(proposal) },
            Phase::Observe => runbook_runtime::Phase::Observe,
            Phase::Undo { before } => runbook_runtime::Phase::Undo { before },
        },
        input: call.input,
        mode: match call.mode {
            Mode::Effects => runbook_authority::Mode::Effects,
            Mode::ReadOnly => runbook_authority::Mode::ReadOnly,
        },
        timeout: call.timeout,
    }
}

fn proposal_to(proposal: Proposal) -> runbook_runtime::Proposal {
    let effect = |effect: Effect| runbook_runtime::ProposedEffect { verb: effect.verb, target: effect.target, summary: effect.summary };
    runbook_runtime::Proposal { effects: proposal.effects.into_iter().map(effect).collect(), summary: proposal.summary, before: proposal.before }
}

fn answer(result: CallResult) -> Answer {
    match result {
        CallResult::Report { outcome, summary, output, measurements } => {
            Answer::Report { outcome: outcome_of(outcome), summary, output, measurements: measurements.into_iter().map(measurement).collect() }
        }
        CallResult::Verdicts(verdicts) => Answer::Verdicts(
            verdicts
                .into_iter()
                .map(|case| Verdict { name: case.name, outcome: outcome_of(case.outcome), detail: case.detail, duration_ms: case.duration_ms })
                .collect(),
        ),
        CallResult::Proposal(proposal) => Answer::Proposal(Proposal {
            effects: proposal.effects.into_iter().map(|effect| Effect { verb: effect.verb, target: effect.target, summary: effect.summary }).collect(),
            summary: proposal.summary,
            before: proposal.before,
        }),
        CallResult::Observation(found) => Answer::Observation(found),
        CallResult::Completion { summary, output, changed, measurements } => {
            Answer::Completion { summary, output, changed, measurements: measurements.into_iter().map(measurement).collect() }
        }
    }
}

fn measurement(from: runbook_runtime::Measurement) -> Measurement {
    Measurement { label: from.label, value: from.value, unit: from.unit, warn: from.warn, crit: from.crit }
}

fn outcome_of(outcome: runbook_runtime::Outcome) -> Outcome {
    match outcome {
        runbook_runtime::Outcome::Pass => Outcome::Pass,
        runbook_runtime::Outcome::Warn => Outcome::Warn,
        runbook_runtime::Outcome::Fail => Outcome::Fail,
        runbook_runtime::Outcome::Unknown => Outcome::Unknown,
    }
}

fn log_line(line: runbook_runtime::LogLine) -> LogLine {
    let level = match line.level {
        runbook_runtime::LogLevel::Debug => LogLevel::Debug,
        runbook_runtime::LogLevel::Info => LogLevel::Info,
        runbook_runtime::LogLevel::Warn => LogLevel::Warn,
        runbook_runtime::LogLevel::Error => LogLevel::Error,
    };
    LogLine { level, message: line.message }
}

fn class_of(class: runbook_runtime::FaultClass) -> ErrorClass {
    use runbook_runtime::FaultClass;
    match class {
        FaultClass::Invalid => ErrorClass::Invalid,
        FaultClass::Denied => ErrorClass::Denied,
        FaultClass::NotFound => ErrorClass::NotFound,
        FaultClass::Conflict => ErrorClass::Conflict,
        FaultClass::Transient => ErrorClass::Transient,
        FaultClass::Timeout => ErrorClass::Timeout,
        FaultClass::Limit => ErrorClass::Limit,
        FaultClass::Assertion => ErrorClass::Assertion,
        FaultClass::Trap => ErrorClass::Trap,
        FaultClass::Cancelled => ErrorClass::Cancelled,
        FaultClass::Unknown => ErrorClass::Unknown,
    }
}
