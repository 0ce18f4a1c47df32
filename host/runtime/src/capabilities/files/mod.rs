//! Files below the directory that a slot is bound to.

mod database;
mod decode;
pub(crate) mod directory;
mod errors;
mod listing;
mod prune;
mod reader;
mod replace;
mod search;
mod secret;
pub(crate) mod stream;
mod writer;

use crate::bindings::runbook::files::types::{self, FileInfo, FileKind};
use crate::blocking;
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host, HostCall};
use directory::{Directory, file_type};
use errors::{changed_meanwhile, classify, leaves_all_as_it_was, other_file_system};
use runbook_authority::targets::FilesTarget;
use runbook_authority::{Digest, GateRequest, Target, Verb};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use search::LogFile;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use stream::{FileWriter, WrittenFile};

/// How many entries of one directory `list` returns at most.
const MAX_ENTRIES: usize = 10_000;

impl types::Host for HostCall<'_> {}

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
        self.begin(slot, verb, 1)
    }

    /// The directory of `slot`, if `verb` may be used on each of these paths there.
    fn files_at<'p>(
        &mut self,
        slot: &str,
        verb: Verb,
        paths: impl Iterator<Item = &'p str>,
    ) -> Result<FilesSlot, Fault> {
        let mut allowed = 0;
        for path in paths {
            if let Err(fault) = self.enter(&GateRequest::Files { slot, verb, path }) {
                // Nothing is done with the paths before it.
                self.begin_uncommitted(slot, verb, allowed);
                return Err(fault);
            }
            allowed += 1;
        }
        self.begin(slot, verb, allowed)
    }

    /// The directory of `slot`, if the entries of the folder `path` there may be listed.
    fn folder(&mut self, slot: &str, path: &str) -> Result<FilesSlot, Fault> {
        self.enter(&GateRequest::FileList { slot, verb: Verb::FilesRead, path })?;
        self.begin(slot, Verb::FilesRead, 1)
    }

    /// The directory of `slot`, after the gate has allowed `count` calls of `verb`.
    fn begin(&mut self, slot: &str, verb: Verb, count: usize) -> Result<FilesSlot, Fault> {
        let commit = self.begin_uncommitted(slot, verb, count);
        Ok(FilesSlot { slot: slot.to_owned(), target: self.target(slot)?, commit })
    }

    /// How many bytes of files the call of the plugin may still go through.
    fn left_to_read(&mut self, slot: &FilesSlot) -> u64 {
        let used = self.storage.value::<BytesRead>().0.get(&slot.slot).copied();
        slot.files().max_total.0.saturating_sub(used.unwrap_or_default())
    }

    fn count_read(&mut self, slot: &str, bytes: u64) {
        let used = self.storage.value::<BytesRead>().0.entry(slot.to_owned()).or_default();
        *used = used.saturating_add(bytes);
        self.count_transferred(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// The rotated files of a log, the newest first. The gate is asked for each.
    async fn rotated(&mut self, slot: &str, path: &str) -> Result<Vec<String>, Fault> {
        let directory = self.begin(slot, Verb::FilesRead, 0)?;
        let paths = directory.run(path.to_owned(), FilesSlot::rotated).await?;
        for path in &paths {
            self.enter(&GateRequest::Files { slot, verb: Verb::FilesRead, path })?;
        }
        Ok(paths)
    }

    /// Asks the gate whether files of this age may be removed.
    fn judge_ages(&mut self, slot: &str, found: &[FoundFile]) -> Result<(), Fault> {
        let now = std::time::SystemTime::now();
        for (path, stat) in found {
            let Ok(stat) = stat else { continue };
            let age = now.duration_since(modified(stat)).unwrap_or_default();
            self.enter(&GateRequest::FileRemoval { slot, verb: Verb::FilesRemove, path, age })?;
        }
        Ok(())
    }
}

/// A file, and what was found under its name.
type FoundFile = (String, io::Result<Stat>);

/// How many bytes of the files of each slot were gone through.
#[derive(Default)]
struct BytesRead(BTreeMap<String, u64>);

/// The time at which a file was changed.
fn modified(stat: &Stat) -> std::time::SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(seconds, nanoseconds)
}

impl Host {
    /// Opens the directory. If the slot may change files, the directory must be writable.
    pub(super) async fn reach_directory(&mut self, slot: &str) -> Result<String, Fault> {
        let target = self.target(slot)?;
        let commit = Commit::default();
        let changing = [Verb::FilesWrite, Verb::FilesRename, Verb::FilesRemove];
        let may_write = changing.iter().any(|verb| self.has_verb(slot, *verb));
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

    /// Removes the file that was found at a path. This blocks.
    fn remove_file(&self, path: &str, stat: &Stat) -> io::Result<()> {
        self.change(|directory| {
            directory.remove_same(path, stat)?;
            directory.sync_folders(std::iter::once(path))
        })
    }

    /// Makes one change that has no effect if it is refused. This blocks.
    fn change(&self, change: impl FnOnce(&Directory) -> io::Result<()>) -> io::Result<()> {
        let directory = self.open()?;
        self.commit.mark_sent().map_err(|_| blocking::StopFlag::error())?;
        change(&directory).inspect_err(|error| {
            if leaves_all_as_it_was(error) {
                self.commit.mark_rolled_back();
            }
        })
    }

    fn too_large(&self, cap: u64) -> io::Error {
        let limit = if cap == self.files().max_bytes.0 {
            format!("it has more than {cap} bytes")
        } else {
            format!("it has more than the {cap} bytes that are left of `max_total`")
        };
        io::Error::new(io::ErrorKind::FileTooLarge, limit)
    }

    /// The paths of the files that were rotated away from `path`, the newest first.
    fn rotated(&self, path: &str) -> io::Result<Vec<String>> {
        let (folder, base) = path.rsplit_once('/').unwrap_or(("", path));
        let mut found = Vec::new();
        self.open()?.each_entry(folder, |name, stat| {
            let is_rotated =
                std::str::from_utf8(name).is_ok_and(|name| search::is_rotated(base, name));
            if is_rotated && file_type(stat) == FileType::RegularFile {
                let name = String::from_utf8_lossy(name);
                let path =
                    if folder.is_empty() { name.into_owned() } else { format!("{folder}/{name}") };
                found.push((std::cmp::Reverse(modified(stat)), path));
            }
            if found.len() > MAX_ENTRIES {
                let message = format!("more than {MAX_ENTRIES} rotated files");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
            }
            Ok(())
        })?;
        found.sort();
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }

    /// Opens a log and its rotated files, the newest first.
    fn log_files(&self, path: &str, rotated: &[String]) -> io::Result<Vec<LogFile>> {
        let directory = self.open()?;
        let open = |path: &str| -> io::Result<LogFile> {
            Ok(LogFile { path: path.to_owned(), file: directory.file(path)? })
        };
        let mut files = vec![open(path)?];
        let mut known = vec![rustix::fs::fstat(&files[0].file)?.st_ino];
        for path in rotated {
            let opened = open(path).map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => io::Error::other(search::RotationError),
                Some(_) | None => error,
            })?;
            let inode = rustix::fs::fstat(&opened.file)?.st_ino;
            if known.contains(&inode) {
                return Err(io::Error::other(search::RotationError));
            }
            known.push(inode);
            files.push(opened);
        }
        Ok(files)
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
        self.run_long(path, move |slot, path, _| work(slot, path)).await
    }

    async fn run_long<T: Send + 'static>(
        self,
        path: String,
        work: impl FnOnce(&Self, &str, &blocking::StopFlag) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        blocking::run(move |stop| {
            work(&self, &path, stop).map_err(|error| self.fault(&path, &error))
        })
        .await
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

#[cfg(test)]
pub(super) mod tests;
