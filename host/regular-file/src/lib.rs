//! Reads files whose paths are untrusted: plugins, certificates, stores, texts.
//!
//! Only regular files of a bounded size are read. A repository can contain a link to a device, and
//! a step can create a pipe; reading those could block for ever.

#![warn(clippy::missing_errors_doc)]

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Whether the last part of a path may be a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// The link is followed.
    Follow,
    /// It is refused, because the path was checked before without following links.
    Refuse,
}

/// Opens a regular file for reading, without waiting: opening a pipe without a writer would wait
/// for ever.
///
/// # Errors
/// The error that the system gives; [`io::ErrorKind::InvalidInput`] if it is no regular file.
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    // Checked before opening, because opening a device can have effects; and again afterwards,
    // because the file may have been replaced in between.
    check(path)?;
    let more = match links {
        Links::Follow => OFlags::empty(),
        Links::Refuse => OFlags::NOFOLLOW,
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

/// Whether a path leads to a regular file now: for those who hand the path on to a library that
/// opens it.
///
/// # Errors
/// As [`open`].
pub fn check(path: &Path) -> io::Result<()> {
    if path.metadata()?.is_file() { Ok(()) } else { Err(not_regular()) }
}

/// Reads all bytes of a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`]; [`io::ErrorKind::FileTooLarge`] if it has more than `limit` bytes, of which no more
/// is read.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_all(open(path, Links::Follow)?, limit)
}

/// All bytes of an open file of at most `limit` bytes.
///
/// # Errors
/// As [`read`].
pub fn read_all(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read_and_others_never_block() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("good"), "12345").expect("written");
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), Mode::from_raw_mode(0o600))
            .expect("made");
        symlink(at("pipe"), at("link-to-pipe")).expect("made");
        symlink("/dev/zero", at("link-to-zero")).expect("made");
        symlink(at("good"), at("link")).expect("made");
        assert_eq!(read(&at("good"), 5).expect("good"), b"12345");
        assert_eq!(read(&at("link"), 5).expect("good"), b"12345");
        assert!(open(&at("link"), Links::Refuse).is_err(), "a link where none is expected");
        for (name, kind) in [
            ("pipe", io::ErrorKind::InvalidInput),
            ("link-to-pipe", io::ErrorKind::InvalidInput),
            ("link-to-zero", io::ErrorKind::InvalidInput),
            (".", io::ErrorKind::InvalidInput),
            ("none", io::ErrorKind::NotFound),
        ] {
            assert_eq!(read(&at(name), 5).expect_err("refused").kind(), kind, "{name}");
            assert_eq!(check(&at(name)).expect_err("refused").kind(), kind, "{name}");
        }
        assert_eq!(
            read(&at("good"), 4).expect_err("too large").kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
