//! Where the journal lies: a folder of mode 0700 and a file of mode 0600, because outputs of steps
//! are private.

use crate::disk_room::is_disk_full;
use crate::error::JournalError;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Makes folder and file where they are missing, with their modes.
pub(crate) fn prepare(path: &Path) -> Result<(), JournalError> {
    let failed = |path: &Path, source| {
        if is_disk_full(&source) {
            return JournalError::Full { place: path.into(), source: sqlx::Error::Io(source) };
        }
        JournalError::Place { path: path.to_owned(), source }
    };
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| failed(folder, source))?;
    // An existing file is never opened here: closing it would drop the locks that SQLite holds on
    // it in this process.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => tighten(path),
        Err(error) => Err(error),
    }
    .map_err(|source| failed(path, source))
}

/// Takes the rights of others away; SQLite gives its side files the mode of the main file.
fn tighten(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let others = metadata.permissions().mode() & 0o077;
    if others == 0 { Ok(()) } else { std::fs::set_permissions(path, Permissions::from_mode(0o600)) }
}

/// A new, empty file of mode 0600 for a copy of the journal: beside it, or in the nearest folder
/// above that is still there.
pub(crate) fn place_of_copy(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let name = format!("{}-rescued-{}", path.file_name()?.to_string_lossy(), std::process::id());
    let mut places = path.ancestors().skip(1).map(|folder| folder.join(&name));
    places
        .find(|copy| OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).is_ok())
}
