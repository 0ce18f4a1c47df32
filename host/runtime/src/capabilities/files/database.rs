//! Protects the files that SQLite keeps beside a database: its journal, its write-ahead log and the
//! index of that log. Writing one of them would change the database without a `sql` target, and
//! removing one would lose the last transactions.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::BorrowedFd;

/// The suffixes that SQLite appends to the name of a database.
const SQLITE_SUFFIXES: &[&str] = &["-journal", "-wal", "-shm"];

/// The first bytes of every SQLite database that is not empty.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// The name belongs to a database.
#[derive(Debug, thiserror::Error)]
#[error("this is the name of a file that SQLite keeps beside the database `{}`, and believes; take \
         another name", database.escape_debug())]
struct DatabaseFileError {
    database: String,
}

/// True for the error that a name belongs to a database.
pub(super) fn is_database_file_error(
    error: &(dyn std::error::Error + Send + Sync + 'static),
) -> bool {
    error.is::<DatabaseFileError>()
}

/// Refuses to write a file with a name that SQLite would use. There need not be a database, because
/// one may be created later.
pub(super) fn refuse_new(name: &str) -> io::Result<()> {
    database_of(name).map_or(Ok(()), |database| Err(database_file_error(database)))
}

/// Refuses to remove a file that belongs to a database in the same directory.
pub(super) fn refuse_removal(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match database_of(name) {
        Some(database) if is_database(parent, database)? => Err(database_file_error(database)),
        Some(_) | None => Ok(()),
    }
}

fn database_file_error(database: &str) -> io::Error {
    io::Error::other(DatabaseFileError { database: database.to_owned() })
}

fn database_of(name: &str) -> Option<&str> {
    SQLITE_SUFFIXES
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .filter(|database| !database.is_empty())
}

/// Whether a file may be a database. An empty file may be one: its pages may all be in its log.
fn is_database(parent: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let flags =
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        // A file that cannot be examined counts as one.
        Err(_) => return Ok(true),
    };
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut first_bytes = Vec::new();
    file.take(SQLITE_MAGIC.len() as u64).read_to_end(&mut first_bytes)?;
    Ok(first_bytes.is_empty() || first_bytes == SQLITE_MAGIC)
}
