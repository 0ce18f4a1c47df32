//! The clock as a trait, so that tests control the time.

use jiff::Timestamp;
use std::time::Duration;

/// The only source of time in the engine.
pub trait Clock: Sync {
    /// The wall clock, for records. It may jump.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start, for deadlines and delays. It never goes back.
    fn monotonic(&self) -> Duration;

    /// Waits for at least this long by the monotonic clock.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}
