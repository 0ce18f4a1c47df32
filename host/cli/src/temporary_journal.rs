//! A journal in memory, for runs of checks: they change nothing, so there is nothing to resume
//! after a crash.

use runbook_engine::{
    AcquireResult, Fence, FencedAppend, Journal, Lease, LeaseRequest, Record, RenewResult,
    RunHeader, RunId, RunSummary, StoredRun,
};
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

/// A journal in memory for one run.
#[derive(Debug)]
pub struct TemporaryJournal {
    header: RunHeader,
    records: Mutex<Vec<Record>>,
}

impl TemporaryJournal {
    /// An empty journal for the run with this header.
    pub fn new(header: RunHeader) -> Self {
        Self { header, records: Mutex::default() }
    }

    fn push(&self, record: &Record) {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record.clone());
    }
}

impl Journal for TemporaryJournal {
    type Error = Infallible;

    async fn create(&self, _header: &RunHeader) -> Result<(), Infallible> {
        Ok(())
    }

    async fn append(&self, _run: RunId, record: &Record) -> Result<(), Infallible> {
        self.push(record);
        Ok(())
    }

    async fn append_fenced(
        &self,
        _run: RunId,
        record: &Record,
        _fence: &Fence<'_>,
    ) -> Result<FencedAppend, Infallible> {
        self.push(record);
        Ok(FencedAppend::Written)
    }

    async fn load(&self, _run: RunId) -> Result<StoredRun, Infallible> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(StoredRun { header: self.header.clone(), records })
    }

    async fn list(&self, _limit: usize) -> Result<Vec<RunSummary>, Infallible> {
        Ok(Vec::new())
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<AcquireResult, Infallible> {
        Ok(AcquireResult::Held(Lease {
            name: request.name.clone(),
            token: 1,
            taken_from: None,
            last_seen: None,
        }))
    }

    async fn renew(
        &self,
        _lease: &Lease,
        _now: jiff::Timestamp,
        _ttl: std::time::Duration,
    ) -> Result<RenewResult, Infallible> {
        Ok(RenewResult::Held)
    }

    async fn release(&self, _lease: &Lease) -> Result<(), Infallible> {
        Ok(())
    }
}
