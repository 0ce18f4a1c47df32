//! Time. The language's own clock does not work in the sandbox.

use crate::bindings::runbook::base::clock;
use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub fn now_ms() -> u64 {
    clock::now_ms()
}

/// Time since an arbitrary start; never goes back.
pub fn monotonic() -> Duration {
    Duration::from_nanos(clock::monotonic_ns())
}

/// Waits. The time counts against the step's timeout.
pub fn sleep(duration: Duration) {
    clock::sleep_ms(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX));
}
