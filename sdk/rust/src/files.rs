//! The directory that the runbook bound to a slot.

use crate::bindings::runbook::files::{reader, types, writer};
use crate::fault::Result;
use crate::native::host;
use crate::slot::Slot;

pub use types::{FileInfo, FileKind};

/// A slot that is bound to one directory. Paths are relative to it; `..` and symbolic links are
/// refused.
#[derive(Debug, Clone)]
pub struct Directory {
    slot: Slot,
}

impl Directory {
    /// The directory of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot }
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `read` or the path has a symbolic link, `not-found` if
    /// there is no such file, `limit` if it is larger than the target's `max_bytes`, `invalid` if
    /// it is no ordinary file.
    #[track_caller]
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        host!("files/reader.read", reader::read(self.slot.name(), path))
    }

    /// The entries of a directory, sorted by name; `""` is the slot's directory itself.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `read` or the path has a symbolic link, `not-found` if
    /// there is no such directory, `invalid` if it is none.
    #[track_caller]
    pub fn list(&self, path: &str) -> Result<Vec<FileInfo>> {
        host!("files/reader.list", reader::list(self.slot.name(), path))
    }

    /// The size in bytes, the kind and the time of change of a file.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `read` or the path has a symbolic link, `not-found` if
    /// there is no such file.
    #[track_caller]
    pub fn stat(&self, path: &str) -> Result<FileInfo> {
        host!("files/reader.stat", reader::stat(self.slot.name(), path))
    }

    /// The SHA-256 digest of a file of any size, as `sha256:<hex>`. The host computes it as a
    /// stream.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `read` or the path has a symbolic link, `not-found` if
    /// there is no such file, `invalid` if it is no ordinary file.
    #[track_caller]
    pub fn digest(&self, path: &str) -> Result<String> {
        host!("files/reader.digest", reader::digest(self.slot.name(), path))
    }

    /// Writes a whole file: a reader sees the old content or the new one, never a part.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `write` or the path has a symbolic link, `not-found` if
    /// its directory is missing, `conflict` if the disk is full or the file cannot be written.
    #[track_caller]
    pub fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        host!("files/writer.write", writer::write(self.slot.name(), path, content))
    }

    /// Removes one file.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `remove` or the path has a symbolic link, `not-found` if
    /// there is no such file, `invalid` if it is a directory.
    #[track_caller]
    pub fn remove(&self, path: &str) -> Result<()> {
        host!("files/writer.remove", writer::remove(self.slot.name(), path))
    }
}
