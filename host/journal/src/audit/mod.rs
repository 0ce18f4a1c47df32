//! The audit log: what every run, call and host call did, in JSON lines, each of which names the
//! hash of the one before.
//!
//! There is one chain for a host, `chain.jsonl`, and one for each run, in `runs/`. A run's chain
//! begins with the hash of the record that opened it in the host's chain, and the record that
//! closes it there names its last hash. So a changed, removed or moved record is detected, a
//! removed run is detected, and two runs at once do not wait for each other.
//!
//! A killed process does not close its chain. The next process that opens a run seals it: count and
//! head of its chain become a record of the host's chain, so that a later cut is detected. While a
//! process lives it holds a lock on a file in `open/`.
//!
//! The host's chain cannot tell that its own last records were cut off, unless somebody else knows
//! its head: `runbook audit verify` prints it, and `--head` compares it.

mod alive;
mod chain;
mod log;
mod verify;

pub use chain::{Chain, ChainRecord, Rotation};
pub use log::{AuditLog, RunAudit, Urgency};
pub use verify::{Problem, VerifiedLog, host_records, records_of, verify};

/// The name of the host's chain.
pub const CHAIN: &str = "chain.jsonl";
/// The folder of the chains of runs.
pub const RUNS: &str = "runs";
/// The folder of the files that living processes hold locked, named as their chains.
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
    /// The last record of a chain is not one, so nothing can be added to it.
    #[error("the audit log `{path}` is damaged at its end: {reason}")]
    Damaged {
        /// The file of the damaged chain.
        path: String,
        /// What is wrong with its last record, as a clause for the message.
        reason: String,
    },
}
