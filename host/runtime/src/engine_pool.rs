//! A component, linked on each of the engines of wasmtime on which calls run. There is one engine
//! for each processor, and each thread prefers an engine of its own. Measured with two threads: on
//! one shared engine 1.3 times as fast as one thread (its locks and counters move between
//! processors), on two engines 1.7 times.

use crate::bindings::exports::runbook::plugin::{probe, smoke_test, step};
use crate::host::Host;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::component::InstancePre;

/// A component that is linked on one engine.
pub(crate) struct LinkedComponent {
    pub(crate) instance: InstancePre<Host>,
    pub(crate) exports: Exports,
    /// One permit for each call that may run on the engine at one time.
    pub(crate) permits: Arc<Semaphore>,
}

/// The exports of the component for each kind of operation, looked up once.
pub(crate) struct Exports {
    pub(crate) probe: Option<probe::GuestIndices>,
    pub(crate) smoke_test: Option<smoke_test::GuestIndices>,
    pub(crate) step: Option<step::GuestIndices>,
}

/// A component that is linked on each engine; never empty.
pub(crate) struct LinkedComponents(Vec<LinkedComponent>);

/// The permit of one call to run on an engine; dropping it releases the permit.
pub(crate) struct EnginePermit<'a> {
    pub(crate) engine: &'a LinkedComponent,
    _permit: SemaphorePermit<'a>,
}

impl LinkedComponents {
    pub(crate) fn new(engines: Vec<LinkedComponent>) -> Self {
        assert!(!engines.is_empty(), "there is an engine");
        Self(engines)
    }

    /// Takes a permit: on the thread's own engine if one is free, else on any other engine. If none
    /// is free, waits for the thread's own engine.
    pub(crate) async fn take(&self) -> EnginePermit<'_> {
        let (engines_before, engines_from) = self.0.split_at(thread_index() % self.0.len());
        for engine in engines_from.iter().chain(engines_before) {
            if let Ok(permit) = engine.permits.try_acquire() {
                return EnginePermit { engine, _permit: permit };
            }
        }
        let own_engine = &engines_from[0];
        let permit = own_engine.permits.acquire().await.expect("the semaphore is never closed");
        EnginePermit { engine: own_engine, _permit: permit }
    }
}

/// A number that is unique to this thread.
fn thread_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static INDEX: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    INDEX.with(|index| *index)
}
