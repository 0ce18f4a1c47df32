//! How the engine calls plugins. It knows no wasm: slots, grants and components are hidden behind
//! [`Operate`].

use crate::lease_watch::LeaseWatch;
use crate::partial_input::Misfit;
use runbook_contract::{Call, CallReturn, Fault, Json, Proposal, StepId};

/// The code of the [`Fault`] of a call in which something was denied because its run may not hold
/// its locks any more. Whether the call took effect is found out as after a crash.
pub const LEASE_LOST: &str = "engine.lease-lost";

/// The code of the [`Fault`] of a call that was denied only because nothing may be changed in a
/// plan or a dry run.
pub const EFFECTS_OFF: &str = "engine.effects-off";

/// The code of the [`Fault`] of a call that was not made, because the operation of an earlier
/// attempt still goes on outside of the host and could change the result.
pub const STILL_RUNS: &str = "engine.still-runs";

/// Calls operations of plugins. The cli implements it with the runtime, tests with fake plugins.
pub trait Operate: Sync {
    /// The parts of an input that do not fit the schema of the operation at this call site. Empty
    /// if there is no schema.
    fn misfits(&self, site: &StepId, input: &Json) -> Vec<Misfit> {
        let (_, _) = (site, input);
        Vec::new()
    }

    /// Why the effects of a proposal would be denied at this call site when they are made, as far as
    /// the proposal tells them exactly. `None` if nothing is known against them.
    fn denied_effect(&self, site: &StepId, proposal: &Proposal) -> Option<Fault> {
        let (_, _) = (site, proposal);
        None
    }

    /// Calls an operation. Dropping the future must stop the call. `leases` says until when the
    /// call may begin to change something: after that, the run may not hold its locks any more.
    ///
    /// # Errors
    /// The operation failed, was denied, ran out of time, was stopped, or returned something that
    /// does not fit its schema. The [`Fault`] says whether it may have had an effect.
    fn call(
        &self,
        call: Call,
        leases: LeaseWatch,
    ) -> impl Future<Output = Result<CallReturn, Fault>> + Send;
}
