//! The journal in one SQLite file or one PostgreSQL database: the same statements, the same
//! judgements.

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

/// After this time, the listener is told that the server does not answer.
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
    /// The copy that was made when the file was found to be removed or renamed, if that was
    /// possible.
    rescued: Arc<OnceCell<Option<PathBuf>>>,
}

/// The server of a journal does not answer, or answers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerEvent {
    /// It does not answer. It is waited for so long at most; nothing begins meanwhile.
    Gone {
        /// How long it has not answered.
        since: Duration,
        /// How long it is waited for at most.
        patience: Duration,
    },
    /// The server answers again.
    Back {
        /// How long it was away.
        after: Duration,
    },
}

/// The listener for the loss and return of the server, and whether it was called.
#[derive(Default)]
struct ServerListener {
    is_gone: AtomicBool,
    tell: OnceLock<fn(&JournalLocation, ServerEvent)>,
}

impl SqlJournal {
    /// Opens the journal, and makes it if there is none: a file of mode 0600 with its missing
    /// folders (0700), or the tables in the first schema of the database's search path.
    ///
    /// # Errors
    /// [`JournalError`] if the file or server cannot be reached, opened for writing or locked, is
    /// no journal, has no space left, or was written by a newer program.
    pub async fn open(location: &JournalLocation) -> Result<Self, JournalError> {
        Self::open_waiting(location, BUSY_TIMEOUT).await
    }

    /// The same, with another time than 10 s that each operation waits for other processes.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    pub async fn open_waiting(
        location: &JournalLocation,
        wait: Duration,
    ) -> Result<Self, JournalError> {
        if let JournalLocation::File(path) = location {
            let owned = path.clone();
            tokio::task::spawn_blocking(move || journal_file::prepare(&owned))
                .await
                .expect("preparing does not panic and is never aborted")?;
        }
        let reserve = location.file().map(Reserve::of);
        let open = |sharing| Pools::open(location, wait, sharing);
        let pools = match (open(Sharing::Shared).await, &reserve) {
            // Reading needs a little room too, for what SQLite keeps beside the file, or has the
            // file alone.
            (Err(JournalError::Full { .. }), Some(reserve)) => {
                let again =
                    if reserve.give_back() { open(Sharing::Shared).await.ok() } else { None };
                match again {
                    Some(pools) => pools,
                    None => open(Sharing::Alone).await?,
                }
            }
            (pools, _) => pools?,
        };
        if let Some(reserve) = &reserve {
            reserve.keep();
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

    /// Sets who is told, once each time, that the server is away and that it is back. The first
    /// call decides.
    #[must_use]
    pub fn with_server_listener(self, tell: fn(&JournalLocation, ServerEvent)) -> Self {
        let _ = self.listener.tell.set(tell);
        self
    }

    fn report_server_event(&self, event: ServerEvent) {
        let is_gone = matches!(event, ServerEvent::Gone { .. });
        let was_gone = self.listener.is_gone.swap(is_gone, Ordering::SeqCst);
        if let (Some(tell), true) = (self.listener.tell.get(), was_gone != is_gone) {
            tell(&self.location, event);
        }
    }

    /// Where the journal is.
    pub fn location(&self) -> &JournalLocation {
        &self.location
    }

    /// Closes the connections and folds the side files back in. Nothing is lost without it.
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

    pub(crate) fn failed(&self, source: sqlx::Error) -> JournalError {
        JournalError::of(&self.location, source)
    }

    /// A transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, JournalError> {
        self.pools
            .writer
            .begin_with(connect::begin(&self.location))
            .await
            .map_err(|source| self.failed(source))
    }

    pub(crate) async fn commit(
        &self,
        transaction: Transaction<'static, Any>,
    ) -> Result<(), JournalError> {
        transaction.commit().await.map_err(|source| self.failed(source))
    }

    pub(crate) fn append_error(&self, run: RunId, seq: u64, source: sqlx::Error) -> JournalError {
        match source.as_database_error().map(sqlx::error::DatabaseError::kind) {
            Some(sqlx::error::ErrorKind::UniqueViolation) => {
                JournalError::RecordExists { run, seq }
            }
            Some(sqlx::error::ErrorKind::ForeignKeyViolation) => {
                JournalError::NoRun { run: run.to_string() }
            }
            _ => self.failed(source),
        }
    }

    /// The clock that decides about leases: this machine's for a file, which only this machine has;
    /// the server's for a database, because the clocks of two machines differ, and the faster one
    /// would take the other's leases.
    pub(crate) async fn now(&self, caller: Timestamp) -> Result<Timestamp, JournalError> {
        if self.location.file().is_some() {
            return Ok(caller);
        }
        let row = sqlx::query(sql::SELECT_CLOCK)
            .fetch_one(&self.pools.writer)
            .await
            .map_err(|source| self.failed(source))?;
        sql::time(&row, "now_ns")
    }

    /// Tries again as long as the server is away. What is tried may have happened before the
    /// connection broke.
    async fn patiently<T, F: Future<Output = Result<T, JournalError>>>(
        &self,
        mut attempt: impl FnMut(Try) -> F,
    ) -> Result<T, JournalError> {
        let since = Instant::now();
        let mut this = Try::First;
        loop {
            self.has_its_files().await?;
            let mut work = pin!(attempt(this));
            let result = match tokio::time::timeout(REPORT_AFTER, &mut work).await {
                Ok(result) => result,
                Err(_) => {
                    self.report_server_event(ServerEvent::Gone {
                        since: since.elapsed(),
                        patience: MAX_SERVER_WAIT,
                    });
                    work.await
                }
            };
            // Records in a file that has lost its name are lost.
            self.has_its_files().await?;
            match result {
                Err(JournalError::Unreachable { .. }) if since.elapsed() < MAX_SERVER_WAIT => {
                    self.report_server_event(ServerEvent::Gone {
                        since: since.elapsed(),
                        patience: MAX_SERVER_WAIT,
                    });
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Err(error @ JournalError::Unreachable { .. }) => return Err(error),
                other => {
                    self.report_server_event(ServerEvent::Back { after: since.elapsed() });
                    return other;
                }
            }
            this = Try::Again;
        }
    }

    /// Refuses to go on with a file that cannot be opened by its name any more.
    async fn has_its_files(&self) -> Result<(), JournalError> {
        let Some((file, change)) = self.pools.files.as_ref().and_then(|files| files.changed())
        else {
            return Ok(());
        };
        let rescued = self.rescued.get_or_init(|| self.rescue()).await.clone();
        Err(JournalError::Gone { file, change, rescued })
    }

    /// Copies all records out of the open files to a new one, from which the run can be resumed;
    /// `None` if that cannot be.
    async fn rescue(&self) -> Option<PathBuf> {
        let path = self
            .location
            .file()
            .filter(|_| self.pools.files.as_ref().is_some_and(|files| files.is_written()))?;
        let copy = journal_file::place_of_copy(path)?;
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

/// Whether something was tried before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    First,
    Again,
}

type Query<'q> = sqlx::query::Query<'q, Any, sqlx::any::AnyArguments>;

pub(crate) fn expiry(now: Timestamp, ttl: Duration) -> Timestamp {
    now.saturating_add(SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

pub(crate) fn json(value: &impl serde::Serialize) -> String {
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
