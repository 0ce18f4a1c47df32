//! Asks a plugin for the schemas of its operations: runs `describe` in an interpreter, with nothing
//! linked.

use runbook_authority::manifest::Kind;
use serde::Deserialize;
use wasmi::{Config, Engine, Linker, Module, Store, StoreLimits, StoreLimitsBuilder};

/// The core export behind `runbook:plugin/info.describe`.
const EXPORT: &str = "runbook:plugin/info@1.0.0#describe";

/// The most instructions of `describe`. The schemas of fifty operations take a tenth of them. An
/// unoptimized host takes seconds to execute all.
const MAX_FUEL: u64 = 50_000_000;

/// The most bytes of memory that `describe` may use.
const MAX_MEMORY_BYTES: usize = 64 << 20;

/// The answer of `describe`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    pub(crate) operations: Vec<OperationDescription>,
}

/// One operation, as `describe` answers it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperationDescription {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) input: serde_json::Value,
    pub(crate) output: serde_json::Value,
}

/// Why `describe` of a plugin gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescribeError {
    /// The module exports no `describe`.
    #[error(
        "the module does not export `{EXPORT}`; plugins in Rust get it from `runbook_sdk::plugin!`"
    )]
    Missing,
    /// It trapped, looped or asked for something.
    #[error("`describe` did not return: {0}")]
    Trapped(String),
    /// `describe` answered something that is no list of operations.
    #[error("`describe` answered something else than a list of operations: {0}")]
    Answer(String),
}

fn trapped(error: impl std::fmt::Display) -> DescribeError {
    DescribeError::Trapped(error.to_string())
}

/// Runs `describe` of a core module and parses its answer.
pub(crate) fn describe(module: &[u8]) -> Result<Description, DescribeError> {
    let mut config = Config::default();
    config.consume_fuel(true);
    let engine = Engine::new(&config);
    let module = Module::new(&engine, module).map_err(trapped)?;
    let limits = StoreLimitsBuilder::new()
        .memory_size(MAX_MEMORY_BYTES)
        .instances(1)
        .trap_on_grow_failure(false)
        .build();
    let mut store: Store<StoreLimits> = Store::new(&engine, limits);
    store.limiter(|limits| limits);
    store.set_fuel(MAX_FUEL).map_err(trapped)?;
    let linker = refusing_linker(&engine, &module)?;
    let instance = linker.instantiate_and_start(&mut store, &module).map_err(trapped)?;
    let function =
        instance.get_typed_func::<(), i32>(&store, EXPORT).map_err(|_| DescribeError::Missing)?;
    let memory = instance.get_memory(&store, "memory").ok_or(DescribeError::Missing)?;
    let return_area =
        function.call(&mut store, ()).map_err(|error| match error.as_trap_code() {
            Some(wasmi::TrapCode::OutOfFuel) => DescribeError::Trapped(format!(
                "it took more than {MAX_FUEL} instructions; it may only describe"
            )),
            Some(_) | None => trapped(error),
        })?;
    // The canonical ABI returns a string as the address of its address and length.
    let read_word = |at: usize| -> Option<usize> {
        let bytes: [u8; 4] = memory.data(&store).get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let return_area = usize::try_from(return_area.cast_unsigned()).map_err(trapped)?;
    let text = read_word(return_area)
        .zip(read_word(return_area + 4))
        .and_then(|(start, length)| memory.data(&store).get(start..start.checked_add(length)?));
    let text = text
        .ok_or_else(|| DescribeError::Answer("its address is outside of its memory".to_owned()))?;
    serde_json::from_slice(text).map_err(|error| DescribeError::Answer(error.to_string()))
}

/// Every import exists and traps, because `describe` must not call the host.
fn refusing_linker(engine: &Engine, module: &Module) -> Result<Linker<StoreLimits>, DescribeError> {
    let mut linker = Linker::new(engine);
    for import in module.imports() {
        let wasmi::ExternType::Func(ty) = import.ty() else {
            return Err(DescribeError::Trapped(format!(
                "it imports `{}` of `{}`, which is not a function",
                import.name(),
                import.module()
            )));
        };
        let message = format!(
            "`describe` called `{}` of `{}`; it may only describe",
            import.name(),
            import.module()
        );
        linker
            .func_new(import.module(), import.name(), ty.clone(), move |_, _, _| {
                Err(wasmi::Error::new(message.clone()))
            })
            .map_err(trapped)?;
    }
    Ok(linker)
}
