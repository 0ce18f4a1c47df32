//! The directory that the runbook bound to a slot.

use crate::bindings::runbook::files::{reader, types, writer};
use crate::fault::Result;
use crate::native::host;
use crate::slot::Slot;

pub use types::{FileInfo, FileKind};

/// The slot of one directory. Paths are relative to it.
#[derive(Debug, Clone)]
pub struct Directory {
    slot: Slot,
}

impl Directory {
    /// That of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot }
    }

    /// The whole file.
    #[track_caller]
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        host!("files/reader.read", reader::read(self.slot.name(), path))
    }

    /// The entries of a directory, sorted by name; `""` is the slot's own.
    #[track_caller]
    pub fn list(&self, path: &str) -> Result<Vec<FileInfo>> {
        host!("files/reader.list", reader::list(self.slot.name(), path))
    }

    /// Size, kind and time of a file.
    #[track_caller]
    pub fn stat(&self, path: &str) -> Result<FileInfo> {
        host!("files/reader.stat", reader::stat(self.slot.name(), path))
    }

    /// `sha256:<hex>` of a file of any size.
    #[track_caller]
    pub fn digest(&self, path: &str) -> Result<String> {
        host!("files/reader.digest", reader::digest(self.slot.name(), path))
    }

    /// Writes the whole file, in one piece for whoever reads it.
    #[track_caller]
    pub fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        host!("files/writer.write", writer::write(self.slot.name(), path, content))
    }

    /// Removes one file.
    #[track_caller]
    pub fn remove(&self, path: &str) -> Result<()> {
        host!("files/writer.remove", writer::remove(self.slot.name(), path))
    }
}
