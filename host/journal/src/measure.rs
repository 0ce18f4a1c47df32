//! Measurements for benchmarks: the cost of a synced commit alone, and the statements of lookups.

use crate::error::JournalError;
use crate::location::JournalLocation;
use crate::sql;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use std::path::Path;
use std::time::{Duration, Instant};

/// Measures the time of `n` commits of one row of `size_bytes` each, in a new database at `path`
/// with the settings of a journal. `n` calls of `append` cannot take less time.
///
/// # Errors
/// [`JournalError`] if the database cannot be made or written, or `path` holds such a table
/// already.
pub async fn measure_bare_commits(
    path: &Path,
    n: u32,
    size_bytes: usize,
) -> Result<Duration, JournalError> {
    let location = JournalLocation::from(path);
    let database_error = |source| JournalError::from_database(&location, source);
    let mut connection =
        SqliteConnection::connect_with(&options(path)).await.map_err(database_error)?;
    sqlx::query("CREATE TABLE bare (number INTEGER PRIMARY KEY, data TEXT NOT NULL)")
        .execute(&mut connection)
        .await
        .map_err(database_error)?;
    let data = "x".repeat(size_bytes);
    let start = Instant::now();
    for _ in 0..n {
        sqlx::query("INSERT INTO bare (data) VALUES ($1)")
            .bind(&data)
            .execute(&mut connection)
            .await
            .map_err(database_error)?;
    }
    let elapsed = start.elapsed();
    connection.close().await.map_err(database_error)?;
    Ok(elapsed)
}

/// The statements by which runs are listed, found and read, each with a name, for tests that let a
/// database explain them.
pub fn lookup_statements() -> [(&'static str, &'static str); 4] {
    [
        ("list", sql::LIST_RUNS),
        ("find", sql::FIND_RUNS),
        ("header", sql::SELECT_RUN),
        ("records", sql::SELECT_EVENTS),
    ]
}

/// The settings of a journal.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
}
