//! Files beside a database that SQLite reads: its journal, its log and the index of that log.
//! Writing one of them changes the database without any `sql` target, and removing one loses the
//! last transactions.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::BorrowedFd;

/// What SQLite appends to the name of a database.
const ENDINGS: &[&str] = &["-journal", "-wal", "-shm"];

/// With what every database begins that has a page.
const BEGINNING: &[u8] = b"SQLite format 3\0";

/// A name that belongs to a database.
#[derive(Debug, thiserror::Error)]
#[error("this is the name of a file that SQLite keeps beside the database `{}`, and believes; take \
         another name", database.escape_debug())]
struct BelongsToDatabase {
    database: String,
}

/// Whether an error says so.
pub(super) fn belongs_to_one(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.is::<BelongsToDatabase>()
}

/// Refuses a name that SQLite would use: for writing always, because a database may be created
/// beside it later; for removal where there is a database.
pub(super) fn refuse_new(name: &str) -> io::Result<()> {
    database_of(name).map_or(Ok(()), |database| Err(refused(database)))
}

/// Refuses the name of a file that belongs to a database in the same directory.
pub(super) fn refuse_removal(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match database_of(name) {
        Some(database) if is_database(parent, database)? => Err(refused(database)),
        Some(_) | None => Ok(()),
    }
}

fn refused(database: &str) -> io::Error {
    io::Error::other(BelongsToDatabase { database: database.to_owned() })
}

fn database_of(name: &str) -> Option<&str> {
    ENDINGS
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .filter(|database| !database.is_empty())
}

/// Whether a file is a database. An empty one may be: its pages may all be in its log.
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
    let mut beginning = Vec::new();
    file.take(BEGINNING.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning.is_empty() || beginning == BEGINNING)
}
