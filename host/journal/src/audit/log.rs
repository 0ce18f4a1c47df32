//! The audit log of a host, and the part of it that one run writes.

use super::alive::is_alive;
use super::chain::{Chain, Rotation};
use super::{AuditError, CHAIN, OPEN, RUNS, verify};
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The audit log of a host: a folder.
#[derive(Debug, Clone)]
pub struct AuditLog {
    folder: PathBuf,
    rotation: Rotation,
}

/// The chain of one run in one process. It is closed when it is dropped, at the latest.
#[derive(Debug)]
pub struct RunAudit {
    log: AuditLog,
    run: String,
    file: String,
    chain: Mutex<Chain>,
    /// Locked as long as this process lives.
    _life: File,
}

impl AuditLog {
    /// The audit log in a folder, which is made when the first run is opened.
    pub fn new(folder: &Path, rotation: Rotation) -> Self {
        Self { folder: folder.to_owned(), rotation }
    }

    /// Opens the chain of a run, with what is known of it: members of a JSON object, without its
    /// braces. Chains that killed processes have left open are sealed first.
    ///
    /// # Errors
    /// [`AuditError::Io`] if a folder or file cannot be made, locked, read or written;
    /// [`AuditError::Damaged`] if the host's chain ends with something that is no record.
    pub fn open_run(
        &self,
        run: &str,
        members: std::fmt::Arguments<'_>,
    ) -> Result<RunAudit, AuditError> {
        let (runs, open) = (self.folder.join(RUNS), self.folder.join(OPEN));
        for folder in [&runs, &open] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|source| failed(folder, source))?;
        }
        let guard = self.exclude_others()?;
        self.seal(&open)?;
        // A run that is resumed has a chain for each of its processes.
        let number = (1..=u32::MAX)
            .find(|number| !runs.join(name(run, *number)).exists())
            .unwrap_or(u32::MAX);
        let file = name(run, number);
        let sign = open.join(&file);
        let life = open_or_make(&sign).map_err(|source| failed(&sign, source))?;
        rustix::fs::flock(&life, FlockOperation::LockExclusive)
            .map_err(|error| failed(&sign, error.into()))?;
        let start = self.add(format_args!(
            "\"kind\":\"run-opened\",\"run\":{run:?},\"file\":{file:?},{members}"
        ))?;
        let chain = Chain::open(&runs.join(&file), Some(&start), self.rotation)?;
        drop(guard);
        Ok(RunAudit {
            log: self.clone(),
            run: run.to_owned(),
            file,
            chain: Mutex::new(chain),
            _life: life,
        })
    }

    /// Records how long each chain is whose process has died, which shows by its file in `open` not
    /// being held any more.
    fn seal(&self, open: &Path) -> Result<(), AuditError> {
        for entry in std::fs::read_dir(open).map_err(|source| failed(open, source))? {
            let sign = entry.map_err(|source| failed(open, source))?.path();
            let file = sign.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if is_alive(&sign) {
                continue;
            }
            let path = self.folder.join(RUNS).join(&file);
            if path.exists() {
                // A line that was cut off in the middle was never a record. A damaged end is what
                // `verify` reports.
                drop(Chain::open(&path, None, self.rotation).and_then(|mut chain| chain.sync()));
            }
            let (records, head) = verify::end_of(&path)?;
            self.add(format_args!(
                "\"kind\":\"run-sealed\",\"file\":{file:?},\"records\":{records},\"head\":\"{head}\""
            ))?;
            std::fs::remove_file(&sign).map_err(|source| failed(&sign, source))?;
        }
        Ok(())
    }

    /// Keeps other processes out of the host's chain.
    fn exclude_others(&self) -> Result<File, AuditError> {
        let lock = self.folder.join("chain.lock");
        let guard = open_or_make(&lock).map_err(|source| failed(&lock, source))?;
        rustix::fs::flock(&guard, FlockOperation::LockExclusive)
            .map_err(|error| failed(&lock, error.into()))?;
        Ok(guard)
    }

    /// Adds one record to the host's chain, and returns its hash. Others are kept out.
    fn add(&self, members: std::fmt::Arguments<'_>) -> Result<String, AuditError> {
        let mut chain = Chain::open(&self.folder.join(CHAIN), None, self.rotation)?;
        let at = jiff::Timestamp::now();
        chain.append(format_args!("\"at\":\"{at}\",{members}"))?;
        chain.sync()?;
        Ok(chain.head().to_owned())
    }
}

fn failed(path: &Path, source: std::io::Error) -> AuditError {
    AuditError::Io { path: path.display().to_string(), source }
}

fn open_or_make(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn name(run: &str, number: u32) -> String {
    if number == 1 { format!("{run}.jsonl") } else { format!("{run}-{number}.jsonl") }
}

/// Whether a record must be handed to the operating system before the event that it describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// It may wait in a buffer.
    Buffered,
    /// The operating system has it before the call continues.
    Flushed,
}

impl RunAudit {
    /// Adds a record.
    ///
    /// # Errors
    /// [`AuditError::Io`] if the record cannot be written, or the full file cannot be put aside.
    pub fn append(
        &self,
        urgency: Urgency,
        members: std::fmt::Arguments<'_>,
    ) -> Result<(), AuditError> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let at = jiff::Timestamp::now();
        chain.append(format_args!("\"at\":\"{at}\",{members}"))?;
        if urgency == Urgency::Flushed { chain.flush() } else { Ok(()) }
    }

    fn close(&self) -> Result<(), AuditError> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        chain.sync()?;
        let (run, file, records, head) = (&self.run, &self.file, chain.sequence(), chain.head());
        let members = format_args!(
            "\"kind\":\"run-closed\",\"run\":{run:?},\"file\":{file:?},\"records\":{records},\"head\":\"{head}\""
        );
        let _guard = self.log.exclude_others()?;
        self.log.add(members)?;
        let sign = self.log.folder.join(OPEN).join(file);
        std::fs::remove_file(&sign).map_err(|source| failed(&sign, source))
    }
}

impl Drop for RunAudit {
    fn drop(&mut self) {
        // A chain that is not closed is seen as such by `verify`.
        let _ = self.close();
    }
}
