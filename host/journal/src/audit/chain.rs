//! One chain of records in a file, continued in further files when it grows.

use super::AuditError;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The hash before the first record.
pub(super) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// When a chain is continued in a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The size in bytes from which on no further record is added to a file.
    pub max_bytes: u64,
}

impl Default for Rotation {
    fn default() -> Self {
        // Small enough to open in an editor.
        Self { max_bytes: 32 << 20 }
    }
}

/// One record of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRecord {
    /// The number of the record in its chain, counted from 1.
    pub sequence: u64,
    /// The hash of the record before this one.
    pub previous: String,
    /// The SHA-256 hash of this record, as 64 hex digits.
    pub hash: String,
    /// The other members of the record.
    pub body: serde_json::Map<String, serde_json::Value>,
}

/// A chain that records are added to.
#[derive(Debug)]
pub struct Chain {
    path: PathBuf,
    file: BufWriter<File>,
    size: u64,
    sequence: u64,
    head: String,
    rotation: Rotation,
    line: String,
}

impl Chain {
    /// Opens a chain for appending. The first record of a new chain names `start` as the hash
    /// before it.
    ///
    /// # Errors
    /// [`AuditError::Io`] if the file cannot be opened, read or cut; [`AuditError::Damaged`] if its
    /// last whole line is no record or its hash does not fit.
    pub fn open(path: &Path, start: Option<&str>, rotation: Rotation) -> Result<Self, AuditError> {
        let io_error = |source| AuditError::Io { path: path.display().to_string(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(io_error)?;
        let size = file.seek(SeekFrom::End(0)).map_err(io_error)?;
        let (sequence, head) = match last_line(&mut file, size).map_err(io_error)? {
            Some(line) => {
                let record = parse(&line).map_err(|reason| AuditError::Damaged {
                    path: path.display().to_string(),
                    reason,
                })?;
                (record.sequence, record.hash)
            }
            None => (0, start.unwrap_or(GENESIS).to_owned()),
        };
        let file = BufWriter::with_capacity(64 << 10, file);
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            sequence,
            head,
            rotation,
            line: String::new(),
        })
    }

    /// The hash of the last record.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// How many records there are.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Adds a record. `members` are the members of a JSON object, without its braces.
    ///
    /// # Errors
    /// [`AuditError::Io`] if the record cannot be written, or the full file cannot be renamed.
    pub fn append(&mut self, members: std::fmt::Arguments<'_>) -> Result<(), AuditError> {
        if self.size >= self.rotation.max_bytes {
            self.rotate()?;
        }
        self.sequence += 1;
        self.line.clear();
        write!(self.line, "{{\"seq\":{},\"prev\":\"{}\",{members}", self.sequence, self.head)
            .expect("writing to a string cannot fail");
        self.head.clear();
        push_hex(&mut self.head, &Sha256::digest(self.line.as_bytes()));
        self.line.push_str(",\"hash\":\"");
        self.line.push_str(&self.head);
        self.line.push_str("\"}\n");
        self.size += self.line.len() as u64;
        self.file.write_all(self.line.as_bytes()).map_err(|source| self.io_error(source))
    }

    /// Writes buffered records to the file, so that they survive the end of this process.
    ///
    /// # Errors
    /// [`AuditError::Io`] if the file cannot be written.
    pub fn flush(&mut self) -> Result<(), AuditError> {
        self.file
            .flush()
            .map_err(|source| AuditError::Io { path: self.path.display().to_string(), source })
    }

    /// Syncs the records, so that they survive a power cut too.
    ///
    /// # Errors
    /// [`AuditError::Io`] if the file cannot be written or synced.
    pub fn sync(&mut self) -> Result<(), AuditError> {
        self.flush()?;
        self.file.get_ref().sync_data().map_err(|source| self.io_error(source))
    }

    fn io_error(&self, source: std::io::Error) -> AuditError {
        AuditError::Io { path: self.path.display().to_string(), source }
    }

    /// Renames the full file after its last record, and continues the chain in a new file.
    fn rotate(&mut self) -> Result<(), AuditError> {
        self.sync()?;
        let full_path = full_file_path(&self.path, self.sequence);
        std::fs::rename(&self.path, &full_path).map_err(|source| self.io_error(source))?;
        let open = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path);
        self.file =
            BufWriter::with_capacity(64 << 10, open.map_err(|source| self.io_error(source))?);
        self.size = 0;
        Ok(())
    }
}

/// The name of a full file: `chain.000000001234.jsonl`, after its last record.
fn full_file_path(path: &Path, last: u64) -> PathBuf {
    path.with_extension(format!("{last:012}.jsonl"))
}

/// All files of a chain, the oldest first.
pub(super) fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut full_files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name
            .strip_prefix(&stem)
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.strip_suffix(".jsonl"));
        if number.is_some_and(|number| {
            number.len() == 12 && number.bytes().all(|byte| byte.is_ascii_digit())
        }) {
            full_files.push(folder.join(name));
        }
    }
    full_files.sort();
    if path.exists() {
        full_files.push(path.to_owned());
    }
    Ok(full_files)
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Reads one line and checks its own hash.
pub(super) fn parse(line: &str) -> Result<ChainRecord, String> {
    const HASH: usize = 64;
    let end = "\"}";
    let hash_start =
        line.len().checked_sub(HASH + end.len() + ",\"hash\":\"".len()).ok_or("it is too short")?;
    let (hashed, rest) = line.split_at_checked(hash_start).ok_or("it is not text")?;
    let hash = rest
        .strip_prefix(",\"hash\":\"")
        .and_then(|rest| rest.strip_suffix(end))
        .ok_or("it does not end with its hash")?;
    let mut computed = String::new();
    push_hex(&mut computed, &Sha256::digest(hashed.as_bytes()));
    if computed != hash {
        return Err("its hash does not fit: it was changed".to_owned());
    }
    let mut body: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(line).map_err(|error| format!("it is not JSON: {error}"))?;
    let sequence = body.remove("seq").and_then(|seq| seq.as_u64()).ok_or("it has no `seq`")?;
    let previous = body
        .remove("prev")
        .and_then(|prev| prev.as_str().map(str::to_owned))
        .ok_or("it has no `prev`")?;
    body.remove("hash");
    Ok(ChainRecord { sequence, previous, hash: computed, body })
}

/// The last whole line of a file. A line that a crash cut off is removed, because it was never a
/// record.
fn last_line(file: &mut File, size: u64) -> std::io::Result<Option<String>> {
    /// No record is longer: texts of guests are cut.
    const WINDOW: u64 = 256 << 10;
    let start = size.saturating_sub(WINDOW);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole_lines_len =
        bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    if whole_lines_len < bytes.len() {
        file.set_len(start + whole_lines_len as u64)?;
    }
    let text = String::from_utf8_lossy(&bytes[..whole_lines_len]).into_owned();
    Ok(text.lines().last().map(str::to_owned))
}
