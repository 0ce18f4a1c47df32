//! Where runs are kept. `runbook-journal` implements it over a database, tests in memory.

use crate::event::{Record, RunPhase, TakenBy};
use jiff::Timestamp;
use runbook_contract::{Json, RunId};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;
use uuid::Uuid;

/// What is kept about a run besides its records: enough to build its plan again after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    /// The id of the run.
    pub run: RunId,
    /// `name` of the runbook.
    pub name: String,
    /// `title` of the runbook.
    pub title: String,
    /// The runbook and every file that it includes: the name as given, and the text. The runbook is
    /// first.
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

/// A run as listed.
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
    /// Where it stands: the last [`crate::event::RunEvent::phase`].
    pub phase: RunPhase,
    /// When the run started, by the wall clock.
    pub started: Timestamp,
    /// When the run ended; `None` if it has not.
    pub ended: Option<Timestamp>,
    /// How long it was executed until it was last paused or ended, in milliseconds: pauses are not
    /// part of it.
    pub took_ms: u64,
    /// The run that tries it again.
    pub tried_again_by: Option<RunId>,
}

/// A run as loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// What is kept about the run besides its records.
    pub header: RunHeader,
    /// What happened, by `seq`, without gaps.
    pub records: Vec<Record>,
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The run that the lease is held for.
    pub run: RunId,
    /// One execution of the program: a resumed run has another.
    pub executor: Uuid,
    /// The machine's name, for people: two machines may have the same.
    pub host: String,
    /// The process, as it calls itself.
    pub pid: u32,
    /// What tells the process from every other one; `None` if its system does not say.
    pub process: Option<ProcessIdentity>,
}

/// What tells a process from every other one, on every machine and at every time, together with its
/// pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The id that the system was installed with. Cloned machines share it, and containers may have
    /// none.
    pub machine: String,
    /// The id of the running kernel, made when it started.
    pub boot: String,
    /// The namespaces that pids and times are counted in.
    pub namespaces: String,
    /// When the process started, in ticks of that kernel since it started.
    pub started: u64,
}

impl ProcessIdentity {
    /// Whether this process sees the other one's pid as that one does: only then is a pid that is
    /// not there a process that died.
    pub fn sees(&self, other: &Self) -> bool {
        !self.boot.is_empty()
            && !self.namespaces.is_empty()
            && self.machine == other.machine
            && self.boot == other.boot
            && self.namespaces == other.namespaces
    }
}

/// What a process sees of a pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessSighting {
    /// There is no such process.
    Missing,
    /// There is one, which started then.
    Started(u64),
    /// There is one, and nothing more can be seen.
    Hidden,
}

impl Holder {
    /// Whether the holder is proven dead: this process sees its pid as the holder saw it itself,
    /// and the pid belongs to no process, or to a younger one.
    pub fn is_dead(
        &self,
        seen_by: Option<&ProcessIdentity>,
        inspect: impl FnOnce(u32) -> ProcessSighting,
    ) -> bool {
        let (Some(own), Some(process)) = (seen_by, &self.process) else { return false };
        own.sees(process)
            && match inspect(self.pid) {
                ProcessSighting::Missing => true,
                ProcessSighting::Started(started) => started > process.started,
                ProcessSighting::Hidden => false,
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
    /// Take it even from a live lease with this token: its holder is proven dead.
    pub steal: Option<u64>,
}

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The name of the lease.
    pub name: String,
    /// The fencing token: strictly greater than every earlier token of this name.
    pub token: u64,
    /// The holder before, if the lease was taken from one that is expired or dead.
    pub taken_from: Option<Holder>,
    /// When that holder renewed it last.
    pub last_seen: Option<Timestamp>,
}

/// What came of [`Journal::acquire`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// It is held now.
    Held(Lease),
    /// Somebody else holds it.
    Busy {
        /// Who holds it now.
        holder: Holder,
        /// Its token, for [`LeaseRequest::steal`].
        token: u64,
        /// How long it lives without a renewal, by the journal's clock.
        left: Duration,
    },
}

/// The leases that must still be held for a record to be written.
#[derive(Debug, Clone, Copy)]
pub struct Fence<'a> {
    /// All of them must still be held by the run that writes.
    pub leases: &'a [&'a Lease],
    /// The time by the caller's clock.
    pub now: Timestamp,
    /// How long they live from then on.
    pub ttl: Duration,
}

/// What came of [`Journal::append_fenced`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FencedAppend {
    /// The record is durable, and each lease lives for [`Fence::ttl`] from now.
    Kept,
    /// A lease is held by another run, or was given back; nothing was written.
    Lost {
        /// The name of the lease that is lost.
        lease: String,
    },
}

/// What came of [`Journal::renew`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// It is still held.
    Held,
    /// Somebody else took it.
    Lost,
}

/// Durable storage of runs and leases.
pub trait Journal: Sync {
    /// What can go wrong with the storage.
    type Error: Error + Send + Sync + 'static;

    /// Keeps a new run. Durable when it returns.
    ///
    /// # Errors
    /// The storage cannot be written, or holds a run with this id already.
    ///
    /// # Errors
    /// The storage cannot be reached or written, or has a run of this id.
    fn create(&self, header: &RunHeader) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Keeps one record. Durable when it returns. A `seq` that is there already is an error, never
    /// overwritten.
    ///
    /// # Errors
    /// The storage cannot be written, or holds a record with this number already.
    ///
    /// # Errors
    /// The storage cannot be reached or written, or has another record of this `seq`, or no such run.
    fn append(
        &self,
        run: RunId,
        record: &Record,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Keeps one record as [`append`](Self::append) does, if every lease of the fence is still
    /// held, and renews them: all in one transaction, so that nobody can take a lease between the
    /// look and the record.
    ///
    /// # Errors
    /// The errors of [`append`](Self::append). A lease that is lost is no error but
    /// [`FencedAppend::Lost`].
    ///
    /// # Errors
    /// Those of [`append`](Self::append). That a lease is lost is no error but an answer.
    fn append_fenced(
        &self,
        run: RunId,
        record: &Record,
        fence: &Fence<'_>,
    ) -> impl Future<Output = Result<FencedAppend, Self::Error>> + Send;

    /// A run with all its records.
    ///
    /// # Errors
    /// The storage cannot be read, holds no such run, or holds one that this program does not
    /// understand.
    ///
    /// # Errors
    /// The storage cannot be reached or read, or has no such run.
    fn load(&self, run: RunId) -> impl Future<Output = Result<StoredRun, Self::Error>> + Send;

    /// The newest runs, newest first.
    ///
    /// # Errors
    /// The storage cannot be read.
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
    /// The storage cannot be written. A lease that somebody else holds is no error but
    /// [`Acquired::Busy`].
    ///
    /// # Errors
    /// The storage cannot be reached or written. That somebody else holds it is no error but an
    /// answer.
    fn acquire(
        &self,
        request: &LeaseRequest,
    ) -> impl Future<Output = Result<Acquired, Self::Error>> + Send;

    /// Who took a lock from a run by hand last, if anybody did.
    ///
    /// # Errors
    /// The storage cannot be read.
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
    /// The storage cannot be read.
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
    /// The storage cannot be written. A lease that somebody else took is no error but
    /// [`Renewed::Lost`].
    ///
    /// # Errors
    /// The storage cannot be reached or written. That the lease is lost is no error but an answer.
    fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        ttl: Duration,
    ) -> impl Future<Output = Result<Renewed, Self::Error>> + Send;

    /// Frees a lease if its token is still current; otherwise does nothing.
    ///
    /// # Errors
    /// The storage cannot be written.
    ///
    /// # Errors
    /// The storage cannot be reached or written: the lease then ends by itself.
    fn release(&self, lease: &Lease) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
