//! Errors of the journal, each with its help.

use crate::disk_room;
use crate::location::JournalLocation;
use crate::opened_files::FileChange;
use runbook_engine::{RunId, RunSummary};
use std::io;
use std::path::{Path, PathBuf};

/// Why an operation on a journal failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No space, or a quota is used up. Nothing of the record was written.
    #[error(
        "the disk of the journal `{location}` is full; free some space, then run `runbook resume`"
    )]
    Full {
        /// The journal whose disk is full.
        location: JournalLocation,
        /// The error of the database.
        #[source]
        source: sqlx::Error,
    },
    /// Reading or writing failed at the device.
    #[error(
        "the disk of the journal `{location}` does not work; look at the kernel's log, move the \
             journal to another disk"
    )]
    Disk {
        /// The journal whose device does not work.
        location: JournalLocation,
        /// The error of the database.
        #[source]
        source: sqlx::Error,
    },
    /// The file was moved, removed or replaced while it was open, so further records would be lost.
    #[error("the file `{}` of the journal {change} while it was in use; {}", file.display(), copy_clause(rescued.as_deref()))]
    FileChanged {
        /// The file that was moved, removed or replaced.
        file: PathBuf,
        /// What happened to the file.
        change: FileChange,
        /// The copy of its content, if one could be made.
        rescued: Option<PathBuf>,
    },
    /// Another process held the journal for longer than the wait (10 s).
    #[error(
        "the journal `{location}` is locked by another process; see what it does, then try again"
    )]
    Locked {
        /// The journal that is locked.
        location: JournalLocation,
        /// The error of the database.
        #[source]
        source: sqlx::Error,
    },
    /// The file is no journal, or was changed by something else.
    #[error(
        "the journal `{location}` is damaged or is no journal; keep a copy of it, then restore a \
             backup or move it away to begin anew"
    )]
    Damaged {
        /// The journal that is damaged.
        location: JournalLocation,
        /// The error of the database.
        #[source]
        source: sqlx::Error,
    },
    /// The database may not write or open the file.
    #[error(
        "the journal `{location}` cannot be opened for writing; it and its folder must belong to \
             you and be writable"
    )]
    NotWritable {
        /// The journal that cannot be opened for writing.
        location: JournalLocation,
        /// The error of the database.
        #[source]
        source: sqlx::Error,
    },
    /// The folder or the file of the journal cannot be made or read.
    #[error("the place of the journal `{path}` cannot be used; choose one in a folder that belongs \
             to you", path = path.display())]
    UnusablePath {
        /// The file or folder that cannot be used.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The run was retried before. Only one run may retry a run.
    #[error("run {} was tried again by run {}, which knows what both have done", run.short(), by.short())]
    AlreadyRetried {
        /// The run that was retried already.
        run: RunId,
        /// The run that retries it.
        by: RunId,
    },
    /// A newer program has changed the tables.
    #[error(
        "the journal `{location}` was written by a newer runbook (schema {found}); upgrade this \
             one, or use another journal"
    )]
    Newer {
        /// The journal that is newer than this program.
        location: JournalLocation,
        /// The version of its tables.
        found: i64,
    },
    /// The tables cannot be made or brought up to date.
    #[error("the tables of the journal `{location}` cannot be brought up to date")]
    Schema {
        /// The journal whose tables could not be changed.
        location: JournalLocation,
        /// The error of the migration.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// Any other error of the database.
    #[error("the journal `{location}` cannot be used")]
    Database {
        /// The journal that gave the error.
        location: JournalLocation,
        /// The error of the database.
        #[source]
        source: sqlx::Error,
    },
    /// The server of the journal did not answer within the wait.
    #[error(
        "the server of the journal `{location}` cannot be reached; see that it runs and that this \
             machine reaches it"
    )]
    Unreachable {
        /// The journal whose server does not answer.
        location: JournalLocation,
        /// The error of the last attempt to connect.
        #[source]
        source: sqlx::Error,
    },
    /// The server of the journal refuses this user, or refuses to write.
    #[error(
        "the server of the journal `{location}` refuses; look at user, password (`PGPASSWORD` or \
             `~/.pgpass`), database and rights"
    )]
    Refused {
        /// The journal whose server refuses.
        location: JournalLocation,
        /// The error of the server.
        #[source]
        source: sqlx::Error,
    },
    /// There is such a run already.
    #[error("run {run} is in the journal already; a run is created once")]
    RunExists {
        /// The id of the run that exists.
        run: RunId,
    },
    /// There is such a record already, because another process executes the same run.
    #[error(
        "record {seq} of run {run} is in the journal already: another process executes this \
             run; leave it to that one"
    )]
    RecordExists {
        /// The run that the record belongs to.
        run: RunId,
        /// The number of the record in its run.
        seq: u64,
    },
    /// There is no such run.
    #[error("no run `{run}` in the journal; `runbook runs` lists them")]
    NoRun {
        /// The id, or the beginning of one, as given.
        run: String,
    },
    /// The beginning of an id fits several runs.
    #[error("`{prefix}` is the beginning of {n} runs; write more of the id:{list}", n = candidates.len(), list = candidate_lines(candidates))]
    Ambiguous {
        /// The beginning of a run's id, as the user gave it.
        prefix: String,
        /// The runs that fit, newest first, at most 20.
        candidates: Vec<RunSummary>,
    },
    /// Something in the journal cannot be read by this program.
    #[error("{what} in the journal is not understood; was it written by a newer runbook?")]
    NotUnderstood {
        /// The part of the run that is not understood, for people.
        what: String,
        /// Why, if there is more to say.
        #[source]
        source: Option<serde_json::Error>,
    },
}

fn candidate_lines(candidates: &[RunSummary]) -> String {
    candidates
        .iter()
        .flat_map(|run| ["\n  ".to_owned(), run.run.to_string(), "  ".to_owned(), run.name.clone()])
        .collect()
}

fn copy_clause(rescued: Option<&Path>) -> String {
    match rescued {
        Some(copy) => format!("all that it held was copied to `{}`", copy.display()),
        None => "what it held is lost but for a backup".to_owned(),
    }
}

impl JournalError {
    /// The stable code, `E05xx`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "E0501",
            Self::Disk { .. } => "E0502",
            Self::Locked { .. } => "E0503",
            Self::Damaged { .. } => "E0504",
            Self::NotWritable { .. } | Self::UnusablePath { .. } => "E0505",
            Self::Newer { .. } => "E0506",
            Self::Schema { .. } | Self::Database { .. } => "E0507",
            Self::RunExists { .. } | Self::RecordExists { .. } => "E0508",
            Self::NoRun { .. } => "E0509",
            Self::Ambiguous { .. } => "E0510",
            Self::NotUnderstood { .. } => "E0511",
            Self::Unreachable { .. } => "E0512",
            Self::Refused { .. } => "E0513",
            Self::AlreadyRetried { .. } => "E0514",
            Self::FileChanged { .. } => "E0515",
        }
    }

    /// The error for an error of the database.
    pub(crate) fn from_database(location: &JournalLocation, source: sqlx::Error) -> Self {
        match location {
            JournalLocation::File(_) => Self::from_sqlite(location.clone(), source),
            JournalLocation::Server(_) => Self::from_postgres(location.clone(), source),
        }
    }

    /// The error for a result code of SQLite (sqlite.org/rescode.html).
    fn from_sqlite(location: JournalLocation, source: sqlx::Error) -> Self {
        match primary_code(&source) {
            Some(13) => Self::Full { location, source },
            Some(10 | 14) if location.file().is_some_and(disk_room::is_full) => {
                Self::Full { location, source }
            }
            Some(10) => Self::Disk { location, source },
            Some(5 | 6) => Self::Locked { location, source },
            Some(11 | 26) => Self::Damaged { location, source },
            Some(3 | 8 | 14 | 23) => Self::NotWritable { location, source },
            _ => Self::Database { location, source },
        }
    }

    /// The error for an error code of PostgreSQL (Appendix A of its manual).
    fn from_postgres(location: JournalLocation, source: sqlx::Error) -> Self {
        let is_unreachable = matches!(
            source,
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed
        );
        if is_unreachable {
            return Self::Unreachable { location, source };
        }
        let code = source
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .map(std::borrow::Cow::into_owned)
            .unwrap_or_default();
        match (code.get(..2).unwrap_or_default(), code.as_str()) {
            (_, "53100") => Self::Full { location, source },
            ("58", _) => Self::Disk { location, source },
            ("XX", _) => Self::Damaged { location, source },
            (_, "55P03" | "57014" | "40P01") => Self::Locked { location, source },
            // Shut down, crashed, starting, no connection left.
            ("08" | "53", _) | (_, "57P01" | "57P02" | "57P03") => {
                Self::Unreachable { location, source }
            }
            ("28" | "3D", _) | (_, "42501" | "25006") => Self::Refused { location, source },
            _ => Self::Database { location, source },
        }
    }

    /// The error for a failed migration of the tables.
    pub(crate) fn from_migration(
        location: &JournalLocation,
        error: sqlx::migrate::MigrateError,
    ) -> Self {
        use sqlx::migrate::MigrateError as Migrate;
        match error {
            Migrate::VersionMissing(found) | Migrate::VersionTooNew(found, _) => {
                Self::Newer { location: location.clone(), found }
            }
            Migrate::Execute(source) | Migrate::ExecuteMigration(source, _) => {
                Self::from_database(location, source)
            }
            other => Self::Schema { location: location.clone(), source: other },
        }
    }
}

/// Whether SQLite says that another process holds the file.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(5 | 6))
}

/// The result code of SQLite without its extension.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
