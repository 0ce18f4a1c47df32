//! Which runs of a journal are old enough to be removed, and their removal.

use super::{Query, SqlJournal, to_json};
use crate::error::JournalError;
use crate::sql;
use jiff::Timestamp;
use runbook_engine::{RunEnd, RunStatus};
use sqlx::AnyConnection;
use std::time::Duration;

/// How many runs are removed in one transaction. Other processes wait for it.
const PRUNE_BATCH: i64 = 100;

/// Which runs [`SqlJournal::prune`] removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruning {
    /// Runs that ended before this.
    pub ended_before: Timestamp,
    /// Whether runs that need a person are removed too.
    pub dirty: DirtyRuns,
    /// The present time: a run that a process executes at this time is not removed.
    pub now: Timestamp,
}

/// Whether dirty runs are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirtyRuns {
    /// Dirty runs stay in the journal.
    Keep,
    /// Dirty runs are removed like others.
    Remove,
}

impl Pruning {
    fn bind<'q>(&self, query: Query<'q>) -> Query<'q> {
        let kept_status = match self.dirty {
            DirtyRuns::Keep => to_json(&RunStatus::Ended(RunEnd::Dirty)),
            DirtyRuns::Remove => String::new(),
        };
        query
            .bind(sql::nanoseconds(self.ended_before))
            .bind(kept_status)
            .bind(sql::nanoseconds(self.now))
    }
}

impl SqlJournal {
    /// The durations of the last successful runs of a runbook, at most `limit`, newest first.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn durations(&self, name: &str, limit: usize) -> Result<Vec<Duration>, JournalError> {
        let successful_ends = [RunEnd::Succeeded, RunEnd::SucceededWithWarnings]
            .map(|end| to_json(&RunStatus::Ended(end)));
        let [succeeded, with_warnings] = successful_ends;
        let query =
            sqlx::query(sql::SELECT_DURATIONS).bind(name).bind(succeeded).bind(with_warnings);
        let rows = query
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pools.readers)
            .await;
        let duration = |row| sql::number(row, "took_ms").map(Duration::from_millis);
        rows.map_err(|source| self.database_error(source))?.iter().map(duration).collect()
    }

    /// How many runs there are.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn count(&self) -> Result<u64, JournalError> {
        let row = sqlx::query(sql::COUNT_RUNS)
            .fetch_one(&self.pools.readers)
            .await
            .map_err(|source| self.database_error(source))?;
        sql::number(&row, "n")
    }

    /// How many runs [`prune`](Self::prune) would remove.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn count_prunable(&self, pruning: &Pruning) -> Result<u64, JournalError> {
        let row =
            pruning.bind(sqlx::query(sql::COUNT_PRUNABLE)).fetch_one(&self.pools.readers).await;
        sql::number(&row.map_err(|source| self.database_error(source))?, "n")
    }

    /// Removes runs that have ended, with their records, the oldest first, in batches of a hundred.
    /// Returns how many were removed. A run that continues, waits or is being undone is never
    /// removed.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or written. The batches that were removed
    /// before stay removed.
    pub async fn prune(&self, pruning: &Pruning) -> Result<u64, JournalError> {
        let mut removed = 0;
        loop {
            let select = pruning.bind(sqlx::query(sql::SELECT_PRUNABLE)).bind(PRUNE_BATCH);
            let rows = select
                .fetch_all(&self.pools.readers)
                .await
                .map_err(|source| self.database_error(source))?;
            let ids =
                rows.iter().map(|row| sql::text(row, "run")).collect::<Result<Vec<_>, _>>()?;
            if ids.is_empty() {
                return Ok(removed);
            }
            let before = removed;
            let mut transaction = self.begin().await?;
            for id in &ids {
                removed += u64::from(
                    remove(&mut transaction, id)
                        .await
                        .map_err(|source| self.database_error(source))?,
                );
            }
            self.commit(transaction).await?;
            if removed == before {
                // Another process has removed all of them.
                return Ok(removed);
            }
        }
    }
}

/// Removes one run with its records and leases. Returns whether it existed and had ended.
async fn remove(connection: &mut AnyConnection, id: &str) -> Result<bool, sqlx::Error> {
    for statement in
        [sql::DELETE_EVENTS, sql::DELETE_CANCELS, sql::DELETE_BROKEN, sql::DELETE_HOLDERS]
    {
        sqlx::query(statement).bind(id).execute(&mut *connection).await?;
    }
    let removed =
        sqlx::query(sql::DELETE_RUN).bind(id).execute(&mut *connection).await?.rows_affected() == 1;
    let lease = format!("run:{id}");
    for statement in [sql::DELETE_LEASE, sql::DELETE_TAKEOVERS] {
        sqlx::query(statement).bind(&lease).execute(&mut *connection).await?;
    }
    Ok(removed)
}
