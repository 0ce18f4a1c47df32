//! Where the journal lies: a folder of mode 0700 and a file of mode 0600, because outputs of steps are private.

use crate::error::JournalError;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How much space is held back for the moment when the disk is full: enough to write the release of every lock.
const RESERVE_BYTES: u64 = 128 << 10;

/// Makes folder and file where they are missing, with their modes.
pub(crate) fn prepare(path: &Path) -> Result<(), JournalError> {
    let failed = |path: &Path, source| JournalError::Place { path: path.to_owned(), source };
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| failed(folder, source))?;
    // An existing file is never opened here: closing it would drop the locks that SQLite holds on it in this process.
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

/// A file that only takes space, to be given back when the disk is full: releasing a lock is a write too.
pub(crate) struct Reserve(PathBuf);

impl Reserve {
    /// Makes the file if it is missing. That it cannot be made is no error: the journal may still have room.
    pub(crate) fn keep(journal: &Path) -> Self {
        let mut name = journal.as_os_str().to_owned();
        name.push("-reserve");
        let path = PathBuf::from(name);
        if std::fs::metadata(&path).map_or(0, |metadata| metadata.len()) < RESERVE_BYTES && write_zeros(&path).is_err() {
            drop(std::fs::remove_file(&path));
        }
        Self(path)
    }

    /// Gives the space back; whether there was any.
    pub(crate) fn give_back(&self) -> bool {
        std::fs::remove_file(&self.0).is_ok()
    }
}

/// Real zeros: a hole in a file holds nothing back.
fn write_zeros(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::copy(&mut io::Read::take(io::repeat(0), RESERVE_BYTES), &mut file)?;
    file.sync_all()
}
