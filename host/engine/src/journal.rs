//! The storage of runs and leases. `runbook-journal` implements it over a database, tests in
//! memory.

use crate::event::{Record, RunStatus, TakenBy};
use jiff::Timestamp;
use runbook_contract::{Json, RunId};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;
use uuid::Uuid;

/// What the journal keeps about a run besides its records. With it, the plan can be built again
/// after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    /// The id of the run.
    pub run: RunId,
    /// `name` of the runbook.
    pub name: String,
    /// `title` of the runbook.
    pub title: String,
    /// Name and text of the runbook and every file that it includes. The runbook is first.
    pub sources: Vec<(String, String)>,
    /// The digest of `sources`, `sha256:…`.
    pub digest: String,
    /// Parameters as typed JSON. No secret is ever a parameter.
    pub params: serde_json::Map<String, Json>,
    /// `--env`, if one was given.
    pub environment: Option<String>,
    /// Who started it, for people.
    pub operator: String,
    /// When the run started, by the wall clock.
    pub started: Timestamp,
}

/// A run in a list of runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The id of the run.
    pub run: RunId,
    /// `name` of the runbook.
    pub name: String,
    /// `title` of the runbook.
    pub title: String,
    /// The name of the person who started it.
    pub operator: String,
    /// The status after the last record that changed it: see [`crate::event::RunEvent::status`].
    pub status: RunStatus,
    /// When the run started, by the wall clock.
    pub started: Timestamp,
    /// When the run ended; `None` if it has not.
    pub ended: Option<Timestamp>,
    /// How long it was executed until it was last paused or ended, without pauses, in milliseconds.
    pub took_ms: u64,
    /// The run that retries this one; `None` if there is none.
    pub retried_by: Option<RunId>,
}

/// A run as it was loaded from the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// What the journal keeps about the run besides its records.
    pub header: RunHeader,
    /// All records, by `seq`, without gaps.
    pub records: Vec<Record>,
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The run that the lease is held for.
    pub run: RunId,
    /// The id of this execution; each resume has a new one.
    pub executor: Uuid,
    /// The machine's name, for people: two machines may have the same.
    pub host: String,
    /// The process id, as the process itself sees it.
    pub pid: u32,
    /// The identity of the process; `None` if the system does not tell.
    pub process: Option<ProcessIdentity>,
}

/// Distinguishes a process, together with its pid, from every other process on every machine and at
/// every time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The id that the operating system got when it was installed. Cloned machines share it, and
    /// containers may have none.
    pub machine: String,
    /// The id of the running kernel, made when it started.
    pub boot: String,
    /// The namespaces of pids and times.
    pub namespaces: String,
    /// When the process started, in ticks of that kernel since it started.
    pub started: u64,
}

impl ProcessIdentity {
    /// Whether both processes are on the same running system and in the same namespaces. Only then
    /// does a missing pid mean that the other process has died.
    pub fn shares_pids_with(&self, other: &Self) -> bool {
        !self.boot.is_empty()
            && !self.namespaces.is_empty()
            && self.machine == other.machine
            && self.boot == other.boot
            && self.namespaces == other.namespaces
    }
}

/// What a process can see of a pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PidStatus {
    /// There is no such process.
    Missing,
    /// There is one, which started at this time, in ticks of the kernel.
    Started(u64),
    /// There is one, and its start time cannot be read.
    Hidden,
}

impl Holder {
    /// Whether the holder is proven dead: `seen_by` shares its pids with the holder, and the pid
    /// belongs to no process, or to one that started later.
    pub fn is_dead(
        &self,
        seen_by: Option<&ProcessIdentity>,
        inspect: impl FnOnce(u32) -> PidStatus,
    ) -> bool {
        let (Some(observer), Some(process)) = (seen_by, &self.process) else { return false };
        observer.shares_pids_with(process)
            && match inspect(self.pid) {
                PidStatus::Missing => true,
                PidStatus::Started(started) => started > process.started,
                PidStatus::Hidden => false,
            }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "run {} (process {} on {})", self.run.short(), self.pid, self.host)
    }
}

/// A request for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The name: `lock:db:orders`, or `run:…` for the right to execute a run.
    pub name: String,
    /// Who wants to hold it.
    pub holder: Holder,
    /// The time by the caller's clock.
    pub now: Timestamp,
    /// How long the lease lives without a renewal.
    pub ttl: Duration,
    /// Take the lease even if it lives, if its token is this one: its holder is proven dead.
    pub steal: Option<u64>,
}

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The name of the lease.
    pub name: String,
    /// The fencing token: strictly greater than every earlier token of this name.
    pub token: u64,
    /// The previous holder, if its lease had expired or it is dead.
    pub taken_from: Option<Holder>,
    /// When the previous holder last renewed it.
    pub last_seen: Option<Timestamp>,
}

/// The result of [`Journal::acquire`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcquireResult {
    /// The lease is held now.
    Held(Lease),
    /// Somebody else holds it.
    Busy {
        /// Who holds it now.
        holder: Holder,
        /// Its token, for [`LeaseRequest::steal`].
        token: u64,
        /// How long the other lease lives without a renewal, by the journal's clock.
        left: Duration,
    },
}

/// The leases that must still be held for a record to be written.
#[derive(Debug, Clone, Copy)]
pub struct Fence<'a> {
    /// The leases, all of which the writing run must still hold.
    pub leases: &'a [&'a Lease],
    /// The time by the caller's clock.
    pub now: Timestamp,
    /// How long the leases live from `now` on.
    pub ttl: Duration,
}

/// The result of [`Journal::append_fenced`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FencedAppend {
    /// The record is durable, and each lease lives for [`Fence::ttl`] from now.
    Written,
    /// A lease is held by another run, or was released; nothing was written.
    Lost {
        /// The name of the lease that is lost.
        lease: String,
    },
}

/// The result of [`Journal::renew`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewResult {
    /// It is still held.
    Held,
    /// Somebody else took it.
    Lost,
}

/// Durable storage of runs and leases.
pub trait Journal: Sync {
    /// The error of the storage.
    type Error: Error + Send + Sync + 'static;

    /// Stores a new run. Durable when it returns.
    ///
    /// # Errors
    /// The storage cannot be reached or written, or has a run with this id already.
    fn create(&self, header: &RunHeader) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Stores one record. Durable when it returns. A record is never overwritten.
    ///
    /// # Errors
    /// The storage cannot be reached or written, has a record with this `seq` already, or has no
    /// such run.
    fn append(
        &self,
        run: RunId,
        record: &Record,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Stores one record as [`append`](Self::append) does, if every lease of the fence is still
    /// held, and renews the leases. All in one transaction, so that no other run can take a lease
    /// between the check and the record.
    ///
    /// # Errors
    /// The errors of [`append`](Self::append). A lost lease is [`FencedAppend::Lost`] and not an
    /// error.
    fn append_fenced(
        &self,
        run: RunId,
        record: &Record,
        fence: &Fence<'_>,
    ) -> impl Future<Output = Result<FencedAppend, Self::Error>> + Send;

    /// A run with all its records.
    ///
    /// # Errors
    /// The storage cannot be reached or read, has no such run, or has one that this program does
    /// not understand.
    fn load(&self, run: RunId) -> impl Future<Output = Result<StoredRun, Self::Error>> + Send;

    /// The newest runs, newest first.
    ///
    /// # Errors
    /// The storage cannot be reached or read.
    fn list(
        &self,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<RunSummary>, Self::Error>> + Send;

    /// Takes a lease that is free, expired, held by the same `executor`, or (for names other than
    /// `run:…`) held for the same run, or whose token is `steal`. Atomic.
    ///
    /// # Errors
    /// The storage cannot be reached or written. A lease of another holder is
    /// [`AcquireResult::Busy`] and not an error.
    fn acquire(
        &self,
        request: &LeaseRequest,
    ) -> impl Future<Output = Result<AcquireResult, Self::Error>> + Send;

    /// The person who last took a lock from a run by hand; `None` if nobody did.
    ///
    /// # Errors
    /// The storage cannot be reached or read.
    fn taken_by(
        &self,
        _run: RunId,
        _lock: &str,
    ) -> impl Future<Output = Result<Option<TakenBy>, Self::Error>> + Send {
        async { Ok(None) }
    }

    /// The runs that held a lock by a token greater than the first and less than the second of
    /// `between`, as far as they are known.
    ///
    /// # Errors
    /// The storage cannot be reached or read.
    fn held_between(
        &self,
        _lock: &str,
        _between: (u64, u64),
    ) -> impl Future<Output = Result<Vec<RunId>, Self::Error>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Extends a lease to `now + ttl` if its token is still current.
    ///
    /// # Errors
    /// The storage cannot be reached or written. A lease that somebody else took is
    /// [`RenewResult::Lost`] and not an error.
    fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        ttl: Duration,
    ) -> impl Future<Output = Result<RenewResult, Self::Error>> + Send;

    /// Frees a lease if its token is still current; otherwise does nothing.
    ///
    /// # Errors
    /// The storage cannot be reached or written. The lease then expires by itself.
    fn release(&self, lease: &Lease) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
