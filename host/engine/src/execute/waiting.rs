//! Records what a run waits for, where the journal does not show it already.

use super::{RunError, Runner};
use crate::advance::will_pause;
use crate::clock::Clock;
use crate::event::{AfterWait, CallPurpose, WaitEvent};
use crate::journal::Journal;
use crate::operate::Operate;
use runbook_contract::StepId;
use std::time::Duration;

/// A call without a record of its own is reported when it takes longer than this.
pub(super) const SLOW_CALL_AFTER: Duration = Duration::from_secs(5);

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Records what the run waits for, once for each call: calls without a record of their own that
    /// take long, and every call that keeps the run from pausing.
    pub(super) async fn notify_waiting(&mut self) -> Result<(), RunError> {
        let now = self.clock.monotonic();
        let then = if will_pause(&self.plan, self.state(), &self.frontier) {
            AfterWait::Pauses
        } else {
            AfterWait::GoesOn
        };
        let mut waiting: Vec<(StepId, CallPurpose, Duration, Duration)> = Vec::new();
        for (step, pending_call) in
            self.calls.pending_mut().filter(|(_, pending_call)| !pending_call.is_guard())
        {
            if let Some(call) = pending_call.report_waiting(then, now) {
                waiting.push((
                    step.clone(),
                    call,
                    now.saturating_sub(pending_call.began()),
                    pending_call.timeout(),
                ));
            }
        }
        for (step, call, waited, at_most) in waiting {
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
