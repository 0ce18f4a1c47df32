//! Writing and reading runs and their records.

use super::{AttemptKind, Query, SqlJournal, to_json};
use crate::disk_room;
use crate::error::JournalError;
use crate::sql;
use jiff::Timestamp;
use runbook_engine::{
    AcquireResult, Fence, FencedAppend, Journal, Lease, LeaseRequest, LifecycleEvent, Record,
    RenewResult, RunEvent, RunHeader, RunId, RunStatus, RunSummary, StoredRun, TakenBy,
};
use sqlx::{Any, Transaction};
use std::time::Duration;

/// How many runs the error about an ambiguous id lists.
const MAX_CANDIDATES: i64 = 20;

impl SqlJournal {
    /// The one run whose id begins with `prefix`, with or without hyphens, in either case.
    ///
    /// # Errors
    /// [`JournalError::NoRun`] if no run fits, [`JournalError::Ambiguous`] if several do; others if
    /// the journal cannot be read.
    pub async fn find(&self, prefix: &str) -> Result<RunId, JournalError> {
        let no_run = || JournalError::NoRun { run: prefix.to_owned() };
        let (from, to) = bounds(prefix).ok_or_else(no_run)?;
        let rows = sqlx::query(sql::FIND_RUNS)
            .bind(from)
            .bind(to)
            .bind(MAX_CANDIDATES)
            .fetch_all(&self.pools.readers)
            .await;
        let rows = rows.map_err(|source| self.database_error(source))?;
        let mut candidates = rows.iter().map(sql::summary).collect::<Result<Vec<_>, _>>()?;
        match candidates.len() {
            0 => Err(no_run()),
            1 => Ok(candidates.remove(0).run),
            _ => Err(JournalError::Ambiguous { prefix: prefix.to_owned(), candidates }),
        }
    }

    /// The records from number `seq` on, for a reader that follows a run.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read, or holds a record that this program does not
    /// understand. An unknown run is no error: it has no records.
    pub async fn records_from(&self, run: RunId, seq: u64) -> Result<Vec<Record>, JournalError> {
        let rows = sqlx::query(sql::SELECT_EVENTS)
            .bind(run.to_string())
            .bind(sql::signed(seq))
            .fetch_all(&self.pools.readers)
            .await;
        rows.map_err(|source| self.database_error(source))?
            .iter()
            .map(|row| sql::record(run, row))
            .collect()
    }

    /// The summary of a run, as [`list`](Journal::list) gives it.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or has no such run.
    pub async fn summary(&self, run: RunId) -> Result<RunSummary, JournalError> {
        let id = run.to_string();
        let row = sqlx::query(sql::FIND_RUNS)
            .bind(&id)
            .bind(&id)
            .bind(1_i64)
            .fetch_optional(&self.pools.readers)
            .await;
        match row.map_err(|source| self.database_error(source))? {
            Some(row) => sql::summary(&row),
            None => Err(JournalError::NoRun { run: id }),
        }
    }

    /// The run that retries `run`, if there is one.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn retried_by(&self, run: RunId) -> Result<Option<RunId>, JournalError> {
        let row = sqlx::query(sql::SELECT_RETRY)
            .bind(run.to_string())
            .fetch_optional(&self.pools.readers)
            .await;
        row.map_err(|source| self.database_error(source))?
            .as_ref()
            .map_or(Ok(None), sql::retried_by)
    }

    pub(super) async fn insert_run(&self, header: &RunHeader) -> Result<(), JournalError> {
        // Without space for its last records, a run would stop in the middle and keep its locks.
        let is_without_reserve = self.reserve.as_ref().is_some_and(|reserve| !reserve.ensure());
        if is_without_reserve || self.location.file().is_some_and(disk_room::is_full) {
            let source = sqlx::Error::Io(std::io::ErrorKind::StorageFull.into());
            return Err(JournalError::Full { location: self.location.clone(), source });
        }
        let inserted = sqlx::query(sql::INSERT_RUN)
            .bind(header.run.to_string())
            .bind(&header.name)
            .bind(&header.title)
            .bind(&header.operator)
            .bind(&header.environment)
            .bind(to_json(&RunStatus::Running))
            .bind(sql::nanoseconds(header.started))
            .bind(&header.digest)
            .bind(to_json(&header.sources))
            .bind(to_json(&header.params))
            .execute(&self.pools.writer)
            .await;
        inserted.map(drop).map_err(|source| {
            match source.as_database_error().map(sqlx::error::DatabaseError::kind) {
                Some(sqlx::error::ErrorKind::UniqueViolation) => {
                    JournalError::RunExists { run: header.run }
                }
                _ => self.database_error(source),
            }
        })
    }

    pub(super) async fn insert_record(
        &self,
        run: RunId,
        record: &Record,
    ) -> Result<(), JournalError> {
        if record.event.status().is_none() {
            // A single statement needs no transaction, so the common case costs one round trip.
            let inserted = insert_event(run, record).execute(&self.pools.writer).await;
            return inserted.map(drop).map_err(|source| self.append_error(run, record.seq, source));
        }
        let mut transaction = self.begin().await?;
        self.insert_with_status(&mut transaction, run, record).await?;
        self.commit(transaction).await
    }

    /// Inserts a record, and updates the status of the run that follows from it.
    pub(crate) async fn insert_with_status(
        &self,
        transaction: &mut Transaction<'static, Any>,
        run: RunId,
        record: &Record,
    ) -> Result<(), JournalError> {
        let database_error = |source| self.append_error(run, record.seq, source);
        insert_event(run, record).execute(&mut **transaction).await.map_err(database_error)?;
        if let RunEvent::Run(LifecycleEvent::RunStarted { retry_of: Some(retry), .. }) =
            &record.event
        {
            self.claim_retry(transaction, run, retry.run).await?;
        }
        let Some(status) = record.event.status() else { return Ok(()) };
        let ended = matches!(status, RunStatus::Ended(_)).then(|| sql::nanoseconds(record.at));
        let took_ms = if let RunEvent::Run(
            LifecycleEvent::Paused { took_ms, .. } | LifecycleEvent::RunEnded { took_ms, .. },
        ) = &record.event
        {
            *took_ms
        } else {
            None
        };
        let update = sqlx::query(sql::SET_PHASE)
            .bind(run.to_string())
            .bind(to_json(&status))
            .bind(ended)
            .bind(took_ms.map(sql::signed));
        update.execute(&mut **transaction).await.map(drop).map_err(database_error)
    }
}

impl Journal for SqlJournal {
    type Error = JournalError;

    async fn create(&self, header: &RunHeader) -> Result<(), JournalError> {
        self.retry_while_unreachable(async |attempt_kind| {
            match (attempt_kind, self.insert_run(header).await) {
                (AttemptKind::Retry, Err(JournalError::RunExists { run }))
                    if self.load(run).await?.header == *header =>
                {
                    Ok(())
                }
                (_, result) => result,
            }
        })
        .await
    }

    async fn append(&self, run: RunId, record: &Record) -> Result<(), JournalError> {
        self.retry_while_unreachable(async |attempt_kind| {
            match (attempt_kind, self.insert_record(run, record).await) {
                // The connection broke after the commit, before the answer: the record is this one.
                (AttemptKind::Retry, Err(JournalError::RecordExists { .. }))
                    if self.records_from(run, record.seq).await?.first() == Some(record) =>
                {
                    Ok(())
                }
                (_, Err(error @ JournalError::AlreadyRetried { .. })) => {
                    self.remove_unstarted_run(run).await;
                    Err(error)
                }
                (_, result) => result,
            }
        })
        .await
    }

    async fn append_fenced(
        &self,
        run: RunId,
        record: &Record,
        fence: &Fence<'_>,
    ) -> Result<FencedAppend, JournalError> {
        self.retry_while_unreachable(async |attempt_kind| {
            match (attempt_kind, self.insert_fenced(run, record, fence).await) {
                // As above; the leases were held when it was written.
                (AttemptKind::Retry, Err(JournalError::RecordExists { .. }))
                    if self.records_from(run, record.seq).await?.first() == Some(record) =>
                {
                    Ok(FencedAppend::Written)
                }
                (_, Err(error @ JournalError::AlreadyRetried { .. })) => {
                    self.remove_unstarted_run(run).await;
                    Err(error)
                }
                (_, result) => result,
            }
        })
        .await
    }

    async fn load(&self, run: RunId) -> Result<StoredRun, JournalError> {
        let row = sqlx::query(sql::SELECT_RUN)
            .bind(run.to_string())
            .fetch_optional(&self.pools.readers)
            .await;
        let row = row
            .map_err(|source| self.database_error(source))?
            .ok_or_else(|| JournalError::NoRun { run: run.to_string() })?;
        Ok(StoredRun { header: sql::header(&row)?, records: self.records_from(run, 0).await? })
    }

    async fn list(&self, limit: usize) -> Result<Vec<RunSummary>, JournalError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = sqlx::query(sql::LIST_RUNS).bind(limit).fetch_all(&self.pools.readers).await;
        rows.map_err(|source| self.database_error(source))?.iter().map(sql::summary).collect()
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<AcquireResult, JournalError> {
        loop {
            if let Some(acquired) =
                self.retry_while_unreachable(async |_| self.try_acquire(request).await).await?
            {
                return Ok(acquired);
            }
        }
    }

    async fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<RenewResult, JournalError> {
        self.retry_while_unreachable(async |_| self.try_renew(lease, now, ttl).await).await
    }

    async fn taken_by(&self, run: RunId, lock: &str) -> Result<Option<TakenBy>, JournalError> {
        let broken =
            self.locks_taken_from(run).await?.into_iter().rev().find(|broken| broken.name == lock);
        Ok(broken.map(|broken| TakenBy {
            by: broken.operator,
            at: broken.at,
            reason: broken.reason,
        }))
    }

    async fn held_between(
        &self,
        lock: &str,
        between: (u64, u64),
    ) -> Result<Vec<RunId>, JournalError> {
        self.holders_between(lock, between).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), JournalError> {
        // Not repeated: nobody waits for a release, and a lease that is not released expires.
        match self.try_release(lease).await {
            // Otherwise a full disk would keep a lock from being released.
            Err(JournalError::Full { .. })
                if self.reserve.as_ref().is_some_and(|reserve| reserve.release_space()) =>
            {
                self.try_release(lease).await
            }
            other => other,
        }
    }
}

fn insert_event(run: RunId, record: &Record) -> Query<'static> {
    sqlx::query(sql::INSERT_EVENT)
        .bind(run.to_string())
        .bind(sql::signed(record.seq))
        .bind(sql::nanoseconds(record.at))
        .bind(to_json(&record.event))
}

/// The least and the greatest id with this prefix, or `None` if no id can have it.
fn bounds(prefix: &str) -> Option<(String, String)> {
    let digits: Vec<char> =
        prefix.trim().chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    if digits.is_empty() || digits.len() > 32 || !digits.iter().all(char::is_ascii_hexdigit) {
        return None;
    }
    let padded = |padding: char| {
        let mut text = String::new();
        for (index, digit) in
            digits.iter().copied().chain(std::iter::repeat(padding)).take(32).enumerate()
        {
            if matches!(index, 8 | 12 | 16 | 20) {
                text.push('-');
            }
            text.push(digit);
        }
        text
    };
    Some((padded('0'), padded('f')))
}

#[cfg(test)]
mod tests {
    use super::bounds;

    #[test]
    fn the_beginning_of_an_id_is_read_with_or_without_hyphens() {
        let range = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));
        let expected =
            range("0193ab12-0000-0000-0000-000000000000", "0193ab12-ffff-ffff-ffff-ffffffffffff");
        assert_eq!((bounds("0193AB12"), bounds("0193ab12-")), (expected.clone(), expected));
        assert_eq!(
            bounds("0193ab1277"),
            range("0193ab12-7700-0000-0000-000000000000", "0193ab12-77ff-ffff-ffff-ffffffffffff")
        );
        assert_eq!((bounds(""), bounds("0193%"), bounds(&"0".repeat(33))), (None, None, None));
    }
}
