//! Reads and writes the files of a store, at the paths that the caller gives.

use runbook_regular_file::Links;
use std::fmt;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The largest file that is read: room for a store of 16 MiB after armoring.
const MAX_FILE_BYTES: u64 = 24 << 20;

/// Reads a store or a list of recipients; `None` if there is no such file.
///
/// # Errors
/// [`FileError::TooBig`] if the file has more than 24 MiB, [`FileError::Read`] if the system does
/// not let it be read or it is no regular file.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match runbook_regular_file::read(path, MAX_FILE_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(FileError::TooBig { path: path.into() })
        }
        Err(source) => Err(FileError::Read { path: path.into(), source }),
    }
}

/// Reads a private key, and refuses one that the group or others may read or write.
///
/// # Errors
/// [`FileError::OpenToOthers`] if the group or others may read or write the file,
/// [`FileError::NotAFile`] if it is none, [`FileError::TooBig`] above 24 MiB, otherwise
/// [`FileError::Read`].
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let read_error = |source| FileError::Read { path: path.into(), source };
    // The mode is that of the open file, so that the file cannot be replaced between check and
    // read.
    let mut file =
        runbook_regular_file::open(path, Links::Follow).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => FileError::NotAFile { path: path.into() },
            _ => read_error(error),
        })?;
    let metadata = file.metadata().map_err(read_error)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::OpenToOthers { path: path.into(), mode });
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(FileError::TooBig { path: path.into() });
    }
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 64));
    file.read_to_end(&mut bytes).map_err(read_error)?;
    Ok(bytes)
}

/// The largest credential that systemd passes to a service.
const MAX_CREDENTIAL_BYTES: u64 = 1 << 20;

/// Reads a file in which somebody hands over a secret: a credential of systemd. `None` if there is
/// no such file.
///
/// It may not be a link, nobody but its owner may write it, and others may not read it. The group
/// may: systemd lets the user of a service read a credential by an access control list, whose
/// mask is shown as the mode of the group.
///
/// # Errors
/// [`FileError::OpenToOthers`], [`FileError::NotAFile`] for a link, a folder or a device,
/// [`FileError::TooBig`] above 1 MiB, otherwise [`FileError::Read`].
pub fn read_credential(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let read_error = |source| FileError::Read { path: path.into(), source };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(FileError::NotAFile { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read_error(error)),
    }
    let file = runbook_regular_file::open(path, Links::Refuse).map_err(read_error)?;
    let mode = file.metadata().map_err(read_error)?.mode() & 0o7777;
    if mode & 0o037 != 0 {
        return Err(FileError::OpenToOthers { path: path.into(), mode });
    }
    match runbook_regular_file::read_all(file, MAX_CREDENTIAL_BYTES) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(FileError::TooBig { path: path.into() })
        }
        Err(error) => Err(read_error(error)),
    }
}

/// Writes a store or a list of recipients atomically. An existing file keeps its mode, a new one
/// gets 0644.
///
/// # Errors
/// [`FileError::Write`] if the folder cannot be written, or the disk is full.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mode = std::fs::metadata(path).map_or(0o644, |metadata| metadata.mode() & 0o777);
    let temporary = prepare(path, bytes, mode)?;
    // A store that is a symbolic link stays one: the file that it points to is replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    temporary
        .persist(&target)
        .map_err(|error| FileError::Write { path: path.into(), source: error.error })?;
    sync_folder(path)
}

/// Writes a new private key with mode 0600. An existing file is never overwritten, because it may
/// be the only key to a store.
///
/// # Errors
/// [`FileError::Exists`] if there is a file at `path`, [`FileError::Write`] if the folder cannot be
/// written or the disk is full.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = prepare(path, bytes, 0o600)?;
    temporary.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists { path: path.into() },
        _ => FileError::Write { path: path.into(), source: error.error },
    })?;
    sync_folder(path)
}

/// The name of the list of recipients that belongs to a store: `prod.age` → `prod.age.recipients`.
pub fn recipients_path(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".recipients");
    name.into()
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// A synced temporary file in the folder to which `path` resolves (a rename cannot cross file
/// systems).
fn prepare(path: &Path, bytes: &[u8], mode: u32) -> Result<tempfile::NamedTempFile, FileError> {
    let write_error = |source| FileError::Write { path: path.into(), source };
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let folder = folder_of(&target);
    let mut temporary = tempfile::Builder::new()
        .prefix(".runbook-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder)
        .map_err(write_error)?;
    temporary.write_all(bytes).map_err(write_error)?;
    // The umask applies to the mode of the builder, but not to this one.
    temporary.as_file().set_permissions(Permissions::from_mode(mode)).map_err(write_error)?;
    temporary.as_file().sync_all().map_err(write_error)?;
    Ok(temporary)
}

fn sync_folder(path: &Path) -> Result<(), FileError> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    File::open(folder_of(&target))
        .and_then(|folder| folder.sync_all())
        .map_err(|source| FileError::Write { path: path.into(), source })
}

/// Who has the lock of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockHolder {
    /// The id of the process; `None` if it has not written it yet.
    pub process: Option<u32>,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Some(process) => write!(f, "process {process}"),
            None => f.write_str("another process"),
        }
    }
}

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system does not let the file be read.
    #[error("`{path}` cannot be read", path = path.display())]
    Read {
        /// The file that could not be read.
        path: PathBuf,
        /// The error that the system gave.
        #[source]
        source: io::Error,
    },
    /// The system does not let the file be written. The old content is unchanged.
    #[error("`{path}` cannot be written; what was there is unchanged", path = path.display())]
    Write {
        /// The file that could not be written.
        path: PathBuf,
        /// The error that the system gave.
        #[source]
        source: io::Error,
    },
    /// A folder, a device, a pipe or a link in the place of a file with a secret.
    #[error("`{path}` is not a file, or is a link to one; give the file itself", path = path.display())]
    NotAFile {
        /// The path where a file was expected.
        path: PathBuf,
    },
    /// Others may read or write a file with a secret.
    #[error("`{path}` holds a secret and is open to others (mode {mode:04o}); run `chmod 600 {path}`", path = path.display())]
    OpenToOthers {
        /// The file with the secret.
        path: PathBuf,
        /// The permission bits of the file, such as `0o644`.
        mode: u32,
    },
    /// The lock of a store cannot be made or taken.
    #[error("the store cannot be locked by `{path}`; whoever changes a store must be able to write \
             into its folder", path = path.display())]
    Lock {
        /// The file of the lock.
        path: PathBuf,
        /// The error that the system gave.
        #[source]
        source: io::Error,
    },
    /// Another process changes the store.
    #[error("`{path}` is being changed by {holder}; nothing was changed, try again when it has \
             ended", path = path.display())]
    Locked {
        /// The store.
        path: PathBuf,
        /// Who has the lock.
        holder: LockHolder,
    },
    /// The file has more than 24 MiB, or a credential more than 1 MiB.
    #[error("`{path}` is too big for a secret store, a key or a credential", path = path.display())]
    TooBig {
        /// The file that is too big.
        path: PathBuf,
    },
    /// A private key is never written over.
    #[error("`{path}` exists, and a private key is never written over; choose another name or move \
             it away", path = path.display())]
    Exists {
        /// The file that exists already.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_private_key_gets_mode_0600_and_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.txt");
        write_private(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(write_private(&path, b"two"), Err(FileError::Exists { .. })));
        assert_eq!(read_private(&path).unwrap().as_slice(), b"one");
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn a_private_key_that_the_group_can_read_is_refused_with_the_command_to_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.txt");
        write_private(&path, b"one").unwrap();
        for open_mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, Permissions::from_mode(open_mode)).unwrap();
            let message = read_private(&path).unwrap_err().to_string();
            assert!(message.ends_with(&format!("run `chmod 600 {}`", path.display())), "{message}");
        }
    }

    #[test]
    fn a_store_keeps_its_mode_and_its_link_when_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("prod.age"), folder.path().join("link.age"));
        write_public(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o644);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_public(&link, b"two").unwrap();
        assert!(link.is_symlink());
        assert_eq!((mode(&path), read(&path).unwrap().unwrap()), (0o640, b"two".to_vec()));
        assert!(read(&folder.path().join("none.age")).unwrap().is_none());
    }
}
