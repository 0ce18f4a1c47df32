//! Records that may only be written while leases are held. The check of the tokens, the renewal of
//! the leases and the record are one transaction. If another process takes a lease at the same
//! time, either it is first and the record is not written, or the record is first.

use crate::connect;
use crate::error::JournalError;
use crate::sql;
use crate::store::{SqlJournal, expiry, to_json};
use runbook_engine::{Fence, FencedAppend, Record, RunId};
use sqlx::{Any, AssertSqlSafe};
use std::fmt::Write as _;

type Query<'q> = sqlx::query::Query<'q, Any, sqlx::any::AnyArguments>;

/// The statement that renews leases. The parameters from `$first` on are name and token of each;
/// `until` is the SQL expression for their expiry.
fn renewal_statement(n_leases: usize, first: usize, until: &str) -> String {
    let mut text =
        format!("UPDATE leases SET expires_ns = {until} WHERE expires_ns IS NOT NULL AND (");
    for index in 0..n_leases {
        let (or, name) = (if index == 0 { "" } else { " OR " }, first + 2 * index);
        let _ = write!(text, "{or}(name = ${name} AND token = ${})", name + 1);
    }
    text.push(')');
    text
}

/// The statement that renews all leases and inserts the record if all were renewed. `$1` to `$4`
/// are the record, `$5` is the time for which the leases are renewed.
fn fenced_insert(n_leases: usize) -> String {
    let until = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) * 1000 + $5";
    format!(
        "WITH held AS ({} RETURNING name) INSERT INTO events (run, seq, at_ns, event) \
         SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM held) = {n_leases}",
        renewal_statement(n_leases, 6, until)
    )
}

fn bind_leases<'q>(query: Query<'q>, fence: &Fence<'q>) -> Query<'q> {
    fence
        .leases
        .iter()
        .fold(query, |query, lease| query.bind(lease.name.as_str()).bind(sql::signed(lease.token)))
}

impl SqlJournal {
    pub(crate) async fn insert_fenced(
        &self,
        run: RunId,
        record: &Record,
        fence: &Fence<'_>,
    ) -> Result<FencedAppend, JournalError> {
        let written = if record.event.status().is_none()
            && connect::can_fence_in_one_statement(self.location())
        {
            self.insert_in_one_statement(run, record, fence).await?
        } else {
            self.insert_in_transaction(run, record, fence).await?
        };
        if written { Ok(FencedAppend::Written) } else { self.find_lost_lease(fence).await }
    }

    async fn insert_in_one_statement(
        &self,
        run: RunId,
        record: &Record,
        fence: &Fence<'_>,
    ) -> Result<bool, JournalError> {
        let ttl = i64::try_from(fence.ttl.as_nanos()).unwrap_or(i64::MAX);
        let insert = sqlx::query(AssertSqlSafe(fenced_insert(fence.leases.len())))
            .bind(run.to_string())
            .bind(sql::signed(record.seq))
            .bind(sql::nanoseconds(record.at))
            .bind(to_json(&record.event))
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
        let renew =
            sqlx::query(AssertSqlSafe(renewal_statement(fence.leases.len(), 2, "$1"))).bind(until);
        let renewed = bind_leases(renew, fence)
            .execute(&mut *transaction)
            .await
            .map_err(|source| self.database_error(source))?;
        if renewed.rows_affected() != fence.leases.len() as u64 {
            return Ok(false);
        }
        self.insert_with_status(&mut transaction, run, record).await?;
        self.commit(transaction).await?;
        Ok(true)
    }

    /// Finds the lease of the fence that is not held any more.
    async fn find_lost_lease(&self, fence: &Fence<'_>) -> Result<FencedAppend, JournalError> {
        for lease in fence.leases {
            let row = sqlx::query(sql::SELECT_LEASE)
                .bind(&lease.name)
                .fetch_optional(self.writer())
                .await;
            let stored = row
                .map_err(|source| self.database_error(source))?
                .as_ref()
                .map(sql::lease)
                .transpose()?;
            if stored.is_none_or(|stored| stored.token != lease.token || stored.expires.is_none()) {
                return Ok(FencedAppend::Lost { lease: lease.name.clone() });
            }
        }
        // Tokens only grow, so leases that are held now were held at the insert too.
        Err(JournalError::NotUnderstood {
            what: "the refusal of a record whose leases are all held".to_owned(),
            source: None,
        })
    }
}
