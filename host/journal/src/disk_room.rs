//! Free space on the disk of the journal: whether there is any, and a reserve file.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How much space is held back for the moment when the disk is full: enough to write the release of
/// every lock.
const RESERVE_BYTES: u64 = 128 << 10;

/// How much room is tried for: what SQLite keeps beside a file takes 32 KiB before the first
/// record.
const TRIED_BYTES: u64 = 64 << 10;

/// Whether the file system takes no more bytes where the journal lies. It tries by writing some:
/// free blocks are not all that counts (quotas, inodes, blocks for root), and for several calls on
/// a full disk SQLite says only that they failed.
pub(crate) fn is_full(journal: &Path) -> bool {
    let path = beside(journal, &format!("-room-{}", std::process::id()));
    let written = write_zeros(&path, TRIED_BYTES);
    drop(std::fs::remove_file(&path));
    written.is_err_and(|error| is_disk_full(&error))
}

/// Whether the system refused for want of room.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn beside(journal: &Path, ending: &str) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A file that only takes space, to be given back when the disk is full: releasing a lock is a
/// write too.
pub(crate) struct Reserve(PathBuf);

impl Reserve {
    /// The one of a journal; it need not be there.
    pub(crate) fn of(journal: &Path) -> Self {
        Self(beside(journal, "-reserve"))
    }

    /// Makes the file if it is missing; whether it is there.
    pub(crate) fn keep(&self) -> bool {
        let is_there =
            std::fs::metadata(&self.0).map_or(0, |metadata| metadata.len()) >= RESERVE_BYTES;
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
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::copy(&mut io::Read::take(io::repeat(0), n_bytes), &mut file)?;
    file.sync_all()
}
