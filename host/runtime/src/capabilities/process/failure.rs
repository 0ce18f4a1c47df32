//! Why a program did not end by itself.

use crate::capabilities::files::FilesSlot;
use runbook_authority::Digest;
use runbook_launch::LaunchRefusal;
use std::io;
use std::path::PathBuf;

/// Why a program has not ended by itself.
pub(super) enum Failure {
    NotFound,
    Digest {
        path: PathBuf,
        found: Digest,
    },
    /// Its interpreter is pinned and cannot be had.
    Interpreter(String),
    /// The launcher did not become the program.
    Refused(LaunchRefusal),
    Start(io::Error),
    Input(FilesSlot, String, io::Error),
    Sink(io::Error),
    Io(io::Error),
    Timeout,
    Stopped,
}
