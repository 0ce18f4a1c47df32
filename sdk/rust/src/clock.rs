//! Time. The clock of the standard library does not work in the sandbox. In a native build, such as
//! `cargo test`, this module uses the clock of the machine.

use std::time::Duration;

#[cfg(target_family = "wasm")]
use crate::bindings::runbook::base::clock as host;
#[cfg(not(target_family = "wasm"))]
use machine as host;

/// Milliseconds since 1970-01-01T00:00:00Z, by the host's clock.
pub fn now_ms() -> u64 {
    host::now_ms()
}

/// The time since an arbitrary start, to the nanosecond; it never goes back.
pub fn monotonic() -> Duration {
    Duration::from_nanos(host::monotonic_ns())
}

/// The milliseconds since `start`, an earlier value of [`monotonic`].
pub fn ms_since(start: Duration) -> u64 {
    u64::try_from(monotonic().saturating_sub(start).as_millis()).unwrap_or(u64::MAX)
}

/// Waits for this long. The time counts against the step's timeout, and a cancelled run ends the
/// wait.
pub fn sleep(duration: Duration) {
    host::sleep_ms(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX));
}

#[cfg(not(target_family = "wasm"))]
mod machine {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant, SystemTime};

    pub(super) fn now_ms() -> u64 {
        let since_epoch =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn monotonic_ns() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn sleep_ms(duration_ms: u32) {
        std::thread::sleep(Duration::from_millis(duration_ms.into()));
    }
}
