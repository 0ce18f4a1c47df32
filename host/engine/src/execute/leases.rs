//! Locks: taken before the first effect, kept alive while the run goes on, released at every end.

use super::window::Entry;
use super::{RunError, Runner};
use crate::clock::Clock;
use crate::event::{Cause, HeldLock, RunEnd, RunEvent};
use crate::journal::{Acquired, Holder, Journal, Lease, LeaseRequest, Renewed};
use crate::model::OnBusy;
use crate::operate::Operate;
use jiff::Timestamp;
use std::time::Duration;

/// How long a lease lives without a heartbeat: a dead operator blocks nobody for longer.
pub const LEASE_TTL: Duration = Duration::from_secs(30);
/// How often leases are renewed: two may be missed.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often a busy lock is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The leases of a run.
#[derive(Default)]
pub(super) struct Leases {
    held: Vec<Lease>,
    lost: Option<String>,
    next_beat: Option<Duration>,
    waiting: Option<Waiting>,
}

struct Waiting {
    since: Duration,
    next_try: Duration,
    name: String,
}

impl Leases {
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    pub(super) fn next_beat(&self) -> Option<Duration> {
        self.next_beat
    }

    pub(super) fn next_try(&self) -> Option<Duration> {
        self.waiting.as_ref().map(|waiting| waiting.next_try)
    }
}

/// What came of trying to take several locks.
pub(super) enum Taken {
    All(Vec<HeldLock>),
    Busy { name: String, holder: Holder },
}

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Takes the right to execute the run.
    pub(super) async fn take_run(&mut self) -> Result<(), RunError> {
        let name = format!("run:{}", self.options.run);
        match self.take(&name).await? {
            Acquired::Held(lease) => {
                self.hold(lease);
                Ok(())
            }
            Acquired::Busy { holder, .. } => Err(RunError::Busy { run: self.options.run, holder: Box::new(holder) }),
        }
    }

    /// Takes all locks of the plan or none, in the order of their names.
    pub(super) async fn take_locks(&mut self) -> Result<Taken, RunError> {
        let mut taken: Vec<Lease> = Vec::new();
        for name in &self.plan.locks.exclusive {
            match self.take(&format!("lock:{name}")).await? {
                Acquired::Held(lease) => taken.push(lease),
                Acquired::Busy { holder, .. } => {
                    for lease in &taken {
                        self.journal.release(lease).await.map_err(RunError::journal)?;
                    }
                    return Ok(Taken::Busy { name: name.clone(), holder });
                }
            }
        }
        let locks = taken.iter().map(|lease| HeldLock {
            name: lease.name.trim_start_matches("lock:").to_owned(),
            token: lease.token,
            taken_from: lease.taken_from.as_ref().map(ToString::to_string),
        });
        let locks = locks.collect();
        for lease in taken {
            self.hold(lease);
        }
        Ok(Taken::All(locks))
    }

    async fn take(&self, name: &str) -> Result<Acquired, RunError> {
        let holder =
            Holder { run: self.options.run, executor: self.executor, host: self.options.host.clone(), pid: self.options.pid };
        let mut request = LeaseRequest { name: name.to_owned(), holder, now: self.clock.now(), ttl: LEASE_TTL, steal: None };
        let acquired = self.journal.acquire(&request).await.map_err(RunError::journal)?;
        match acquired {
            Acquired::Busy { ref holder, token, .. } if (self.options.is_dead)(holder) => {
                request.steal = Some(token);
                self.journal.acquire(&request).await.map_err(RunError::journal)
            }
            other => Ok(other),
        }
    }

    fn hold(&mut self, lease: Lease) {
        self.leases.held.push(lease);
        self.leases.next_beat.get_or_insert(self.clock.monotonic() + HEARTBEAT);
    }

    /// Takes the locks, or waits for them, or ends the run; whether anything was done.
    pub(super) async fn begin_locks(&mut self) -> Result<bool, RunError> {
        let now = self.clock.monotonic();
        if self.leases.next_try().is_some_and(|next| next > now) {
            return Ok(false);
        }
        match self.take_locks().await? {
            Taken::All(locks) => {
                self.leases.waiting = None;
                // Preflights and a busy lock may have taken hours.
                if self.check_window().await? == Entry::Open {
                    self.record(RunEvent::StepsBegan { locks }).await?;
                }
            }
            Taken::Busy { name, holder } => self.busy(&name, &holder, now).await?,
        }
        Ok(true)
    }

    async fn busy(&mut self, name: &str, holder: &Holder, now: Duration) -> Result<(), RunError> {
        let since = self.leases.waiting.as_ref().map_or(now, |waiting| waiting.since);
        let known = self.leases.waiting.as_ref().is_some_and(|waiting| waiting.name == name);
        let patient = self.plan.locks.on_busy == OnBusy::Queue || now.saturating_sub(since) < self.plan.locks.wait;
        if patient {
            self.leases.waiting = Some(Waiting { since, next_try: now + TRY_AGAIN, name: name.to_owned() });
            if !known {
                self.record(RunEvent::LockWaiting { name: name.to_owned(), holder: holder.to_string() }).await?;
            }
            return Ok(());
        }
        self.leases.waiting = None;
        let end = match self.plan.locks.on_busy {
            OnBusy::Skip => RunEnd::SucceededWithWarnings,
            OnBusy::Fail | OnBusy::Queue => RunEnd::FailedClean,
        };
        let cause = Cause::LockBusy { name: name.to_owned(), holder: holder.to_string() };
        self.record(RunEvent::FinallyBegan { end, cause: Some(cause) }).await
    }

    /// Renews all leases when it is time. One that is lost stops the run before its next effect.
    pub(super) async fn heartbeat(&mut self) -> Result<(), RunError> {
        let now = self.clock.monotonic();
        if self.leases.next_beat.is_none_or(|beat| beat > now) {
            return Ok(());
        }
        let at: Timestamp = self.clock.now();
        for lease in &self.leases.held {
            match self.journal.renew(lease, at, LEASE_TTL).await.map_err(RunError::journal)? {
                Renewed::Held => {}
                Renewed::Lost => self.leases.lost = Some(lease.name.trim_start_matches("lock:").to_owned()),
            }
        }
        self.leases.next_beat = Some(now + HEARTBEAT);
        Ok(())
    }

    /// Releases everything, the right to execute the run last. All are tried; the first problem is returned.
    pub(super) async fn release(&mut self) -> Result<(), RunError> {
        let mut problem = None;
        while let Some(lease) = self.leases.held.pop() {
            if let Err(error) = self.journal.release(&lease).await {
                problem.get_or_insert(RunError::journal(error));
            }
        }
        self.leases.next_beat = None;
        problem.map_or(Ok(()), Err)
    }
}
