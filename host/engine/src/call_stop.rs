//! Asks a call under way to stop, so that it can still report what it has done.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

/// A request to stop one call, shared by the loop and the call. The loop makes the request; the
/// call then ends soon, and reports whether its effect became final.
#[derive(Debug, Clone, Default)]
pub struct CallStop(Arc<Mutex<StopRequest>>);

#[derive(Debug, Default)]
struct StopRequest {
    is_requested: bool,
    waiting: Vec<Waker>,
}

impl CallStop {
    /// Asks the call to stop. Repeating has no further effect.
    pub fn request(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_requested = true;
        state.waiting.drain(..).for_each(Waker::wake);
    }

    /// Whether the call was asked to stop.
    pub fn is_requested(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_requested
    }

    /// Waits until the call is asked to stop.
    pub async fn requested(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.is_requested {
                return Poll::Ready(());
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                state.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
