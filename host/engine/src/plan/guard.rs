//! The plan of a guard.

use super::{PlannedStep, plan_step};
use crate::model::{Guard, OnBreach};
use runbook_contract::{OperationFacts, StepId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The time limit of one probe of a guard, if the runbook does not say. A probe that hangs
/// gives no answer.
pub const DEFAULT_PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// A probe that is repeated while a run changes things.
#[derive(Debug, Clone)]
pub struct PlannedGuard {
    /// The probe, as a step.
    pub probe: Arc<PlannedStep>,
    /// The time between the end of one probe and the start of the next.
    pub every: Duration,
    /// The number of consecutive probes that must fail before the guard responds, at least 1.
    pub in_a_row: u32,
    /// What a breach leads to.
    pub on_breach: OnBreach,
}

impl PlannedGuard {
    /// The id of the guard.
    pub fn id(&self) -> &StepId {
        &self.probe.id
    }
}

/// Plans a guard. `None` only if nothing is known of its operation, which `check_facts` has
/// refused.
pub(super) fn plan_guard(
    guard: &Guard,
    facts: &BTreeMap<StepId, OperationFacts>,
) -> Option<PlannedGuard> {
    let mut probe = plan_step(&guard.probe, Vec::new(), facts, &BTreeMap::new())?;
    probe.timeout = guard.probe.timeout.unwrap_or(DEFAULT_PROBE_TIMEOUT);
    Some(PlannedGuard {
        probe: Arc::new(probe),
        every: guard.every,
        in_a_row: guard.in_a_row,
        on_breach: guard.on_breach,
    })
}
