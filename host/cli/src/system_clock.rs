//! The clocks of this machine.

use runbook_engine::Clock;
use std::time::Duration;

/// Time since boot, including suspend, because a lease also expires while a laptop sleeps.
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// The clocks of this machine.
#[derive(Debug)]
pub struct SystemClock;

impl SystemClock {
    /// A handle to the clocks.
    pub fn new() -> Self {
        Self
    }
}

impl Clock for SystemClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
