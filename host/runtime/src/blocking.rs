//! Blocking work on a thread of its own, which learns when its result is not wanted any more.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the call that wants the result is over: cut off at its deadline or cancelled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Long work checks this between two pieces, and stops if it is set.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The error of a stream that gave up.
    pub(crate) fn error() -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::Interrupted, "the call is over")
    }
}

/// Sets its [`Stop`] when dropped.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Runs `work` on a blocking thread. When the returned future is dropped, the work's [`Stop`] is
/// set.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce(&Stop) -> T + Send + 'static) -> T {
    let stop = Stop::default();
    let guard = StopOnDrop(stop.clone());
    let result = tokio::task::spawn_blocking(move || work(&stop)).await;
    drop(guard);
    match result {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => unreachable!(
                "a blocking task that has started is never cancelled, and the runtime outlives its \
                 calls"
            ),
        },
    }
}
