//! Runs blocking work on a thread of its own, with a flag that is set when the result is no longer
//! needed.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that is set when the call that needs the result has ended, by its deadline or a cancel.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// True if the work should stop. Long work checks this between two pieces.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The error of a stream that was stopped.
    pub(crate) fn error() -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::Interrupted, "the call is over")
    }
}

/// Sets its [`StopFlag`] when dropped.
struct StopOnDrop(StopFlag);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Runs `work` on a blocking thread. When the returned future is dropped, the work's [`StopFlag`]
/// is set.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce(&StopFlag) -> T + Send + 'static,
) -> T {
    let stop = StopFlag::default();
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
