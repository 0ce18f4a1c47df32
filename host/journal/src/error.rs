//! What can go wrong with the journal, each with what to do.

use runbook_engine::{RunId, RunSummary};
use std::io;
use std::path::{Path, PathBuf};

/// A journal that cannot be used, or has not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No space, or a quota is used up. Nothing of the record was written.
    #[error("the disk of the journal `{path}` is full; free some space, then run `runbook resume`", path = path.display())]
    Full {
        /// The journal.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
    /// Reading or writing failed at the device.
    #[error("the disk of the journal `{path}` does not work; look at the kernel's log, move the journal to another disk", path = path.display())]
    Disk {
        /// The journal.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
    /// Another process held the journal for longer than the wait (10 s).
    #[error("the journal `{path}` is locked by another process; see which with `fuser {path}`, then try again", path = path.display())]
    Locked {
        /// The journal.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
    /// The file is no journal, or was changed by something else.
    #[error("the journal `{path}` is damaged or is no journal; keep a copy of it, then restore a backup or move it away to begin anew", path = path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
    /// The database may not write or open the file.
    #[error("the journal `{path}` cannot be opened for writing; it and its folder must belong to you and be writable", path = path.display())]
    Denied {
        /// The journal.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
    /// The folder or the file of the journal cannot be made or looked at.
    #[error("the place of the journal `{path}` cannot be used; choose one in a folder that belongs to you", path = path.display())]
    Place {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A newer program has changed the tables.
    #[error("the journal `{path}` was written by a newer runbook (schema {found}); upgrade this one, or use another journal", path = path.display())]
    Newer {
        /// The journal.
        path: PathBuf,
        /// The version of its tables.
        found: i64,
    },
    /// The tables cannot be made or brought up to date.
    #[error("the tables of the journal `{path}` cannot be brought up to date", path = path.display())]
    Schema {
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// Anything else that the database says.
    #[error("the journal `{path}` cannot be used", path = path.display())]
    Database {
        /// The journal.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
    /// There is such a run already.
    #[error("run {run} is in the journal already; a run is created once")]
    RunExists {
        /// The run.
        run: RunId,
    },
    /// There is such a record already: somebody else executes the same run.
    #[error("record {seq} of run {run} is in the journal already: another process executes this run; leave it to that one")]
    RecordExists {
        /// The run.
        run: RunId,
        /// The number of the record.
        seq: u64,
    },
    /// There is no such run.
    #[error("no run `{run}` in the journal; `runbook runs` lists them")]
    NoRun {
        /// The id, or the beginning of one, as given.
        run: String,
    },
    /// The beginning of an id fits several runs.
    #[error("`{prefix}` is the beginning of {n} runs; write more of the id:{list}", n = candidates.len(), list = list(candidates))]
    Ambiguous {
        /// As given.
        prefix: String,
        /// The runs that fit, newest first, at most 20.
        candidates: Vec<RunSummary>,
    },
    /// Something in the journal is not what this program writes.
    #[error("{what} in the journal is not understood; was it written by a newer runbook?")]
    NotUnderstood {
        /// Which part of which run.
        what: String,
        /// Why, if there is more to say.
        #[source]
        source: Option<serde_json::Error>,
    },
}

fn list(candidates: &[RunSummary]) -> String {
    candidates.iter().flat_map(|run| ["\n  ".to_owned(), run.run.to_string(), "  ".to_owned(), run.name.clone()]).collect()
}

impl JournalError {
    /// The stable code, `E05xx`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "E0501",
            Self::Disk { .. } => "E0502",
            Self::Locked { .. } => "E0503",
            Self::Damaged { .. } => "E0504",
            Self::Denied { .. } | Self::Place { .. } => "E0505",
            Self::Newer { .. } => "E0506",
            Self::Schema { .. } | Self::Database { .. } => "E0507",
            Self::RunExists { .. } | Self::RecordExists { .. } => "E0508",
            Self::NoRun { .. } => "E0509",
            Self::Ambiguous { .. } => "E0510",
            Self::NotUnderstood { .. } => "E0511",
        }
    }

    /// Sorts an error of the database by SQLite's result code (sqlite.org/rescode.html).
    pub(crate) fn of(path: &Path, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match primary_code(&source) {
            Some(13) => Self::Full { path, source },
            Some(10) => Self::Disk { path, source },
            Some(5 | 6) => Self::Locked { path, source },
            Some(11 | 26) => Self::Damaged { path, source },
            Some(3 | 8 | 14 | 23) => Self::Denied { path, source },
            _ => Self::Database { path, source },
        }
    }

    /// The same for an error on the way to the newest tables.
    pub(crate) fn of_migration(path: &Path, error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError as Migrate;
        match error {
            Migrate::VersionMissing(found) | Migrate::VersionTooNew(found, _) => Self::Newer { path: path.to_owned(), found },
            Migrate::Execute(source) | Migrate::ExecuteMigration(source, _) => Self::of(path, source),
            other => Self::Schema { path: path.to_owned(), source: other },
        }
    }
}

/// The result code of SQLite without its extension.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
