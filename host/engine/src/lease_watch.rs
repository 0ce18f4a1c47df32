//! Until when a run may begin effects, as far as its process knows without asking the journal.

use crate::call_stop::CallStop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Until when the leases of a run certainly live, by the monotonic clock. The loop renews them, and
/// calls under way begin nothing after it.
///
/// A process that was stopped, or whose machine slept, learns from it that another run may hold its
/// locks by now.
#[derive(Debug, Clone)]
pub struct LeaseWatch {
    until: Arc<AtomicU64>,
    stop: CallStop,
}

impl LeaseWatch {
    /// A watch for calls that need no lease: a check, a dry run.
    pub fn unlimited() -> Self {
        Self { until: Arc::new(AtomicU64::new(u64::MAX)), stop: CallStop::default() }
    }

    /// Whether an effect may begin now.
    pub fn holds(&self, now: Duration) -> bool {
        nanoseconds(now) < self.until.load(Ordering::SeqCst)
    }

    /// The same watch for one call, which `stop` can ask to end before its time.
    pub(crate) fn of_call(&self, stop: CallStop) -> Self {
        Self { until: Arc::clone(&self.until), stop }
    }

    /// When the call is to end before its time. It is dropped a second later.
    pub fn stop(&self) -> &CallStop {
        &self.stop
    }

    /// Sets until when the leases certainly live.
    pub(crate) fn set(&self, until: Duration) {
        self.until.store(nanoseconds(until), Ordering::SeqCst);
    }

    /// Says that a lease is lost, so that nothing more may be changed.
    pub(crate) fn end(&self) {
        self.until.store(0, Ordering::SeqCst);
    }
}

/// 64 bits of nanoseconds are 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_may_begin_before_the_end_and_not_at_it() {
        let watch = LeaseWatch::unlimited();
        assert!(watch.holds(Duration::from_hours(24 * 365)));
        watch.set(Duration::from_secs(30));
        assert_eq!(
            (watch.holds(Duration::from_millis(29_999)), watch.holds(Duration::from_secs(30))),
            (true, false)
        );
        watch.end();
        assert!(!watch.holds(Duration::ZERO));
    }
}
