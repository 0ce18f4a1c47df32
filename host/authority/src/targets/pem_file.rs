//! A file of certificates that a target names: the authorities that it believes instead of the
//! system's, or the certificate that it shows.

use super::{Folder, HostPath, PathView};
use crate::digest::Digest;
use std::path::Path;

/// A file of certificates in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    written: String,
    path: HostPath,
    content: FileContent,
}

/// What was in the file when the target was read. Only this text is trusted later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// The file was not looked at, because the target is read as text alone.
    Unknown,
    /// There was no file that could be read.
    Absent,
    /// The text of this digest.
    Is(Digest),
}

impl PemFile {
    pub(super) fn locate(written: &str, folder: Folder<'_>) -> Self {
        let path = folder.locate(written);
        let content = folder.content_of(path.real());
        Self { written: written.to_owned(), path, content }
    }

    /// The path that is opened.
    pub fn real(&self) -> &Path {
        self.path.real()
    }

    /// What must be in it.
    pub fn content(&self) -> &FileContent {
        &self.content
    }

    /// The file and its digest, as a review shows it. A file of the host itself differs from host
    /// to host: a lockfile names it only.
    pub(crate) fn shown(&self, view: PathView) -> String {
        let path = match view {
            PathView::Opened => self.path.shown(view),
            PathView::Reviewed => self.written.clone(),
        };
        match (&self.content, view) {
            (FileContent::Is(_), PathView::Reviewed) if !self.path.belongs_to_folder() => path,
            (FileContent::Is(digest), _) => format!("{path} {digest}"),
            (FileContent::Absent, PathView::Opened) => format!("{path} (not there)"),
            (FileContent::Absent | FileContent::Unknown, _) => path,
        }
    }
}
