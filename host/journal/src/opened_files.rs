//! Whether the names of a journal still lead to the files that were opened. SQLite keeps writing
//! into a file that was removed or renamed, where nobody finds it. The next process would create a
//! new file in which the same locks are free.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What SQLite keeps beside the file while it is open: the newest records, and who reads and
/// writes.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// What happened to a file that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileChange {
    /// Its name leads nowhere: it, or its folder, was removed or moved away.
    #[error("was removed or moved away")]
    Removed,
    /// Its name leads to another file.
    #[error("was replaced by another file")]
    Replaced,
}

/// What tells a file from others, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// The files of a journal that is open.
#[derive(Debug)]
pub(crate) struct OpenedFiles {
    /// The file itself, and those that a connection that writes has found beside it.
    known: Mutex<Vec<(PathBuf, Identity)>>,
    path: PathBuf,
}

impl OpenedFiles {
    /// The file as it is now, before anybody has opened it. The path is made absolute: a folder
    /// that is moved away takes what is relative to it along.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let identity = Identity::of(&std::fs::metadata(&path)?);
        Ok(Self { known: Mutex::new(vec![(path.clone(), identity)]), path })
    }

    /// Notes what lies beside the file. Called when the connection that writes has been opened: it
    /// holds them open as long as it lives.
    pub(crate) fn note_beside(&self) {
        let beside = BESIDE.iter().filter_map(|ending| {
            let mut name = self.path.clone().into_os_string();
            name.push(ending);
            let path = PathBuf::from(name);
            let identity = Identity::of(&std::fs::metadata(&path).ok()?);
            Some((path, identity))
        });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.truncate(1);
        known.extend(beside);
    }

    /// Whether the connection that writes has been opened.
    pub(crate) fn is_written(&self) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).len() > 1
    }

    /// The first file whose name leads elsewhere by now. That a name cannot be looked up is no
    /// answer, and none is given.
    pub(crate) fn changed(&self) -> Option<(PathBuf, FileChange)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find_map(|(path, identity)| {
            let change = match std::fs::metadata(path) {
                Ok(found) if Identity::of(&found) == *identity => return None,
                Ok(_) => FileChange::Replaced,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) =>
                {
                    FileChange::Removed
                }
                Err(_) => return None,
            };
            Some((path.clone(), change))
        })
    }
}
