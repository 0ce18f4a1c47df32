//! Where calls run. A pool is shared by as many engines as there are processors, and a thread calls
//! on the engine of its own as long as that has room: on one engine for all, two threads together
//! were 1.3 times as fast as one (the locks of its pool and the counters of the shared code go from
//! processor to processor), on two engines 1.7 times.

use crate::bindings::exports::runbook::plugin::{probe, smoke_test, step};
use crate::host::Host;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::component::InstancePre;

/// A component, ready on one engine.
pub(crate) struct PooledEngine {
    pub(crate) instance: InstancePre<Host>,
    pub(crate) exports: Exports,
    /// As many as calls may be on the engine at one time.
    pub(crate) permits: Arc<Semaphore>,
}

/// The exports of each kind, looked up once.
pub(crate) struct Exports {
    pub(crate) probe: Option<probe::GuestIndices>,
    pub(crate) smoke_test: Option<smoke_test::GuestIndices>,
    pub(crate) step: Option<step::GuestIndices>,
}

/// A component, ready on each engine; never empty.
pub(crate) struct EnginePool(Vec<PooledEngine>);

/// A place that one call has until it drops this.
pub(crate) struct EnginePermit<'a> {
    pub(crate) place: &'a PooledEngine,
    _permit: SemaphorePermit<'a>,
}

impl EnginePool {
    pub(crate) fn new(engines: Vec<PooledEngine>) -> Self {
        assert!(!engines.is_empty(), "there is an engine");
        Self(engines)
    }

    /// Takes a place: the thread's own, or any that has room, or the thread's own as soon as that
    /// has.
    pub(crate) async fn take(&self) -> EnginePermit<'_> {
        let (before, from) = self.0.split_at(thread_index() % self.0.len());
        for place in from.iter().chain(before) {
            if let Ok(permit) = place.permits.try_acquire() {
                return EnginePermit { place, _permit: permit };
            }
        }
        let own = &from[0];
        let permit = own.permits.acquire().await.expect("the semaphore is never closed");
        EnginePermit { place: own, _permit: permit }
    }
}

/// A number of this thread's own.
fn thread_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SEAT: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    SEAT.with(|thread_index| *thread_index)
}
