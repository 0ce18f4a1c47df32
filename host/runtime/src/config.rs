//! Every switch of the engine, with its reason. Features that are not needed are off, because most
//! faults of an engine are in features that few use.

use std::num::NonZeroU32;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails,
};

/// How memory for instances is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// The operating system gives it for each call: nothing to set up, right for one run.
    OnDemand,
    /// It comes from a pool that is reserved at the start: a call costs less, the start about a
    /// millisecond more. Right for a program that makes thousands of calls.
    Pooling {
        /// How many calls can be made at one time.
        instances: NonZeroU32,
    },
}

impl Allocation {
    /// Whether memory comes from a pool.
    pub(crate) fn is_pooled(self) -> bool {
        matches!(self, Self::Pooling { .. })
    }
}

/// Linear memory of one instance in a pool, which must reserve all of it as address space.
pub(crate) const POOLED_MEMORY: usize = 64 << 20;

/// The native stack that guest code may use. 512 KiB: deep recursion ends as a trap long before the
/// fiber's own stack does.
const WASM_STACK: usize = 512 << 10;

/// The fiber's stack: the guest's part and as much again for the host functions that run on it.
const FIBER_STACK: usize = WASM_STACK + (1 << 20);

/// The features that components may use. `inspect` refuses a component that uses another one, and
/// so does the engine.
pub(crate) fn features() -> wasmparser::WasmFeatures {
    use wasmparser::WasmFeatures;
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::BULK_MEMORY_OPT
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::FLOATS
        | WasmFeatures::COMPONENT_MODEL
}

/// All that the code depends on: for an engine that compiles, and runs nothing.
pub(crate) fn for_compiling(pooled: bool) -> Config {
    let mut config = Config::new();
    config
        // Optimised code, compiled once and kept; Winch compiles faster and had a third of this
        // year's faults.
        .strategy(Strategy::Cranelift)
        // Interrupts a guest that computes for ever: it yields at each tick, so that the timeout of
        // the call is seen.
        .epoch_interruption(true)
        .consume_fuel(false)
        // Host functions are synchronous in WIT: component-model async is five times slower a call
        // and a surface of its own.
        .concurrency_support(false)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK)
        // Untouched pages of the initial memory are shared between calls.
        .memory_init_cow(true)
        // The text of a trap is enough; addresses of a stripped plugin are useless.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // The engine refuses what the reader refuses: both use one list of features.
        .wasm_features(wasmparser::WasmFeatures::all().difference(features()), false);
    if pooled {
        // The address space of a slot; without it each takes 4 GiB.
        config.memory_reservation(POOLED_MEMORY as u64);
    }
    config
}

/// For an engine that runs what it compiles or is given.
pub(crate) fn config(allocation: Allocation) -> Config {
    let mut config = for_compiling(allocation.is_pooled());
    match allocation {
        Allocation::OnDemand => config.allocation_strategy(InstanceAllocationStrategy::OnDemand),
        Allocation::Pooling { instances } => {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances.get())))
        }
    };
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        .max_core_instances_per_component(8)
        .max_memories_per_component(1)
        .max_tables_per_component(4)
        .table_elements(20_000)
        .max_memory_size(POOLED_MEMORY)
        // Memory up to this size is put back by writing over the pages that were touched, instead
        // of being given back: giving it back costs a system call, a page fault for each page at
        // the next call, and the lock of the address space, which made two threads slower than one.
        // Which pages were touched the kernel says (Linux 6.7; older ones: all of it is written).
        // Measured with a plugin that has a stack of 1 MiB: 31 µs → 8 µs a call.
        .linear_memory_keep_resident(2 << 20)
        .pagemap_scan(Enabled::Auto)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(16 << 10)
        // Slots that remember a component: the next call of the same one finds its memory ready.
        .max_unused_warm_slots(instances);
    pool
}
