//! A runbook's file: what the operator typed, for messages, and where it really is, for all that is
//! judged or opened.

use crate::failure::Failure;
use runbook_runtime::follow_links;
use std::path::{Path, PathBuf};

/// A runbook's file.
///
/// One file has one folder, in whatever way it is named: from another folder, with `..`, or through
/// a link.
#[derive(Debug, Clone)]
pub struct RunbookFile {
    written: PathBuf,
    real: PathBuf,
}

impl RunbookFile {
    /// The file that `written` names, which may be relative to the working directory. It need not
    /// exist.
    pub fn locate(written: &Path) -> Result<Self, Failure> {
        let absolute = std::path::absolute(written).map_err(|error| {
            Failure::usage(format!("runbook `{}` cannot be read: {error}", written.display()))
        })?;
        Ok(Self { written: written.to_owned(), real: follow_links(&absolute) })
    }

    /// What the operator typed.
    pub fn written(&self) -> &Path {
        &self.written
    }

    /// Its absolute path, without links.
    pub fn real(&self) -> &Path {
        &self.real
    }

    /// Its folder, absolute and without links: relative paths of the runbook are below it.
    pub fn folder(&self) -> &Path {
        self.real.parent().unwrap_or(Path::new("/"))
    }

    /// Its name in that folder.
    pub fn name(&self) -> String {
        self.real.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A file of the runbook, but not the runbook itself, by its path in the folder, from what
    /// messages call it: the inverse of [`Self::shown`].
    pub fn beside(&self, shown: &str) -> String {
        let path = Path::new(shown);
        let parent = self.written.parent().unwrap_or(Path::new(""));
        path.strip_prefix(parent).unwrap_or(path).display().to_string()
    }

    /// What messages call a file in its folder: as the operator would type it.
    pub fn shown(&self, beside: &str) -> PathBuf {
        match self.written.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.join(beside),
            Some(_) | None => PathBuf::from(beside),
        }
    }
}
