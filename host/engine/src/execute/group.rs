//! The limits of nested files.

use super::Runner;
use crate::clock::Clock;
use crate::journal::Journal;
use crate::operate::Operate;
use crate::plan::group::around;
use crate::plan::{PlannedGroup, PlannedStep};
use crate::state::{StepPhase, count_effects};
use runbook_contract::{ErrorClass, Fault, Proposal, StepId};
use std::time::Duration;

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// The first nested file whose own limit of effects this proposal would break.
    pub(super) fn group_objection(&self, step: &PlannedStep, proposal: &Proposal) -> Option<Fault> {
        around(step.group.as_ref()).find_map(|id| {
            let group = self.plan.groups.get(&id)?;
            let mut effects = self.state().group_effects.get(&id).cloned().unwrap_or_default();
            count_effects(&mut effects, proposal);
            let (name, most) = group
                .max_effects
                .iter()
                .find(|(name, most)| effects.get(*name).is_some_and(|n| n > most))?;
            let message = format!(
                "this would be effect {} of `{name}` in `{id}`, whose `max_effects` allows {most}",
                effects[name]
            );
            Some(Fault::new(ErrorClass::Limit, "engine.max-effects", message))
        })
    }

    /// Whether the steps of a nested file take longer than its `timeout`.
    pub(super) fn is_group_over(&self, now: Duration) -> bool {
        let Some(state) = self.recorder.known_state() else { return false };
        let is_open = |id: &StepId| state.step(id).phase == StepPhase::Repeating;
        let over = |(id, group): (&StepId, &PlannedGroup)| {
            group
                .timeout
                .is_some_and(|timeout| is_open(id) && self.timers.elapsed(id, now) >= timeout)
        };
        self.plan.groups.iter().any(over)
    }
}
