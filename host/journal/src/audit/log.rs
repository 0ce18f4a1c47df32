//! The audit log of a host, and the chain in it that one run writes.

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

/// The chain of one run in one process. It is closed when it is dropped.
#[derive(Debug)]
pub struct RunAudit {
    log: AuditLog,
    run: String,
    file: String,
    chain: Mutex<Chain>,
    /// Locked as long as this process is alive.
    _lock_file: File,
}

impl AuditLog {
    /// The audit log in a folder, which is created when the first run is opened.
    pub fn new(folder: &Path, rotation: Rotation) -> Self {
        Self { folder: folder.to_owned(), rotation }
    }

    /// Opens the chain of a run. `members` are the members of a JSON object about the run, without
    /// its braces. Chains that killed processes have left open are sealed first.
    ///
    /// # Errors
    /// [`AuditError::Io`] if a folder or file cannot be made, locked, read or written;
    /// [`AuditError::Damaged`] if the host's chain ends with something that is no record.
    pub fn open_run(
        &self,
        run: &str,
        members: std::fmt::Arguments<'_>,
    ) -> Result<RunAudit, AuditError> {
        let (runs_folder, open_folder) = (self.folder.join(RUNS), self.folder.join(OPEN));
        for folder in [&runs_folder, &open_folder] {
            let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            created.map_err(|source| io_error(folder, source))?;
        }
        let guard = self.lock_host_chain()?;
        self.seal(&open_folder)?;
        // A run that is resumed has a chain for each of its processes.
        let number = (1..=u32::MAX)
            .find(|number| !runs_folder.join(chain_file_name(run, *number)).exists())
            .unwrap_or(u32::MAX);
        let file = chain_file_name(run, number);
        let lock_path = open_folder.join(&file);
        let lock_file =
            open_or_create(&lock_path).map_err(|source| io_error(&lock_path, source))?;
        rustix::fs::flock(&lock_file, FlockOperation::LockExclusive)
            .map_err(|error| io_error(&lock_path, error.into()))?;
        let start = self.append_to_host_chain(format_args!(
            "\"kind\":\"run-opened\",\"run\":{run:?},\"file\":{file:?},{members}"
        ))?;
        let chain = Chain::open(&runs_folder.join(&file), Some(&start), self.rotation)?;
        drop(guard);
        Ok(RunAudit {
            log: self.clone(),
            run: run.to_owned(),
            file,
            chain: Mutex::new(chain),
            _lock_file: lock_file,
        })
    }

    /// Seals each chain whose process has died: records its length in the host's chain. The process
    /// has died if nobody holds the lock on its file in `open`.
    fn seal(&self, open_folder: &Path) -> Result<(), AuditError> {
        for entry in
            std::fs::read_dir(open_folder).map_err(|source| io_error(open_folder, source))?
        {
            let lock_path = entry.map_err(|source| io_error(open_folder, source))?.path();
            let file = lock_path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if is_alive(&lock_path) {
                continue;
            }
            let path = self.folder.join(RUNS).join(&file);
            if path.exists() {
                // Opening removes a line that was cut off. `verify` reports a damaged end.
                drop(Chain::open(&path, None, self.rotation).and_then(|mut chain| chain.sync()));
            }
            let (records, head) = verify::chain_end(&path)?;
            self.append_to_host_chain(format_args!(
                "\"kind\":\"run-sealed\",\"file\":{file:?},\"records\":{records},\"head\":\"{head}\""
            ))?;
            std::fs::remove_file(&lock_path).map_err(|source| io_error(&lock_path, source))?;
        }
        Ok(())
    }

    /// Locks the host's chain against other processes.
    fn lock_host_chain(&self) -> Result<File, AuditError> {
        let lock = self.folder.join("chain.lock");
        let guard = open_or_create(&lock).map_err(|source| io_error(&lock, source))?;
        rustix::fs::flock(&guard, FlockOperation::LockExclusive)
            .map_err(|error| io_error(&lock, error.into()))?;
        Ok(guard)
    }

    /// Adds one record to the host's chain, and returns its hash. The caller holds the lock of the
    /// chain.
    fn append_to_host_chain(&self, members: std::fmt::Arguments<'_>) -> Result<String, AuditError> {
        let mut chain = Chain::open(&self.folder.join(CHAIN), None, self.rotation)?;
        let at = jiff::Timestamp::now();
        chain.append(format_args!("\"at\":\"{at}\",{members}"))?;
        chain.sync()?;
        Ok(chain.head().to_owned())
    }
}

fn io_error(path: &Path, source: std::io::Error) -> AuditError {
    AuditError::Io { path: path.display().to_string(), source }
}

fn open_or_create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn chain_file_name(run: &str, number: u32) -> String {
    if number == 1 { format!("{run}.jsonl") } else { format!("{run}-{number}.jsonl") }
}

/// Whether a record is written to its file before the call that it describes continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It may stay in a buffer of this process.
    Buffered,
    /// It is written to the file, but not synced.
    Flushed,
}

impl RunAudit {
    /// Adds a record.
    ///
    /// # Errors
    /// [`AuditError::Io`] if the record cannot be written, or the full file cannot be renamed.
    pub fn append(
        &self,
        durability: Durability,
        members: std::fmt::Arguments<'_>,
    ) -> Result<(), AuditError> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let at = jiff::Timestamp::now();
        chain.append(format_args!("\"at\":\"{at}\",{members}"))?;
        if durability == Durability::Flushed { chain.flush() } else { Ok(()) }
    }

    fn close(&self) -> Result<(), AuditError> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        chain.sync()?;
        let (run, file, records, head) = (&self.run, &self.file, chain.sequence(), chain.head());
        let members = format_args!(
            "\"kind\":\"run-closed\",\"run\":{run:?},\"file\":{file:?},\"records\":{records},\"head\":\"{head}\""
        );
        let _guard = self.log.lock_host_chain()?;
        self.log.append_to_host_chain(members)?;
        let lock_path = self.log.folder.join(OPEN).join(file);
        std::fs::remove_file(&lock_path).map_err(|source| io_error(&lock_path, source))
    }
}

impl Drop for RunAudit {
    fn drop(&mut self) {
        // `verify` reports a chain that is not closed.
        let _ = self.close();
    }
}
