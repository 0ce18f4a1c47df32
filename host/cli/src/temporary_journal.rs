//! A temporary journal: checks change nothing, so there is nothing to resume after a crash, and
//! nothing is synced.

use runbook_engine::{
    Acquired, Fence, FencedAppend, Journal, Lease, LeaseRequest, Record, Renewed, RunHeader, RunId,
    RunSummary, StoredRun,
};
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

/// The one run of this journal.
#[derive(Debug)]
pub struct TemporaryJournal {
    header: RunHeader,
    records: Mutex<Vec<Record>>,
}

impl TemporaryJournal {
    /// A journal of one run.
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
        Ok(FencedAppend::Kept)
    }

    async fn load(&self, _run: RunId) -> Result<StoredRun, Infallible> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(StoredRun { header: self.header.clone(), records })
    }

    async fn list(&self, _limit: usize) -> Result<Vec<RunSummary>, Infallible> {
        Ok(Vec::new())
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Acquired, Infallible> {
        Ok(Acquired::Held(Lease {
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
    ) -> Result<Renewed, Infallible> {
        Ok(Renewed::Held)
    }

    async fn release(&self, _lease: &Lease) -> Result<(), Infallible> {
        Ok(())
    }
}
