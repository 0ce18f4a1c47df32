//! The durable record of runs, over SQLite or PostgreSQL: the engine's
//! [`Journal`](runbook_engine::Journal).
//!
//! What [`append`](runbook_engine::Journal::append) has returned survives `kill -9` and a power
//! cut: each commit is synced (WAL mode with `synchronous = FULL`; `synchronous_commit = on`).
//! Several processes may use one journal at once. If a server goes away, operations wait for it for
//! 30 s; a commit whose answer was lost is recognised and not repeated.
//!
//! The crate reads no environment and no HOME: the caller says where the journal is. For a server,
//! sqlx itself reads the password from `PGPASSWORD` or the file of `PGPASSFILE`, `~/.pgpass` if
//! absent.

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
pub use lock::{BrokenLock, LockOfRun};
pub use measure::{bare_commits, lookups};
pub use opened_files::FileChange;
pub use store::{DirtyRuns, Pruning, ServerEvent, SqlJournal};
