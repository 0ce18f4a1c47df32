//! The configuration of wasmtime, with reasons. Features that are not needed are disabled, because
//! most bugs of an engine are in rarely used features.

use std::num::NonZeroU32;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails,
};

/// How the memory of instances is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// From the operating system for each call. It needs no setup, and suits a single run.
    OnDemand,
    /// From a pool that is reserved at the start. Calls cost less, the start takes about a
    /// millisecond more. It suits a program that makes thousands of calls.
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

/// The linear memory of one instance in a pool, in bytes. The pool reserves all of it as address
/// space.
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

/// The settings that affect compiled code, for an engine that only compiles.
pub(crate) fn for_compiling(pooled: bool) -> Config {
    let mut config = Config::new();
    config
        // Optimised code, compiled once and cached. Winch compiles faster, but had a third of this
        // year's bugs.
        .strategy(Strategy::Cranelift)
        // A guest in an endless loop yields at each tick, so that its deadline is enforced.
        .epoch_interruption(true)
        .consume_fuel(false)
        // Host functions are synchronous in WIT: component-model async makes a call five times
        // slower and adds attack surface.
        .concurrency_support(false)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK)
        // Untouched pages of the initial memory are shared between calls.
        .memory_init_cow(true)
        // The message of a trap is enough; plugins are stripped, so addresses are useless.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // The engine and `inspect` use the same list of features.
        .wasm_features(wasmparser::WasmFeatures::all().difference(features()), false);
    if pooled {
        // The address space of a slot; without it each takes 4 GiB.
        config.memory_reservation(POOLED_MEMORY as u64);
    }
    config
}

/// The settings of an engine that runs code.
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
        // The kernel tells which pages were touched (since Linux 6.7; before that, all of them are
        // written). Measured with a plugin that has a stack of 1 MiB: 31 µs → 8 µs a call.
        .linear_memory_keep_resident(2 << 20)
        .pagemap_scan(Enabled::Auto)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(16 << 10)
        // Warm slots keep the memory image of a component ready for its next call.
        .max_unused_warm_slots(instances);
    pool
}
