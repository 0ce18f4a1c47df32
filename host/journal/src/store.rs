//! The journal in one SQLite file.

use crate::error::JournalError;
use crate::lease::{Decision, Stored, Takeover, TakeoverReason, decide};
use crate::place::{self, Reserve};
use crate::sql;
use jiff::{SignedDuration, Timestamp};
use runbook_engine::{
    Acquired, Holder, Journal, Lease, LeaseRequest, Record, Renewed, RunHeader, RunId, RunPhase, RunSummary, StoredRun,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Sqlite, Transaction};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a write waits for another process. Writes take milliseconds; who waits longer than this waits for something stuck.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many candidates an ambiguous id lists.
const MAX_CANDIDATES: i64 = 20;

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations/sqlite");

/// Runs and leases in one SQLite file. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct SqliteJournal {
    path: PathBuf,
    /// One connection, because SQLite has one writer: who waits here waits in order, which the busy timeout does not grant.
    writer: SqlitePool,
    readers: SqlitePool,
    reserve: std::sync::Arc<Reserve>,
}

impl SqliteJournal {
    /// Opens the journal at `path`, and makes it (file 0600, missing folders 0700) if there is none.
    pub async fn open(path: &Path) -> Result<Self, JournalError> {
        Self::open_waiting(path, BUSY_TIMEOUT).await
    }

    /// The same, with another time than 10 s that each operation waits for other processes.
    pub async fn open_waiting(path: &Path, wait: Duration) -> Result<Self, JournalError> {
        let owned = path.to_owned();
        tokio::task::spawn_blocking(move || place::prepare(&owned))
            .await
            .expect("preparing does not panic and is never aborted")?;
        let failed = |source| JournalError::of(path, source);
        let pool =
            |n| SqlitePoolOptions::new().max_connections(n).test_before_acquire(false).acquire_timeout(3 * wait + BUSY_TIMEOUT);
        let writer = pool(1).connect_with(options(path).busy_timeout(wait)).await.map_err(failed)?;
        migrate(path, &mut *writer.acquire().await.map_err(failed)?).await?;
        let readers = pool(2).connect_lazy_with(options(path).busy_timeout(wait));
        let reserve = std::sync::Arc::new(Reserve::keep(path));
        Ok(Self { path: path.to_owned(), writer, readers, reserve })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the connections and folds the side files back in. Nothing is lost without it.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// The one run whose id begins with `prefix`, with or without hyphens, in either case.
    pub async fn find(&self, prefix: &str) -> Result<RunId, JournalError> {
        let none = || JournalError::NoRun { run: prefix.to_owned() };
        let from = normalized(prefix).ok_or_else(none)?;
        // `g` is greater than every digit of an id, and than the hyphen.
        let to = format!("{from}g");
        let rows = sqlx::query(sql::FIND_RUNS).bind(from).bind(to).bind(MAX_CANDIDATES).fetch_all(&self.readers).await;
        let rows = rows.map_err(|source| self.failed(source))?;
        let mut candidates = rows.iter().map(sql::summary).collect::<Result<Vec<_>, _>>()?;
        match candidates.len() {
            0 => Err(none()),
            1 => Ok(candidates.remove(0).run),
            _ => Err(JournalError::Ambiguous { prefix: prefix.to_owned(), candidates }),
        }
    }

    /// The records from number `seq` on: what is new for one who follows a run.
    pub async fn records_from(&self, run: RunId, seq: u64) -> Result<Vec<Record>, JournalError> {
        let rows = sqlx::query(sql::SELECT_EVENTS).bind(run.to_string()).bind(sql::stored(seq)).fetch_all(&self.readers).await;
        rows.map_err(|source| self.failed(source))?.iter().map(|row| sql::record(run, row)).collect()
    }

    /// Who holds a lease and until when, if anybody does. It may have expired.
    pub async fn holder(&self, name: &str) -> Result<Option<(Holder, Timestamp)>, JournalError> {
        let row = sqlx::query(sql::SELECT_LEASE).bind(name).fetch_optional(&self.readers).await;
        let stored = row.map_err(|source| self.failed(source))?.as_ref().map(sql::lease).transpose()?;
        Ok(stored.and_then(|stored| Some((stored.holder, stored.expires?))))
    }

    /// Every time that this lease was taken from a holder that had not released it.
    pub async fn takeovers(&self, name: &str) -> Result<Vec<Takeover>, JournalError> {
        let rows = sqlx::query(sql::SELECT_TAKEOVERS).bind(name).fetch_all(&self.readers).await;
        rows.map_err(|source| self.failed(source))?.iter().map(sql::takeover).collect()
    }

    fn failed(&self, source: sqlx::Error) -> JournalError {
        JournalError::of(&self.path, source)
    }

    /// A transaction that holds the right to write from its first statement on: one that begins reading and writes later
    /// fails when somebody else wrote in between, however long it would wait.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, JournalError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(|source| self.failed(source))
    }

    async fn commit(&self, transaction: Transaction<'static, Sqlite>) -> Result<(), JournalError> {
        transaction.commit().await.map_err(|source| self.failed(source))
    }

    fn append_error(&self, run: RunId, seq: u64, source: sqlx::Error) -> JournalError {
        match source.as_database_error().map(sqlx::error::DatabaseError::kind) {
            Some(sqlx::error::ErrorKind::UniqueViolation) => JournalError::RecordExists { run, seq },
            Some(sqlx::error::ErrorKind::ForeignKeyViolation) => JournalError::NoRun { run: run.to_string() },
            _ => self.failed(source),
        }
    }

    /// One try to take a lease; `None` if somebody was faster between reading and writing.
    async fn try_acquire(&self, request: &LeaseRequest) -> Result<Option<Acquired>, JournalError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query(sql::SELECT_LEASE).bind(&request.name).fetch_optional(&mut *transaction).await;
        let stored = row.map_err(|source| self.failed(source))?.as_ref().map(sql::lease).transpose()?;
        let (token, from) = match decide(stored.as_ref(), request) {
            Decision::Busy { holder, token, expires } => return Ok(Some(Acquired::Busy { holder, token, expires })),
            Decision::Give { token, from } => (token, from),
        };
        if !write_lease(&mut transaction, request, stored.as_ref(), token).await.map_err(|source| self.failed(source))? {
            return Ok(None);
        }
        if let Some((holder, reason)) = &from {
            write_takeover(&mut transaction, request, token, holder, *reason).await.map_err(|source| self.failed(source))?;
        }
        self.commit(transaction).await?;
        let taken_from = from.map(|(holder, _)| holder);
        Ok(Some(Acquired::Held(Lease { name: request.name.clone(), token, taken_from })))
    }

    async fn try_release(&self, lease: &Lease) -> Result<(), JournalError> {
        let released =
            sqlx::query(sql::RELEASE_LEASE).bind(&lease.name).bind(sql::stored(lease.token)).execute(&self.writer).await;
        released.map(drop).map_err(|source| self.failed(source))
    }
}

impl Journal for SqliteJournal {
    type Error = JournalError;

    async fn create(&self, header: &RunHeader) -> Result<(), JournalError> {
        let inserted = sqlx::query(sql::INSERT_RUN)
            .bind(header.run.to_string())
            .bind(&header.name)
            .bind(&header.title)
            .bind(&header.operator)
            .bind(&header.environment)
            .bind(json(&RunPhase::Running))
            .bind(sql::nanoseconds(header.started))
            .bind(&header.digest)
            .bind(json(&header.sources))
            .bind(json(&header.params))
            .execute(&self.writer)
            .await;
        inserted.map(drop).map_err(|source| match source.as_database_error().map(sqlx::error::DatabaseError::kind) {
            Some(sqlx::error::ErrorKind::UniqueViolation) => JournalError::RunExists { run: header.run },
            _ => self.failed(source),
        })
    }

    async fn append(&self, run: RunId, record: &Record) -> Result<(), JournalError> {
        let failed = |source| self.append_error(run, record.seq, source);
        let insert = sqlx::query(sql::INSERT_EVENT)
            .bind(run.to_string())
            .bind(sql::stored(record.seq))
            .bind(sql::nanoseconds(record.at))
            .bind(json(&record.event));
        let Some(phase) = record.event.phase() else {
            // One statement is a transaction of its own: the common case costs one trip to the database's thread.
            return insert.execute(&self.writer).await.map(drop).map_err(failed);
        };
        let ended = matches!(phase, RunPhase::Ended(_)).then(|| sql::nanoseconds(record.at));
        let mut transaction = self.begin().await?;
        insert.execute(&mut *transaction).await.map_err(failed)?;
        let update = sqlx::query(sql::SET_PHASE).bind(run.to_string()).bind(json(&phase)).bind(ended);
        update.execute(&mut *transaction).await.map_err(failed)?;
        self.commit(transaction).await
    }

    async fn load(&self, run: RunId) -> Result<StoredRun, JournalError> {
        let row = sqlx::query(sql::SELECT_RUN).bind(run.to_string()).fetch_optional(&self.readers).await;
        let row = row.map_err(|source| self.failed(source))?.ok_or_else(|| JournalError::NoRun { run: run.to_string() })?;
        Ok(StoredRun { header: sql::header(&row)?, records: self.records_from(run, 0).await? })
    }

    async fn list(&self, limit: usize) -> Result<Vec<RunSummary>, JournalError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = sqlx::query(sql::LIST_RUNS).bind(limit).fetch_all(&self.readers).await;
        rows.map_err(|source| self.failed(source))?.iter().map(sql::summary).collect()
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Acquired, JournalError> {
        loop {
            if let Some(acquired) = self.try_acquire(request).await? {
                return Ok(acquired);
            }
        }
    }

    async fn renew(&self, lease: &Lease, now: Timestamp, ttl: Duration) -> Result<Renewed, JournalError> {
        let renewed = sqlx::query(sql::RENEW_LEASE)
            .bind(&lease.name)
            .bind(sql::stored(lease.token))
            .bind(sql::nanoseconds(expiry(now, ttl)))
            .execute(&self.writer)
            .await
            .map_err(|source| self.failed(source))?;
        Ok(if renewed.rows_affected() == 1 { Renewed::Held } else { Renewed::Lost })
    }

    async fn release(&self, lease: &Lease) -> Result<(), JournalError> {
        match self.try_release(lease).await {
            // A lock that stays behind because the disk is full would block others for no reason.
            Err(JournalError::Full { .. }) if self.reserve.give_back() => self.try_release(lease).await,
            other => other,
        }
    }
}

pub(crate) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
}

async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), JournalError> {
    let failed = |source| JournalError::of(path, source);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    MIGRATOR.run(&mut *transaction).await.map_err(|error| JournalError::of_migration(path, error))?;
    transaction.commit().await.map_err(failed)
}

/// Writes the lease; `false` if the stored one is no longer the one that was decided about.
async fn write_lease(
    connection: &mut SqliteConnection,
    request: &LeaseRequest,
    stored: Option<&Stored>,
    token: u64,
) -> Result<bool, sqlx::Error> {
    let query = sqlx::query(if stored.is_some() { sql::TAKE_LEASE } else { sql::INSERT_LEASE })
        .bind(&request.name)
        .bind(sql::stored(token))
        .bind(request.holder.run.to_string())
        .bind(request.holder.executor.to_string())
        .bind(&request.holder.host)
        .bind(i64::from(request.holder.pid))
        .bind(sql::nanoseconds(expiry(request.now, request.ttl)));
    let query = match stored {
        Some(stored) => query.bind(sql::stored(stored.token)),
        None => query,
    };
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

async fn write_takeover(
    connection: &mut SqliteConnection,
    request: &LeaseRequest,
    token: u64,
    from: &Holder,
    reason: TakeoverReason,
) -> Result<(), sqlx::Error> {
    sqlx::query(sql::INSERT_TAKEOVER)
        .bind(&request.name)
        .bind(sql::stored(token))
        .bind(sql::nanoseconds(request.now))
        .bind(reason.name())
        .bind(request.holder.run.to_string())
        .bind(sql::stored(token - 1))
        .bind(from.run.to_string())
        .bind(from.executor.to_string())
        .bind(&from.host)
        .bind(i64::from(from.pid))
        .execute(connection)
        .await
        .map(drop)
}

fn expiry(now: Timestamp, ttl: Duration) -> Timestamp {
    now.saturating_add(SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our own types have string keys and no failing serializers")
}

/// The beginning of an id as ids are stored, or `None` if no id begins like this.
fn normalized(prefix: &str) -> Option<String> {
    let digits: Vec<char> = prefix.trim().chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    if digits.is_empty() || digits.len() > 32 || !digits.iter().all(char::is_ascii_hexdigit) {
        return None;
    }
    let mut text = String::new();
    for (index, digit) in digits.into_iter().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_is_read_with_or_without_hyphens() {
        assert_eq!(normalized("0193AB12").as_deref(), Some("0193ab12"));
        assert_eq!(normalized("0193ab12-77").as_deref(), Some("0193ab12-77"));
        assert_eq!(normalized("0193ab1277").as_deref(), Some("0193ab12-77"));
        assert_eq!((normalized(""), normalized("0193%"), normalized(&"0".repeat(33))), (None, None, None));
    }

    #[tokio::test]
    async fn each_commit_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(&folder.path().join("journal.db")).await.unwrap();
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&journal.writer).await.unwrap();
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&journal.writer).await.unwrap();
        assert_eq!((synchronous, mode.as_str()), (2, "wal"), "2 is FULL");
    }
}
