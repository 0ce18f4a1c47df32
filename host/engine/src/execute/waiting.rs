//! What a run waits for, when nothing in the journal says so already.

use super::{RunError, Runner};
use crate::advance::wants_pause;
use crate::clock::Clock;
use crate::event::{AfterWait, CallPurpose, WaitEvent};
use crate::journal::Journal;
use crate::operate::Operate;
use runbook_contract::StepId;
use std::time::Duration;

/// A call without a record of its own is reported when it takes longer than this.
pub(super) const TELL_AFTER: Duration = Duration::from_secs(5);

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Writes down what the run waits for, each once: calls before an effect that take long, and
    /// every call that keeps it from pausing.
    pub(super) async fn notify_waiting(&mut self) -> Result<(), RunError> {
        let now = self.clock.monotonic();
        let then = if wants_pause(&self.plan, self.state(), &self.frontier) {
            AfterWait::Pauses
        } else {
            AfterWait::GoesOn
        };
        let mut told: Vec<(StepId, CallPurpose, Duration, Duration)> = Vec::new();
        for (step, pending_call) in
            self.calls.pending_mut().filter(|(_, pending_call)| !pending_call.is_guard())
        {
            if let Some(call) = pending_call.tell(then, now) {
                told.push((
                    step.clone(),
                    call,
                    now.saturating_sub(pending_call.began()),
                    pending_call.timeout(),
                ));
            }
        }
        for (step, call, waited, at_most) in told {
            let (waited_ms, at_most_ms) = (milliseconds(waited), milliseconds(at_most));
            self.record(WaitEvent::StillWaiting { call, waited_ms, at_most_ms, then }.of(step))
                .await?;
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
