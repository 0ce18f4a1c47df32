//! Opens connections: sets what makes a commit durable, and how long operations wait. Only this
//! module and `error` know which database a journal is in.

use crate::error::{JournalError, is_busy};
use crate::location::{JournalLocation, ServerUrl};
use crate::opened_files::OpenedFiles;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool, Connection, Executor, SqlSafeStr as _};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The migrations that create the tables: number, description and statements. Both databases use the
/// same statements. The macro `sqlx::migrate!` would embed them too, and with it every database
/// driver would be compiled twice.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "runs and leases", include_str!("../migrations/0001_runs_and_leases.sql")),
    (2, "ends and names", include_str!("../migrations/0002_ends_and_names.sql")),
    (
        3,
        "processes and cancel requests",
        include_str!("../migrations/0003_processes_and_cancel_requests.sql"),
    ),
    (4, "retries and durations", include_str!("../migrations/0004_retries_and_durations.sql")),
    (5, "nested events", include_str!("../migrations/0005_nested_events.sql")),
    (6, "broken locks", include_str!("../migrations/0006_broken_locks.sql")),
    (7, "lock holders", include_str!("../migrations/0007_lock_holders.sql")),
    (8, "guard observations", include_str!("../migrations/0008_guard_observations.sql")),
];

/// How long a connection to a server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two attempts to open a file that other processes open at the same time.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How long a connection to a server is kept while it is unused, and how long at most.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);
const MAX_LIFETIME: Duration = Duration::from_mins(30);

/// The characters of a path that are percent-encoded in a URL for sqlx: all but `/`.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');

/// Connections to one journal.
pub(crate) struct Pools {
    /// A pool of one connection. SQLite allows one writer at a time; unlike its busy timeout, the
    /// pool serves waiting operations in order.
    pub(crate) writer: AnyPool,
    pub(crate) readers: AnyPool,
    /// The files that are open; `None` for a server.
    pub(crate) files: Option<Arc<OpenedFiles>>,
}

/// Whether other processes may use a file while it is open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// They may. SQLite needs a side file for shared memory (`-shm`).
    Shared,
    /// They may not. SQLite needs no side file for shared memory, which could not be made on a full
    /// disk. Reading and writing use the same connection.
    Exclusive,
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
        let database_error = |source| JournalError::from_database(location, source);
        let options = AnyConnectOptions::from_str(&url(location)).map_err(database_error)?;
        let session = session(location, wait, sharing);
        let open_error = |source| JournalError::from_database(location, sqlx::Error::Io(source));
        let files =
            location.file().map(OpenedFiles::new).transpose().map_err(open_error)?.map(Arc::new);
        let pool = |role, connections| {
            let session = session.clone();
            let files = files.clone().filter(|_| role == Role::Writer);
            let timeout = if location.file().is_some() {
                3 * wait + Duration::from_secs(10)
            } else {
                CONNECT_TIMEOUT
            };
            // A file stays open for as long as the journal, because SQLite removes the side files
            // when the last connection is closed.
            let (idle, lifetime) = match location {
                JournalLocation::File(_) => (None, None),
                JournalLocation::Server(_) => (Some(IDLE_TIMEOUT), Some(MAX_LIFETIME)),
            };
            AnyPoolOptions::new()
                .max_connections(connections)
                .idle_timeout(idle)
                .max_lifetime(lifetime)
                // The connection to a server may be broken; that to a file may not.
                .test_before_acquire(location.file().is_none())
                .acquire_timeout(timeout)
                .after_connect(move |connection, _| {
                    let (session, files) = (session.clone(), files.clone());
                    Box::pin(async move {
                        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(session))).await?;
                        if let Some(files) = files {
                            files.note_side_files();
                        }
                        Ok(())
                    })
                })
        };
        // Not through a pool: it would retry after every error, and at the end report only a
        // timeout.
        let connecting = tokio::time::timeout(
            CONNECT_TIMEOUT.max(wait),
            connect_when_free(location, &options, &session, wait),
        );
        let mut connection =
            connecting.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(database_error)?;
        migrate(location, &mut connection).await?;
        let writer = pool(Role::Writer, 1).connect_lazy_with(options.clone());
        let readers = match sharing {
            Sharing::Shared => pool(Role::Reader, 2).connect_lazy_with(options),
            Sharing::Exclusive => writer.clone(),
        };
        if location.file().is_some() && sharing == Sharing::Shared {
            // Opened while the first connection keeps the side files: on a full disk they could not
            // be made again, and a pool would hide the reason.
            for pool in [&writer, &readers] {
                drop(pool.acquire().await.map_err(database_error)?);
            }
        }
        connection.close().await.map_err(database_error)?;
        Ok(Self { writer, readers, files })
    }
}

/// Opens the first connection. If two processes set a new file to WAL mode at the same time, SQLite
/// refuses one of them at once, in spite of the busy timeout, so it is tried again until `wait` is
/// over.
async fn connect_when_free(
    location: &JournalLocation,
    options: &AnyConnectOptions,
    session: &str,
    wait: Duration,
) -> Result<AnyConnection, sqlx::Error> {
    let began = Instant::now();
    loop {
        match connect(options, session).await {
            Err(error)
                if location.file().is_some() && is_busy(&error) && began.elapsed() < wait =>
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

/// The statement that begins a transaction that writes. In SQLite, a transaction that begins by
/// reading and writes later fails if another process wrote in between.
pub(crate) fn begin(location: &JournalLocation) -> &'static str {
    match location {
        JournalLocation::File(_) => "BEGIN IMMEDIATE",
        JournalLocation::Server(_) => "BEGIN",
    }
}

/// Whether one statement can write a record and renew the leases that it needs. To a server, each
/// statement of a transaction costs one round trip. SQLite has no statement that writes to two
/// tables.
pub(crate) fn can_fence_in_one_statement(location: &JournalLocation) -> bool {
    match location {
        JournalLocation::File(_) => false,
        JournalLocation::Server(_) => true,
    }
}

fn url(location: &JournalLocation) -> String {
    match location {
        JournalLocation::File(path) => file_url(path),
        JournalLocation::Server(url) => ServerUrl::with_defaults(url),
    }
}

/// The URL of a file, with `mode=rw`: the caller has created the file with its permissions.
fn file_url(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("sqlite://{}?mode=rw", utf8_percent_encode(&absolute.to_string_lossy(), IN_PATH))
}

/// The statements that set up a connection. The most important one: a commit is on the disk when it
/// returns.
fn session(location: &JournalLocation, wait: Duration, sharing: Sharing) -> String {
    let wait = wait.as_millis();
    let locking = match sharing {
        Sharing::Shared => "NORMAL",
        Sharing::Exclusive => "EXCLUSIVE",
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

/// The statement that lets one process at a time run migrations. Its lock ends with the
/// transaction. The lock of sqlx ends before the commit, so that the next process would not see the
/// tables of the first. For a file, `BEGIN IMMEDIATE` is enough.
fn migration_lock(location: &JournalLocation) -> Option<&'static str> {
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
    let database_error = |source| JournalError::from_database(location, source);
    let mut transaction = connection.begin_with(begin(location)).await.map_err(database_error)?;
    if let Some(lock) = migration_lock(location) {
        transaction.execute(lock).await.map_err(database_error)?;
    }
    migrator()
        .run(&mut *transaction)
        .await
        .map_err(|error| JournalError::from_migration(location, error))?;
    transaction.commit().await.map_err(database_error)
}

/// Applies those of the migrations that a database has not had yet.
fn migrator() -> Migrator {
    let migration = |(number, description, statements): &(i64, &'static str, &'static str)| {
        let statements = statements.into_sql_str();
        Migration::new(*number, (*description).into(), MigrationType::Simple, statements, false)
    };
    Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_migrations_is_embedded_in_its_order() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        assert_eq!(files.len(), MIGRATIONS.len());
        for (file, (number, description, statements)) in files.iter().zip(MIGRATIONS) {
            let name = file.file_stem().and_then(|name| name.to_str()).expect("a name");
            assert_eq!(name, format!("{number:04}_{}", description.replace(' ', "_")));
            assert_eq!(*statements, std::fs::read_to_string(file).expect("a file"), "{name}");
        }
    }
}
