//! The limits of one call, and how they are enforced.

use std::time::Duration;
use wasmtime::ResourceLimiter;

/// The limits of one call. The defaults are well above the needs of every bundled plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLimits {
    /// Bytes of linear memory, of all memories together. 64 MiB: a plugin holds responses, but
    /// streams dumps.
    pub memory: usize,
    /// How many elements one table may have.
    pub table_elements: usize,
    /// Bytes that one host call may carry from the guest to the host. 8 MiB: the largest file or
    /// body that a grant allows by default.
    pub host_call_bytes: usize,
    /// Host calls of one call of the plugin. 100,000: an endless loop of fast host calls is
    /// stopped.
    pub host_calls: u32,
    /// Bytes that one call may write into files itself, all together. 1 GiB: larger files are the
    /// output of programs, or backups, which do not count.
    pub files_written_bytes: u64,
    /// Lines of log that are kept.
    pub log_lines: usize,
    /// Bytes of log that are kept.
    pub log_bytes: usize,
    /// Bytes of one line of log; the rest is cut.
    pub log_line_bytes: usize,
    /// Bytes of the result, all strings together.
    pub result_bytes: usize,
    /// The longest time that a call may take, even if the step asks for more.
    pub timeout: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            table_elements: 20_000,
            host_call_bytes: 8 << 20,
            host_calls: 100_000,
            files_written_bytes: 1 << 30,
            log_lines: 200,
            log_bytes: 64 << 10,
            log_line_bytes: 4 << 10,
            result_bytes: 1 << 20,
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

/// Stops a plugin that grows beyond the limits with a trap that names the limit. (If `memory.grow`
/// only failed, the plugin would abort without a reason.)
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    memory: usize,
    table_elements: usize,
    used: usize,
}

impl MemoryLimiter {
    pub(crate) fn new(limits: &CallLimits) -> Self {
        Self { memory: limits.memory, table_elements: limits.table_elements, used: 0 }
    }
}

impl ResourceLimiter for MemoryLimiter {
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
        if desired > self.table_elements {
            return Err(wasmtime::Error::new(LimitReached::Table { limit: self.table_elements }));
        }
        Ok(true)
    }

    // More than any toolchain needs for one component. Each uses host memory that `memory_growing`
    // does not count.
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

/// A time limit in a message, as files write it: `10s`, `1.5s`, `300ms`. What is left of a limit of
/// seconds is rounded to a tenth, so that 9.9999 s is `10s`.
pub(crate) fn format_limit(limit: Duration) -> String {
    let step = if limit < Duration::from_secs(1) { 1 } else { 100 };
    let ms = (limit.as_micros() + step * 500) / (step * 1_000) * step;
    format!("{:?}", Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_time_limit_is_shown_as_the_limit_was_written() {
        for (micros, shown) in [
            (9_999_943, "10s"),
            (10_000_000, "10s"),
            (1_500_000, "1.5s"),
            (999_999, "1s"),
            (300_000, "300ms"),
            (299_600, "300ms"),
            (90_000_000, "90s"),
        ] {
            assert_eq!(format_limit(Duration::from_micros(micros)), shown);
        }
    }
}
