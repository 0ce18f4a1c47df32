//! Which runs of a journal are old enough to be removed, and their removal.

use super::{Query, SqlJournal, json};
use crate::error::JournalError;
use crate::sql;
use jiff::Timestamp;
use runbook_engine::{RunEnd, RunPhase};
use sqlx::AnyConnection;
use std::time::Duration;

/// How many runs are removed in one transaction: others wait for it.
const PRUNED_AT_ONCE: i64 = 100;

/// What is removed by [`SqlJournal::prune`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruning {
    /// Runs that ended before this.
    pub ended_before: Timestamp,
    /// Whether runs that need a person are removed too.
    pub dirty: DirtyRuns,
    /// Now: who executes a run at this moment keeps it.
    pub now: Timestamp,
}

/// What happens to runs that left something changed for a person to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirtyRuns {
    /// Dirty runs stay in the journal.
    Keep,
    /// Dirty runs are removed like others.
    Remove,
}

impl Pruning {
    fn bind<'q>(&self, query: Query<'q>) -> Query<'q> {
        let kept = match self.dirty {
            DirtyRuns::Keep => json(&RunPhase::Ended(RunEnd::Dirty)),
            DirtyRuns::Remove => String::new(),
        };
        query.bind(sql::nanoseconds(self.ended_before)).bind(kept).bind(sql::nanoseconds(self.now))
    }
}

impl SqlJournal {
    /// How long the last runs of a runbook took that succeeded, at most `limit` of them, newest
    /// first.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn durations(&self, name: &str, limit: usize) -> Result<Vec<Duration>, JournalError> {
        let good = [RunEnd::Succeeded, RunEnd::SucceededWithWarnings]
            .map(|end| json(&RunPhase::Ended(end)));
        let [plain, warned] = good;
        let query = sqlx::query(sql::SELECT_DURATIONS).bind(name).bind(plain).bind(warned);
        let rows = query
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pools.readers)
            .await;
        let took = |row| sql::number(row, "took_ms").map(Duration::from_millis);
        rows.map_err(|source| self.failed(source))?.iter().map(took).collect()
    }

    /// How many runs there are.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn count(&self) -> Result<u64, JournalError> {
        let row = sqlx::query(sql::COUNT_RUNS)
            .fetch_one(&self.pools.readers)
            .await
            .map_err(|source| self.failed(source))?;
        sql::number(&row, "n")
    }

    /// How many runs [`prune`](Self::prune) would remove.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn prunable(&self, pruning: &Pruning) -> Result<u64, JournalError> {
        let row =
            pruning.bind(sqlx::query(sql::COUNT_PRUNABLE)).fetch_one(&self.pools.readers).await;
        sql::number(&row.map_err(|source| self.failed(source))?, "n")
    }

    /// Removes runs that have ended, with their records, oldest first, a hundred at once; how many.
    /// A run that goes on, waits or is being undone is never removed.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or written. The hundreds that were removed
    /// before stay removed.
    pub async fn prune(&self, pruning: &Pruning) -> Result<u64, JournalError> {
        let mut removed = 0;
        loop {
            let found = pruning.bind(sqlx::query(sql::SELECT_PRUNABLE)).bind(PRUNED_AT_ONCE);
            let rows =
                found.fetch_all(&self.pools.readers).await.map_err(|source| self.failed(source))?;
            let ids =
                rows.iter().map(|row| sql::text(row, "run")).collect::<Result<Vec<_>, _>>()?;
            if ids.is_empty() {
                return Ok(removed);
            }
            let before = removed;
            let mut transaction = self.begin().await?;
            for id in &ids {
                removed += u64::from(
                    remove(&mut transaction, id).await.map_err(|source| self.failed(source))?,
                );
            }
            self.commit(transaction).await?;
            if removed == before {
                // Somebody else was faster with all of them.
                return Ok(removed);
            }
        }
    }
}

/// Removes one run with all that is kept of it; whether it was there and had ended.
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
