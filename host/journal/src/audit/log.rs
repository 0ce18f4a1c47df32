//! The audit log of a host, and the part of it that one run writes.

use super::chain::{Chain, Rotation};
use super::{AuditError, CHAIN, RUNS};
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
}

impl AuditLog {
    /// The audit log in a folder, which is made when the first run is opened.
    pub fn new(folder: &Path, rotation: Rotation) -> Self {
        Self { folder: folder.to_owned(), rotation }
    }

    /// Opens the chain of a run, with what is known of it: members of a JSON object, without its braces.
    pub fn open_run(&self, run: &str, members: std::fmt::Arguments<'_>) -> Result<RunAudit, AuditError> {
        let runs = self.folder.join(RUNS);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&runs);
        made.map_err(|source| AuditError::Io { path: runs.display().to_string(), source })?;
        // A run that is resumed has a chain for each of its processes.
        let number = (1..=u32::MAX).find(|number| !runs.join(name(run, *number)).exists()).unwrap_or(u32::MAX);
        let file = name(run, number);
        let start = self.append(format_args!("\"kind\":\"run-opened\",\"run\":{run:?},\"file\":{file:?},{members}"))?;
        let chain = Chain::open(&runs.join(&file), Some(&start), self.rotation)?;
        Ok(RunAudit { log: self.clone(), run: run.to_owned(), file, chain: Mutex::new(chain) })
    }

    /// Adds one record to the host's chain, with other processes kept out, and returns its hash.
    fn append(&self, members: std::fmt::Arguments<'_>) -> Result<String, AuditError> {
        let lock = self.folder.join("chain.lock");
        let failed = |source| AuditError::Io { path: lock.display().to_string(), source };
        let guard: File = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock).map_err(failed)?;
        rustix::fs::flock(&guard, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let mut chain = Chain::open(&self.folder.join(CHAIN), None, self.rotation)?;
        let at = jiff::Timestamp::now();
        chain.append(format_args!("\"at\":\"{at}\",{members}"))?;
        chain.sync()?;
        Ok(chain.head().to_owned())
    }
}

fn name(run: &str, number: u32) -> String {
    if number == 1 { format!("{run}.jsonl") } else { format!("{run}-{number}.jsonl") }
}

/// Whether a record must be out of this program's hands before what it tells of happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// It may wait in a buffer.
    Buffered,
    /// The system has it before the call goes on.
    Flushed,
}

impl RunAudit {
    /// Adds a record.
    pub fn append(&self, urgency: Urgency, members: std::fmt::Arguments<'_>) -> Result<(), AuditError> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let at = jiff::Timestamp::now();
        chain.append(format_args!("\"at\":\"{at}\",{members}"))?;
        if urgency == Urgency::Flushed { chain.flush() } else { Ok(()) }
    }

    fn close(&self) -> Result<(), AuditError> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        chain.sync()?;
        let (run, file, records, head) = (&self.run, &self.file, chain.sequence(), chain.head());
        let members =
            format_args!("\"kind\":\"run-closed\",\"run\":{run:?},\"file\":{file:?},\"records\":{records},\"head\":\"{head}\"");
        self.log.append(members).map(|_| ())
    }
}

impl Drop for RunAudit {
    fn drop(&mut self) {
        // A chain that is not closed is seen as such by `verify`.
        let _ = self.close();
    }
}
