//! Why a program could not be run to its end.

use crate::capabilities::files::FilesSlot;
use runbook_authority::Digest;
use runbook_launch::LaunchRefusal;
use std::io;
use std::path::PathBuf;

/// Why a program could not be run to its end.
pub(super) enum Failure {
    NotFound,
    Digest {
        path: PathBuf,
        found: Digest,
    },
    /// Its interpreter is pinned and cannot be determined.
    Interpreter(String),
    /// The launcher refused to start the program.
    Refused(LaunchRefusal),
    Start(io::Error),
    Input(FilesSlot, String, io::Error),
    Sink(io::Error),
    Io(io::Error),
    Timeout,
    Stopped,
}
