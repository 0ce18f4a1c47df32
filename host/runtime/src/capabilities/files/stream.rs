//! Writes a file as a stream: compresses it, computes its digest, and gives it its name only when
//! it is complete.

use runbook_authority::Digest;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// The treatment of a file that already exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfExists {
    /// The file is replaced, and keeps its permissions.
    Replace,
    /// The file is kept, and opening fails with `AlreadyExists`.
    Refuse,
}

/// The default level of `zstd`. At higher levels the compressor would slow a dump down.
const ZSTD_LEVEL: i32 = 3;

/// The compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// The bytes are written as they are.
    None,
    /// The bytes are compressed with zstd.
    Zstd,
}

impl Compression {
    /// The compression by the suffix of a path.
    pub(crate) fn of(path: &str) -> Self {
        let is_zstd = path.rsplit_once('.').is_some_and(|(_, extension)| extension == "zst");
        if is_zstd { Self::Zstd } else { Self::None }
    }
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenFile {
    /// How many bytes the file has.
    pub(crate) size: u64,
    /// How many bytes were written to it, before compression.
    pub(crate) produced: u64,
    /// The digest of the bytes of the file.
    pub(crate) digest: Digest,
}

/// Writes a new file. It blocks: use it in [`crate::blocking::run`]. If it is dropped without
/// [`finish`](Self::finish), no file remains; the same if the host is killed, where the file system
/// supports unnamed files (`O_TMPFILE`).
pub(crate) struct FileWriter {
    sink: Option<Sink>,
    produced: u64,
    parent: OwnedFd,
    temporary_name: Option<String>,
    name: String,
    if_exists: IfExists,
}

enum Sink {
    Plain(BufWriter<DigestWriter>),
    Zstd(Box<zstd::stream::write::Encoder<'static, BufWriter<DigestWriter>>>),
}

impl FileWriter {
    pub(super) fn begin(
        parent: OwnedFd,
        name: &str,
        mode: Mode,
        if_exists: IfExists,
        compression: Compression,
    ) -> io::Result<Self> {
        let (file, temporary_name) = match unnamed_file(&parent) {
            Some(file) => (file, None),
            None => named_file(&parent, name)
                .map(|(file, temporary_name)| (file, Some(temporary_name)))?,
        };
        // Not set when the file is opened, because the umask would apply.
        rustix::fs::fchmod(&file, mode)?;
        let plain = BufWriter::with_capacity(
            128 << 10,
            DigestWriter { file, hash: Sha256::new(), size: 0 },
        );
        let sink = match compression {
            Compression::None => Sink::Plain(plain),
            Compression::Zstd => {
                Sink::Zstd(Box::new(zstd::stream::write::Encoder::new(plain, ZSTD_LEVEL)?))
            }
        };
        Ok(Self {
            sink: Some(sink),
            produced: 0,
            parent,
            temporary_name,
            name: name.to_owned(),
            if_exists,
        })
    }

    /// Gives the file the owner and group of another one, if they differ.
    pub(super) fn set_owner(&self, like: &rustix::fs::Stat) -> io::Result<()> {
        let file = match self.sink.as_ref().expect("`finish` consumes the writer") {
            Sink::Plain(plain) => &plain.get_ref().file,
            Sink::Zstd(encoder) => &encoder.get_ref().get_ref().file,
        };
        let now = rustix::fs::fstat(file)?;
        if (now.st_uid, now.st_gid) == (like.st_uid, like.st_gid) {
            return Ok(());
        }
        let (user, group) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
        Ok(rustix::fs::fchown(file, Some(user), Some(group))?)
    }

    /// Writes what was given so far to the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        match self.sink.as_ref().expect("`finish` consumes the writer") {
            Sink::Plain(plain) => plain.get_ref().file.sync_all(),
            Sink::Zstd(encoder) => encoder.get_ref().get_ref().file.sync_all(),
        }
    }

    /// Completes the file, syncs it to disk, and gives it its name.
    pub(crate) fn finish(mut self) -> io::Result<WrittenFile> {
        let sink = self.sink.take().expect("only this takes it, and it consumes the writer");
        let plain = match sink {
            Sink::Plain(plain) => plain,
            Sink::Zstd(encoder) => encoder.finish()?,
        };
        let DigestWriter { file, hash, size } =
            plain.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        self.give_name(&file)?;
        rustix::fs::fsync(&self.parent)?;
        Ok(WrittenFile {
            size,
            produced: self.produced,
            digest: Digest::from_sha256(hash.finalize().into()),
        })
    }
}

impl FileWriter {
    fn give_name(&mut self, file: &File) -> io::Result<()> {
        let temporary_name = match (self.temporary_name.take(), self.if_exists) {
            (None, IfExists::Refuse) => return Ok(link_unnamed(file, &self.parent, &self.name)?),
            // A link cannot replace a file, a rename can.
            (None, IfExists::Replace) => {
                with_temporary_name(&self.name, |temporary_name| {
                    link_unnamed(file, &self.parent, temporary_name)
                })?
                .1
            }
            (Some(temporary_name), IfExists::Refuse | IfExists::Replace) => temporary_name,
        };
        let flags = match self.if_exists {
            IfExists::Replace => RenameFlags::empty(),
            IfExists::Refuse => RenameFlags::NOREPLACE,
        };
        let result = rustix::fs::renameat_with(
            &self.parent,
            &temporary_name,
            &self.parent,
            &self.name,
            flags,
        );
        if result.is_err() {
            self.temporary_name = Some(temporary_name);
        }
        Ok(result?)
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self.sink.as_mut().expect("`finish` consumes the writer") {
            Sink::Plain(plain) => plain.write(bytes)?,
            Sink::Zstd(encoder) => encoder.write(bytes)?,
        };
        self.produced += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.sink.as_mut().expect("`finish` consumes the writer") {
            Sink::Plain(plain) => plain.flush(),
            Sink::Zstd(encoder) => encoder.flush(),
        }
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if let Some(temporary_name) = &self.temporary_name {
            // An error is ignored: the file stays under a hidden name.
            let _ = rustix::fs::unlinkat(&self.parent, temporary_name, AtFlags::empty());
        }
    }
}

/// A file writer that counts and hashes the bytes.
struct DigestWriter {
    file: File,
    hash: Sha256,
    size: u64,
}

impl Write for DigestWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A new unnamed file, which the kernel removes when it is closed. `None` if the file system does
/// not support it, or if there is no `/proc`, which is needed to give it a name.
fn unnamed_file(parent: &OwnedFd) -> Option<File> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(parent, ".", flags, Mode::RUSR | Mode::WUSR).ok()?);
    rustix::fs::stat(fd_path(&file)).ok().map(|_| file)
}

/// Gives an unnamed file a name, unless the name exists.
fn link_unnamed(file: &File, parent: &OwnedFd, name: &str) -> Result<(), Errno> {
    rustix::fs::linkat(CWD, fd_path(file), parent, name, AtFlags::SYMLINK_FOLLOW)
}

fn fd_path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// A new file with a temporary name beside `name`.
fn named_file(parent: &OwnedFd, name: &str) -> io::Result<(File, String)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |temporary_name: &str| {
        rustix::fs::openat(parent, temporary_name, flags, Mode::RUSR | Mode::WUSR)
    };
    with_temporary_name(name, open).map(|(file, temporary_name)| (File::from(file), temporary_name))
}

/// Calls `make` with temporary hidden names beside `name` until one is free.
fn with_temporary_name<T>(
    name: &str,
    make: impl Fn(&str) -> Result<T, Errno>,
) -> io::Result<(T, String)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    // A name may have 255 bytes; the prefix and suffix need at most 60 of them.
    let stem = &name[..name.floor_char_boundary(190)];
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary_name = format!(".{stem}.{}-{number}.partial", std::process::id());
        match make(&temporary_name) {
            Ok(value) => return Ok((value, temporary_name)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
