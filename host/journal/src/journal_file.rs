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
    let failed = |path: &Path, source| {
        if says_full(&source) {
            return JournalError::Full { place: path.into(), source: sqlx::Error::Io(source) };
        }
        JournalError::Place { path: path.to_owned(), source }
    };
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

/// A new, empty file of mode 0600 for a copy of the journal: beside it, or in the nearest folder above that is still there.
pub(crate) fn place_of_copy(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let name = format!("{}-rescued-{}", path.file_name()?.to_string_lossy(), std::process::id());
    let mut places = path.ancestors().skip(1).map(|folder| folder.join(&name));
    places.find(|copy| OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).is_ok())
}

/// How much room is tried for: what SQLite keeps beside a file takes 32 KiB before the first record.
const TRIED_BYTES: u64 = 64 << 10;

/// Whether the system takes no more bytes where the journal lies. It is asked by writing some: free blocks are not all that counts
/// (quotas, inodes, blocks for root), and SQLite says of several calls on a full disk only that they failed.
pub(crate) fn is_full(journal: &Path) -> bool {
    let path = beside(journal, &format!("-room-{}", std::process::id()));
    let written = write_zeros(&path, TRIED_BYTES);
    drop(std::fs::remove_file(&path));
    written.is_err_and(|error| says_full(&error))
}

/// Whether the system refused for want of room.
pub(crate) fn says_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn beside(journal: &Path, ending: &str) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A file that only takes space, to be given back when the disk is full: releasing a lock is a write too.
pub(crate) struct Reserve(PathBuf);

impl Reserve {
    /// The one of a journal; it need not be there.
    pub(crate) fn of(journal: &Path) -> Self {
        Self(beside(journal, "-reserve"))
    }

    /// Makes the file if it is missing; whether it is there.
    pub(crate) fn keep(&self) -> bool {
        let is_there = std::fs::metadata(&self.0).map_or(0, |metadata| metadata.len()) >= RESERVE_BYTES;
        if is_there || write_zeros(&self.0, RESERVE_BYTES).is_ok() {
            return true;
        }
        drop(std::fs::remove_file(&self.0));
        false
    }

    /// Gives the space back; whether there was any.
    pub(crate) fn give_back(&self) -> bool {
        std::fs::remove_file(&self.0).is_ok()
    }
}

/// Real zeros: a hole in a file holds nothing back.
fn write_zeros(path: &Path, n_bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::copy(&mut io::Read::take(io::repeat(0), n_bytes), &mut file)?;
    file.sync_all()
}
