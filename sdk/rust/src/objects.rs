//! The objects of a store that the runbook bound to a slot.

use crate::bindings::runbook::objects::{reader, types, writer};
use crate::fault::Result;
use crate::native::host;
use crate::slot::Slot;

pub use types::{Artifact, Condition, Listing, Object, ObjectInfo};

/// A slot that is bound to the objects below one prefix. The host holds the address of the store
/// and the keys that sign its requests.
#[derive(Debug, Clone)]
pub struct Bucket {
    slot: Slot,
}

impl Bucket {
    /// The objects of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot }
    }

    /// Size, time and tag of one object.
    ///
    /// # Errors
    /// `not-found` if there is none; `denied` if the key is not canonical or not granted; `invalid`
    /// if the store does not accept the keys of the target; `transient` if it cannot be reached;
    /// `timeout` if it is silent.
    #[track_caller]
    pub fn head(&self, key: &str) -> Result<ObjectInfo> {
        host!("objects/reader.head", reader::head(self.slot.name(), key))
    }

    /// Every object whose key begins with `prefix`: empty, or a key that may end in `/`.
    ///
    /// # Errors
    /// As [`head`](Self::head), but never `not-found`.
    #[track_caller]
    pub fn list(&self, prefix: &str) -> Result<Listing> {
        host!("objects/reader.list", reader::list(self.slot.name(), prefix))
    }

    /// The whole object.
    ///
    /// # Errors
    /// As [`head`](Self::head); `limit` if it is larger than the target allows.
    #[track_caller]
    pub fn get(&self, key: &str) -> Result<Object> {
        host!("objects/reader.get", reader::get(self.slot.name(), key))
    }

    /// Copies an object to `path` in the directory of the slot `directory`.
    ///
    /// # Errors
    /// As [`get`](Self::get); `conflict` if the file is there already, or if the object was replaced
    /// meanwhile; `assertion` if its bytes do not have the digest that is written beside it.
    #[track_caller]
    pub fn download(&self, key: &str, directory: Slot, path: &str) -> Result<Artifact> {
        host!(
            "objects/reader.download",
            reader::download(self.slot.name(), key, directory.name(), path)
        )
    }

    /// Writes an object.
    ///
    /// # Errors
    /// As [`head`](Self::head); `conflict` if the condition does not hold; `unknown` if no answer
    /// came: it may have been written.
    #[track_caller]
    pub fn put(&self, key: &str, content: &[u8], condition: &Condition) -> Result<Artifact> {
        host!("objects/writer.put", writer::put(self.slot.name(), key, content, condition))
    }

    /// Writes an object from `path` in the directory of the slot `directory`.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    #[track_caller]
    pub fn upload(
        &self,
        key: &str,
        directory: Slot,
        path: &str,
        condition: &Condition,
    ) -> Result<Artifact> {
        host!(
            "objects/writer.upload",
            writer::upload(self.slot.name(), key, directory.name(), path, condition)
        )
    }

    /// Deletes the object with this tag.
    ///
    /// # Errors
    /// As [`put`](Self::put); `not-found` if there is none.
    #[track_caller]
    pub fn delete(&self, key: &str, etag: &str) -> Result<()> {
        host!("objects/writer.delete", writer::delete(self.slot.name(), key, etag))
    }
}
