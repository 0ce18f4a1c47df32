//! What the errors of files mean to a plugin.

use super::{database, replace, search, secret};
use crate::fault::FaultClass;
use rustix::io::Errno;
use std::io;

/// Both names are not in one file system.
#[derive(Debug, thiserror::Error)]
#[error("the other name is on another file system, where only a copy could be made")]
struct OtherFileSystemError;

pub(super) fn other_file_system() -> io::Error {
    io::Error::other(OtherFileSystemError)
}

pub(super) fn changed_meanwhile() -> io::Error {
    io::Error::other(replace::ChangedError::Meanwhile)
}

fn is_other_file_system(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.is::<OtherFileSystemError>()
}

/// Whether everything is as before after this error of a change: it was refused. After a disk error
/// this is unknown.
pub(super) fn leaves_all_as_it_was(error: &io::Error) -> bool {
    classify(error).0 != FaultClass::Unknown
}

/// The error number of the system, even if the error was wrapped with a path of the host.
fn errno_of(error: &io::Error) -> Option<Errno> {
    if let Some(errno) = Errno::from_io_error(error) {
        return Some(errno);
    }
    let mut cause = error.get_ref().and_then(|inner| inner.source());
    while let Some(error) = cause {
        if let Some(errno) = error.downcast_ref::<io::Error>().and_then(Errno::from_io_error) {
            return Some(errno);
        }
        cause = error.source();
    }
    // The source may be lost too; then the kind is used.
    match error.kind() {
        io::ErrorKind::NotFound => Some(Errno::NOENT),
        io::ErrorKind::PermissionDenied => Some(Errno::ACCESS),
        io::ErrorKind::StorageFull => Some(Errno::NOSPC),
        _ => None,
    }
}

pub(super) fn classify(error: &io::Error) -> (FaultClass, &'static str, String) {
    match errno_of(error) {
        Some(Errno::NOENT) => {
            (FaultClass::NotFound, "files.not-found", "there is no such file".to_owned())
        }
        Some(Errno::EXIST) => {
            (FaultClass::Conflict, "files.exists", "it is there already".to_owned())
        }
        Some(Errno::LOOP | Errno::XDEV) => {
            (FaultClass::Denied, "files.symlink", "a symbolic link is not followed".to_owned())
        }
        Some(Errno::ISDIR) => {
            (FaultClass::Invalid, "files.directory", "it is a directory".to_owned())
        }
        Some(Errno::NOTDIR) => {
            (FaultClass::Invalid, "files.not-directory", "it is not a directory".to_owned())
        }
        Some(Errno::NODEV) => {
            (FaultClass::Invalid, "files.special", "it is not an ordinary file".to_owned())
        }
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => (
            FaultClass::Conflict,
            "files.permission",
            "the operating system does not permit it".to_owned(),
        ),
        Some(Errno::NOSPC | Errno::DQUOT) => {
            (FaultClass::Conflict, "files.no-space", "the disk is full".to_owned())
        }
        Some(Errno::NOSYS) => (
            FaultClass::Conflict,
            "files.kernel",
            "this needs `openat2` (Linux 5.6 or newer)".to_owned(),
        ),
        Some(errno) => (FaultClass::Unknown, "files.io", io::Error::from(errno).to_string()),
        None if error.get_ref().is_some_and(is_secret_error) => {
            (FaultClass::Denied, "files.secret", error.to_string())
        }
        None if error.get_ref().is_some_and(database::is_database_file_error) => {
            (FaultClass::Denied, "files.database", error.to_string())
        }
        None if error.get_ref().is_some_and(replace::is_changed_error) => {
            (FaultClass::Conflict, "files.changed", error.to_string())
        }
        None if error.get_ref().is_some_and(is_other_file_system) => {
            (FaultClass::Conflict, "files.other-file-system", error.to_string())
        }
        None if error.get_ref().is_some_and(search::is_rotation_error) => {
            (FaultClass::Transient, "files.rotated", error.to_string())
        }
        None if error.kind() == io::ErrorKind::FileTooLarge => {
            (FaultClass::Limit, "files.too-large", error.to_string())
        }
        None => (FaultClass::Invalid, "files.content", error.to_string()),
    }
}

/// True for the error that the content has a secret.
fn is_secret_error(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.is::<secret::SecretContentError>()
}
