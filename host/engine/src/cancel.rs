//! The signal by which an operator stops a run.

use futures_util::task::AtomicWaker;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

/// What the operator has asked for, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CancelLevel {
    /// Nothing was asked for; the run goes on.
    None,
    /// End in order: finish or stop the running steps, undo as `[undo]` says.
    Orderly,
    /// Stop now; the run can be resumed.
    Now,
}

/// Carries a cancel from the signal handler to the run. Clones share one level. Only one task may
/// wait on it.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<CancelState>);

#[derive(Debug, Default)]
struct CancelState {
    level: AtomicU8,
    by: OnceLock<String>,
    waker: AtomicWaker,
}

impl CancelToken {
    /// A token without a cancel.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the level: the first call asks for an orderly end, every later one for an immediate
    /// stop.
    pub fn cancel(&self) {
        let raise = |level: u8| Some(level.saturating_add(1).min(2));
        // The closure always gives a level, so the update cannot fail.
        let _ = self.0.level.fetch_update(Ordering::SeqCst, Ordering::SeqCst, raise);
        self.0.waker.wake();
    }

    /// As [`Self::cancel`], for another operator than the one who executes the run. The first name
    /// is kept.
    pub fn cancel_for(&self, who: &str) {
        let _ = self.0.by.set(who.to_owned());
        self.cancel();
    }

    /// The operator who asked; `None` if it is the one who executes the run.
    pub fn by(&self) -> Option<&str> {
        self.0.by.get().map(String::as_str)
    }

    /// Asks for an immediate stop in one step, without passing through the orderly level.
    pub fn stop_now(&self) {
        self.0.level.fetch_max(2, Ordering::SeqCst);
        self.0.waker.wake();
    }

    /// The highest level that was asked for.
    pub fn level(&self) -> CancelLevel {
        match self.0.level.load(Ordering::SeqCst) {
            0 => CancelLevel::None,
            1 => CancelLevel::Orderly,
            _ => CancelLevel::Now,
        }
    }

    /// Waits until a higher level than `seen` is asked for.
    pub async fn raised_above(&self, seen: CancelLevel) {
        std::future::poll_fn(|context| {
            self.0.waker.register(context.waker());
            if self.level() > seen { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_cancel_raises_the_level_and_the_third_changes_nothing() {
        let token = CancelToken::new();
        let levels: Vec<CancelLevel> = (0..3)
            .map(|_| {
                token.cancel();
                token.level()
            })
            .collect();
        assert_eq!(levels, [CancelLevel::Orderly, CancelLevel::Now, CancelLevel::Now]);
    }
}
