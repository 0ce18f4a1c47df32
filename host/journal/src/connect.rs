//! How a connection is opened: what makes a commit durable, and how long anything waits. The only
//! place, with `error`, that knows which database a journal is in.

use crate::error::{JournalError, is_busy};
use crate::location::{JournalLocation, ServerUrl};
use crate::opened_files::OpenedFiles;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, Connection, Executor};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The tables. The same statements for both databases, so that there is one history of them.
static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// How long a connection to a server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two tries to open a file that others open at the same moment.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How long a connection to a server is kept while it is unused, and how long at most.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);
const MAX_LIFETIME: Duration = Duration::from_mins(30);

/// A path as sqlx reads it: all but the separators are escaped.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');

/// Connections to one journal.
pub(crate) struct Pools {
    /// One connection: SQLite has one writer, and waiting for this connection is fair, which its
    /// busy timeout is not.
    pub(crate) writer: AnyPool,
    pub(crate) readers: AnyPool,
    /// The files that are open; `None` for a server.
    pub(crate) files: Option<Arc<OpenedFiles>>,
}

/// Whether others may use a file while it is open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// They may, by memory that SQLite keeps in a file beside it (`-shm`).
    Shared,
    /// Nobody may, so no shared-memory file is needed, which cannot be made on a full disk. One
    /// connection does everything.
    Alone,
}

/// Which connections a pool has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Writer,
    Reader,
}

impl Pools {
    /// Connects, and brings the tables up to date.
    pub(crate) async fn open(
        location: &JournalLocation,
        wait: Duration,
        sharing: Sharing,
    ) -> Result<Self, JournalError> {
        sqlx::any::install_default_drivers();
        let failed = |source| JournalError::of(location, source);
        let options = AnyConnectOptions::from_str(&url(location)).map_err(failed)?;
        let session = session(location, wait, sharing);
        let opened = |source| JournalError::of(location, sqlx::Error::Io(source));
        let files = location.file().map(OpenedFiles::of).transpose().map_err(opened)?.map(Arc::new);
        let pool = |role, connections| {
            let session = session.clone();
            let files = files.clone().filter(|_| role == Role::Writer);
            let timeout = if location.file().is_some() {
                3 * wait + Duration::from_secs(10)
            } else {
                CONNECT_TIMEOUT
            };
            // A file stays open for as long as the journal does: what lies beside it goes when the
            // last connection is closed.
            let (idle, lifetime) = match location {
                JournalLocation::File(_) => (None, None),
                JournalLocation::Server(_) => (Some(IDLE_TIMEOUT), Some(MAX_LIFETIME)),
            };
            AnyPoolOptions::new()
                .max_connections(connections)
                .idle_timeout(idle)
                .max_lifetime(lifetime)
                // A file does not go away; a server does, and a broken connection must not be used
                // again.
                .test_before_acquire(location.file().is_none())
                .acquire_timeout(timeout)
                .after_connect(move |connection, _| {
                    let (session, files) = (session.clone(), files.clone());
                    Box::pin(async move {
                        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(session))).await?;
                        if let Some(files) = files {
                            files.note_beside();
                        }
                        Ok(())
                    })
                })
        };
        // A pool tries again whatever is wrong, and in the end says only that it took too long.
        let connecting = tokio::time::timeout(
            CONNECT_TIMEOUT.max(wait),
            first(location, &options, &session, wait),
        );
        let mut connection =
            connecting.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(failed)?;
        migrate(location, &mut connection).await?;
        let writer = pool(Role::Writer, 1).connect_lazy_with(options.clone());
        let readers = match sharing {
            Sharing::Shared => pool(Role::Reader, 2).connect_lazy_with(options),
            Sharing::Alone => writer.clone(),
        };
        if location.file().is_some() && sharing == Sharing::Shared {
            // While the first one holds what lies beside the file: on a full disk it could not be
            // made a second time, and a pool would hide why.
            for pool in [&writer, &readers] {
                drop(pool.acquire().await.map_err(failed)?);
            }
        }
        connection.close().await.map_err(failed)?;
        Ok(Self { writer, readers, files })
    }
}

/// The connection that finds or makes the file. Of two that turn a new file to WAL at one moment,
/// SQLite refuses one at once, without waiting, because each would wait for the other.
async fn first(
    location: &JournalLocation,
    options: &AnyConnectOptions,
    session: &str,
    wait: Duration,
) -> Result<AnyConnection, sqlx::Error> {
    let since = Instant::now();
    loop {
        match connect(options, session).await {
            Err(error)
                if location.file().is_some() && is_busy(&error) && since.elapsed() < wait =>
            {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

async fn connect(options: &AnyConnectOptions, session: &str) -> Result<AnyConnection, sqlx::Error> {
    let mut connection = AnyConnection::connect_with(options).await?;
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(session.to_owned()))).await?;
    Ok(connection)
}

/// How a transaction that writes begins. In SQLite, one that begins by reading and writes later
/// fails if another process wrote in between, however long it waits.
pub(crate) fn begin(location: &JournalLocation) -> &'static str {
    match location {
        JournalLocation::File(_) => "BEGIN IMMEDIATE",
        JournalLocation::Server(_) => "BEGIN",
    }
}

/// Whether a record and the renewal of the leases that it needs fit into one statement. To a server
/// each statement of a transaction costs one round trip. SQLite has no statement that writes to two
/// tables.
pub(crate) fn fences_in_one(location: &JournalLocation) -> bool {
    match location {
        JournalLocation::File(_) => false,
        JournalLocation::Server(_) => true,
    }
}

fn url(location: &JournalLocation) -> String {
    match location {
        JournalLocation::File(path) => file_url(path),
        JournalLocation::Server(url) => ServerUrl::written_out(url),
    }
}

/// A URL with `mode=rw`: the caller has made the file before, with its permissions.
fn file_url(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("sqlite://{}?mode=rw", utf8_percent_encode(&absolute.to_string_lossy(), IN_PATH))
}

/// What is set in each session. First of all that a commit that was answered is on the disk.
fn session(location: &JournalLocation, wait: Duration, sharing: Sharing) -> String {
    let wait = wait.as_millis();
    let locking = match sharing {
        Sharing::Shared => "NORMAL",
        Sharing::Alone => "EXCLUSIVE",
    };
    match location {
        JournalLocation::File(_) => {
            format!(
                "PRAGMA busy_timeout = {wait}; PRAGMA locking_mode = {locking}; PRAGMA \
                     journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
            )
        }
        JournalLocation::Server(_) => {
            format!(
                "SET synchronous_commit = on; SET application_name = 'runbook'; SET \
                     lock_timeout = {wait}; SET statement_timeout = 30000; SET \
                     idle_in_transaction_session_timeout = 30000;"
            )
        }
    }
}

/// Lets one process at a time make the tables; the lock goes when the transaction ends. (That of
/// sqlx goes before, so the next one would not see what the first has made.) `BEGIN IMMEDIATE` does
/// the same for a file.
fn only_one(location: &JournalLocation) -> Option<&'static str> {
    match location {
        JournalLocation::File(_) => None,
        JournalLocation::Server(_) => {
            Some("SELECT pg_advisory_xact_lock(hashtext('runbook.migrate'))")
        }
    }
}

async fn migrate(
    location: &JournalLocation,
    connection: &mut AnyConnection,
) -> Result<(), JournalError> {
    let failed = |source| JournalError::of(location, source);
    let mut transaction = connection.begin_with(begin(location)).await.map_err(failed)?;
    if let Some(lock) = only_one(location) {
        transaction.execute(lock).await.map_err(failed)?;
    }
    MIGRATOR
        .run(&mut *transaction)
        .await
        .map_err(|error| JournalError::of_migration(location, error))?;
    transaction.commit().await.map_err(failed)
}
