//! The locks of the runbook: takes them before the first effect, waits for a busy lock, or ends the
//! run.

use super::leases::LocksResult;
use super::window::WindowState;
use super::{RunError, Runner};
use crate::clock::Clock;
use crate::event::{Cause, HeldLock, LifecycleEvent, RunEnd};
use crate::journal::{Holder, Journal};
use crate::model::OnBusy;
use crate::operate::Operate;
use std::time::Duration;

/// How often a busy lock is tried again.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The wait for a busy lock. The times are of the monotonic clock.
pub(super) struct LockWait {
    since: Duration,
    /// When the run tries again to take its locks.
    pub(super) next_try: Duration,
    /// The name of the busy lock.
    name: String,
}

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Takes the locks, waits for them, or ends the run. Returns whether anything was done.
    pub(super) async fn take_or_await_locks(&mut self) -> Result<bool, RunError> {
        let now = self.clock.monotonic();
        if self.lock_wait.as_ref().is_some_and(|wait| wait.next_try > now) {
            return Ok(false);
        }
        match self.leases.take_locks(&self.plan.locks.exclusive).await? {
            LocksResult::All(mut locks) => {
                self.leases.fill_in_held_between(&mut locks, &self.state().locks).await;
                self.lock_wait = None;
                // Preflights and a busy lock may have taken hours, so the window may be closed by
                // now.
                if self.check_window().await? == WindowState::Open {
                    self.record(LifecycleEvent::StepsBegan { locks }).await?;
                }
            }
            LocksResult::Busy { name, holder, .. } => self.on_lock_busy(name, &holder, now).await?,
        }
        Ok(true)
    }

    async fn on_lock_busy(
        &mut self,
        name: String,
        holder: &Holder,
        now: Duration,
    ) -> Result<(), RunError> {
        let before = self.lock_wait.take();
        let since = before.as_ref().map_or(now, |wait| wait.since);
        let locks = &self.plan.locks;
        if locks.on_busy == OnBusy::Queue || now.saturating_sub(since) < locks.wait {
            let is_recorded = before.is_some_and(|wait| wait.name == name);
            self.lock_wait =
                Some(LockWait { since, next_try: now + LOCK_RETRY_INTERVAL, name: name.clone() });
            if !is_recorded {
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

    /// Takes the locks again for a run that is resumed or undone.
    pub(super) async fn retake_locks(&mut self) -> Result<Vec<HeldLock>, RunError> {
        match self.leases.take_locks(&self.plan.locks.exclusive).await? {
            LocksResult::All(mut locks) => {
                self.leases.fill_in_held_between(&mut locks, &self.state().locks).await;
                Ok(locks)
            }
            LocksResult::Busy { name, holder, left } => {
                Err(RunError::LockBusy { name, holder: Box::new(holder), left })
            }
        }
    }
}
