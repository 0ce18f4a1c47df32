//! Creates the file of a journal: a folder of mode 0700 and a file of mode 0600, because outputs of
//! steps are private.

use crate::disk_room::is_disk_full_error;
use crate::error::JournalError;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Creates the folder and the file if they are missing, and restricts their modes.
pub(crate) fn prepare(path: &Path) -> Result<(), JournalError> {
    let path_error = |path: &Path, source| {
        if is_disk_full_error(&source) {
            return JournalError::Full { location: path.into(), source: sqlx::Error::Io(source) };
        }
        JournalError::UnusablePath { path: path.to_owned(), source }
    };
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| path_error(folder, source))?;
    // An existing file is never opened here: closing it would drop the locks that SQLite holds on
    // it in this process.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => restrict_mode(path),
        Err(error) => Err(error),
    }
    .map_err(|source| path_error(path, source))
}

/// Removes the permissions of group and others. SQLite gives its side files the mode of the file.
fn restrict_mode(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mode_of_others = metadata.permissions().mode() & 0o077;
    if mode_of_others == 0 {
        Ok(())
    } else {
        std::fs::set_permissions(path, Permissions::from_mode(0o600))
    }
}

/// Creates an empty file of mode 0600 for a copy of the journal: beside it, or in the nearest
/// parent folder that still exists.
pub(crate) fn create_copy_file(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let name = format!("{}-rescued-{}", path.file_name()?.to_string_lossy(), std::process::id());
    let mut copies = path.ancestors().skip(1).map(|folder| folder.join(&name));
    copies
        .find(|copy| OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).is_ok())
}
