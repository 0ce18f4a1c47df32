//! Leases of locks and runs, who held them, and requests to cancel a run.

use super::{SqlJournal, expiry, to_json};
use crate::error::JournalError;
use crate::lease::{
    self, LeaseDecision, LeaseStatus, StoredLease, Takeover, TakeoverReason, decide,
};
use crate::sql;
use jiff::Timestamp;
use runbook_engine::{AcquireResult, Holder, Lease, LeaseRequest, RenewResult, RunId};
use sqlx::{Any, AnyConnection, Transaction};
use std::time::Duration;
use uuid::Uuid;

impl SqlJournal {
    /// The state of a lease at `now`.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or the stored lease is not understood.
    pub async fn lease_status(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<LeaseStatus, JournalError> {
        let row =
            sqlx::query(sql::SELECT_LEASE).bind(name).fetch_optional(&self.pools.readers).await;
        let stored = row
            .map_err(|source| self.database_error(source))?
            .as_ref()
            .map(sql::lease)
            .transpose()?;
        let now = self.now(now).await?;
        Ok(lease::status(stored, now))
    }

    /// The holder of a lease, and how long the lease is valid from `now` on without a renewal;
    /// `None` if nobody holds it.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or the stored lease is not understood.
    pub async fn holder(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<(Holder, Duration)>, JournalError> {
        match self.lease_status(name, now).await? {
            LeaseStatus::Held { holder, left } => Ok(Some((holder, left))),
            LeaseStatus::NeverTaken | LeaseStatus::Released | LeaseStatus::Expired { .. } => {
                Ok(None)
            }
        }
    }

    /// The takeovers of a lease: each time that it was taken from a holder that had not released
    /// it.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or a stored takeover is not understood.
    pub async fn takeovers(&self, name: &str) -> Result<Vec<Takeover>, JournalError> {
        let rows =
            sqlx::query(sql::SELECT_TAKEOVERS).bind(name).fetch_all(&self.pools.readers).await;
        rows.map_err(|source| self.database_error(source))?.iter().map(sql::takeover).collect()
    }

    /// Asks the process that executes a run as `executor` to cancel it. A second request has no
    /// further effect.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be written, or its server does not answer within the
    /// wait.
    pub async fn request_cancel(
        &self,
        run: RunId,
        executor: Uuid,
        operator: &str,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.retry_while_unreachable(async |_| {
            let insert = sqlx::query(sql::INSERT_CANCEL)
                .bind(run.to_string())
                .bind(executor.to_string())
                .bind(sql::nanoseconds(now))
                .bind(operator);
            insert
                .execute(&self.pools.writer)
                .await
                .map(drop)
                .map_err(|source| self.database_error(source))
        })
        .await
    }

    /// When the process that executes a run, or that died while it did, renewed its lease last.
    /// `ttl` is the time of each renewal. `None` if the lease was released.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or the stored lease is not understood.
    pub async fn last_seen(
        &self,
        run: RunId,
        ttl: Duration,
    ) -> Result<Option<Timestamp>, JournalError> {
        let row = sqlx::query(sql::SELECT_LEASE)
            .bind(format!("run:{run}"))
            .fetch_optional(&self.pools.readers)
            .await;
        let stored = row
            .map_err(|source| self.database_error(source))?
            .as_ref()
            .map(sql::lease)
            .transpose()?;
        Ok(stored.and_then(|stored| stored.last_seen(ttl)))
    }

    /// Who asked last to cancel a run, in any of its executions, and when.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn last_cancel_request(
        &self,
        run: RunId,
    ) -> Result<Option<(String, Timestamp)>, JournalError> {
        let row = sqlx::query(sql::SELECT_LAST_CANCEL)
            .bind(run.to_string())
            .fetch_optional(&self.pools.readers)
            .await;
        let row = row.map_err(|source| self.database_error(source))?;
        row.map(|row| Ok((sql::text(&row, "operator")?, sql::time(&row, "at_ns")?))).transpose()
    }

    /// Who asked to cancel this execution of a run, if anybody did.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read.
    pub async fn cancel_request(
        &self,
        run: RunId,
        executor: Uuid,
    ) -> Result<Option<String>, JournalError> {
        let select =
            sqlx::query(sql::SELECT_CANCEL).bind(run.to_string()).bind(executor.to_string());
        let row = select
            .fetch_optional(&self.pools.readers)
            .await
            .map_err(|source| self.database_error(source))?;
        row.map(|row| sql::text(&row, "operator")).transpose()
    }

    /// Records that `run` retries `old`, in the transaction of the first record of `run`. Fails if
    /// another run retries `old` already.
    pub(super) async fn claim_retry(
        &self,
        transaction: &mut Transaction<'static, Any>,
        run: RunId,
        old: RunId,
    ) -> Result<(), JournalError> {
        let database_error = |source| self.database_error(source);
        let update = sqlx::query(sql::SET_RETRY).bind(old.to_string()).bind(run.to_string());
        if update.execute(&mut **transaction).await.map_err(database_error)?.rows_affected() == 1 {
            return Ok(());
        }
        let row = sqlx::query(sql::SELECT_RETRY)
            .bind(old.to_string())
            .fetch_optional(&mut **transaction)
            .await;
        match row.map_err(database_error)?.as_ref().map_or(Ok(None), sql::retried_by)? {
            Some(by) => Err(JournalError::AlreadyRetried { run: old, by }),
            None => Err(JournalError::NoRun { run: old.to_string() }),
        }
    }

    /// Removes a run whose first record was refused, so that it never began.
    pub(super) async fn remove_unstarted_run(&self, run: RunId) {
        // A remaining row is listed and has no effect.
        let _ = sqlx::query(sql::DELETE_UNSTARTED_RUN)
            .bind(run.to_string())
            .execute(&self.pools.writer)
            .await;
    }

    /// Tries once to take a lease; `None` if another process was faster between reading and
    /// writing.
    pub(super) async fn try_acquire(
        &self,
        request: &LeaseRequest,
    ) -> Result<Option<AcquireResult>, JournalError> {
        let request = &LeaseRequest { now: self.now(request.now).await?, ..request.clone() };
        let mut transaction = self.begin().await?;
        let row = sqlx::query(sql::SELECT_LEASE)
            .bind(&request.name)
            .fetch_optional(&mut *transaction)
            .await;
        let stored = row
            .map_err(|source| self.database_error(source))?
            .as_ref()
            .map(sql::lease)
            .transpose()?;
        let (token, from) = match decide(stored.as_ref(), request) {
            LeaseDecision::Busy { holder, token, left } => {
                return Ok(Some(AcquireResult::Busy { holder, token, left }));
            }
            LeaseDecision::Give { token, from } => (token, from),
        };
        if !write_lease(&mut transaction, request, stored.as_ref(), token)
            .await
            .map_err(|source| self.database_error(source))?
        {
            return Ok(None);
        }
        self.record_holder(&mut transaction, request, token).await?;
        if let Some((holder, reason)) = &from {
            write_takeover(&mut transaction, request, token, holder, *reason)
                .await
                .map_err(|source| self.database_error(source))?;
        }
        self.commit(transaction).await?;
        let taken_from = from.map(|(holder, _)| holder);
        let last_seen = stored
            .filter(|_| taken_from.is_some())
            .and_then(|stored| stored.last_seen(request.ttl));
        Ok(Some(AcquireResult::Held(Lease {
            name: request.name.clone(),
            token,
            taken_from,
            last_seen,
        })))
    }

    pub(super) async fn try_renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<RenewResult, JournalError> {
        let now = self.now(now).await?;
        let renewed = sqlx::query(sql::RENEW_LEASE)
            .bind(&lease.name)
            .bind(sql::signed(lease.token))
            .bind(sql::nanoseconds(expiry(now, ttl)))
            .execute(&self.pools.writer)
            .await
            .map_err(|source| self.database_error(source))?;
        Ok(if renewed.rows_affected() == 1 { RenewResult::Held } else { RenewResult::Lost })
    }

    pub(super) async fn try_release(&self, lease: &Lease) -> Result<(), JournalError> {
        let released = sqlx::query(sql::RELEASE_LEASE)
            .bind(&lease.name)
            .bind(sql::signed(lease.token))
            .execute(&self.pools.writer)
            .await;
        released.map(drop).map_err(|source| self.database_error(source))
    }
}

/// Writes the lease; `false` if the stored lease has changed since the decision.
async fn write_lease(
    connection: &mut AnyConnection,
    request: &LeaseRequest,
    stored: Option<&StoredLease>,
    token: u64,
) -> Result<bool, sqlx::Error> {
    let query = sqlx::query(if stored.is_some() { sql::TAKE_LEASE } else { sql::INSERT_LEASE })
        .bind(&request.name)
        .bind(sql::signed(token))
        .bind(request.holder.run.to_string())
        .bind(request.holder.executor.to_string())
        .bind(&request.holder.host)
        .bind(i64::from(request.holder.pid))
        .bind(process(&request.holder))
        .bind(sql::nanoseconds(expiry(request.now, request.ttl)));
    let query = match stored {
        Some(stored) => {
            query.bind(sql::signed(stored.token)).bind(stored.expires.map_or(-1, sql::nanoseconds))
        }
        None => query,
    };
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

async fn write_takeover(
    connection: &mut AnyConnection,
    request: &LeaseRequest,
    token: u64,
    from: &Holder,
    reason: TakeoverReason,
) -> Result<(), sqlx::Error> {
    sqlx::query(sql::INSERT_TAKEOVER)
        .bind(&request.name)
        .bind(sql::signed(token))
        .bind(sql::nanoseconds(request.now))
        .bind(reason.name())
        .bind(request.holder.run.to_string())
        .bind(sql::signed(token - 1))
        .bind(from.run.to_string())
        .bind(from.executor.to_string())
        .bind(&from.host)
        .bind(i64::from(from.pid))
        .bind(process(from))
        .execute(connection)
        .await
        .map(drop)
}

/// The identity of the holder's process, as stored.
fn process(holder: &Holder) -> String {
    holder.process.as_ref().map(to_json).unwrap_or_default()
}
