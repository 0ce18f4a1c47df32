//! The directory that the runbook bound to a slot.

use crate::bindings::runbook::files::{reader, types, writer};
use crate::fault::Result;
use crate::native::host;
use crate::slot::Slot;

pub use types::{
    ExistingFile, ExpectedFile, FileEnd, FileInfo, FileKind, KeptFile, LineCount, LineSearch,
    ListOptions, Listing, Order, Pruned,
};

/// Whether a search goes on in the files that were rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Only the file itself is read.
    Excluded,
    /// The rotated files beside it are read too, also compressed ones.
    Included,
}

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

    /// The entries of a directory of any size, in an order, with how many were left out; `""` is the
    /// slot's directory itself.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    #[track_caller]
    pub fn entries(&self, path: &str, options: &ListOptions) -> Result<Listing> {
        host!("files/reader.entries", reader::entries(self.slot.name(), path, options))
    }

    /// Reads a whole file, decompressed if its name ends in `.gz` or `.zst`.
    ///
    /// # Errors
    /// As [`read`](Self::read), with the limit counted after decompression; `invalid` if it cannot
    /// be decompressed.
    #[track_caller]
    pub fn read_decoded(&self, path: &str) -> Result<Vec<u8>> {
        host!("files/reader.read-decoded", reader::read_decoded(self.slot.name(), path))
    }

    /// The last lines of a file of any size; with [`Rotation::Included`] also those of the rotated
    /// files before it.
    ///
    /// # Errors
    /// As [`read_decoded`](Self::read_decoded), without its limit.
    #[track_caller]
    pub fn tail(&self, path: &str, max_lines: u32, rotation: Rotation) -> Result<FileEnd> {
        let rotated = rotation == Rotation::Included;
        host!("files/reader.tail", reader::tail(self.slot.name(), path, max_lines, rotated))
    }

    /// Counts the lines of a file of any size that match a pattern.
    ///
    /// # Errors
    /// As [`tail`](Self::tail); `invalid` if the pattern is no regular expression, or if lines
    /// since some time are asked for and none begins with a time.
    #[track_caller]
    pub fn count(&self, path: &str, search: &LineSearch) -> Result<LineCount> {
        host!("files/reader.count", reader::count(self.slot.name(), path, search))
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

    /// Replaces a whole file if it is as expected, and keeps the old one under the name `backup`.
    /// Returns the digest of the new file.
    ///
    /// # Errors
    /// As [`write`](Self::write); `conflict` if the file is not as expected, or if another file has
    /// the name of the backup.
    #[track_caller]
    pub fn replace(
        &self,
        path: &str,
        content: &[u8],
        expected: &ExpectedFile,
        backup: Option<&str>,
    ) -> Result<String> {
        host!(
            "files/writer.replace",
            writer::replace(self.slot.name(), path, content, expected, backup)
        )
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `rename` (and `write` to replace a file), or if a path
    /// has a symbolic link; `not-found` if there is no such file; `conflict` if the new name exists
    /// or is on another file system; `invalid` if it is a directory.
    #[track_caller]
    pub fn rename(&self, from: &str, to: &str, existing: ExistingFile) -> Result<()> {
        host!("files/writer.rename", writer::rename(self.slot.name(), from, to, existing))
    }

    /// Removes files, each if it has not changed since it was listed.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `remove`, or if one of the files is younger than the
    /// target lets be removed: then none is removed.
    #[track_caller]
    pub fn prune(&self, files: &[FileInfo]) -> Result<Pruned> {
        host!("files/writer.prune", writer::prune(self.slot.name(), files))
    }
}
