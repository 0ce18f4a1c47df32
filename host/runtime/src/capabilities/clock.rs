//! The clock, which every plugin may use.

use crate::bindings::runbook::base::clock as wit;
use crate::host::HostCall;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The zero of `monotonic-ns`. It is arbitrary, so that a plugin does not learn the host's uptime.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since 1970-01-01T00:00:00Z, by the clock of the host.
pub(crate) fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

impl wit::Host for HostCall<'_> {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(now_ms())
    }

    fn monotonic_ns(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    async fn sleep_ms(&mut self, duration_ms: u32) {
        tokio::time::sleep(Duration::from_millis(duration_ms.into())).await;
    }
}
