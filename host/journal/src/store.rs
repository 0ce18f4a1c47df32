//! The journal in one SQLite file or one PostgreSQL database. Both use the same statements and make
//! the same decisions.

mod leases;
mod pruning;
mod runs;

pub use pruning::{DirtyRuns, Pruning};

use crate::connect::{self, Pools, Sharing};
use crate::disk_room::Reserve;
use crate::error::JournalError;
use crate::journal_file;
use crate::location::JournalLocation;
use crate::sql;
use jiff::{SignedDuration, Timestamp};
use runbook_engine::RunId;
use sqlx::{Any, AnyPool, Transaction};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// How long a write waits for another process. Writes take milliseconds; a longer wait means that
/// something is stuck.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an operation waits for a server that does not answer: long enough for a restart of the
/// server.
const MAX_SERVER_WAIT: Duration = Duration::from_secs(30);

/// When the server has not answered for this time, the listener is called.
const REPORT_AFTER: Duration = Duration::from_secs(1);

/// The pause before an operation is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Runs and leases in one SQLite file or one PostgreSQL database. Cheap to clone; clones share
/// their connections.
#[derive(Clone)]
pub struct SqlJournal {
    location: JournalLocation,
    pools: Arc<Pools>,
    /// The reserve on the disk of a SQLite file; `None` for a server.
    reserve: Option<Arc<Reserve>>,
    listener: Arc<ServerListener>,
    /// The copy that was made when the file turned out to be removed or renamed, if one could be
    /// made.
    rescued: Arc<OnceCell<Option<PathBuf>>>,
}

/// A change in whether the server of a journal answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerEvent {
    /// It does not answer. Operations wait for it, and no step begins meanwhile.
    Unreachable {
        /// How long it has not answered.
        since: Duration,
        /// How long operations wait for it at most.
        max_wait: Duration,
    },
    /// The server answers again.
    Reachable {
        /// How long it did not answer.
        after: Duration,
    },
}

/// The callback for changes in whether the server answers, and the last state that it was given.
#[derive(Default)]
struct ServerListener {
    is_unreachable: AtomicBool,
    callback: OnceLock<fn(&JournalLocation, ServerEvent)>,
}

impl SqlJournal {
    /// Opens the journal, and makes it if there is none: a file of mode 0600 with its missing
    /// folders (0700), or the tables in the first schema of the database's search path.
    ///
    /// # Errors
    /// [`JournalError`] if the file or server cannot be reached, opened for writing or locked, is
    /// no journal, has no space left, or was written by a newer program.
    pub async fn open(location: &JournalLocation) -> Result<Self, JournalError> {
        Self::open_with_timeout(location, BUSY_TIMEOUT).await
    }

    /// Opens the journal as [`open`](Self::open) does, with another limit than 10 s for how long
    /// each operation waits for other processes.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    pub async fn open_with_timeout(
        location: &JournalLocation,
        wait: Duration,
    ) -> Result<Self, JournalError> {
        if let JournalLocation::File(path) = location {
            let owned = path.clone();
            tokio::task::spawn_blocking(move || journal_file::prepare(&owned))
                .await
                .expect("preparing does not panic and is never aborted")?;
        }
        let reserve = location.file().map(Reserve::new);
        let open = |sharing| Pools::open(location, wait, sharing);
        let pools = match (open(Sharing::Shared).await, &reserve) {
            // Reading needs some space too, for the side files of SQLite, unless the file is opened
            // exclusively.
            (Err(JournalError::Full { .. }), Some(reserve)) => {
                let reopened =
                    if reserve.release_space() { open(Sharing::Shared).await.ok() } else { None };
                match reopened {
                    Some(pools) => pools,
                    None => open(Sharing::Exclusive).await?,
                }
            }
            (pools, _) => pools?,
        };
        if let Some(reserve) = &reserve {
            reserve.ensure();
        }
        let (pools, reserve) = (Arc::new(pools), reserve.map(Arc::new));
        Ok(Self {
            location: location.clone(),
            pools,
            reserve,
            listener: Arc::default(),
            rescued: Arc::default(),
        })
    }

    /// Sets the function that is called when the server stops answering and when it answers again.
    /// Only the first call has an effect.
    #[must_use]
    pub fn with_server_listener(self, callback: fn(&JournalLocation, ServerEvent)) -> Self {
        let _ = self.listener.callback.set(callback);
        self
    }

    fn report_server_event(&self, event: ServerEvent) {
        let is_unreachable = matches!(event, ServerEvent::Unreachable { .. });
        let was_unreachable = self.listener.is_unreachable.swap(is_unreachable, Ordering::SeqCst);
        if let (Some(callback), true) =
            (self.listener.callback.get(), was_unreachable != is_unreachable)
        {
            callback(&self.location, event);
        }
    }

    /// Where the journal is.
    pub fn location(&self) -> &JournalLocation {
        &self.location
    }

    /// Closes the connections, so that SQLite merges its side files into the file. No record is
    /// lost without it.
    pub async fn close(&self) {
        self.pools.readers.close().await;
        self.pools.writer.close().await;
    }

    pub(crate) fn readers(&self) -> &AnyPool {
        &self.pools.readers
    }

    pub(crate) fn writer(&self) -> &AnyPool {
        &self.pools.writer
    }

    pub(crate) fn database_error(&self, source: sqlx::Error) -> JournalError {
        JournalError::from_database(&self.location, source)
    }

    /// A transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, JournalError> {
        self.pools
            .writer
            .begin_with(connect::begin(&self.location))
            .await
            .map_err(|source| self.database_error(source))
    }

    pub(crate) async fn commit(
        &self,
        transaction: Transaction<'static, Any>,
    ) -> Result<(), JournalError> {
        transaction.commit().await.map_err(|source| self.database_error(source))
    }

    pub(crate) fn append_error(&self, run: RunId, seq: u64, source: sqlx::Error) -> JournalError {
        match source.as_database_error().map(sqlx::error::DatabaseError::kind) {
            Some(sqlx::error::ErrorKind::UniqueViolation) => {
                JournalError::RecordExists { run, seq }
            }
            Some(sqlx::error::ErrorKind::ForeignKeyViolation) => {
                JournalError::NoRun { run: run.to_string() }
            }
            _ => self.database_error(source),
        }
    }

    /// The time that decides about leases. For a file, which only this machine uses, it is
    /// `caller`, the time of this machine. For a database it is the time of the server: the clocks
    /// of two machines differ, and the machine whose clock is ahead would take the other's leases.
    pub(crate) async fn now(&self, caller: Timestamp) -> Result<Timestamp, JournalError> {
        if self.location.file().is_some() {
            return Ok(caller);
        }
        let row = sqlx::query(sql::SELECT_CLOCK)
            .fetch_one(&self.pools.writer)
            .await
            .map_err(|source| self.database_error(source))?;
        sql::time(&row, "now_ns")
    }

    /// Repeats an operation as long as the server does not answer. An earlier attempt may have
    /// taken effect before its connection broke.
    async fn retry_while_unreachable<T, F: Future<Output = Result<T, JournalError>>>(
        &self,
        mut attempt: impl FnMut(AttemptKind) -> F,
    ) -> Result<T, JournalError> {
        let since = Instant::now();
        let mut attempt_kind = AttemptKind::First;
        loop {
            self.check_files_in_place().await?;
            let mut operation = pin!(attempt(attempt_kind));
            let result = match tokio::time::timeout(REPORT_AFTER, &mut operation).await {
                Ok(result) => result,
                Err(_) => {
                    self.report_server_event(ServerEvent::Unreachable {
                        since: since.elapsed(),
                        max_wait: MAX_SERVER_WAIT,
                    });
                    operation.await
                }
            };
            // Records in a file that was removed or replaced are lost.
            self.check_files_in_place().await?;
            match result {
                Err(JournalError::Unreachable { .. }) if since.elapsed() < MAX_SERVER_WAIT => {
                    self.report_server_event(ServerEvent::Unreachable {
                        since: since.elapsed(),
                        max_wait: MAX_SERVER_WAIT,
                    });
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Err(error @ JournalError::Unreachable { .. }) => return Err(error),
                other => {
                    self.report_server_event(ServerEvent::Reachable { after: since.elapsed() });
                    return other;
                }
            }
            attempt_kind = AttemptKind::Retry;
        }
    }

    /// Fails if the file of the journal was removed or replaced, after copying its content.
    async fn check_files_in_place(&self) -> Result<(), JournalError> {
        let Some((file, change)) = self.pools.files.as_ref().and_then(|files| files.first_change())
        else {
            return Ok(());
        };
        let rescued = self.rescued.get_or_init(|| self.rescue()).await.clone();
        Err(JournalError::FileChanged { file, change, rescued })
    }

    /// Copies all records from the open file to a new one, from which the run can be resumed;
    /// `None` if that fails.
    async fn rescue(&self) -> Option<PathBuf> {
        let path = self
            .location
            .file()
            .filter(|_| self.pools.files.as_ref().is_some_and(|files| files.has_writer()))?;
        let copy = journal_file::create_copy_file(path)?;
        let name = copy.to_str()?.to_owned();
        match sqlx::query("VACUUM INTO $1").bind(name).execute(&self.pools.writer).await {
            Ok(_) => Some(copy),
            Err(_) => {
                drop(std::fs::remove_file(&copy));
                None
            }
        }
    }
}

/// Whether an operation was attempted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AttemptKind {
    First,
    Retry,
}

type Query<'q> = sqlx::query::Query<'q, Any, sqlx::any::AnyArguments>;

pub(crate) fn expiry(now: Timestamp, ttl: Duration) -> Timestamp {
    now.saturating_add(SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our own types have string keys and no failing serializers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_commit_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let journal = SqlJournal::open(&JournalLocation::File(folder.path().join("journal.db")))
            .await
            .unwrap();
        for pool in [&journal.pools.writer, &journal.pools.readers] {
            let synchronous: i64 =
                sqlx::query_scalar("PRAGMA synchronous").fetch_one(pool).await.unwrap();
            let mode: String =
                sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await.unwrap();
            assert_eq!((synchronous, mode.as_str()), (2, "wal"), "2 is FULL");
        }
    }
}
