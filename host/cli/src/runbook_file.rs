//! The file of a runbook: its path as the operator typed it, for messages, and its real path, for
//! everything else.

use crate::failure::Failure;
use runbook_runtime::resolve_symlinks;
use std::path::{Path, PathBuf};

/// The file of a runbook.
///
/// Its folder is that of its real path, even if the file was named with `..` or through a link.
#[derive(Debug, Clone)]
pub struct RunbookFile {
    typed_path: PathBuf,
    real: PathBuf,
}

impl RunbookFile {
    /// The file that `typed_path` names, which may be relative to the working directory. It need
    /// not exist.
    pub fn locate(typed_path: &Path) -> Result<Self, Failure> {
        let absolute = std::path::absolute(typed_path).map_err(|error| {
            Failure::usage(format!("runbook `{}` cannot be read: {error}", typed_path.display()))
        })?;
        Ok(Self { typed_path: typed_path.to_owned(), real: resolve_symlinks(&absolute) })
    }

    /// The path as the operator typed it.
    pub fn typed_path(&self) -> &Path {
        &self.typed_path
    }

    /// Its absolute path, with links resolved.
    pub fn real(&self) -> &Path {
        &self.real
    }

    /// Its folder, absolute and with links resolved. Relative paths in the runbook start here.
    pub fn folder(&self) -> &Path {
        self.real.parent().unwrap_or(Path::new("/"))
    }

    /// Its name in that folder.
    pub fn name(&self) -> String {
        self.real.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The path, relative to the folder, of a file that the runbook includes. `display_path` is its
    /// path in messages: this is the inverse of [`Self::display_path`].
    pub fn relative_path(&self, display_path: &str) -> String {
        let path = Path::new(display_path);
        let parent = self.typed_path.parent().unwrap_or(Path::new(""));
        path.strip_prefix(parent).unwrap_or(path).display().to_string()
    }

    /// The path by which messages name a file in the folder: as the operator would type it.
    pub fn display_path(&self, relative: &str) -> PathBuf {
        match self.typed_path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.join(relative),
            Some(_) | None => PathBuf::from(relative),
        }
    }
}
