//! Runbooks: model, plan, the state machine, execution, undo and recovery.
//!
//! The engine knows no wasm, no SQL and no terminal. It asks [`Operate`] to call operations, writes what happens to a
//! [`Journal`] before and after every effect, and reads time from a [`Clock`].

mod clock;
mod event;
mod ids;
mod journal;
mod operate;

pub use clock::Clock;
pub use event::*;
pub use ids::{RunId, StepId};
pub use journal::{Acquired, Holder, Journal, Lease, LeaseRequest, Renewed, RunHeader, RunSummary, StoredRun};
pub use operate::*;
