//! Free space on the disk of the journal: whether there is any, and a reserve file.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The size of the reserve: enough to write the release of every lock.
const RESERVE_BYTES: u64 = 128 << 10;

/// The size of a test write. The side files of SQLite take 32 KiB before the first record.
const TEST_WRITE_BYTES: u64 = 64 << 10;

/// Whether the file system of the journal takes no more bytes, found out by a test write. The
/// number of free blocks is not enough to know it, because of quotas, inodes and blocks reserved
/// for root, and SQLite reports several failures on a full disk without their cause.
pub(crate) fn is_full(journal: &Path) -> bool {
    let path = side_file(journal, &format!("-room-{}", std::process::id()));
    let written = write_zeros(&path, TEST_WRITE_BYTES);
    drop(std::fs::remove_file(&path));
    written.is_err_and(|error| is_disk_full_error(&error))
}

/// Whether the system gave this error because there is no space left.
pub(crate) fn is_disk_full_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn side_file(journal: &Path, ending: &str) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A file that only takes space. It is removed when the disk is full, so that locks can be
/// released, which needs a write.
pub(crate) struct Reserve(PathBuf);

impl Reserve {
    /// The reserve of a journal. Its file need not exist.
    pub(crate) fn new(journal: &Path) -> Self {
        Self(side_file(journal, "-reserve"))
    }

    /// Creates the file if it is missing. Returns whether it exists.
    pub(crate) fn ensure(&self) -> bool {
        let exists =
            std::fs::metadata(&self.0).map_or(0, |metadata| metadata.len()) >= RESERVE_BYTES;
        if exists || write_zeros(&self.0, RESERVE_BYTES).is_ok() {
            return true;
        }
        drop(std::fs::remove_file(&self.0));
        false
    }

    /// Removes the file. Returns whether it existed.
    pub(crate) fn release_space(&self) -> bool {
        std::fs::remove_file(&self.0).is_ok()
    }
}

/// Writes zeros to a file. A hole in a file would take no space.
fn write_zeros(path: &Path, n_bytes: u64) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::copy(&mut io::Read::take(io::repeat(0), n_bytes), &mut file)?;
    file.sync_all()
}
