//! A `files` target: one directory.

use super::{Folder, HostPath};
use crate::capability::Verb;
use runbook_document::{ByteSize, Reader};

/// The access that a target gives to the files of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAccess {
    /// Files may only be read; the default.
    Read,
    /// Files may be read, written and removed.
    Write,
}

impl FileAccess {
    /// The verbs that it stands for.
    pub fn verbs(self) -> &'static [Verb] {
        match self {
            Self::Read => &[Verb::FilesRead],
            Self::Write => &[Verb::FilesRead, Verb::FilesWrite, Verb::FilesRemove],
        }
    }
}

/// One directory, as a `files` target describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesTarget {
    /// The directory that all paths are below.
    pub root: HostPath,
    /// What may be done with the files.
    pub access: FileAccess,
    /// The largest file that a plugin can read at once. Streams (dumps, digests) have no such
    /// limit.
    pub max_bytes: ByteSize,
}

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<FilesTarget> {
    let root = reader.required::<String>("files").map(|path| folder.locate(&path.value));
    let access = reader.optional::<String>("access").map_or(Some(FileAccess::Read), |text| {
        match text.value.as_str() {
            "read" => Some(FileAccess::Read),
            "write" => Some(FileAccess::Write),
            _ => {
                reader.error(
                    "E0103",
                    text.span,
                    format!("`{}` is not an access", text.value),
                    "`read` or `write`",
                );
                None
            }
        }
    });
    let max_bytes =
        reader.optional::<ByteSize>("max_bytes").map_or(ByteSize(8 << 20), |size| size.value);
    Some(FilesTarget { root: root?, access: access?, max_bytes })
}
