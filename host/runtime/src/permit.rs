//! The limits of one call in addition to its grants: only approved effects, and only while the run
//! holds its locks.

use runbook_authority::gate::{ApprovedEffect, ApprovedEffects};
use runbook_authority::{EffectiveGrants, GateDecision, GateRequest};
use std::fmt;
use std::sync::Arc;

/// Called right before each change. Returns false if the run no longer holds its leases.
pub type LeaseCheck = Arc<dyn Fn() -> bool + Send + Sync>;

/// The limits of a call in addition to its grants.
#[derive(Clone, Default)]
pub struct Permit {
    /// The check that the run still holds its leases; `None` if it has none.
    pub lease_check: Option<LeaseCheck>,
    /// The effects that were approved; every other change is denied. `None` if no approval was
    /// needed.
    pub approved_effects: Option<Vec<ApprovedEffect>>,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("approved", &self.approved_effects).finish_non_exhaustive()
    }
}

/// A [`Permit`] during a call: it counts which approved effects have been used.
pub(crate) struct ActivePermit {
    lease_check: Option<LeaseCheck>,
    approved_effects: Option<ApprovedEffects>,
}

impl ActivePermit {
    pub(crate) fn unlimited() -> Self {
        Self { lease_check: None, approved_effects: None }
    }

    pub(crate) fn new(permit: &Permit, effective_grants: &EffectiveGrants) -> Self {
        let approved_effects = permit
            .approved_effects
            .as_ref()
            .map(|effects| ApprovedEffects::new(effects.clone(), effective_grants));
        Self { lease_check: permit.lease_check.clone(), approved_effects }
    }

    /// Decides whether an operation was approved. An approved effect is then used up.
    pub(crate) fn decide(&mut self, request: &GateRequest<'_>) -> GateDecision {
        self.approved_effects
            .as_mut()
            .map_or(GateDecision::Allow, |approved_effects| approved_effects.decide(request))
    }

    /// Whether the run holds its leases now.
    pub(crate) fn holds_leases(&self) -> bool {
        self.lease_check.as_ref().is_none_or(|lease_check| lease_check())
    }
}
