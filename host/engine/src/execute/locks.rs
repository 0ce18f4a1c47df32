//! The locks of the runbook: taken before the first effect, waited for, or the reason why the run
//! ends.

use super::leases::LocksResult;
use super::window::Entry;
use super::{RunError, Runner};
use crate::clock::Clock;
use crate::event::{Cause, HeldLock, LifecycleEvent, RunEnd};
use crate::journal::{Holder, Journal};
use crate::model::OnBusy;
use crate::operate::Operate;
use std::time::Duration;

/// How often a busy lock is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// A lock that is waited for. The times are of the monotonic clock.
pub(super) struct LockWaiting {
    since: Duration,
    /// When it is tried again.
    pub(super) next_try: Duration,
    name: String,
}

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Takes the locks, or waits for them, or ends the run; whether anything was done.
    pub(super) async fn begin_locks(&mut self) -> Result<bool, RunError> {
        let now = self.clock.monotonic();
        if self.waiting.as_ref().is_some_and(|waiting| waiting.next_try > now) {
            return Ok(false);
        }
        match self.leases.take_locks(&self.plan.locks.exclusive).await? {
            LocksResult::All(mut locks) => {
                self.leases.name_holders(&mut locks, &self.state().locks).await;
                self.waiting = None;
                // Preflights and a busy lock may have taken hours.
                if self.check_window().await? == Entry::Open {
                    self.record(LifecycleEvent::StepsBegan { locks }).await?;
                }
            }
            LocksResult::Busy { name, holder, .. } => self.busy(name, &holder, now).await?,
        }
        Ok(true)
    }

    async fn busy(&mut self, name: String, holder: &Holder, now: Duration) -> Result<(), RunError> {
        let before = self.waiting.take();
        let since = before.as_ref().map_or(now, |waiting| waiting.since);
        let locks = &self.plan.locks;
        if locks.on_busy == OnBusy::Queue || now.saturating_sub(since) < locks.wait {
            let known = before.is_some_and(|waiting| waiting.name == name);
            self.waiting =
                Some(LockWaiting { since, next_try: now + TRY_AGAIN, name: name.clone() });
            if !known {
                self.record(LifecycleEvent::LockWaiting { name, holder: holder.to_string() })
                    .await?;
            }
            return Ok(());
        }
        let end = match locks.on_busy {
            OnBusy::Skip => RunEnd::SucceededWithWarnings,
            OnBusy::Fail | OnBusy::Queue => RunEnd::FailedClean,
        };
        let cause = Cause::LockBusy { name, holder: holder.to_string() };
        self.record(LifecycleEvent::FinallyBegan { end, cause: Some(cause) }).await
    }

    /// Takes the locks again, of a run that goes on or is undone.
    pub(super) async fn retake_locks(&mut self) -> Result<Vec<HeldLock>, RunError> {
        match self.leases.take_locks(&self.plan.locks.exclusive).await? {
            LocksResult::All(mut locks) => {
                self.leases.name_holders(&mut locks, &self.state().locks).await;
                Ok(locks)
            }
            LocksResult::Busy { name, holder, left } => {
                Err(RunError::LockBusy { name, holder: Box::new(holder), left })
            }
        }
    }
}
