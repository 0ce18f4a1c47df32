//! The journal of runs in a SQLite file or a PostgreSQL database: it implements the engine's
//! [`Journal`](runbook_engine::Journal).
//!
//! When [`append`](runbook_engine::Journal::append) has returned, its record survives `kill -9` and
//! a power cut, because each commit is synced (WAL mode with `synchronous = FULL`;
//! `synchronous_commit = on`). Several processes may use one journal at once. If a server does not
//! answer, operations wait for it for 30 s. A commit whose answer was lost is recognised and not
//! repeated.
//!
//! The crate does not read the environment or HOME: the caller gives the location of the journal.
//! For a server, sqlx itself reads the password from `PGPASSWORD`, or from the file named by
//! `PGPASSFILE`, which is `~/.pgpass` if the variable is not set.

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test stops where it fails"))]

pub mod audit;
mod connect;
mod disk_room;
mod error;
mod fence;
mod journal_file;
mod lease;
mod location;
mod lock;
mod measure;
mod opened_files;
mod sql;
mod store;

pub use error::JournalError;
pub use lease::{LeaseStatus, Takeover, TakeoverReason};
pub use location::{JournalLocation, LocationError, ServerUrl};
pub use lock::{BrokenLock, RunLock};
pub use measure::{lookup_statements, measure_bare_commits};
pub use opened_files::FileChange;
pub use store::{DirtyRuns, Pruning, ServerEvent, SqlJournal};
