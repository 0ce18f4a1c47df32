//! Whether the process that writes a chain of the audit log still lives.

use rustix::fs::FlockOperation;
use std::fs::File;
use std::path::Path;

/// Whether the process that holds this file lives. A file that cannot be looked at counts as held,
/// so that nothing is sealed by mistake.
pub(super) fn is_alive(sign: &Path) -> bool {
    match File::open(sign) {
        Ok(file) => rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}
