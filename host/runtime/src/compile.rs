//! [`VerifiedComponent`] → [`PreparedComponent`]: compiles a component (or loads it from the cache)
//! and type-checks it against the linker. No guest code runs.

use crate::bindings::exports::runbook::plugin::{probe, smoke_test, step};
use crate::cache::{self, Cache, CacheProblem};
use crate::compiler::{self, Compiler};
use crate::config::{self, Allocation};
use crate::engine_pool::{Exports, LinkedComponent, LinkedComponents};
use crate::host::Host;
use crate::linker;
use crate::value::SchemaError;
use crate::verify::VerifiedComponent;
use runbook_authority::{Digest, Manifest};
use runbook_contract::Kind;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

/// The interval at which a computing guest yields to other tasks. The deadline of a guest that
/// never calls the host is exact to this.
const TICK: Duration = Duration::from_millis(10);

/// The configuration of a [`Runtime`].
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Folder for compiled code; `None` compiles at each start.
    pub cache: Option<PathBuf>,
    /// How the memory of instances is allocated.
    pub allocation: Allocation,
    /// How many calls run at one time; further calls wait. The default of 256 is far below the
    /// number that the kernel's limit of mappings allows (about 9,000).
    pub max_concurrent_calls: NonZeroU32,
    /// Called before a component is compiled, which can take long.
    pub on_compile: OnCompile,
    /// Where components are compiled.
    pub compiler: Compiler,
}

/// A callback with the name and the size of a plugin that is about to be compiled. It is not called
/// for code from the cache.
#[derive(Clone)]
pub struct OnCompile(Arc<CompileListener>);

/// A plugin's name, and the size of its component in bytes.
type CompileListener = dyn Fn(&str, usize) + Send + Sync;

impl OnCompile {
    /// Calls `listener` before a component is compiled, with the plugin's name and the size of the
    /// component in bytes.
    pub fn new(listener: impl Fn(&str, usize) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }
}

impl std::fmt::Debug for OnCompile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnCompile")
    }
}

impl RuntimeConfig {
    /// The configuration for one run: memory on demand, at most 256 calls at one time, compilation
    /// in this process. A program that loads plugins of others sets [`compiler`](Self::compiler) to
    /// a child.
    pub fn with_cache(cache: Option<PathBuf>) -> Self {
        let max_concurrent_calls = NonZeroU32::new(256).expect("256 is not zero");
        let on_compile = OnCompile::new(|_, _| {});
        Self {
            cache,
            allocation: Allocation::OnDemand,
            max_concurrent_calls,
            on_compile,
            compiler: Compiler::InProcess,
        }
    }
}

/// Compiles and runs plugins. Cheap to clone; a program needs only one.
#[derive(Debug, Clone)]
pub struct Runtime {
    engines: Arc<[EngineWithPermits]>,
    cache: Option<Arc<Cache>>,
    on_compile: OnCompile,
    compiler: Compiler,
    is_pooled: bool,
}

#[derive(Debug)]
struct EngineWithPermits {
    engine: Engine,
    permits: Arc<Semaphore>,
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refuses its configuration on this machine.
    #[error("the WebAssembly engine cannot start on this machine: {reason}")]
    Engine {
        /// The reason, as the engine reports it.
        reason: String,
    },
    /// The thread of the epoch clock cannot start.
    #[error("the clock of the WebAssembly engine cannot start")]
    Clock {
        /// The error that the system gave when the thread was started.
        #[source]
        source: std::io::Error,
    },
}

/// Why a verified component cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The compiler refuses the code.
    #[error("plugin `{plugin}` cannot be compiled: {reason}")]
    Compile {
        /// The name of the plugin.
        plugin: String,
        /// The reason, as the compiler reports it.
        reason: String,
    },
    /// An import or export has other types than the contract.
    #[error(
        "plugin `{plugin}` does not fit the plugin contract: {reason}; build it against the \
             contract of this host"
    )]
    Contract {
        /// The name of the plugin.
        plugin: String,
        /// The part that does not fit the contract.
        reason: String,
    },
    /// A schema in the manifest cannot be used.
    #[error("the schema of operation `{operation}` of plugin `{plugin}` cannot be used")]
    Schema {
        /// The name of the plugin.
        plugin: String,
        /// The operation whose schema it is.
        operation: String,
        /// The problem of the schema.
        #[source]
        source: SchemaError,
    },
    /// The manifest has no such operation.
    #[error("plugin `{plugin}` has no operation `{operation}`")]
    UnknownOperation {
        /// The name of the plugin.
        plugin: String,
        /// The name that was asked for.
        operation: String,
    },
}

/// Where the code of a prepared component came from.
#[derive(Debug)]
pub enum CodeOrigin {
    /// The code was loaded from the cache.
    Cached,
    /// The code was compiled now. `problem` says why the cache could not be used; callers show it
    /// as a warning.
    Compiled {
        /// The problem of the cache.
        problem: Option<CacheProblem>,
    },
}

/// A component that is ready to be instantiated. Cheap to clone.
#[derive(Clone)]
pub struct PreparedComponent(pub(crate) Arc<PreparedComponentInner>);

pub(crate) struct PreparedComponentInner {
    pub(crate) manifest: Manifest,
    digest: Digest,
    origin: CodeOrigin,
    pub(crate) pool: LinkedComponents,
}

impl Runtime {
    /// Starts the engine.
    ///
    /// # Errors
    /// [`RuntimeError`] if the machine lacks what the engine needs (address space for a pool, a
    /// thread).
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let engines = match config.allocation {
            Allocation::OnDemand => {
                vec![engine(Allocation::OnDemand, config.max_concurrent_calls)?]
            }
            Allocation::Pooling { instances } => {
                engines_sharing_pool(instances.min(config.max_concurrent_calls))?
            }
        };
        Ok(Self {
            engines: engines.into(),
            cache: config.cache.map(|folder| Arc::new(Cache::new(folder))),
            on_compile: config.on_compile,
            compiler: config.compiler,
            is_pooled: config.allocation.is_pooled(),
        })
    }

    /// Prepares a verified component: loads its code from the cache, or compiles it. Compiling uses
    /// all processors, for milliseconds (Rust) to seconds (scripting languages).
    ///
    /// # Errors
    /// [`PrepareError`] says why the component cannot be run. A cache that cannot be used is no
    /// error, see [`PreparedComponent::origin`].
    pub fn prepare(&self, verified: &VerifiedComponent) -> Result<PreparedComponent, PrepareError> {
        let _span = tracing::info_span!("prepare", plugin = %verified.manifest().name).entered();
        let (component, origin) = self.component(verified)?;
        tracing::info!(cached = matches!(origin, CodeOrigin::Cached), "component ready");
        let pool = self.link_on_each_engine(verified, component)?;
        let (manifest, digest) = (verified.manifest().clone(), verified.digest().clone());
        Ok(PreparedComponent(Arc::new(PreparedComponentInner {
            manifest,
            digest,
            origin,
            pool: LinkedComponents::new(pool),
        })))
    }

    /// Links the component on each engine. It was compiled for the first; the others load its code.
    fn link_on_each_engine(
        &self,
        verified: &VerifiedComponent,
        component: Component,
    ) -> Result<Vec<LinkedComponent>, PrepareError> {
        let [first, other_engines @ ..] = &*self.engines else {
            unreachable!("a runtime has an engine")
        };
        let mut pooled_engines = Vec::with_capacity(self.engines.len());
        if !other_engines.is_empty() {
            let to_prepare_error = |error: wasmtime::Error| compile_error(verified, &error);
            let code = component.serialize().map_err(to_prepare_error)?;
            for other in other_engines {
                let component = load_code(&other.engine, &code).map_err(to_prepare_error)?;
                pooled_engines.push(link_component(verified, &component, other)?);
            }
        }
        pooled_engines.insert(0, link_component(verified, &component, first)?);
        Ok(pooled_engines)
    }

    fn component(
        &self,
        verified: &VerifiedComponent,
    ) -> Result<(Component, CodeOrigin), PrepareError> {
        let Some(cache) = &self.cache else {
            return Ok((self.compile(verified)?.0, CodeOrigin::Compiled { problem: None }));
        };
        let engine = &self.engines[0].engine;
        let key = cache::key(engine, verified.digest());
        let mut problem = match cache.load(&key) {
            // Code of another version of the engine is refused; the component is then compiled
            // again without a warning.
            Ok(Some(code)) => match load_code(engine, &code) {
                Ok(component) => return Ok((component, CodeOrigin::Cached)),
                Err(_) => None,
            },
            Ok(None) => None,
            Err(problem) => Some(problem),
        };
        let (component, code) = self.compile(verified)?;
        if !matches!(problem, Some(CacheProblem::Folder { .. })) {
            let store_result = code
                .map_or_else(
                    || {
                        component
                            .serialize()
                            .map_err(|error| std::io::Error::other(format!("{error:#}")))
                    },
                    Ok,
                )
                .map_err(|source| CacheProblem::Io { path: PathBuf::from(&key), source })
                .and_then(|code| cache.store(&key, &code));
            problem = problem.or(store_result.err());
        }
        Ok((component, CodeOrigin::Compiled { problem }))
    }

    /// Compiles a component. Also returns its code if a child has compiled it.
    fn compile(
        &self,
        verified: &VerifiedComponent,
    ) -> Result<(Component, Option<Vec<u8>>), PrepareError> {
        (self.on_compile.0)(&verified.manifest().name, verified.size());
        let engine = &self.engines[0].engine;
        let to_prepare_error = |error: wasmtime::Error| compile_error(verified, &error);
        match &self.compiler {
            Compiler::InProcess => {
                Ok((Component::new(engine, verified.bytes()).map_err(to_prepare_error)?, None))
            }
            Compiler::Child { launcher, limits } => {
                let code = compiler::compile(launcher, *limits, self.is_pooled, verified.bytes())
                    .map_err(|error| PrepareError::Compile {
                    plugin: verified.manifest().name.clone(),
                    reason: error.to_string(),
                })?;
                Ok((load_code(engine, &code).map_err(to_prepare_error)?, Some(code)))
            }
        }
    }
}

fn compile_error(verified: &VerifiedComponent, error: &wasmtime::Error) -> PrepareError {
    PrepareError::Compile { plugin: verified.manifest().name.clone(), reason: format!("{error:#}") }
}

/// An engine with the settings for compiling plugins, for callers that test what it accepts.
///
/// # Errors
/// [`RuntimeError::Engine`] if this machine lacks what the engine needs.
pub fn bare_engine() -> Result<Engine, RuntimeError> {
    Engine::new(&config::config(Allocation::OnDemand))
        .map_err(|error| RuntimeError::Engine { reason: format!("{error:#}") })
}

fn engine(allocation: Allocation, calls: NonZeroU32) -> Result<EngineWithPermits, RuntimeError> {
    let engine = Engine::new(&config::config(allocation))
        .map_err(|error| RuntimeError::Engine { reason: format!("{error:#}") })?;
    start_epoch_ticker(&engine)?;
    Ok(EngineWithPermits { engine, permits: Arc::new(Semaphore::new(calls.get() as usize)) })
}

/// One engine for each processor, which share the instances of the pool.
fn engines_sharing_pool(instances: NonZeroU32) -> Result<Vec<EngineWithPermits>, RuntimeError> {
    let processors = std::thread::available_parallelism()
        .ok()
        .and_then(|count| u32::try_from(count.get()).ok())
        .unwrap_or(1);
    let engines = processors.clamp(1, instances.get());
    let instances_per_engine = NonZeroU32::new(instances.get().div_ceil(engines))
        .expect("a number that is not zero, divided and rounded up, is not zero");
    (0..engines)
        .map(|_| {
            engine(Allocation::Pooling { instances: instances_per_engine }, instances_per_engine)
        })
        .collect()
}

/// Links a component on one engine.
fn link_component(
    verified: &VerifiedComponent,
    component: &Component,
    engine: &EngineWithPermits,
) -> Result<LinkedComponent, PrepareError> {
    let plugin = || verified.manifest().name.clone();
    let contract_error = |error: wasmtime::Error| PrepareError::Contract {
        plugin: plugin(),
        reason: format!("{error:#}"),
    };
    let linker: Linker<Host> =
        linker::linker(&engine.engine, verified.imports()).map_err(contract_error)?;
    let instance = linker.instantiate_pre(component).map_err(contract_error)?;
    let has_export =
        |kind| verified.exports().iter().any(|export| export == crate::verify::interface_of(kind));
    let exports = Exports {
        probe: has_export(Kind::Probe)
            .then(|| probe::GuestIndices::new(&instance))
            .transpose()
            .map_err(contract_error)?,
        smoke_test: has_export(Kind::SmokeTest)
            .then(|| smoke_test::GuestIndices::new(&instance))
            .transpose()
            .map_err(contract_error)?,
        step: has_export(Kind::Step)
            .then(|| step::GuestIndices::new(&instance))
            .transpose()
            .map_err(contract_error)?,
    };
    Ok(LinkedComponent { instance, exports, permits: Arc::clone(&engine.permits) })
}

/// Loads compiled code into an engine.
#[expect(unsafe_code, reason = "compiled code cannot be loaded in another way")]
fn load_code(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `Component::deserialize` loads these bytes as native code, so they must come from
    // `Component::serialize`. They have one of three sources: `Component::serialize` in this
    // process; `compiler::compile`, which reads them from the pipe of a child that runs this
    // program with the same compiler and has exited with success; or `Cache::load`, which accepts
    // only a file that belongs to this user, in a folder that belongs to this user and that no
    // other user can enter, and only with the SHA-256 that `Cache::store` appended. Somebody who
    // can write there can also replace this program. The engine checks that its version and
    // configuration match.
    unsafe { Component::deserialize(engine, code) }
}

/// Starts the thread that increments the epoch, so that computing guests yield. It ends with the
/// engine.
fn start_epoch_ticker(engine: &Engine) -> Result<(), RuntimeError> {
    let engine = engine.weak();
    let clock = std::thread::Builder::new().name("runbook-tick".to_owned());
    let run = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    clock.spawn(run).map(|_| ()).map_err(|source| RuntimeError::Clock { source })
}

impl PreparedComponent {
    /// The manifest of the plugin.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// The digest of the component.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// Where the code came from: the cache, or the compiler.
    pub fn origin(&self) -> &CodeOrigin {
        &self.0.origin
    }
}

impl std::fmt::Debug for PreparedComponent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedComponent")
            .field("plugin", &self.0.manifest.name)
            .field("digest", &self.0.digest)
            .finish_non_exhaustive()
    }
}
