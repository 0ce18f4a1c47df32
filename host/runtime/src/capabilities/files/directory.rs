//! The directory of a slot. Every path is opened beneath it with `openat2`, so that the kernel
//! refuses every symbolic link and `..` that would lead out of it, without a race.

use super::database::{refuse_new, refuse_removal};
use super::stream::{Compression, FileWriter, IfExists};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const BENEATH_FLAGS: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// An open directory of a `files` target.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

/// One entry of a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) stat: Stat,
}

impl Directory {
    /// Opens the directory itself. Links in its path were resolved when its target was read; none
    /// is followed now.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        crate::symlinks::open_directory(root).map(Self)
    }

    /// Opens a regular file for reading. Anything else (a pipe would block, a device has effects)
    /// is refused.
    pub(crate) fn file(&self, path: &str) -> io::Result<File> {
        let file = self.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        match file_type(&rustix::fs::fstat(&file)?) {
            FileType::RegularFile => Ok(File::from(file)),
            FileType::Directory => Err(Errno::ISDIR.into()),
            _ => Err(Errno::NODEV.into()),
        }
    }

    /// Opens a file for reading; it is decompressed if its name ends in `.zst`.
    pub(crate) fn reader(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        let file = self.file(path)?;
        match Compression::of(path) {
            Compression::None => Ok(Box::new(file)),
            Compression::Zstd => Ok(Box::new(zstd::stream::read::Decoder::new(file)?)),
        }
    }

    /// Begins a new file; it is compressed if its name ends in `.zst`. It appears at `path` only
    /// after [`FileWriter::finish`].
    pub(crate) fn create(&self, path: &str, if_exists: IfExists) -> io::Result<FileWriter> {
        self.begin_file(path, if_exists, Compression::of(path))
    }

    /// Begins a new file that is never compressed, whatever its name.
    pub(crate) fn create_plain(&self, path: &str, if_exists: IfExists) -> io::Result<FileWriter> {
        self.begin_file(path, if_exists, Compression::None)
    }

    fn begin_file(
        &self,
        path: &str,
        if_exists: IfExists,
        compression: Compression,
    ) -> io::Result<FileWriter> {
        let (parent, name) = self.parent(path)?;
        refuse_new(name)?;
        let existing_stat = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        let mode = match (existing_stat, if_exists) {
            (None, _) => Mode::RUSR | Mode::WUSR,
            (Some(_), IfExists::Refuse) => return Err(Errno::EXIST.into()),
            (Some(stat), IfExists::Replace) => match file_type(&stat) {
                FileType::RegularFile => {
                    Mode::from_raw_mode(stat.st_mode) & Mode::from_raw_mode(0o777)
                }
                FileType::Directory => return Err(Errno::ISDIR.into()),
                FileType::Symlink => return Err(Errno::LOOP.into()),
                _ => return Err(Errno::NODEV.into()),
            },
        };
        FileWriter::begin(parent, name, mode, if_exists, compression)
    }

    /// Removes one file, but not a directory.
    pub(crate) fn remove(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        refuse_removal(parent.as_fd(), name)?;
        rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
        rustix::fs::fsync(&parent)?;
        Ok(())
    }

    /// The metadata of the file at `path`, without following a link.
    pub(crate) fn stat(&self, path: &str) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(self.open_beneath(path, OFlags::PATH)?)?)
    }

    /// The entries of the directory at `path`, sorted by name, at most `cap` of them.
    pub(crate) fn list(&self, path: &str, cap: usize) -> io::Result<Vec<Entry>> {
        let directory = self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            if entries.len() == cap {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("more than {cap} entries"),
                ));
            }
            entries.push(Entry { name: name.to_string_lossy().into_owned(), stat });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn open_beneath(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        loop {
            match rustix::fs::openat2(
                &self.0,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                BENEATH_FLAGS,
            ) {
                Ok(file) => return Ok(file),
                // A rename may have happened meanwhile; try again.
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The directory that `path` is in, and its last segment.
    fn parent<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() {
            return Err(Errno::ISDIR.into());
        }
        Ok((self.open_beneath(parent, OFlags::RDONLY | OFlags::DIRECTORY)?, name))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
