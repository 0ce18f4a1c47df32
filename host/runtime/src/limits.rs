//! The limits of one call, and how they are enforced.

use std::time::Duration;
use wasmtime::ResourceLimiter;

/// The limits of one call. The defaults are well above the needs of every bundled plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLimits {
    /// Bytes of linear memory, of all memories together. 64 MiB: a plugin holds answers, never
    /// dumps.
    pub memory: usize,
    /// How many elements one table may have.
    pub table: usize,
    /// Bytes that one host call may carry from the guest to the host. 8 MiB: the largest file or
    /// body that a grant lets through by default.
    pub host_call_bytes: usize,
    /// Host calls of one call of the plugin. 100,000: a loop that never ends is stopped even when
    /// each turn is quick.
    pub host_calls: u32,
    /// Bytes that one call may write into files itself, all together. 1 GiB: what is larger is the
    /// output of a program, or a backup.
    pub written: u64,
    /// Lines of log that are kept.
    pub log_lines: usize,
    /// Bytes of log that are kept.
    pub log_bytes: usize,
    /// Bytes of one line of log; the rest is cut.
    pub log_line: usize,
    /// Bytes of the result, all strings together.
    pub result: usize,
    /// The longest time that a call may take, even if the step asks for more.
    pub timeout: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            table: 20_000,
            host_call_bytes: 8 << 20,
            host_calls: 100_000,
            written: 1 << 30,
            log_lines: 200,
            log_bytes: 64 << 10,
            log_line: 4 << 10,
            result: 1 << 20,
            timeout: Duration::from_hours(24),
        }
    }
}

/// A limit that stopped a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitReached {
    #[error("the plugin asked for more than {} MiB of memory", limit >> 20)]
    Memory { limit: usize },
    #[error("the plugin asked for a table of more than {limit} elements")]
    Table { limit: usize },
}

impl LimitReached {
    /// The code of the fault of a call that reaches it.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Memory { .. } => "limit.memory",
            Self::Table { .. } => "limit.table",
        }
    }
}

/// Refuses growth beyond the limits with a trap that has a reason; a plugin that only gets "no
/// memory" aborts without one.
#[derive(Debug)]
pub(crate) struct Growth {
    memory: usize,
    table: usize,
    used: usize,
}

impl Growth {
    pub(crate) fn new(limits: &CallLimits) -> Self {
        Self { memory: limits.memory, table: limits.table, used: 0 }
    }
}

impl ResourceLimiter for Growth {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.memory {
            return Err(wasmtime::Error::new(LimitReached::Memory { limit: self.memory }));
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.table {
            return Err(wasmtime::Error::new(LimitReached::Table { limit: self.table }));
        }
        Ok(true)
    }

    // More than any toolchain makes of one component; each costs host memory that `memory_growing`
    // does not see.
    fn instances(&self) -> usize {
        64
    }

    fn tables(&self) -> usize {
        64
    }

    fn memories(&self) -> usize {
        16
    }
}
