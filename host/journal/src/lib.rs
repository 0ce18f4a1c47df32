//! The durable record of runs, over SQLite: the engine's [`Journal`](runbook_engine::Journal) on a disk.
//!
//! What [`append`](runbook_engine::Journal::append) has returned survives `kill -9` and a power cut: the database is in
//! WAL mode with `synchronous = FULL`, so that each commit is synced. Several processes may use one journal at once. Times come
//! from the caller's clock, never from the database.
//!
//! The crate reads no environment and no HOME: the caller says where the journal lies.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test stops where it fails"))]

pub mod audit;
mod error;
mod lease;
mod measure;
mod place;
mod sql;
mod store;

pub use error::JournalError;
pub use lease::{Takeover, TakeoverReason};
pub use measure::bare_commits;
pub use store::SqliteJournal;
