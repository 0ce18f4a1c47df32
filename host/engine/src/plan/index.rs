//! The positions of the steps of a plan, so that decisions find steps by position and not by name.

use super::PlannedStep;
use runbook_contract::StepId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The positions of steps in [`super::Plan::steps`].
#[derive(Debug, Clone)]
pub(crate) struct Index {
    by_id: BTreeMap<StepId, usize>,
    /// For each step, the positions of the steps that it needs.
    needs: Vec<Vec<usize>>,
}

impl Index {
    pub(super) fn new(steps: &[Arc<PlannedStep>]) -> Self {
        let by_id: BTreeMap<StepId, usize> =
            steps.iter().enumerate().map(|(position, step)| (step.id.clone(), position)).collect();
        let needs = steps
            .iter()
            .map(|step| step.needs.iter().filter_map(|need| by_id.get(need).copied()).collect())
            .collect();
        Self { by_id, needs }
    }

    pub(crate) fn position(&self, id: &StepId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The positions of the steps that the step at a position needs.
    pub(crate) fn needs(&self, position: usize) -> &[usize] {
        &self.needs[position]
    }
}
