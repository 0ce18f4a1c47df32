//! The directory of a slot. Every path is opened beneath it with `openat2`, so that the kernel
//! refuses every symbolic link and `..` that would lead out of it, without a race.

use super::database::{refuse_new, refuse_removal};
use super::stream::{Compression, FileWriter, IfExists};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
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

    /// The metadata of an entry that is to be removed, also of a link.
    pub(super) fn removable_stat(&self, path: &str) -> io::Result<Stat> {
        let (parent, name) = self.parent(path)?;
        refuse_removal(parent.as_fd(), name)?;
        Ok(rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Removes one file if it is still the one that was looked at. The removal is on the disk after
    /// [`sync_folders`](Self::sync_folders).
    pub(crate) fn remove_same(&self, path: &str, stat: &Stat) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let now = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !is_same_file(&now, stat) {
            return Err(super::changed_meanwhile());
        }
        refuse_removal(parent.as_fd(), name)?;
        Ok(rustix::fs::unlinkat(&parent, name, AtFlags::empty())?)
    }

    /// Writes to the disk what changed in the folders of these paths.
    pub(super) fn sync_folders<'p>(&self, paths: impl Iterator<Item = &'p str>) -> io::Result<()> {
        let mut folders: Vec<&str> =
            paths.map(|path| path.rsplit_once('/').map_or("", |(folder, _)| folder)).collect();
        folders.sort_unstable();
        folders.dedup();
        for folder in folders {
            rustix::fs::fsync(&self.open_beneath(folder, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
        }
        Ok(())
    }

    /// Gives an ordinary file another name. If both names are those of one file, only the new one
    /// remains.
    pub(super) fn rename(&self, from: &str, to: &str, if_exists: IfExists) -> io::Result<()> {
        let ((from_parent, from_name), (to_parent, to_name)) =
            (self.parent(from)?, self.parent(to)?);
        refuse_removal(from_parent.as_fd(), from_name)?;
        refuse_new(to_name)?;
        let source = ordinary_file(&from_parent, from_name)?;
        let flags = match if_exists {
            IfExists::Refuse => RenameFlags::NOREPLACE,
            IfExists::Replace => RenameFlags::empty(),
        };
        let replaced = match (if_exists, ordinary_file(&to_parent, to_name)) {
            (IfExists::Replace, Ok(stat)) => Some(stat),
            (IfExists::Replace, Err(error))
                if Errno::from_io_error(&error) != Some(Errno::NOENT) =>
            {
                return Err(error);
            }
            (IfExists::Replace, Err(_)) | (IfExists::Refuse, _) => None,
        };
        match rustix::fs::renameat_with(&from_parent, from_name, &to_parent, to_name, flags) {
            Ok(()) => {}
            Err(Errno::XDEV) => return Err(super::other_file_system()),
            Err(error) => return Err(error.into()),
        }
        let is_one_file = replaced.is_some_and(|stat| is_same_inode(&stat, &source));
        if is_one_file && (from_name, from) != (to_name, to) {
            // The kernel leaves both names in place.
            rustix::fs::unlinkat(&from_parent, from_name, AtFlags::empty())?;
        }
        rustix::fs::fsync(&to_parent)?;
        rustix::fs::fsync(&from_parent)?;
        Ok(())
    }

    /// Calls `visit` with the name and the metadata of each entry of the directory at `path`,
    /// without following a link.
    pub(super) fn each_entry(
        &self,
        path: &str,
        mut visit: impl FnMut(&[u8], &Stat) -> io::Result<()>,
    ) -> io::Result<()> {
        let directory = self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => visit(name.to_bytes(), &stat)?,
                // It was removed meanwhile.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The metadata of the file at `path`, without following a link.
    pub(crate) fn stat(&self, path: &str) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(self.open_beneath(path, OFlags::PATH)?)?)
    }

    /// The entries of the directory at `path`, sorted by name, at most `cap` of them.
    pub(crate) fn list(&self, path: &str, cap: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.each_entry(path, |name, stat| {
            if entries.len() == cap {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("more than {cap} entries"),
                ));
            }
            entries.push(Entry { name: String::from_utf8_lossy(name).into_owned(), stat: *stat });
            Ok(())
        })?;
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
    pub(super) fn parent<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
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

/// The metadata of an ordinary file; anything else is refused.
fn ordinary_file(parent: &OwnedFd, name: &str) -> io::Result<Stat> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match file_type(&stat) {
        FileType::RegularFile => Ok(stat),
        FileType::Directory => Err(Errno::ISDIR.into()),
        FileType::Symlink => Err(Errno::LOOP.into()),
        _ => Err(Errno::NODEV.into()),
    }
}

fn is_same_inode(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Whether both are one file that was not changed in between.
pub(super) fn is_same_file(one: &Stat, other: &Stat) -> bool {
    is_same_inode(one, other)
        && one.st_size == other.st_size
        && (one.st_mtime, one.st_mtime_nsec) == (other.st_mtime, other.st_mtime_nsec)
}
