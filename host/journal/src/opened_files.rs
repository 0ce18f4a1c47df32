//! Detects that a file of an open journal was removed, moved or replaced. SQLite would continue to
//! write into the open file, where nobody finds the records, and the next process would create a
//! new file in which the same locks are free.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The endings of the side files that SQLite has while the file is open: the write-ahead log and
/// the shared memory.
const SIDE_FILES: [&str; 2] = ["-wal", "-shm"];

/// What happened to a file that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileChange {
    /// No file has its name: it, or its folder, was removed or moved away.
    #[error("was removed or moved away")]
    Removed,
    /// Another file has its name.
    #[error("was replaced by another file")]
    Replaced,
}

/// The identity of a file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn from_metadata(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// The files of a journal that is open.
#[derive(Debug)]
pub(crate) struct OpenedFiles {
    /// The file itself, and the side files that exist since the writer's connection was opened.
    known: Mutex<Vec<(PathBuf, Identity)>>,
    path: PathBuf,
}

impl OpenedFiles {
    /// The file as it is before it is opened. The path is made absolute, because a relative path
    /// would still lead to the file after its folder was moved.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let identity = Identity::from_metadata(&std::fs::metadata(&path)?);
        Ok(Self { known: Mutex::new(vec![(path.clone(), identity)]), path })
    }

    /// Notes the side files. Called when the writer's connection was opened; that connection keeps
    /// them open.
    pub(crate) fn note_side_files(&self) {
        let side_files = SIDE_FILES.iter().filter_map(|ending| {
            let mut name = self.path.clone().into_os_string();
            name.push(ending);
            let path = PathBuf::from(name);
            let identity = Identity::from_metadata(&std::fs::metadata(&path).ok()?);
            Some((path, identity))
        });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.truncate(1);
        known.extend(side_files);
    }

    /// Whether the writer's connection was opened.
    pub(crate) fn has_writer(&self) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).len() > 1
    }

    /// The first file that was removed or replaced. If a path cannot be looked up for another
    /// reason, nothing is known and the file is skipped.
    pub(crate) fn first_change(&self) -> Option<(PathBuf, FileChange)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find_map(|(path, identity)| {
            let change = match std::fs::metadata(path) {
                Ok(found) if Identity::from_metadata(&found) == *identity => return None,
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
