//! The locks of rotations that this process has.

use runbook_authority::targets::FileEntry;
use runbook_runtime::RotationTurn;
use runbook_secrets::files::FileError;
use runbook_secrets::{LockAttempt, RotationLock, is_rotation_locked, try_lock_rotation};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The locks by the names in `[secrets]`. What a rotation leaves pending stays locked until its
/// undo, or until this process ends.
#[derive(Default)]
pub struct RotationLocks(Mutex<HashMap<String, HeldLock>>);

struct HeldLock {
    /// The run and the step that have it.
    by: String,
    _lock: RotationLock,
}

impl RotationLocks {
    /// Tries to lock the rotation of secret `name`, which is `entry` of an age store, for the run
    /// and the step `by`.
    ///
    /// # Errors
    /// The lock file cannot be made or locked.
    pub fn lock(&self, name: &str, entry: &FileEntry, by: &str) -> Result<RotationTurn, FileError> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match locks.get(name) {
            Some(held) if held.by == by => return Ok(RotationTurn::Ours),
            Some(held) => return Ok(RotationTurn::Another(held.by.clone())),
            None => {}
        }
        match try_lock_rotation(entry.file.real(), &entry.entry, by)? {
            LockAttempt::Locked(lock) => {
                locks.insert(name.to_owned(), HeldLock { by: by.to_owned(), _lock: lock });
                Ok(RotationTurn::Ours)
            }
            LockAttempt::Held { by } => Ok(RotationTurn::Another(by)),
        }
    }

    /// Whether another step than `by` has the lock now, here or in another process.
    pub fn is_of_another(&self, name: &str, entry: &FileEntry, by: &str) -> bool {
        let locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match locks.get(name) {
            Some(held) => held.by != by,
            None => is_rotation_locked(entry.file.real(), &entry.entry),
        }
    }

    /// Releases the lock, if `by` has it.
    pub fn unlock(&self, name: &str, by: &str) {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.get(name).is_some_and(|held| held.by == by) {
            locks.remove(name);
        }
    }
}
