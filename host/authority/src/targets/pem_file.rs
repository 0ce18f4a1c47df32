//! A file of certificates that a target names: the authorities to trust instead of the system's, or
//! a client certificate.

use super::{Folder, HostPath, PathView};
use crate::digest::Digest;
use std::path::Path;

/// A file of certificates in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    written_path: String,
    path: HostPath,
    content: FileContent,
}

/// The content of the file when the target was read. Other content is refused later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// The file was not read, because only the text of the target is checked.
    Unknown,
    /// The file could not be read.
    Absent,
    /// The content has this digest.
    Known(Digest),
}

impl PemFile {
    pub(super) fn locate(written_path: &str, folder: Folder<'_>) -> Self {
        let path = folder.locate(written_path);
        let content = folder.content_of(path.real());
        Self { written_path: written_path.to_owned(), path, content }
    }

    /// The path that is opened.
    pub fn real(&self) -> &Path {
        self.path.real()
    }

    /// The content that the file must have.
    pub fn content(&self) -> &FileContent {
        &self.content
    }

    /// The path and the digest as text. A lockfile has no digest of a file outside of the runbook's
    /// folder, because that file differs from host to host.
    pub(crate) fn render(&self, view: PathView) -> String {
        let path = match view {
            PathView::OnThisHost => self.path.render(view),
            PathView::Portable => self.written_path.clone(),
        };
        match (&self.content, view) {
            (FileContent::Known(_), PathView::Portable) if !self.path.belongs_to_folder() => path,
            (FileContent::Known(digest), _) => format!("{path} {digest}"),
            (FileContent::Absent, PathView::OnThisHost) => format!("{path} (not there)"),
            (FileContent::Absent | FileContent::Unknown, _) => path,
        }
    }
}
