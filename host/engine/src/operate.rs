//! How the engine calls plugins. It knows no wasm: slots, grants and components are hidden behind
//! [`Operate`].

use crate::known::Misfit;
use crate::lease_watch::LeaseWatch;
use runbook_contract::{Call, CallReturn, Fault, Json, StepId};

/// The code of a [`Fault`] of a call in which something was denied because its run may not hold its
/// locks any more: the call is as good as cut off, and whether it took effect is found out as after
/// a crash.
pub const LEASE_LOST: &str = "engine.lease-lost";

/// The code of a [`Fault`] of a call that was not made, because what an earlier attempt of its step
/// began still goes on outside. It could overtake whatever is seen or done now.
pub const STILL_RUNS: &str = "engine.still-runs";

/// Calls operations. The cli implements it with the runtime; tests with a fake world.
pub trait Operate: Sync {
    /// What of an input does not fit the operation at this call site. Nothing, where there is no
    /// schema to compare it with.
    fn misfits(&self, site: &StepId, input: &Json) -> Vec<Misfit> {
        let (_, _) = (site, input);
        Vec::new()
    }

    /// Calls it. Dropping the future must stop the call. `leases` says until when it may begin to
    /// change something: after that its run holds its locks no longer.
    ///
    /// # Errors
    /// [`Fault`] if the operation failed, was denied, ran out of time, was stopped, or answered
    /// something that does not fit its schema.
    ///
    /// # Errors
    /// Why the operation did not do what was asked, with whether it may have had an effect.
    fn call(
        &self,
        call: Call,
        leases: LeaseWatch,
    ) -> impl Future<Output = Result<CallReturn, Fault>> + Send;
}
