//! The lock of a store: a file beside it that only those can open who may write into the folder, so
//! that nobody who may only read keeps others from changing the store.

use crate::files::{FileError, LockHolder, folder_of};
use rustix::fs::{Mode, OFlags};
use std::fs::{File, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long [`lock_store`] waits.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// The time between two tries.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// The lock of a store. Dropping it releases the lock and removes its file.
pub struct StoreLock {
    _file: File,
    path: PathBuf,
}

/// Locks the store at `path` against changes by other processes, until the lock is dropped. Lock a
/// store before reading it in order to change it; otherwise one of two changes at the same time is
/// lost. Waits for another process for half a minute, and blocks the thread.
///
/// # Errors
/// As [`try_lock_store`].
pub fn lock_store(path: &Path) -> Result<StoreLock, FileError> {
    let deadline = Instant::now() + MAX_WAIT;
    loop {
        match try_lock_store(path) {
            Err(FileError::Locked { .. }) if Instant::now() < deadline => {
                std::thread::sleep(RETRY_AFTER);
            }
            locked => return locked,
        }
    }
}

/// Locks the store at `path` if no other process has it.
///
/// # Errors
/// [`FileError::Locked`] if another process has it, [`FileError::Lock`] if the file of the lock
/// cannot be made or opened.
pub fn try_lock_store(path: &Path) -> Result<StoreLock, FileError> {
    let store = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let lock_path = lock_path(&store);
    let lock_error = |source| FileError::Lock { path: lock_path.clone(), source };
    loop {
        let mut file = open(&store, &lock_path).map_err(lock_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = LockHolder { process: process_in(&mut file) };
                return Err(FileError::Locked { path: path.into(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(lock_error(source)),
        }
        // Whoever had the lock has removed its file, and the next one may have made another.
        if is_same(&file, &lock_path) {
            let process = std::process::id().to_string();
            file.set_len(0)
                .and_then(|()| file.write_all(process.as_bytes()))
                .map_err(lock_error)?;
            return Ok(StoreLock { _file: file, path: lock_path });
        }
    }
}

/// `secrets/prod.age` → `secrets/.prod.age.lock`.
fn lock_path(store: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(store.file_name().unwrap_or_default());
    name.push(".lock");
    folder_of(store).join(name)
}

/// Opens the file of the lock for reading and writing. A new one can be opened by its owner, and by
/// the group of the folder if that may write into the folder.
fn open(store: &Path, lock_path: &Path) -> io::Result<File> {
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(lock_path, flags, Mode::from_raw_mode(0o600))?);
    let folder = std::fs::metadata(folder_of(store))?;
    let metadata = file.metadata()?;
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if is_ours && folder.mode() & 0o020 != 0 {
        // Not allowed to somebody who is not of that group; the lock then is for its owner.
        if std::os::unix::fs::fchown(&file, None, Some(folder.gid())).is_ok() {
            file.set_permissions(Permissions::from_mode(0o660))?;
        }
    }
    Ok(file)
}

fn process_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether a path still leads to this file.
fn is_same(file: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (open, named) =
        (file.metadata().map(identity), std::fs::symlink_metadata(path).map(identity));
    matches!((open, named), (Ok(open), Ok(named)) if open == named)
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        // While the lock is held, only its holder removes the file.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{read, write_public};

    #[test]
    fn no_change_is_lost_if_several_processes_change_a_store_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("count");
        write_public(&path, b"0").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let _store_lock = lock_store(&path).unwrap();
                        let count: u32 = String::from_utf8(read(&path).unwrap().unwrap())
                            .unwrap()
                            .parse()
                            .unwrap();
                        write_public(&path, (count + 1).to_string().as_bytes()).unwrap();
                    }
                });
            }
        });
        assert_eq!(read(&path).unwrap().unwrap(), b"100");
    }

    #[test]
    fn the_lock_names_its_holder_is_for_its_owner_alone_and_leaves_no_file_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.age");
        let lock = try_lock_store(&path).unwrap();
        let file = folder.path().join(".s.age.lock");
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let refused = try_lock_store(&path).err().unwrap().to_string();
        let process = format!("is being changed by process {}", std::process::id());
        assert!(refused.contains(&process), "{refused}");
        drop(lock);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        // A lock that a killed process left behind is nobody's.
        write_public(&file, b"1").unwrap();
        drop(try_lock_store(&path).unwrap());
        // A group that may write into the folder changes the store too.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o770)).unwrap();
        let _lock = try_lock_store(&path).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o660);
    }

    #[test]
    fn who_has_the_folder_and_the_store_locked_keeps_nobody_from_changing_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.age");
        write_public(&path, b"one").unwrap();
        // Both can be opened for reading by anybody.
        let held: Vec<File> =
            [folder.path(), &path].into_iter().map(|path| File::open(path).unwrap()).collect();
        held.iter().for_each(|file| file.lock().unwrap());
        drop(try_lock_store(&path).unwrap());
    }

    #[test]
    fn a_link_in_the_place_of_the_lock_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.age");
        std::os::unix::fs::symlink("elsewhere", folder.path().join(".s.age.lock")).unwrap();
        assert!(matches!(try_lock_store(&path), Err(FileError::Lock { .. })));
        assert!(!folder.path().join("elsewhere").exists());
    }
}
