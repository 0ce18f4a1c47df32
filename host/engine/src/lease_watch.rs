//! Until when a run may begin effects, as far as its process knows without asking the journal.

use crate::call_stop::CallStop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Until when the leases of a run certainly live, by the monotonic clock. The loop extends it with
/// each renewal, and calls under way begin no effect after it.
///
/// So a process that was stopped, or whose machine slept, begins no effect when another run may
/// hold its locks.
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

    /// The same watch for one call, which can be stopped by `stop`.
    pub(crate) fn for_call(&self, stop: CallStop) -> Self {
        Self { until: Arc::clone(&self.until), stop }
    }

    /// The request to stop this call. The call is dropped a second after the request.
    pub fn stop(&self) -> &CallStop {
        &self.stop
    }

    /// Sets until when the leases certainly live.
    pub(crate) fn set(&self, until: Duration) {
        self.until.store(nanoseconds(until), Ordering::SeqCst);
    }

    /// Notes that a lease is lost, so that no effect may begin any more.
    pub(crate) fn mark_lost(&self) {
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
        watch.mark_lost();
        assert!(!watch.holds(Duration::ZERO));
    }
}
