//! Records that need leases. The check of the tokens, their renewal and the record are one
//! transaction, so a lease that is taken at the same moment is taken either before it, and nothing
//! is written, or after it.

use crate::connect;
use crate::error::JournalError;
use crate::sql;
use crate::store::{SqlJournal, expiry, json};
use runbook_engine::{Fence, FencedAppend, Record, RunId};
use sqlx::{Any, AssertSqlSafe};
use std::fmt::Write as _;

type Query<'q> = sqlx::query::Query<'q, Any, sqlx::any::AnyArguments>;

/// Renews the leases from parameter `$first` on: name and token of each. `until` is when they end.
fn renewal(n_leases: usize, first: usize, until: &str) -> String {
    let mut text =
        format!("UPDATE leases SET expires_ns = {until} WHERE expires_ns IS NOT NULL AND (");
    for index in 0..n_leases {
        let (or, name) = (if index == 0 { "" } else { " OR " }, first + 2 * index);
        let _ = write!(text, "{or}(name = ${name} AND token = ${})", name + 1);
    }
    text.push(')');
    text
}

/// The record, if all leases were renewed, in one statement. `$1` to `$4` are the record, `$5` is
/// how long the leases live.
fn fenced_insert(n_leases: usize) -> String {
    let until = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) * 1000 + $5";
    format!(
        "WITH held AS ({} RETURNING name) INSERT INTO events (run, seq, at_ns, event) \
         SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM held) = {n_leases}",
        renewal(n_leases, 6, until)
    )
}

fn bind_leases<'q>(query: Query<'q>, fence: &Fence<'q>) -> Query<'q> {
    fence
        .leases
        .iter()
        .fold(query, |query, lease| query.bind(lease.name.as_str()).bind(sql::stored(lease.token)))
}

impl SqlJournal {
    pub(crate) async fn insert_fenced(
        &self,
        run: RunId,
        record: &Record,
        fence: &Fence<'_>,
    ) -> Result<FencedAppend, JournalError> {
        let written = if record.event.phase().is_none() && connect::fences_in_one(self.location()) {
            self.insert_in_one(run, record, fence).await?
        } else {
            self.insert_in_transaction(run, record, fence).await?
        };
        if written { Ok(FencedAppend::Kept) } else { self.lost(fence).await }
    }

    async fn insert_in_one(
        &self,
        run: RunId,
        record: &Record,
        fence: &Fence<'_>,
    ) -> Result<bool, JournalError> {
        let ttl = i64::try_from(fence.ttl.as_nanos()).unwrap_or(i64::MAX);
        let insert = sqlx::query(AssertSqlSafe(fenced_insert(fence.leases.len())))
            .bind(run.to_string())
            .bind(sql::stored(record.seq))
            .bind(sql::nanoseconds(record.at))
            .bind(json(&record.event))
            .bind(ttl);
        let written = bind_leases(insert, fence).execute(self.writer()).await;
        Ok(written.map_err(|source| self.append_error(run, record.seq, source))?.rows_affected()
            == 1)
    }

    async fn insert_in_transaction(
        &self,
        run: RunId,
        record: &Record,
        fence: &Fence<'_>,
    ) -> Result<bool, JournalError> {
        let until = sql::nanoseconds(expiry(self.now(fence.now).await?, fence.ttl));
        let mut transaction = self.begin().await?;
        let renew = sqlx::query(AssertSqlSafe(renewal(fence.leases.len(), 2, "$1"))).bind(until);
        let renewed = bind_leases(renew, fence)
            .execute(&mut *transaction)
            .await
            .map_err(|source| self.failed(source))?;
        if renewed.rows_affected() != fence.leases.len() as u64 {
            return Ok(false);
        }
        self.insert_with_phase(&mut transaction, run, record).await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// Finds the lease of the fence that is not held any more.
    async fn lost(&self, fence: &Fence<'_>) -> Result<FencedAppend, JournalError> {
        for lease in fence.leases {
            let row = sqlx::query(sql::SELECT_LEASE)
                .bind(&lease.name)
                .fetch_optional(self.writer())
                .await;
            let stored =
                row.map_err(|source| self.failed(source))?.as_ref().map(sql::lease).transpose()?;
            if stored.is_none_or(|stored| stored.token != lease.token || stored.expires.is_none()) {
                return Ok(FencedAppend::Lost { lease: lease.name.clone() });
            }
        }
        // Tokens only grow: one that is current now was current then.
        Err(JournalError::NotUnderstood {
            what: "leases that are held and are not".to_owned(),
            source: None,
        })
    }
}
