//! The audit log: a record of every run, call and host call, in lines of JSON. Each line names the
//! hash of the line before.
//!
//! There is one chain for the host, `chain.jsonl`, and one for each run, in `runs/`. The host's
//! chain has a record that opens a run's chain, whose hash is the first of that chain, and a record
//! that closes it and names its last hash. So a changed, removed or moved record is detected, a
//! removed run is detected, and two runs at once do not wait for each other.
//!
//! A killed process does not close its chain. The next process that opens a run seals it: it
//! records count and last hash of that chain in the host's chain, so that a later truncation is
//! detected. A process that writes a chain holds a lock on a file in `open/`.
//!
//! The host's chain cannot tell that its own last records were cut off, unless somebody else knows
//! its head: `runbook audit verify` prints it, and `--head` compares it.

mod alive;
mod chain;
mod log;
mod verify;

pub use chain::{Chain, ChainRecord, Rotation};
pub use log::{AuditLog, Durability, RunAudit};
pub use verify::{LogVerification, Problem, host_records, run_records, verify};

/// The name of the host's chain.
pub const CHAIN: &str = "chain.jsonl";
/// The folder of the chains of runs.
pub const RUNS: &str = "runs";
/// The folder of the lock files of open chains, each with the name of its chain.
pub const OPEN: &str = "open";

/// Why the audit log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file cannot be read or written.
    #[error("the audit log `{path}` cannot be used: {source}")]
    Io {
        /// The file or folder that was read or written.
        path: String,
        /// The error that the system gave.
        #[source]
        source: std::io::Error,
    },
    /// The last line of a chain is no record, so nothing can be added to the chain.
    #[error("the audit log `{path}` is damaged at its end: {reason}")]
    Damaged {
        /// The file of the damaged chain.
        path: String,
        /// What is wrong with its last record, as a clause for the message.
        reason: String,
    },
}
