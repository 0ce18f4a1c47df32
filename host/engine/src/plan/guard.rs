//! A guard, ready to look.

use super::{PlannedStep, plan_step};
use crate::model::{Guard, OnBreach};
use runbook_contract::{OperationFacts, StepId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long one look may take, if the runbook does not say. A look that hangs has seen nothing.
pub const DEFAULT_LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// What is watched while a run changes things.
#[derive(Debug, Clone)]
pub struct PlannedGuard {
    /// The probe that is asked, as a step.
    pub look: Arc<PlannedStep>,
    /// How long is waited between two looks.
    pub every: Duration,
    /// How many looks in a row must be bad before it responds, at least 1.
    pub in_a_row: u32,
    /// What a breach leads to.
    pub on_breach: OnBreach,
}

impl PlannedGuard {
    /// The id of the guard.
    pub fn id(&self) -> &StepId {
        &self.look.id
    }
}

/// Plans a guard. `None` only if nothing is known of its operation, which `check_facts` has
/// refused.
pub(super) fn plan_guard(
    guard: &Guard,
    facts: &BTreeMap<StepId, OperationFacts>,
) -> Option<PlannedGuard> {
    let mut look = plan_step(&guard.look, Vec::new(), facts, &BTreeMap::new())?;
    look.timeout = guard.look.timeout.unwrap_or(DEFAULT_LOOK_TIMEOUT);
    Some(PlannedGuard {
        look: Arc::new(look),
        every: guard.every,
        in_a_row: guard.in_a_row,
        on_breach: guard.on_breach,
    })
}
