//! The leases of a run: the right to execute it, and its locks. They are taken before the first
//! effect, renewed while the run goes on, and released when the execution ends.

use super::Options;
use super::error::RunError;
use crate::clock::Clock;
use crate::event::{HeldLock, Record, TakenBy};
use crate::journal::{
    AcquireResult, Fence, FencedAppend, Holder, Journal, Lease, LeaseRequest, RenewResult,
};
use crate::lease_watch::LeaseWatch;
use jiff::Timestamp;
use std::time::Duration;

/// How long a lease lives without a heartbeat. A dead process blocks others for no longer than
/// this.
pub const LEASE_TTL: Duration = Duration::from_secs(30);
/// How often leases are renewed within their TTL, so that two renewals may fail.
const RENEWALS_PER_TTL: u32 = 3;
/// How often leases are renewed.
pub const HEARTBEAT_INTERVAL: Duration =
    Duration::from_secs(LEASE_TTL.as_secs() / RENEWALS_PER_TTL as u64);

/// The leases of a run.
pub(super) struct Leases<'a, J, C> {
    journal: &'a J,
    clock: &'a C,
    options: &'a Options,
    /// The leases that are held. The first is the right to execute the run.
    held: Vec<Lease>,
    /// The name of the first lock that was lost.
    lost: Option<String>,
    /// Until when all leases certainly live, by the monotonic clock.
    until: Option<Duration>,
    watch: LeaseWatch,
    next_beat: Option<Duration>,
    /// When the process that executed the run before was seen last, if it died.
    last_seen: Option<Timestamp>,
}

/// Which leases a record needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequiredLeases {
    /// All leases of the run, because an effect follows.
    All,
    /// The right to execute the run, because the record only says what has happened.
    Run,
}

/// The result of taking several locks.
pub(super) enum LocksResult {
    /// This run holds all of them now.
    All(Vec<HeldLock>),
    /// Another run holds one of them, so none was taken. Its lease expires after `left`.
    Busy { name: String, holder: Holder, left: Duration },
}

impl<'a, J: Journal, C: Clock> Leases<'a, J, C> {
    /// No leases yet.
    pub(super) fn new(journal: &'a J, clock: &'a C, options: &'a Options) -> Self {
        let watch = LeaseWatch::unlimited();
        Self {
            journal,
            clock,
            options,
            held: Vec::new(),
            lost: None,
            until: None,
            watch,
            next_beat: None,
            last_seen: None,
        }
    }

    /// The watch that calls get, so that they begin no effect after a lease has expired.
    pub(super) fn watch(&self) -> LeaseWatch {
        self.watch.clone()
    }

    /// The lock that is lost; if there is one, nothing may begin any more.
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// The person who took a lock by hand; `None` also if the journal cannot be read.
    pub(super) async fn taken_by(&self, lock: &str) -> Option<TakenBy> {
        self.journal.taken_by(self.options.run, lock).await.ok().flatten()
    }

    /// When the process that executed the run before was seen last, if it died.
    pub(super) fn last_seen(&self) -> Option<Timestamp> {
        self.last_seen
    }

    /// When they are renewed next.
    pub(super) fn next_beat(&self) -> Option<Duration> {
        self.next_beat
    }

    /// Takes the right to execute the run.
    pub(super) async fn take_run(&mut self) -> Result<(), RunError> {
        let name = format!("run:{}", self.options.run);
        match self.take(&name).await? {
            (AcquireResult::Held(lease), until) => {
                self.last_seen = lease.last_seen;
                self.hold(lease, until);
                Ok(())
            }
            (AcquireResult::Busy { holder, left, .. }, _) => {
                Err(RunError::Busy { run: self.options.run, holder: Box::new(holder), left })
            }
        }
    }

    /// Takes all these locks in this order, or none.
    pub(super) async fn take_locks<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n String>,
    ) -> Result<LocksResult, RunError> {
        let mut taken: Vec<(Lease, Duration)> = Vec::new();
        for name in names {
            match self.take(&format!("lock:{name}")).await? {
                (AcquireResult::Held(lease), until) => taken.push((lease, until)),
                (AcquireResult::Busy { holder, left, .. }, _) => {
                    for (lease, _) in &taken {
                        self.journal.release(lease).await.map_err(RunError::journal)?;
                    }
                    return Ok(LocksResult::Busy { name: name.clone(), holder, left });
                }
            }
        }
        let mut locks = Vec::new();
        for (lease, _) in &taken {
            let name = lease.name.strip_prefix("lock:").unwrap_or(&lease.name);
            let taken_from = lease.taken_from.as_ref().map(ToString::to_string);
            locks.push(HeldLock {
                name: name.to_owned(),
                token: lease.token,
                taken_from,
                held_between: Vec::new(),
            });
        }
        for (lease, until) in taken {
            self.hold(lease, until);
        }
        Ok(LocksResult::All(locks))
    }

    /// Fills in which runs held each lock since the run itself held it last, as `own` says. If the
    /// journal cannot tell, the list stays empty.
    pub(super) async fn fill_in_held_between(
        &self,
        locks: &mut [HeldLock],
        own_locks: &[HeldLock],
    ) {
        for lock in locks {
            let before = own_locks
                .iter()
                .find(|own_locks| own_locks.name == lock.name && own_locks.token + 1 < lock.token);
            let Some(before) = before else { continue };
            let earlier_runs = self
                .journal
                .held_between(&lock.name, (before.token, lock.token))
                .await
                .unwrap_or_default();
            lock.held_between =
                earlier_runs.into_iter().filter(|run| *run != self.options.run).collect();
        }
    }

    /// Requests a lease. Returns the result, and until when the lease certainly lives.
    async fn take(&self, name: &str) -> Result<(AcquireResult, Duration), RunError> {
        let Options { run, executor, host, pid, process, lease_ttl: ttl, is_dead, .. } =
            self.options;
        let holder = Holder {
            run: *run,
            executor: *executor,
            host: host.clone(),
            pid: *pid,
            process: process.clone(),
        };
        let mut request = LeaseRequest {
            name: name.to_owned(),
            holder,
            now: self.clock.now(),
            ttl: *ttl,
            steal: None,
        };
        let asked_at = self.clock.monotonic();
        let acquired = self.journal.acquire(&request).await.map_err(RunError::journal)?;
        let acquired = match acquired {
            AcquireResult::Busy { ref holder, token, .. } if is_dead(process.as_ref(), holder) => {
                request.steal = Some(token);
                self.journal.acquire(&request).await.map_err(RunError::journal)?
            }
            other => other,
        };
        Ok((acquired, asked_at + *ttl))
    }

    fn hold(&mut self, lease: Lease, until: Duration) {
        let until = self.until.map_or(until, |other_leases| other_leases.min(until));
        self.extend_until(until);
        self.held.push(lease);
        self.next_beat
            .get_or_insert(self.clock.monotonic() + self.options.lease_ttl / RENEWALS_PER_TTL);
    }

    /// Notes that all leases live until then.
    fn extend_until(&mut self, until: Duration) {
        if self.lost.is_none() {
            self.until = Some(until);
            self.watch.set(until);
        }
    }

    /// Makes a record durable, if the leases that it needs are still held: all of them before an
    /// effect, otherwise the right to execute the run.
    pub(super) async fn append(&mut self, record: &Record) -> Result<(), RunError> {
        let needs =
            if record.event.begins_effect() { RequiredLeases::All } else { RequiredLeases::Run };
        let leases: Vec<&Lease> = match needs {
            RequiredLeases::All => self.held.iter().collect(),
            RequiredLeases::Run => self.held.iter().take(1).collect(),
        };
        let ttl = self.options.lease_ttl;
        let (fence, asked_at) =
            (Fence { leases: &leases, now: self.clock.now(), ttl }, self.clock.monotonic());
        let appended = self
            .journal
            .append_fenced(self.options.run, record, &fence)
            .await
            .map_err(RunError::journal)?;
        match appended {
            FencedAppend::Written => {
                if needs == RequiredLeases::All {
                    self.extend_until(asked_at + ttl);
                }
                Ok(())
            }
            FencedAppend::Lost { lease } => Err(self.lose(&lease)),
        }
    }

    /// Notes that a lease is lost, so that nothing may begin any more. Returns the error.
    fn lose(&mut self, lease: &str) -> RunError {
        let name = lease.trim_start_matches("lock:");
        self.watch.mark_lost();
        self.lost.get_or_insert_with(|| name.to_owned());
        if lease.starts_with("run:") {
            RunError::TakenOver { run: self.options.run }
        } else {
            RunError::LockLost { name: name.to_owned() }
        }
    }

    /// Whether the effect whose intent was just recorded may begin. Since that record, the process
    /// may have been stopped, or its machine may have slept, for longer than the leases live.
    pub(super) async fn check_leases_before_effect(&mut self) -> Result<bool, RunError> {
        if !self.watch.holds(self.clock.monotonic()) {
            self.renew().await?;
        }
        Ok(self.lost.is_none())
    }

    /// Renews all leases if the next renewal is due.
    pub(super) async fn heartbeat(&mut self) -> Result<(), RunError> {
        let now = self.clock.monotonic();
        if self.next_beat.is_none_or(|beat| beat > now) { Ok(()) } else { self.renew().await }
    }

    /// Renews all leases. A lost lock stops the run before its next effect; a lost right to execute
    /// the run is an error.
    async fn renew(&mut self) -> Result<(), RunError> {
        let (asked_at, ttl) = (self.clock.monotonic(), self.options.lease_ttl);
        let at: Timestamp = self.clock.now();
        let mut lost = Vec::new();
        for lease in &self.held {
            match self.journal.renew(lease, at, ttl).await.map_err(RunError::journal)? {
                RenewResult::Held => {}
                RenewResult::Lost => lost.push(lease.name.clone()),
            }
        }
        self.extend_until(asked_at + ttl);
        self.next_beat = Some(asked_at + ttl / RENEWALS_PER_TTL);
        for lease in lost {
            if let error @ RunError::TakenOver { .. } = self.lose(&lease) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Releases all leases, the right to execute the run last. Errors are ignored: a lease that
    /// could not be released expires by itself.
    pub(super) async fn release(&mut self) {
        while let Some(lease) = self.held.pop() {
            drop(self.journal.release(&lease).await);
        }
        self.next_beat = None;
    }
}
