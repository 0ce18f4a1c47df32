//! [`Verified`] → [`PreparedComponent`]: compiled (or taken from the cache) and type-checked against the
//! linker. No guest code has run.

use crate::bindings::exports::runbook::plugin::{probe, smoke_test, step};
use crate::cache::{self, Cache, CacheProblem};
use crate::compiler::{self, Compiler};
use crate::config::{self, Allocation};
use crate::engine_pool::{EnginePool, Exports, PooledEngine};
use crate::host::Host;
use crate::link;
use crate::value::SchemaError;
use crate::verify::Verified;
use runbook_authority::{Digest, Manifest};
use runbook_contract::Kind;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

/// How often a guest that computes yields to others, and how exact the deadline is for one that
/// never calls the host.
const TICK: Duration = Duration::from_millis(10);

/// What a [`Runtime`] is made from.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Folder for compiled code; `None` compiles at each start.
    pub cache: Option<PathBuf>,
    /// How memory for instances is had.
    pub allocation: Allocation,
    /// Calls at one time; the others wait. 256 stays far below what the kernel's limit of mappings
    /// allows (about 9,000).
    pub max_concurrent_calls: NonZeroU32,
    /// Is told before a component is compiled, which can take long.
    pub on_compile: OnCompile,
    /// Where components are compiled.
    pub compiler: Compiler,
}

/// Is told which plugin is about to be compiled, and how many bytes it has. What comes from the
/// cache is not told.
#[derive(Clone)]
pub struct OnCompile(Arc<CompileListener>);

/// A plugin's name, and the size of its component in bytes.
type CompileListener = dyn Fn(&str, usize) + Send + Sync;

impl OnCompile {
    /// Calls `listener` before a component is compiled, with the plugin's name and the size of the
    /// component in bytes.
    pub fn tell(listener: impl Fn(&str, usize) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }
}

impl std::fmt::Debug for OnCompile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnCompile")
    }
}

impl RuntimeConfig {
    /// For one run: on demand, at most 256 calls at one time, compiled in this process. A program
    /// that loads what others wrote sets [`compiler`](Self::compiler) to a child.
    pub fn with_cache(cache: Option<PathBuf>) -> Self {
        let max_concurrent_calls = NonZeroU32::new(256).expect("256 is not zero");
        let on_compile = OnCompile::tell(|_, _| {});
        Self {
            cache,
            allocation: Allocation::OnDemand,
            max_concurrent_calls,
            on_compile,
            compiler: Compiler::Here,
        }
    }
}

/// The engine that compiles and runs plugins. Cheap to clone; one a program is enough.
#[derive(Debug, Clone)]
pub struct Runtime {
    engines: Arc<[EngineWithPermits]>,
    cache: Option<Arc<Cache>>,
    on_compile: OnCompile,
    compiler: Compiler,
    pooled: bool,
}

#[derive(Debug)]
struct EngineWithPermits {
    engine: Engine,
    permits: Arc<Semaphore>,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refuses its configuration on this machine.
    #[error("the WebAssembly engine cannot start on this machine: {reason}")]
    Engine {
        /// What the engine says about it.
        reason: String,
    },
    /// No thread for the clock.
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
        /// What the compiler says.
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
        /// What does not fit the contract.
        reason: String,
    },
    /// A schema in the manifest.
    #[error("the schema of operation `{operation}` of plugin `{plugin}` cannot be used")]
    Schema {
        /// The name of the plugin.
        plugin: String,
        /// The operation whose schema it is.
        operation: String,
        /// What is wrong with the schema.
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
    /// Compiled now. If the cache could not be used, why: worth a warning, nothing more.
    Compiled {
        /// What is wrong with the cache.
        problem: Option<CacheProblem>,
    },
}

/// A component that is ready to be instantiated. Cheap to clone.
#[derive(Clone)]
pub struct PreparedComponent(pub(crate) Arc<PreparedInner>);

pub(crate) struct PreparedInner {
    pub(crate) manifest: Manifest,
    digest: Digest,
    origin: CodeOrigin,
    pub(crate) pool: EnginePool,
}

impl Runtime {
    /// Starts the engine.
    ///
    /// # Errors
    /// [`RuntimeError`] if the machine has not what the engine needs (address space for a pool, a
    /// thread).
    pub fn new(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let engines = match config.allocation {
            Allocation::OnDemand => {
                vec![engine(Allocation::OnDemand, config.max_concurrent_calls)?]
            }
            Allocation::Pooling { instances } => {
                pooled(instances.min(config.max_concurrent_calls))?
            }
        };
        Ok(Self {
            engines: engines.into(),
            cache: config.cache.map(|folder| Arc::new(Cache::new(folder))),
            on_compile: config.on_compile,
            compiler: config.compiler,
            pooled: config.allocation.is_pooled(),
        })
    }

    /// Makes a verified component ready: from the cache, or by compiling it, which takes from
    /// milliseconds (Rust) to seconds (scripting languages) of all processors.
    ///
    /// # Errors
    /// [`PrepareError`] says why the component cannot be run. A cache that cannot be used is no
    /// error, see [`PreparedComponent::origin`].
    pub fn prepare(&self, verified: &Verified) -> Result<PreparedComponent, PrepareError> {
        let _span = tracing::info_span!("prepare", plugin = %verified.manifest().name).entered();
        let (component, origin) = self.component(verified)?;
        tracing::info!(cached = matches!(origin, CodeOrigin::Cached), "component ready");
        let pool = self.place_on_each_engine(verified, component)?;
        let (manifest, digest) = (verified.manifest().clone(), verified.digest().clone());
        Ok(PreparedComponent(Arc::new(PreparedInner {
            manifest,
            digest,
            origin,
            pool: EnginePool::new(pool),
        })))
    }

    /// The component on each engine. It was compiled for the first; the others take over the code.
    fn place_on_each_engine(
        &self,
        verified: &Verified,
        component: Component,
    ) -> Result<Vec<PooledEngine>, PrepareError> {
        let [first, others @ ..] = &*self.engines else { unreachable!("a runtime has an engine") };
        let mut places = Vec::with_capacity(self.engines.len());
        if !others.is_empty() {
            let refused = |error: wasmtime::Error| compile_error(verified, &error);
            let code = component.serialize().map_err(refused)?;
            for other in others {
                let component = load_code(&other.engine, &code).map_err(refused)?;
                places.push(place(verified, &component, other)?);
            }
        }
        places.insert(0, place(verified, &component, first)?);
        Ok(places)
    }

    fn component(&self, verified: &Verified) -> Result<(Component, CodeOrigin), PrepareError> {
        let Some(cache) = &self.cache else {
            return Ok((self.compile(verified)?.0, CodeOrigin::Compiled { problem: None }));
        };
        let engine = &self.engines[0].engine;
        let key = cache::key(engine, verified.digest());
        let mut problem = match cache.load(&key) {
            // What the engine refuses (another version of it wrote the code) is compiled again
            // without a word.
            Ok(Some(code)) => match load_code(engine, &code) {
                Ok(component) => return Ok((component, CodeOrigin::Cached)),
                Err(_) => None,
            },
            Ok(None) => None,
            Err(problem) => Some(problem),
        };
        let (component, code) = self.compile(verified)?;
        if !matches!(problem, Some(CacheProblem::Folder { .. })) {
            let stored = code
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
            problem = problem.or(stored.err());
        }
        Ok((component, CodeOrigin::Compiled { problem }))
    }

    /// Compiles a component. The code comes along if it was had apart from the component.
    fn compile(&self, verified: &Verified) -> Result<(Component, Option<Vec<u8>>), PrepareError> {
        (self.on_compile.0)(&verified.manifest().name, verified.size());
        let engine = &self.engines[0].engine;
        let refused = |error: wasmtime::Error| compile_error(verified, &error);
        match &self.compiler {
            Compiler::Here => {
                Ok((Component::new(engine, verified.bytes()).map_err(refused)?, None))
            }
            Compiler::Child { launcher, limits } => {
                let code = compiler::compile(launcher, *limits, self.pooled, verified.bytes())
                    .map_err(|error| PrepareError::Compile {
                        plugin: verified.manifest().name.clone(),
                        reason: error.to_string(),
                    })?;
                Ok((load_code(engine, &code).map_err(refused)?, Some(code)))
            }
        }
    }
}

fn compile_error(verified: &Verified, error: &wasmtime::Error) -> PrepareError {
    PrepareError::Compile { plugin: verified.manifest().name.clone(), reason: format!("{error:#}") }
}

/// An engine with the settings with which plugins are compiled, and nothing else: for callers that
/// want to know what it accepts.
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
    tick(&engine)?;
    Ok(EngineWithPermits { engine, permits: Arc::new(Semaphore::new(calls.get() as usize)) })
}

/// A pool, shared by an engine for each processor.
fn pooled(instances: NonZeroU32) -> Result<Vec<EngineWithPermits>, RuntimeError> {
    let processors = std::thread::available_parallelism()
        .ok()
        .and_then(|count| u32::try_from(count.get()).ok())
        .unwrap_or(1);
    let engines = processors.clamp(1, instances.get());
    let of_one = NonZeroU32::new(instances.get().div_ceil(engines))
        .expect("a part of something that is not zero, rounded up");
    (0..engines).map(|_| engine(Allocation::Pooling { instances: of_one }, of_one)).collect()
}

/// Links a component on one engine.
fn place(
    verified: &Verified,
    component: &Component,
    engine: &EngineWithPermits,
) -> Result<PooledEngine, PrepareError> {
    let plugin = || verified.manifest().name.clone();
    let contract = |error: wasmtime::Error| PrepareError::Contract {
        plugin: plugin(),
        reason: format!("{error:#}"),
    };
    let linker: Linker<Host> =
        link::linker(&engine.engine, verified.imports()).map_err(contract)?;
    let instance = linker.instantiate_pre(component).map_err(contract)?;
    let has =
        |kind| verified.exports().iter().any(|export| export == crate::verify::interface_of(kind));
    let exports = Exports {
        probe: has(Kind::Probe)
            .then(|| probe::GuestIndices::new(&instance))
            .transpose()
            .map_err(contract)?,
        smoke_test: has(Kind::SmokeTest)
            .then(|| smoke_test::GuestIndices::new(&instance))
            .transpose()
            .map_err(contract)?,
        step: has(Kind::Step)
            .then(|| step::GuestIndices::new(&instance))
            .transpose()
            .map_err(contract)?,
    };
    Ok(PooledEngine { instance, exports, permits: Arc::clone(&engine.permits) })
}

/// Loads code that another engine has compiled.
#[expect(unsafe_code, reason = "compiled code cannot be loaded in another way")]
fn load_code(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `Component::deserialize` runs whatever these bytes say, so they must be what
    // `Component::serialize` wrote. They come from `Component::serialize` itself, a moment ago; or
    // from `compiler::compile`, which read them from the pipe of a child of this process that is
    // this program, made them with the same compiler, and ended well; or from `Cache::load`, which
    // takes them only from a file that belongs to this user, in a folder that belongs to this user
    // and that nobody else can enter, and only if their SHA-256 is the one that `Cache::store`
    // wrote behind them. Somebody who can write there can also replace this program. The engine
    // itself checks that its version and configuration fit.
    unsafe { Component::deserialize(engine, code) }
}

/// Starts the clock that makes computing guests yield. It ends with the engine.
fn tick(engine: &Engine) -> Result<(), RuntimeError> {
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
    /// What the plugin says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// The digest of the component.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// Whether the code was compiled now.
    pub fn origin(&self) -> &CodeOrigin {
        &self.0.origin
    }
}

impl std::fmt::Debug for PreparedComponent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("plugin", &self.0.manifest.name)
            .field("digest", &self.0.digest)
            .finish_non_exhaustive()
    }
}
