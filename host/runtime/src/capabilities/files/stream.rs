//! Writing a big file as a stream: compressed, digested, and under its name only when it is whole.

use super::directory::Existing;
use runbook_authority::Digest;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// The level of `zstd` itself: the better levels would make a dump wait for the compressor.
const LEVEL: i32 = 3;

/// How the bytes of a file are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// As they are.
    None,
    /// By zstd.
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
pub(crate) struct Written {
    /// Bytes of the file.
    pub(crate) size: u64,
    /// Bytes before compression.
    pub(crate) produced: u64,
    /// Of the bytes of the file.
    pub(crate) digest: Digest,
}

/// A file in the making. It blocks: use it in [`crate::blocking::run`]. Dropped without [`finish`](Self::finish), it leaves
/// nothing behind.
pub(crate) struct FileWriter {
    sink: Option<Sink>,
    produced: u64,
    parent: OwnedFd,
    temporary: String,
    name: String,
    existing: Existing,
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
        existing: Existing,
        compression: Compression,
    ) -> io::Result<Self> {
        let (file, temporary) = temporary_file(&parent, name)?;
        // Set here and not at the opening, where the umask would take a part of it away.
        rustix::fs::fchmod(&file, mode)?;
        let plain = BufWriter::with_capacity(128 << 10, Digesting { file, hash: Sha256::new(), size: 0 });
        let sink = match compression {
            Compression::None => Sink::Plain(plain),
            Compression::Zstd => Sink::Zstd(Box::new(zstd::stream::write::Encoder::new(plain, LEVEL)?)),
        };
        Ok(Self { sink: Some(sink), produced: 0, parent, temporary, name: name.to_owned(), existing })
    }

    /// Makes the file whole and durable, and gives it its name.
    pub(crate) fn finish(mut self) -> io::Result<Written> {
        let sink = self.sink.take().expect("only this takes it, and it consumes the writer");
        let plain = match sink {
            Sink::Plain(plain) => plain,
            Sink::Zstd(encoder) => encoder.finish()?,
        };
        let Digesting { file, hash, size } = plain.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let flags = match self.existing {
            Existing::Replace => RenameFlags::empty(),
            Existing::Refuse => RenameFlags::NOREPLACE,
        };
        rustix::fs::renameat_with(&self.parent, &self.temporary, &self.parent, &self.name, flags)?;
        self.temporary.clear();
        rustix::fs::fsync(&self.parent)?;
        Ok(Written { size, produced: self.produced, digest: Digest::from_sha256(hash.finalize().into()) })
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
        if !self.temporary.is_empty() {
            // What cannot be removed stays under a name that nobody reads.
            let _ = rustix::fs::unlinkat(&self.parent, &self.temporary, AtFlags::empty());
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

/// A new file beside `name`, that nobody else can have opened.
fn temporary_file(parent: &OwnedFd, name: &str) -> io::Result<(File, String)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A name may have 255 bytes; what is added here needs at most 60 of them.
    let stem = &name[..name.floor_char_boundary(190)];
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = format!(".{stem}.{}-{number}.partial", std::process::id());
        match rustix::fs::openat(parent, &temporary, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok((File::from(file), temporary)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
