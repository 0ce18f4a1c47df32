//! The locks of runs as a person sees them: who holds which, and how one is taken away.

use crate::error::JournalError;
use crate::lease;
use crate::sql;
use crate::store::SqlJournal;
use jiff::Timestamp;
use runbook_engine::{Holder, LeaseRequest, RunId};
use sqlx::{Any, Transaction};
use std::time::Duration;

/// What the name of a lease begins with if it is a lock of `[locks]`, and not the right to execute
/// a run.
const PREFIX: &str = "lock:";

/// How many runs are named that held a lock meanwhile.
const MOST_HOLDERS: i64 = 20;

/// A lock that a run holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOfRun {
    /// The name of the lock, as `[locks]` has it.
    pub name: String,
    /// The fencing token of its holder.
    pub token: u64,
    /// The run and process that hold it.
    pub holder: Holder,
    /// How long it lives without a renewal; zero if its time is over and no other run has taken it.
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
    pub async fn locks(&self, now: Timestamp) -> Result<Vec<LockOfRun>, JournalError> {
        let now = self.now(now).await?;
        let rows = sqlx::query(sql::SELECT_LOCKS)
            .fetch_all(self.readers())
            .await
            .map_err(|source| self.failed(source))?;
        let mut locks = Vec::new();
        for row in &rows {
            let (name, stored) = (sql::text(row, "name")?, sql::lease(row)?);
            let Some((name, expires)) = name.strip_prefix(PREFIX).zip(stored.expires) else {
                continue;
            };
            let left = lease::left(expires, now);
            locks.push(LockOfRun {
                name: name.to_owned(),
                token: stored.token,
                holder: stored.holder,
                left,
            });
        }
        Ok(locks)
    }

    /// Takes a lock from the run that holds it by `token`. That run can then write no effect into
    /// the journal any more, and the next token is higher. Returns `false` if the lock is not held
    /// by this token any more.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub async fn break_lock(
        &self,
        lock: &LockOfRun,
        operator: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        let (at, name) = (self.now(now).await?, format!("{PREFIX}{}", lock.name));
        let mut transaction = self.begin().await?;
        let failed = |source| self.failed(source);
        let taken = sqlx::query(sql::BREAK_LEASE)
            .bind(&name)
            .bind(sql::stored(lock.token))
            .execute(&mut *transaction)
            .await;
        if taken.map_err(failed)?.rows_affected() == 0 {
            return Ok(false);
        }
        let insert = sqlx::query(sql::INSERT_BROKEN)
            .bind(&lock.name)
            .bind(sql::stored(lock.token))
            .bind(lock.holder.run.to_string())
            .bind(sql::nanoseconds(at))
            .bind(operator)
            .bind(reason);
        insert.execute(&mut *transaction).await.map_err(failed)?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// Notes in the transaction that takes a lock which run has it by which token. The right to
    /// execute a run is no lock.
    pub(crate) async fn note_holder(
        &self,
        transaction: &mut Transaction<'static, Any>,
        request: &LeaseRequest,
        token: u64,
    ) -> Result<(), JournalError> {
        let Some(name) = request.name.strip_prefix(PREFIX) else { return Ok(()) };
        let insert = sqlx::query(sql::INSERT_HOLDER)
            .bind(name)
            .bind(sql::stored(token))
            .bind(request.holder.run.to_string());
        insert.execute(&mut **transaction).await.map(drop).map_err(|source| self.failed(source))
    }

    /// The runs that held a lock by a token between these two, in order, each once; at most
    /// [`MOST_HOLDERS`]. Runs that were removed since are not among them.
    pub(crate) async fn holders_between(
        &self,
        lock: &str,
        between: (u64, u64),
    ) -> Result<Vec<RunId>, JournalError> {
        let (after, before) = between;
        let select = sqlx::query(sql::SELECT_HOLDERS)
            .bind(lock)
            .bind(sql::stored(after))
            .bind(sql::stored(before));
        let rows = select
            .bind(MOST_HOLDERS)
            .fetch_all(self.readers())
            .await
            .map_err(|source| self.failed(source))?;
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
        rows.map_err(|source| self.failed(source))?.iter().map(broken).collect()
    }
}
