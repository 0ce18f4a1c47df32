//! File systems, by their mount points.

use super::ReadError;
use crate::bindings::runbook::system::types::FileSystem;
use procfs::process::Process;
use runbook_authority::targets::SystemTarget;
use rustix::fs::StatVfsMountFlags;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The file systems of the mount points that were asked for.
pub(super) struct Found {
    /// By mount point, sorted.
    pub(super) readable: Vec<FileSystem>,
    /// How many do not say their size to this program.
    pub(super) unreadable: usize,
}

/// The file system that is being asked for its size, for the message if it does not answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked(Arc<Mutex<Option<String>>>);

impl Asked {
    fn set(&self, file_system: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = file_system;
    }

    /// The mount point and the kind of the file system that is being asked now.
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The file systems that the target lets be seen; with a mount point, only that of it.
///
/// While a file system is asked for its size, `now` names it: one that hangs never answers.
pub(super) fn read(
    target: &SystemTarget,
    asked: Option<&str>,
    now: &Asked,
) -> Result<Found, ReadError> {
    // Of several that are mounted over each other, only the last one is reached.
    let mut mounts = BTreeMap::new();
    for mount in Process::myself()?.mountinfo()? {
        let path = unescaped(&mount.mount_point);
        let text = path.to_string_lossy().into_owned();
        if target.shows_mount(&text) && asked.is_none_or(|asked| asked == text) {
            mounts.insert(text, (path, mount));
        }
    }
    let mut found = Found { readable: Vec::new(), unreadable: 0 };
    for (text, (path, mount)) in mounts {
        now.set(Some(format!("the file system at `{}` ({})", text.escape_debug(), mount.fs_type)));
        let size = rustix::fs::statvfs(&path);
        now.set(None);
        let Ok(size) = size else {
            found.unreadable += 1;
            continue;
        };
        // `proc`, `sysfs` and the like.
        if size.f_blocks == 0 {
            continue;
        }
        let bytes = |blocks: u64| blocks.saturating_mul(size.f_frsize);
        found.readable.push(FileSystem {
            mount: text,
            device: mount
                .mount_source
                .map(|source| unescaped(Path::new(&source)))
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            kind: mount.fs_type,
            total_bytes: bytes(size.f_blocks),
            free_bytes: bytes(size.f_bfree),
            available_bytes: bytes(size.f_bavail),
            inodes: size.f_files,
            inodes_free: size.f_ffree,
            read_only: size.f_flag.contains(StatVfsMountFlags::RDONLY),
        });
    }
    Ok(found)
}

/// A path of `/proc/self/mountinfo`, where blank, tab, line feed and backslash are octal numbers:
/// `\040`.
fn unescaped(written: &Path) -> PathBuf {
    let mut bytes = written.as_os_str().as_bytes().iter();
    let mut path = Vec::new();
    while let Some(&byte) = bytes.next() {
        let rest = bytes.as_slice();
        match rest {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if byte == b'\\' => {
                path.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                bytes.nth(2);
            }
            _ => path.push(byte),
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::{Asked, unescaped};
    use std::path::Path;

    #[test]
    fn a_file_system_that_does_not_answer_is_named() {
        let asked = Asked::default();
        let worker = asked.clone();
        worker.set(Some("the file system at `/mnt` (fuse)".to_owned()));
        assert_eq!(asked.take().as_deref(), Some("the file system at `/mnt` (fuse)"));
        worker.set(None);
        assert_eq!(asked.take(), None);
    }

    #[test]
    fn octal_numbers_of_a_mount_point_are_characters() {
        for (written, path) in [
            ("/", "/"),
            ("/a\\040b", "/a b"),
            ("/a\\011\\012\\134b", "/a\t\n\\b"),
            ("/a\\04", "/a\\04"),
            ("/a\\999", "/a\\999"),
        ] {
            assert_eq!(unescaped(Path::new(written)), Path::new(path), "{written}");
        }
    }
}
