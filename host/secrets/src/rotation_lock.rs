//! The lock of the rotation of one secret, across processes: the kernel releases it when the process
//! that holds it ends.

use crate::files::FileError;
use rustix::fs::{Mode, OFlags};
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How much of a lock file is read.
const MAX_HOLDER_BYTES: u64 = 256;

/// The lock of the rotation of one secret. Dropping it releases the lock and removes its file.
#[derive(Debug)]
pub struct RotationLock {
    path: PathBuf,
    /// Locked until it is closed.
    _file: File,
}

/// The result of an attempt to lock.
#[derive(Debug)]
pub enum LockAttempt {
    /// It is ours.
    Locked(RotationLock),
    /// Another process has it.
    Held {
        /// The run and the step that have it, as they said.
        by: String,
    },
}

/// Tries to lock the rotation of the secret `name` of a store for the run and the step `by`. The
/// lock is on a file beside the store, `.prod.age.orders-db.rotation`.
///
/// # Errors
/// [`FileError::Write`] if the file cannot be made, opened or locked.
pub fn try_lock_rotation(store: &Path, name: &str, by: &str) -> Result<LockAttempt, FileError> {
    let path = lock_path(store, name);
    let write_error = |source: io::Error| FileError::Write { path: path.clone(), source };
    loop {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(opened.map_err(|errno| write_error(errno.into()))?);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut by = Vec::new();
                // What the holder wrote is only shown.
                let _ = (&mut file).take(MAX_HOLDER_BYTES).read_to_end(&mut by);
                return Ok(LockAttempt::Held { by: String::from_utf8_lossy(&by).into_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(write_error(source)),
        }
        // The holder before removes its file, so the locked file may have no name any more.
        let locked = file.metadata().map_err(write_error)?;
        let is_at_path = std::fs::symlink_metadata(&path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (locked.dev(), locked.ino()));
        if !is_at_path {
            continue;
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(by.as_bytes()));
        written.map_err(write_error)?;
        return Ok(LockAttempt::Locked(RotationLock { path: path.clone(), _file: file }));
    }
}

/// Whether somebody has the lock now. Makes no file.
pub fn is_rotation_locked(store: &Path, name: &str) -> bool {
    File::open(lock_path(store, name))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn lock_path(store: &Path, name: &str) -> PathBuf {
    let store = std::fs::canonicalize(store).unwrap_or_else(|_| store.into());
    let file_name = store.file_name().unwrap_or_default().to_string_lossy().into_owned();
    store.with_file_name(format!(".{file_name}.{name}.rotation"))
}

impl Drop for RotationLock {
    fn drop(&mut self) {
        // A file that stays is locked again by the next rotation.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn one_rotation_of_a_secret_at_a_time_has_the_lock_and_its_file_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("s.age");
        std::fs::write(&store, "").unwrap();
        let try_lock = |name: &str, by: &str| try_lock_rotation(&store, name, by).unwrap();
        let LockAttempt::Locked(first) = try_lock("db", "a step") else { panic!("it is free") };
        let LockAttempt::Held { by } = try_lock("db", "b step") else { panic!("it is held") };
        assert_eq!(by, "a step");
        assert!(is_rotation_locked(&store, "db") && !is_rotation_locked(&store, "other"));
        assert!(matches!(try_lock("other", "b step"), LockAttempt::Locked(_)));
        drop(first);
        assert!(!is_rotation_locked(&store, "db"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        // Each removes its file while others open it: never two at once.
        let inside = AtomicU32::new(0);
        let locked = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let LockAttempt::Locked(_lock) = try_lock("db", "thread") {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            locked.fetch_add(1, Ordering::SeqCst);
                            std::thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!(locked.load(Ordering::SeqCst) > 0);
    }
}
