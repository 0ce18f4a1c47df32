//! The further limits of one call within its grants: approved effects only, and only while its run
//! holds its locks.

use runbook_authority::gate::{Approved, ApprovedEffect};
use runbook_authority::{Effective, GateDecision, Operation};
use std::fmt;
use std::sync::Arc;

/// Asked right before each change.
pub type PermitCheck = Arc<dyn Fn() -> bool + Send + Sync>;

/// The limits of a call in addition to its grants.
#[derive(Clone, Default)]
pub struct Permit {
    /// Whether a change may begin now; always, if absent.
    pub in_time: Option<PermitCheck>,
    /// The effects that a person approved; no other may happen. `None` if no approval was needed.
    pub approved: Option<Vec<ApprovedEffect>>,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("approved", &self.approved).finish_non_exhaustive()
    }
}

/// The same, for a step with its grants.
pub(crate) struct Permitted {
    in_time: Option<PermitCheck>,
    approved: Option<Approved>,
}

impl Permitted {
    pub(crate) fn unlimited() -> Self {
        Self { in_time: None, approved: None }
    }

    pub(crate) fn new(limit: &Permit, effective: &Effective) -> Self {
        let approved =
            limit.approved.as_ref().map(|effects| Approved::new(effects.clone(), effective));
        Self { in_time: limit.in_time.clone(), approved }
    }

    /// Whether it was approved, which then counts as done.
    pub(crate) fn decide(&mut self, operation: &Operation<'_>) -> GateDecision {
        self.approved.as_mut().map_or(GateDecision::Allow, |approved| approved.decide(operation))
    }

    /// Whether a change may begin now.
    pub(crate) fn is_in_time(&self) -> bool {
        self.in_time.as_ref().is_none_or(|in_time| in_time())
    }
}
