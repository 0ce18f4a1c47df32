//! Writing a big file as a stream: compressed, digested, and under its name only when it is whole.

use runbook_authority::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether a file may be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfExists {
    /// It is replaced, and keeps its permissions.
    Replace,
    /// It stays as it is, and opening fails with `AlreadyExists`.
    Refuse,
}

/// The level of `zstd` itself: the better levels would make a dump wait for the compressor.
const LEVEL: i32 = 3;

/// How the bytes of a file are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// They are kept as they are.
    None,
    /// They are compressed with zstd.
    Zstd,
}

impl Compression {
    /// What the name of a file says.
    pub(crate) fn of(path: &str) -> Self {
        let zstd = path.rsplit_once('.').is_some_and(|(_, extension)| extension == "zst");
        if zstd { Self::Zstd } else { Self::None }
    }
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenFile {
    /// How many bytes the file has.
    pub(crate) size: u64,
    /// How many bytes were given to it, before compression.
    pub(crate) produced: u64,
    /// The digest of the bytes of the file.
    pub(crate) digest: Digest,
}

/// A file in the making. It blocks: use it in [`crate::blocking::run`]. Dropped without
/// [`finish`](Self::finish), it leaves nothing behind; nor does a host that is killed, where the
/// file system has files without a name (`O_TMPFILE`).
pub(crate) struct FileWriter {
    sink: Option<Sink>,
    produced: u64,
    parent: OwnedFd,
    temporary: Option<String>,
    name: String,
    existing: IfExists,
}

enum Sink {
    Plain(BufWriter<Digesting>),
    Zstd(Box<zstd::stream::write::Encoder<'static, BufWriter<Digesting>>>),
}

impl FileWriter {
    pub(super) fn begin(
        parent: OwnedFd,
        name: &str,
        mode: Mode,
        existing: IfExists,
        compression: Compression,
    ) -> io::Result<Self> {
        let (file, temporary) = match unnamed_file(&parent) {
            Some(file) => (file, None),
            None => named_file(&parent, name).map(|(file, temporary)| (file, Some(temporary)))?,
        };
        // Set here and not at the opening, where the umask would take a part of it away.
        rustix::fs::fchmod(&file, mode)?;
        let plain =
            BufWriter::with_capacity(128 << 10, Digesting { file, hash: Sha256::new(), size: 0 });
        let sink = match compression {
            Compression::None => Sink::Plain(plain),
            Compression::Zstd => {
                Sink::Zstd(Box::new(zstd::stream::write::Encoder::new(plain, LEVEL)?))
            }
        };
        Ok(Self {
            sink: Some(sink),
            produced: 0,
            parent,
            temporary,
            name: name.to_owned(),
            existing,
        })
    }

    /// Makes the file whole and durable, and gives it its name.
    pub(crate) fn finish(mut self) -> io::Result<WrittenFile> {
        let sink = self.sink.take().expect("only this takes it, and it consumes the writer");
        let plain = match sink {
            Sink::Plain(plain) => plain,
            Sink::Zstd(encoder) => encoder.finish()?,
        };
        let Digesting { file, hash, size } =
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
        let temporary = match (self.temporary.take(), self.existing) {
            (None, IfExists::Refuse) => return Ok(link(file, &self.parent, &self.name)?),
            // A link replaces nothing, a renaming does.
            (None, IfExists::Replace) => {
                first_free(&self.name, |temporary| link(file, &self.parent, temporary))?.1
            }
            (Some(temporary), IfExists::Refuse | IfExists::Replace) => temporary,
        };
        let flags = match self.existing {
            IfExists::Replace => RenameFlags::empty(),
            IfExists::Refuse => RenameFlags::NOREPLACE,
        };
        let renamed =
            rustix::fs::renameat_with(&self.parent, &temporary, &self.parent, &self.name, flags);
        if renamed.is_err() {
            self.temporary = Some(temporary);
        }
        Ok(renamed?)
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
        if let Some(temporary) = &self.temporary {
            // What cannot be removed stays under a name that nobody reads.
            let _ = rustix::fs::unlinkat(&self.parent, temporary, AtFlags::empty());
        }
    }
}

/// A file whose bytes are counted and digested on their way to the disk.
struct Digesting {
    file: File,
    hash: Sha256,
    size: u64,
}

impl Write for Digesting {
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

/// A new file without a name, which ends with the program that holds it. `None` where the file
/// system has none, or where no `/proc` is, by which it gets its name.
fn unnamed_file(parent: &OwnedFd) -> Option<File> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(parent, ".", flags, Mode::RUSR | Mode::WUSR).ok()?);
    rustix::fs::stat(by_descriptor(&file)).ok().map(|_| file)
}

/// Gives a file without a name this one, unless something has it.
fn link(file: &File, parent: &OwnedFd, name: &str) -> Result<(), Errno> {
    rustix::fs::linkat(CWD, by_descriptor(file), parent, name, AtFlags::SYMLINK_FOLLOW)
}

fn by_descriptor(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// A new file beside `name` that no other process can have opened.
fn named_file(parent: &OwnedFd, name: &str) -> io::Result<(File, String)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open =
        |temporary: &str| rustix::fs::openat(parent, temporary, flags, Mode::RUSR | Mode::WUSR);
    first_free(name, open).map(|(file, temporary)| (File::from(file), temporary))
}

/// Tries hidden names beside `name` until one is free.
fn first_free<T>(name: &str, make: impl Fn(&str) -> Result<T, Errno>) -> io::Result<(T, String)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    // A name may have 255 bytes; what is added here needs at most 60 of them.
    let stem = &name[..name.floor_char_boundary(190)];
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = format!(".{stem}.{}-{number}.partial", std::process::id());
        match make(&temporary) {
            Ok(value) => return Ok((value, temporary)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
