//! The limits of nested files.

use super::Runner;
use crate::clock::Clock;
use crate::journal::Journal;
use crate::operate::Operate;
use crate::plan::group::enclosing_groups;
use crate::plan::{PlannedGroup, PlannedStep};
use crate::state::{StepPhase, count_effects};
use runbook_contract::{ErrorClass, Fault, Proposal, StepId};
use std::time::Duration;

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// The fault if this proposal would exceed `max_effects` of a nested file around the step.
    pub(super) fn check_group_limits(
        &self,
        step: &PlannedStep,
        proposal: &Proposal,
    ) -> Option<Fault> {
        enclosing_groups(step.group.as_ref()).find_map(|id| {
            let group = self.plan.groups.get(&id)?;
            let mut effects = self.state().group_effects.get(&id).cloned().unwrap_or_default();
            count_effects(&mut effects, proposal);
            let (name, max) = group
                .max_effects
                .iter()
                .find(|(name, max)| effects.get(*name).is_some_and(|n| n > max))?;
            let message = format!(
                "this would be effect {} of `{name}` in `{id}`, whose `max_effects` allows {max}",
                effects[name]
            );
            Some(Fault::new(ErrorClass::Limit, "engine.max-effects", message))
        })
    }

    /// Whether the steps of any nested file take longer than its `timeout`.
    pub(super) fn is_group_timed_out(&self, now: Duration) -> bool {
        let Some(state) = self.recorder.state_if_loaded() else { return false };
        let is_open = |id: &StepId| state.step(id).phase == StepPhase::Repeating;
        let is_timed_out = |(id, group): (&StepId, &PlannedGroup)| {
            group
                .timeout
                .is_some_and(|timeout| is_open(id) && self.timers.elapsed(id, now) >= timeout)
        };
        self.plan.groups.iter().any(is_timed_out)
    }
}
