//! Finds out whether the process that writes a chain of the audit log is alive.

use rustix::fs::FlockOperation;
use std::fs::File;
use std::path::Path;

/// Whether a process holds the lock on this file. A file that cannot be opened counts as locked, so
/// that no chain is sealed while its writer lives.
pub(super) fn is_alive(lock_file: &Path) -> bool {
    match File::open(lock_file) {
        Ok(file) => rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}
