//! How a call under way is asked to stop, so that it can still report what it has done.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

/// Shared by the loop, which asks, and a call, which ends soon afterwards and reports whether
/// anything became final.
#[derive(Debug, Clone, Default)]
pub struct CallStop(Arc<Mutex<StopRequest>>);

#[derive(Debug, Default)]
struct StopRequest {
    is_asked: bool,
    waiting: Vec<Waker>,
}

impl CallStop {
    /// Asks the call to stop. Repeating has no further effect.
    pub fn ask(&self) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_asked = true;
        asked.waiting.drain(..).for_each(Waker::wake);
    }

    /// Whether the call was asked to stop.
    pub fn is_asked(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_asked
    }

    /// Waits until the call is asked to stop.
    pub async fn asked(&self) {
        std::future::poll_fn(|context| {
            let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.is_asked {
                return Poll::Ready(());
            }
            if !asked.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                asked.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
