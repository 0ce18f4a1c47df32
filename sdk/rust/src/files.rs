//! The directory that the runbook bound to a slot.

use crate::bindings::runbook::files::{reader, types, writer};
use crate::fault::Result;

pub use types::{FileInfo, FileKind};

/// The slot of one directory. Paths are relative to it.
#[derive(Debug, Clone)]
pub struct Directory {
    slot: String,
}

impl Directory {
    /// The slot called `name` in `plugin.toml`.
    pub fn slot(name: &str) -> Self {
        Self { slot: name.to_owned() }
    }

    /// The whole file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        reader::read(&self.slot, path)
    }

    /// The entries of a directory, sorted by name; `""` is the slot's own.
    pub fn list(&self, path: &str) -> Result<Vec<FileInfo>> {
        reader::list(&self.slot, path)
    }

    /// Size, kind and time of a file.
    pub fn stat(&self, path: &str) -> Result<FileInfo> {
        reader::stat(&self.slot, path)
    }

    /// `sha256:<hex>` of a file of any size.
    pub fn digest(&self, path: &str) -> Result<String> {
        reader::digest(&self.slot, path)
    }

    /// Writes the whole file, in one piece for whoever reads it.
    pub fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        writer::write(&self.slot, path, content)
    }

    /// Removes one file.
    pub fn remove(&self, path: &str) -> Result<()> {
        writer::remove(&self.slot, path)
    }
}
