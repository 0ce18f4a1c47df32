//! Whether the process that writes a chain of the audit log still lives.

use rustix::fs::FlockOperation;
use std::fs::File;
use std::path::Path;

/// Whether a process lives that holds this file. One that cannot be looked at is taken for held:
/// nothing is sealed by mistake.
pub(super) fn is_alive(sign: &Path) -> bool {
    match File::open(sign) {
        Ok(file) => rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}
