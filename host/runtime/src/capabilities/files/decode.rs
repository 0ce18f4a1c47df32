//! Reads a file as a stream: decompressed by the ending of its name, no further than a limit, and
//! searched for secrets on the way.

use super::secret::SecretContentError;
use crate::blocking::StopFlag;
use flate2::read::MultiGzDecoder;
use runbook_secrets::Scrubber;
use std::fs::File;
use std::io::{self, BufReader, Read};

/// The largest window of a zstd stream, as a power of two: 8 MiB, which the format asks every reader
/// to support. A larger one would take more memory.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How the content of a file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Zstd,
}

impl Encoding {
    /// The encoding by the ending of a name.
    pub(super) fn of(path: &str) -> Self {
        match path.rsplit_once('.') {
            Some((_, "gz")) => Self::Gzip,
            Some((_, "zst")) => Self::Zstd,
            Some(_) | None => Self::Plain,
        }
    }
}

/// The stream of a file cannot be decompressed.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be decompressed: {0}")]
struct DecodingError(io::Error);

/// The content of a file as a stream that ends after `limit` bytes, with a way to learn whether
/// there are more.
pub(super) struct DecodedFile {
    stream: Box<dyn Read + Send>,
    encoding: Encoding,
    left: u64,
    read: u64,
    cut: bool,
    stop: StopFlag,
    secrets: SecretSearch,
}

impl DecodedFile {
    /// Reads what `file` has now. A file that grows meanwhile ends where it ended before.
    pub(super) fn new(
        file: File,
        encoding: Encoding,
        limit: u64,
        scrubber: &Scrubber,
        stop: &StopFlag,
    ) -> io::Result<Self> {
        let stream: Box<dyn Read + Send> = match encoding {
            Encoding::Plain => {
                let size = file.metadata()?.len();
                Box::new(file.take(size))
            }
            Encoding::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(file))),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(file)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        };
        Ok(Self {
            stream,
            encoding,
            left: limit,
            read: 0,
            cut: false,
            stop: stop.clone(),
            secrets: SecretSearch::new(scrubber),
        })
    }

    /// How many bytes were read, after decompression.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read
    }

    /// Whether the limit ended the stream before its end.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Learns whether there are more bytes, and searches as many of them as a secret that begins
    /// before the limit may have.
    fn look_beyond_limit(&mut self) -> io::Result<()> {
        if self.cut {
            return Ok(());
        }
        let mut beyond = vec![0; self.secrets.scrubber.lookahead().max(1)];
        let mut found = 0;
        while found < beyond.len() {
            match self.read_stream(&mut beyond[found..])? {
                0 => break,
                length => found += length,
            }
        }
        self.cut = found > 0;
        beyond.truncate(found);
        self.secrets.refuse(&beyond)
    }

    fn read_stream(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer).map_err(|error| match self.encoding {
            Encoding::Plain => error,
            Encoding::Gzip | Encoding::Zstd => io::Error::other(DecodingError(error)),
        })
    }
}

impl Read for DecodedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(StopFlag::error());
        }
        if self.left == 0 {
            self.look_beyond_limit()?;
            return Ok(0);
        }
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let length = self.read_stream(&mut buffer[..most])?;
        self.left -= length as u64;
        self.read += length as u64;
        self.secrets.refuse(&buffer[..length])?;
        Ok(length)
    }
}

/// Finds secrets in a stream, also across two pieces of it.
pub(super) struct SecretSearch {
    scrubber: Scrubber,
    /// The end of what was searched already.
    end: Vec<u8>,
}

impl SecretSearch {
    pub(super) fn new(scrubber: &Scrubber) -> Self {
        Self { scrubber: scrubber.clone(), end: Vec::new() }
    }

    /// Fails if this piece, after those before it, shows a secret.
    pub(super) fn refuse(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.scrubber.is_empty() {
            return Ok(());
        }
        self.end.extend_from_slice(piece);
        if let Some(name) = self.scrubber.find_shown_secret(&self.end) {
            return Err(io::Error::other(SecretContentError::Secret { name: name.to_owned() }));
        }
        let kept = self.scrubber.lookahead().min(self.end.len());
        self.end.drain(..self.end.len() - kept);
        Ok(())
    }
}
