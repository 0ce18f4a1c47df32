//! Where runs are kept. `runbook-journal` implements it over a database, tests in memory.

use crate::event::{Record, RunPhase};
use crate::ids::RunId;
use crate::operate::Json;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;
use uuid::Uuid;

/// What is kept about a run besides its records: enough to build its plan again after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    /// The run.
    pub run: RunId,
    /// `name` of the runbook.
    pub name: String,
    /// `title` of the runbook.
    pub title: String,
    /// The runbook and every file that it includes: the name as given, and the text. The runbook is first.
    pub sources: Vec<(String, String)>,
    /// `sha256:…` over `sources`.
    pub digest: String,
    /// Parameters as typed JSON. No secret is ever a parameter.
    pub params: serde_json::Map<String, Json>,
    /// `--env`, if one was given.
    pub environment: Option<String>,
    /// Who started it, for people.
    pub operator: String,
    /// When.
    pub started: Timestamp,
}

/// A run as listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// `name` of the runbook.
    pub name: String,
    /// `title` of the runbook.
    pub title: String,
    /// Who started it.
    pub operator: String,
    /// Where it stands: the last [`crate::event::RunEvent::phase`].
    pub phase: RunPhase,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// A run as loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// What it is.
    pub header: RunHeader,
    /// What happened, by `seq`, without gaps.
    pub records: Vec<Record>,
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// For which run.
    pub run: RunId,
    /// One execution of the program: a resumed run has another.
    pub executor: Uuid,
    /// The machine.
    pub host: String,
    /// The process on that machine.
    pub pid: u32,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "run {} (process {} on {})", self.run.short(), self.pid, self.host)
    }
}

/// A wish to hold a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The name: `lock:db:orders`, or `run:…` for the right to execute a run.
    pub name: String,
    /// Who.
    pub holder: Holder,
    /// The caller's clock.
    pub now: Timestamp,
    /// How long without a renewal.
    pub ttl: Duration,
    /// Take it even from a live lease with this token: its holder is proven dead.
    pub steal: Option<u64>,
}

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The name.
    pub name: String,
    /// The fencing token: strictly greater than every earlier token of this name.
    pub token: u64,
    /// Who held it before, if it was taken from an expired or dead holder.
    pub taken_from: Option<Holder>,
}

/// What came of [`Journal::acquire`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// It is held now.
    Held(Lease),
    /// Somebody else holds it.
    Busy {
        /// Who.
        holder: Holder,
        /// Its token, for [`LeaseRequest::steal`].
        token: u64,
        /// Until when, unless it is renewed.
        expires: Timestamp,
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
    fn create(&self, header: &RunHeader) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Keeps one record. Durable when it returns. A `seq` that is there already is an error, never overwritten.
    fn append(&self, run: RunId, record: &Record) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// A run with all its records.
    fn load(&self, run: RunId) -> impl Future<Output = Result<StoredRun, Self::Error>> + Send;

    /// The newest runs, newest first.
    fn list(&self, limit: usize) -> impl Future<Output = Result<Vec<RunSummary>, Self::Error>> + Send;

    /// Takes a lease that is free, expired, held by the same `executor`, or (for names other than `run:…`) held for the same
    /// run, or whose token is `steal`. Atomic.
    fn acquire(&self, request: &LeaseRequest) -> impl Future<Output = Result<Acquired, Self::Error>> + Send;

    /// Extends a lease to `now + ttl` if its token is still current.
    fn renew(&self, lease: &Lease, now: Timestamp, ttl: Duration) -> impl Future<Output = Result<Renewed, Self::Error>> + Send;

    /// Frees a lease if its token is still current; otherwise does nothing.
    fn release(&self, lease: &Lease) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
