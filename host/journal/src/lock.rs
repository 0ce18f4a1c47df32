//! The locks of runs: who holds them, and how a person takes one from its holder.

use crate::error::JournalError;
use crate::lease;
use crate::sql;
use crate::store::SqlJournal;
use jiff::Timestamp;
use runbook_engine::{Holder, LeaseRequest, RunId};
use sqlx::{Any, Transaction};
use std::time::Duration;

/// The prefix of the names of leases that are locks. The name of a lease that is the right to
/// execute a run begins with `run:`.
const LOCK_PREFIX: &str = "lock:";

/// The most runs that [`SqlJournal::holders_between`] returns.
const MAX_HOLDERS: i64 = 20;

/// A lock that a run holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLock {
    /// The name of the lock, as `[locks]` has it.
    pub name: String,
    /// The fencing token of its holder.
    pub token: u64,
    /// The run and process that hold it.
    pub holder: Holder,
    /// How long it is valid without a renewal; zero if it has expired and no other run has taken
    /// it.
    pub left: Duration,
}

/// A lock that was taken from the run that held it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenLock {
    /// The name of the lock, as `[locks]` has it.
    pub name: String,
    /// When the lock was taken, by the clock of the journal.
    pub at: Timestamp,
    /// The name of the person who took it.
    pub operator: String,
    /// Why they took it, in their words.
    pub reason: String,
}

impl SqlJournal {
    /// The locks that are held at `now`, by name.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn locks(&self, now: Timestamp) -> Result<Vec<RunLock>, JournalError> {
        let now = self.now(now).await?;
        let rows = sqlx::query(sql::SELECT_LOCKS)
            .fetch_all(self.readers())
            .await
            .map_err(|source| self.database_error(source))?;
        let mut locks = Vec::new();
        for row in &rows {
            let (name, stored) = (sql::text(row, "name")?, sql::lease(row)?);
            let Some((name, expires)) = name.strip_prefix(LOCK_PREFIX).zip(stored.expires) else {
                continue;
            };
            let left = lease::left(expires, now);
            locks.push(RunLock {
                name: name.to_owned(),
                token: stored.token,
                holder: stored.holder,
                left,
            });
        }
        Ok(locks)
    }

    /// Takes a lock from the run that holds it. That run can then begin no further effect, because
    /// the journal refuses its records. Returns `false` if the token of the lock has changed or the
    /// lock is free.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub async fn break_lock(
        &self,
        lock: &RunLock,
        operator: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        let (at, name) = (self.now(now).await?, format!("{LOCK_PREFIX}{}", lock.name));
        let mut transaction = self.begin().await?;
        let database_error = |source| self.database_error(source);
        let taken = sqlx::query(sql::BREAK_LEASE)
            .bind(&name)
            .bind(sql::signed(lock.token))
            .execute(&mut *transaction)
            .await;
        if taken.map_err(database_error)?.rows_affected() == 0 {
            return Ok(false);
        }
        let insert = sqlx::query(sql::INSERT_BROKEN)
            .bind(&lock.name)
            .bind(sql::signed(lock.token))
            .bind(lock.holder.run.to_string())
            .bind(sql::nanoseconds(at))
            .bind(operator)
            .bind(reason);
        insert.execute(&mut *transaction).await.map_err(database_error)?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// Records which run takes a lock with which token, in the transaction that takes it. A lease
    /// that is no lock is not recorded.
    pub(crate) async fn record_holder(
        &self,
        transaction: &mut Transaction<'static, Any>,
        request: &LeaseRequest,
        token: u64,
    ) -> Result<(), JournalError> {
        let Some(name) = request.name.strip_prefix(LOCK_PREFIX) else { return Ok(()) };
        let insert = sqlx::query(sql::INSERT_HOLDER)
            .bind(name)
            .bind(sql::signed(token))
            .bind(request.holder.run.to_string());
        insert
            .execute(&mut **transaction)
            .await
            .map(drop)
            .map_err(|source| self.database_error(source))
    }

    /// The runs that held a lock by a token between these two, in order, each once; at most
    /// [`MAX_HOLDERS`]. Runs that were removed since are not among them.
    pub(crate) async fn holders_between(
        &self,
        lock: &str,
        between: (u64, u64),
    ) -> Result<Vec<RunId>, JournalError> {
        let (after, before) = between;
        let select = sqlx::query(sql::SELECT_HOLDERS)
            .bind(lock)
            .bind(sql::signed(after))
            .bind(sql::signed(before));
        let rows = select
            .bind(MAX_HOLDERS)
            .fetch_all(self.readers())
            .await
            .map_err(|source| self.database_error(source))?;
        let mut runs: Vec<RunId> = Vec::new();
        for row in &rows {
            let run = sql::run_id(&sql::text(row, "run")?)?;
            if !runs.contains(&run) {
                runs.push(run);
            }
        }
        Ok(runs)
    }

    /// The locks that were taken from a run, in order.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn locks_taken_from(&self, run: RunId) -> Result<Vec<BrokenLock>, JournalError> {
        let rows =
            sqlx::query(sql::SELECT_BROKEN).bind(run.to_string()).fetch_all(self.readers()).await;
        let broken = |row| {
            let (name, operator, reason) =
                (sql::text(row, "name")?, sql::text(row, "operator")?, sql::text(row, "reason")?);
            Ok(BrokenLock { name, at: sql::time(row, "at_ns")?, operator, reason })
        };
        rows.map_err(|source| self.database_error(source))?.iter().map(broken).collect()
    }
}
