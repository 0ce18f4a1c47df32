//! Files below the directory that a slot is bound to.

mod database;
pub(crate) mod directory;
mod secret;
pub(crate) mod stream;

use crate::bindings::runbook::files::types::{FileInfo, FileKind};
use crate::bindings::runbook::files::{reader, types, writer};
use crate::blocking;
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host, HostCall};
use directory::{Directory, Entry, file_type};
use runbook_authority::targets::FilesTarget;
use runbook_authority::{Digest, GateRequest, Target, Verb};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write as _};
use std::sync::Arc;
use stream::{FileWriter, IfExists, WrittenFile};

/// How many entries of one directory `list` returns at most.
const MAX_ENTRIES: usize = 10_000;

impl types::Host for HostCall<'_> {}

impl reader::Host for HostCall<'_> {
    async fn read(&mut self, slot: String, path: String) -> Result<Vec<u8>, Fault> {
        let slot = self.files(&slot, Verb::FilesRead, &path)?;
        let scrubber = self.scrubber();
        let read = slot.run(path, move |slot, path| {
            let cap = slot.files().max_bytes.0;
            let mut content = Vec::new();
            slot.open()?.file(path)?.take(cap + 1).read_to_end(&mut content)?;
            if content.len() as u64 > cap {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("it has more than {cap} bytes"),
                ));
            }
            secret::refuse(&content, &scrubber)?;
            Ok(content)
        });
        let content = read.await?;
        self.count_transferred(content.len());
        Ok(content)
    }

    async fn list(&mut self, slot: String, path: String) -> Result<Vec<FileInfo>, Fault> {
        let slot = self.files(&slot, Verb::FilesRead, &path)?;
        let scrubber = self.scrubber();
        slot.run(path, move |slot, path| {
            let entries = slot.open()?.list(path, MAX_ENTRIES)?;
            entries
                .iter()
                .try_for_each(|entry| secret::refuse(entry.name.as_bytes(), &scrubber))?;
            let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
            Ok(entries
                .into_iter()
                .map(|Entry { name, stat }| file_info(format!("{prefix}{name}"), &stat))
                .collect())
        })
        .await
    }

    async fn stat(&mut self, slot: String, path: String) -> Result<FileInfo, Fault> {
        let slot = self.files(&slot, Verb::FilesRead, &path)?;
        slot.run(path, |slot, path| Ok(file_info(path.to_owned(), &slot.open()?.stat(path)?))).await
    }

    async fn digest(&mut self, slot: String, path: String) -> Result<String, Fault> {
        let slot = self.files(&slot, Verb::FilesRead, &path)?;
        let work = move |stop: &blocking::StopFlag| {
            let mut file = slot
                .open()
                .and_then(|directory| directory.file(&path))
                .map_err(|error| slot.fault(&path, &error))?;
            digest(&mut file, stop)
                .map(|digest| digest.to_string())
                .map_err(|error| slot.fault(&path, &error))
        };
        blocking::run(work).await
    }
}

impl writer::Host for HostCall<'_> {
    async fn write(&mut self, slot: String, path: String, content: Vec<u8>) -> Result<(), Fault> {
        let slot = self.files(&slot, Verb::FilesWrite, &path)?;
        self.count_written(content.len())?;
        self.count_transferred(content.len());
        slot.run(path, move |slot, path| {
            let mut file = slot.open()?.create_plain(path, IfExists::Replace)?;
            file.write_all(&content)?;
            slot.complete(file).map(|_| ())
        })
        .await
    }

    async fn remove(&mut self, slot: String, path: String) -> Result<(), Fault> {
        let slot = self.files(&slot, Verb::FilesRemove, &path)?;
        slot.run(path, FilesSlot::remove_file).await
    }
}

/// A slot that is bound to a directory, after the gate has allowed a path in it.
#[derive(Clone)]
pub(crate) struct FilesSlot {
    slot: String,
    target: Arc<Target>,
    /// Until it is marked as sent, nothing in the directory has changed.
    commit: Commit,
}

impl Host {
    /// The directory of `slot`, if `verb` may be used on `path` there.
    pub(crate) fn files(&mut self, slot: &str, verb: Verb, path: &str) -> Result<FilesSlot, Fault> {
        self.enter(&GateRequest::Files { slot, verb, path })?;
        let commit = self.begin_uncommitted(slot, verb, 1);
        Ok(FilesSlot { slot: slot.to_owned(), target: self.target(slot)?, commit })
    }
}

impl Host {
    /// Opens the directory. If the slot may change files, the directory must be writable.
    pub(super) async fn reach_directory(&mut self, slot: &str) -> Result<String, Fault> {
        let target = self.target(slot)?;
        let commit = Commit::default();
        let may_write =
            self.has_verb(slot, Verb::FilesWrite) || self.has_verb(slot, Verb::FilesRemove);
        let slot = FilesSlot { slot: slot.to_owned(), target, commit };
        slot.run(String::new(), move |slot, _| {
            slot.open()?;
            if !may_write {
                return Ok("the directory can be read".to_owned());
            }
            rustix::fs::access(slot.root(), rustix::fs::Access::WRITE_OK)?;
            Ok("the directory can be read and written".to_owned())
        })
        .await
    }
}

impl FilesSlot {
    fn files(&self) -> &FilesTarget {
        self.target.files().expect("the gate lets files operations through on files targets only")
    }

    /// The path of the directory on the host. A guest must not see it.
    pub(crate) fn root(&self) -> &std::path::Path {
        self.files().root.real()
    }

    /// Opens the directory. This blocks.
    pub(crate) fn open(&self) -> io::Result<Directory> {
        Directory::open(self.root())
    }

    /// Completes a written file, and gives it its name. This blocks.
    pub(crate) fn complete(&self, writer: FileWriter) -> io::Result<WrittenFile> {
        self.commit.mark_sent().map_err(|_| blocking::StopFlag::error())?;
        writer.finish()
    }

    /// Removes a file. This blocks.
    fn remove_file(&self, path: &str) -> io::Result<()> {
        let directory = self.open()?;
        self.commit.mark_sent().map_err(|_| blocking::StopFlag::error())?;
        directory.remove(path).inspect_err(|error| {
            // A refused removal left the file in place; after a disk error this is unknown.
            if classify(error).0 != FaultClass::Unknown {
                self.commit.mark_rolled_back();
            }
        })
    }

    /// The fault for an error with `path`, without the path of the directory on the host.
    pub(crate) fn fault(&self, path: &str, error: &io::Error) -> Fault {
        let object = if path.is_empty() {
            "its directory".to_owned()
        } else {
            format!("`{}`", path.escape_debug())
        };
        let (class, code, reason) = classify(error);
        if class == FaultClass::NotFound && !self.root().is_dir() {
            let message = format!(
                "slot `{}`: its directory is not there; make it, or name another one in the target",
                self.slot
            );
            return Fault::new(class, "files.no-directory", message);
        }
        Fault::new(class, code, format!("slot `{}`: {object}: {reason}", self.slot))
    }

    async fn run<T: Send + 'static>(
        self,
        path: String,
        work: impl FnOnce(&Self, &str) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        blocking::run(move |_| work(&self, &path).map_err(|error| self.fault(&path, &error))).await
    }
}

/// The error number of the system, even if the error was wrapped with a path of the host.
fn errno_of(error: &io::Error) -> Option<Errno> {
    if let Some(errno) = Errno::from_io_error(error) {
        return Some(errno);
    }
    let mut cause = error.get_ref().and_then(|inner| inner.source());
    while let Some(error) = cause {
        if let Some(errno) = error.downcast_ref::<io::Error>().and_then(Errno::from_io_error) {
            return Some(errno);
        }
        cause = error.source();
    }
    // The source may be lost too; then the kind is used.
    match error.kind() {
        io::ErrorKind::NotFound => Some(Errno::NOENT),
        io::ErrorKind::PermissionDenied => Some(Errno::ACCESS),
        io::ErrorKind::StorageFull => Some(Errno::NOSPC),
        _ => None,
    }
}

fn classify(error: &io::Error) -> (FaultClass, &'static str, String) {
    match errno_of(error) {
        Some(Errno::NOENT) => {
            (FaultClass::NotFound, "files.not-found", "there is no such file".to_owned())
        }
        Some(Errno::EXIST) => {
            (FaultClass::Conflict, "files.exists", "it is there already".to_owned())
        }
        Some(Errno::LOOP | Errno::XDEV) => {
            (FaultClass::Denied, "files.symlink", "a symbolic link is not followed".to_owned())
        }
        Some(Errno::ISDIR) => {
            (FaultClass::Invalid, "files.directory", "it is a directory".to_owned())
        }
        Some(Errno::NOTDIR) => {
            (FaultClass::Invalid, "files.not-directory", "it is not a directory".to_owned())
        }
        Some(Errno::NODEV) => {
            (FaultClass::Invalid, "files.special", "it is not an ordinary file".to_owned())
        }
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => (
            FaultClass::Conflict,
            "files.permission",
            "the operating system does not permit it".to_owned(),
        ),
        Some(Errno::NOSPC | Errno::DQUOT) => {
            (FaultClass::Conflict, "files.no-space", "the disk is full".to_owned())
        }
        Some(Errno::NOSYS) => (
            FaultClass::Conflict,
            "files.kernel",
            "this needs `openat2` (Linux 5.6 or newer)".to_owned(),
        ),
        Some(errno) => (FaultClass::Unknown, "files.io", io::Error::from(errno).to_string()),
        None if error.get_ref().is_some_and(is_secret_error) => {
            (FaultClass::Denied, "files.secret", error.to_string())
        }
        None if error.get_ref().is_some_and(database::is_database_file_error) => {
            (FaultClass::Denied, "files.database", error.to_string())
        }
        None if error.kind() == io::ErrorKind::FileTooLarge => {
            (FaultClass::Limit, "files.too-large", error.to_string())
        }
        None => (FaultClass::Invalid, "files.content", error.to_string()),
    }
}

/// The digest of the content of a stream.
fn digest(stream: &mut impl Read, stop: &blocking::StopFlag) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 256 << 10];
    loop {
        match stream.read(&mut chunk)? {
            _ if stop.is_set() => return Err(blocking::StopFlag::error()),
            0 => return Ok(Digest::from_sha256(hash.finalize().into())),
            length => hash.update(&chunk[..length]),
        }
    }
}

fn file_info(path: String, stat: &Stat) -> FileInfo {
    let kind = match file_type(stat) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        _ => FileKind::Other,
    };
    let modified_ms = i128::from(stat.st_mtime) * 1000 + i128::from(stat.st_mtime_nsec) / 1_000_000;
    FileInfo {
        path,
        kind,
        size_bytes: u64::try_from(stat.st_size).unwrap_or_default(),
        modified_ms: u64::try_from(modified_ms).unwrap_or_default(),
    }
}

/// True for the error that the content has a secret.
fn is_secret_error(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.is::<secret::SecretContentError>()
}

#[cfg(test)]
pub(super) mod tests;
