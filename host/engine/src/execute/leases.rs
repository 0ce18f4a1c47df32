//! Locks: taken before the first effect, kept alive while the run goes on, released at every end.

use super::window::Entry;
use super::{Options, RunError, Runner};
use crate::clock::Clock;
use crate::event::{Cause, HeldLock, LifecycleEvent, Record, RunEnd};
use crate::journal::{Acquired, Appended, Fence, Holder, Journal, Lease, LeaseRequest, Renewed};
use crate::lease_watch::LeaseWatch;
use crate::model::OnBusy;
use crate::operate::Operate;
use jiff::Timestamp;
use std::time::Duration;

/// How long a lease lives without a heartbeat: a dead operator blocks nobody for longer.
pub const LEASE_TTL: Duration = Duration::from_secs(30);
/// How many times leases are renewed while they live: two may be missed.
const BEATS: u32 = 3;
/// How often leases are renewed.
pub const HEARTBEAT: Duration = Duration::from_secs(LEASE_TTL.as_secs() / BEATS as u64);
/// How often a busy lock is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The leases of a run.
pub(super) struct Leases {
    /// The right to execute the run first.
    held: Vec<Lease>,
    lost: Option<String>,
    /// Until when all of them certainly live.
    until: Option<Duration>,
    watch: LeaseWatch,
    next_beat: Option<Duration>,
    waiting: Option<Waiting>,
    /// When the process that executed the run before was seen last, if it died.
    last_seen: Option<Timestamp>,
}

/// Which leases a record needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// All: an effect follows.
    All,
    /// The right to execute the run: it tells what has happened.
    Run,
}

struct Waiting {
    since: Duration,
    next_try: Duration,
    name: String,
}

impl Default for Leases {
    fn default() -> Self {
        let watch = LeaseWatch::unlimited();
        Self { held: Vec::new(), lost: None, until: None, watch, next_beat: None, waiting: None, last_seen: None }
    }
}

impl Leases {
    /// What calls under way look at.
    pub(super) fn watch(&self) -> LeaseWatch {
        self.watch.clone()
    }

    /// One is lost, so nothing may begin any more.
    fn lose(&mut self, lease: &str) {
        self.watch.end();
        self.lost.get_or_insert_with(|| lease.trim_start_matches("lock:").to_owned());
    }

    /// All of them live until then.
    fn renewed(&mut self, until: Duration) {
        if self.lost.is_none() {
            self.until = Some(until);
            self.watch.set(until);
        }
    }

    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    pub(super) fn last_seen(&self) -> Option<Timestamp> {
        self.last_seen
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
    Busy { name: String, holder: Holder, left: Duration },
}

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Takes the right to execute the run.
    pub(super) async fn take_run(&mut self) -> Result<(), RunError> {
        let name = format!("run:{}", self.options.run);
        match self.take(&name).await? {
            (Acquired::Held(lease), until) => {
                self.leases.last_seen = lease.last_seen;
                self.hold(lease, until);
                Ok(())
            }
            (Acquired::Busy { holder, left, .. }, _) => {
                Err(RunError::Busy { run: self.options.run, holder: Box::new(holder), left })
            }
        }
    }

    /// Takes all locks of the plan or none, in the order of their names.
    pub(super) async fn take_locks(&mut self) -> Result<Taken, RunError> {
        let mut taken: Vec<(Lease, Duration)> = Vec::new();
        for name in &self.plan.locks.exclusive {
            match self.take(&format!("lock:{name}")).await? {
                (Acquired::Held(lease), until) => taken.push((lease, until)),
                (Acquired::Busy { holder, left, .. }, _) => {
                    for (lease, _) in &taken {
                        self.journal.release(lease).await.map_err(RunError::journal)?;
                    }
                    return Ok(Taken::Busy { name: name.clone(), holder, left });
                }
            }
        }
        let locks = taken.iter().map(|(lease, _)| HeldLock {
            name: lease.name.trim_start_matches("lock:").to_owned(),
            token: lease.token,
            taken_from: lease.taken_from.as_ref().map(ToString::to_string),
        });
        let locks = locks.collect();
        for (lease, until) in taken {
            self.hold(lease, until);
        }
        Ok(Taken::All(locks))
    }

    /// The lease, if it can be had, and until when it certainly lives.
    async fn take(&self, name: &str) -> Result<(Acquired, Duration), RunError> {
        let Options { run, executor, host, pid, process, lease_ttl: ttl, .. } = self.options;
        let holder = Holder { run: *run, executor: *executor, host: host.clone(), pid: *pid, process: process.clone() };
        let mut request = LeaseRequest { name: name.to_owned(), holder, now: self.clock.now(), ttl: *ttl, steal: None };
        let asked = self.clock.monotonic();
        let acquired = self.journal.acquire(&request).await.map_err(RunError::journal)?;
        let acquired = match acquired {
            Acquired::Busy { ref holder, token, .. } if (self.options.is_dead)(process.as_ref(), holder) => {
                request.steal = Some(token);
                self.journal.acquire(&request).await.map_err(RunError::journal)?
            }
            other => other,
        };
        Ok((acquired, asked + *ttl))
    }

    fn hold(&mut self, lease: Lease, until: Duration) {
        let until = self.leases.until.map_or(until, |others| others.min(until));
        self.leases.renewed(until);
        self.leases.held.push(lease);
        self.leases.next_beat.get_or_insert(self.clock.monotonic() + self.options.lease_ttl / BEATS);
    }

    /// Makes a record durable, if the leases that it needs are still held: all of them before an effect, otherwise the right to
    /// execute the run.
    pub(super) async fn append(&mut self, record: &Record) -> Result<(), RunError> {
        let needs = if record.event.begins_effect() { Needs::All } else { Needs::Run };
        let leases: Vec<&Lease> = match needs {
            Needs::All => self.leases.held.iter().collect(),
            Needs::Run => self.leases.held.iter().take(1).collect(),
        };
        let ttl = self.options.lease_ttl;
        let (fence, asked) = (Fence { leases: &leases, now: self.clock.now(), ttl }, self.clock.monotonic());
        let appended = self.journal.append_fenced(self.options.run, record, &fence).await.map_err(RunError::journal)?;
        match appended {
            Appended::Kept => {
                if needs == Needs::All {
                    self.leases.renewed(asked + ttl);
                }
                Ok(())
            }
            Appended::Lost { lease } => Err(self.lost_lease(&lease)),
        }
    }

    fn lost_lease(&mut self, lease: &str) -> RunError {
        self.leases.lose(lease);
        if lease.starts_with("run:") {
            RunError::TakenOver { run: self.options.run }
        } else {
            RunError::LockLost { name: lease.trim_start_matches("lock:").to_owned() }
        }
    }

    /// Whether the effect whose intent was just written down may begin. Between the two the process may have been stopped, or
    /// its machine have slept, for longer than the leases live.
    pub(super) async fn may_begin(&mut self) -> Result<bool, RunError> {
        if !self.leases.watch.holds(self.clock.monotonic()) {
            self.renew().await?;
        }
        Ok(self.leases.lost.is_none())
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
                    self.record(LifecycleEvent::StepsBegan { locks }).await?;
                }
            }
            Taken::Busy { name, holder, .. } => self.busy(&name, &holder, now).await?,
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
                self.record(LifecycleEvent::LockWaiting { name: name.to_owned(), holder: holder.to_string() }).await?;
            }
            return Ok(());
        }
        self.leases.waiting = None;
        let end = match self.plan.locks.on_busy {
            OnBusy::Skip => RunEnd::SucceededWithWarnings,
            OnBusy::Fail | OnBusy::Queue => RunEnd::FailedClean,
        };
        let cause = Cause::LockBusy { name: name.to_owned(), holder: holder.to_string() };
        self.record(LifecycleEvent::FinallyBegan { end, cause: Some(cause) }).await
    }

    /// Renews all leases when it is time.
    pub(super) async fn heartbeat(&mut self) -> Result<(), RunError> {
        let now = self.clock.monotonic();
        if self.leases.next_beat.is_none_or(|beat| beat > now) { Ok(()) } else { self.renew().await }
    }

    /// Renews all leases. A lock that is lost stops the run before its next effect; the lost right to execute it, at once.
    async fn renew(&mut self) -> Result<(), RunError> {
        let (asked, ttl) = (self.clock.monotonic(), self.options.lease_ttl);
        let at: Timestamp = self.clock.now();
        let mut lost = Vec::new();
        for lease in &self.leases.held {
            match self.journal.renew(lease, at, ttl).await.map_err(RunError::journal)? {
                Renewed::Held => {}
                Renewed::Lost => lost.push(lease.name.clone()),
            }
        }
        self.leases.renewed(asked + ttl);
        self.leases.next_beat = Some(asked + ttl / BEATS);
        for lease in lost {
            if let error @ RunError::TakenOver { .. } = self.lost_lease(&lease) {
                return Err(error);
            }
        }
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
