//! Files that are written whole or not at all: a crash leaves the old one, and nobody ever reads half of it.

use crate::failure::Failure;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Who may read the file afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// Who may now.
    AsBefore,
    /// Only who writes it.
    Owner,
    /// Everybody: it is committed, or collected by a service.
    Everybody,
}

/// Replaces a file, or makes it. A link stays, and what it leads to is replaced.
pub fn replace(path: &Path, text: &str, rights: FileMode) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::usage(format!("`{}` cannot be written: {error}", path.display()));
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = match rights {
        FileMode::AsBefore => fs::metadata(&target).map_err(failed)?.permissions(),
        FileMode::Owner => Permissions::from_mode(0o600),
        FileMode::Everybody => Permissions::from_mode(0o644),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().set_permissions(permissions).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&target).map(drop).map_err(|error| failed(error.error))
}
