//! Files below the directory that a slot is bound to.

mod database;
mod decode;
pub(crate) mod directory;
mod listing;
mod prune;
mod replace;
mod search;
mod secret;
pub(crate) mod stream;

use crate::bindings::runbook::files::types::{
    ExistingFile, ExpectedFile, FileEnd, FileInfo, FileKind, LineCount, LineSearch, ListOptions,
    Listing, Pruned,
};
use crate::bindings::runbook::files::{reader, types, writer};
use crate::blocking;
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host, HostCall};
use directory::{Directory, Entry, file_type};
use runbook_authority::targets::FilesTarget;
use runbook_authority::{Digest, GateRequest, Target, Verb};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use search::{LogFile, SearchLimits};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::sync::Arc;
use stream::{FileWriter, IfExists, WrittenFile};

/// How many entries of one directory `list` returns at most.
const MAX_ENTRIES: usize = 10_000;

/// How many lines `tail` returns at most.
const MAX_LINES: usize = 10_000;

impl types::Host for HostCall<'_> {}

impl reader::Host for HostCall<'_> {
    async fn read(&mut self, slot: String, path: String) -> Result<Vec<u8>, Fault> {
        let name = slot;
        let slot = self.files(&name, Verb::FilesRead, &path)?;
        let (left, scrubber) = (self.left_to_read(&slot), self.scrubber());
        let read = slot.run(path, move |slot, path| {
            let cap = slot.files().max_bytes.0.min(left);
            let mut content = Vec::new();
            slot.open()?.file(path)?.take(cap + 1).read_to_end(&mut content)?;
            if content.len() as u64 > cap {
                return Err(slot.too_large(cap));
            }
            secret::refuse(&content, &scrubber)?;
            Ok(content)
        });
        let content = read.await?;
        self.count_read(&name, content.len() as u64);
        Ok(content)
    }

    async fn read_decoded(&mut self, slot: String, path: String) -> Result<Vec<u8>, Fault> {
        let name = slot;
        let slot = self.files(&name, Verb::FilesRead, &path)?;
        let (left, scrubber) = (self.left_to_read(&slot), self.scrubber());
        let read = slot.run_long(path, move |slot, path, stop| {
            let cap = slot.files().max_bytes.0.min(left);
            let (file, encoding) = (slot.open()?.file(path)?, decode::Encoding::of(path));
            let mut stream = decode::DecodedFile::new(file, encoding, cap, &scrubber, stop)?;
            let mut content = Vec::new();
            stream.read_to_end(&mut content)?;
            if stream.is_cut() { Err(slot.too_large(cap)) } else { Ok(content) }
        });
        let content = read.await?;
        self.count_read(&name, content.len() as u64);
        Ok(content)
    }

    async fn entries(
        &mut self,
        slot: String,
        path: String,
        options: ListOptions,
    ) -> Result<Listing, Fault> {
        let slot = self.folder(&slot, &path)?;
        let scrubber = self.scrubber();
        slot.run_long(path, move |slot, path, stop| {
            let most = usize::try_from(options.max_entries)
                .map_or(MAX_ENTRIES, |most| most.min(MAX_ENTRIES));
            let (directory, target) = (slot.open()?, slot.files());
            let allows = |path: &str| target.allows_path(path);
            let found = listing::read(&directory, path, &options, most, allows, stop)?;
            found
                .entries
                .iter()
                .try_for_each(|entry| secret::refuse(entry.path.as_bytes(), &scrubber))?;
            let min_age_ms = u64::try_from(target.min_age.as_millis()).unwrap_or(u64::MAX);
            let listing::Found { entries, total, total_bytes, unnamed } = found;
            Ok(Listing { entries, total, total_bytes, unnamed, min_age_ms })
        })
        .await
    }

    async fn tail(
        &mut self,
        slot: String,
        path: String,
        max_lines: u32,
        rotated: bool,
    ) -> Result<FileEnd, Fault> {
        let name = slot;
        let slot = self.files(&name, Verb::FilesRead, &path)?;
        let earlier = self.rotated(&name, &path, rotated).await?;
        let (left, scrubber) = (self.left_to_read(&slot), self.scrubber());
        let max_lines = usize::try_from(max_lines).map_or(MAX_LINES, |most| most.min(MAX_LINES));
        let read = slot.run_long(path, move |slot, path, stop| {
            let kept = slot.files().max_bytes.0;
            let limits = SearchLimits { total: left, kept, scrubber: &scrubber, stop };
            search::tail(slot.log_files(path, &earlier)?, max_lines, &limits)
        });
        let (end, bytes) = read.await?;
        self.count_read(&name, bytes);
        Ok(end)
    }

    async fn count(
        &mut self,
        slot: String,
        path: String,
        line_search: LineSearch,
    ) -> Result<LineCount, Fault> {
        let name = slot;
        let slot = self.files(&name, Verb::FilesRead, &path)?;
        let earlier = self.rotated(&name, &path, line_search.rotated).await?;
        let (left, scrubber) = (self.left_to_read(&slot), self.scrubber());
        let read = slot.run_long(path, move |slot, path, stop| {
            let kept = slot.files().max_bytes.0;
            let limits = SearchLimits { total: left, kept, scrubber: &scrubber, stop };
            search::count(slot.log_files(path, &earlier)?, &line_search, &limits)
        });
        let count = read.await?;
        self.count_read(&name, count.bytes);
        Ok(count)
    }

    async fn list(&mut self, slot: String, path: String) -> Result<Vec<FileInfo>, Fault> {
        let slot = self.folder(&slot, &path)?;
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
                .filter(|entry| slot.files().allows_path(&entry.path))
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
        let name = slot;
        let slot = self.files(&name, Verb::FilesRemove, &path)?;
        let paths = vec![path.clone()];
        let found = slot.clone().run_long(path.clone(), prune::stats_of(paths)).await?;
        self.judge_ages(&name, &found)?;
        slot.run(path, move |slot, path| match found.into_iter().next() {
            Some((_, Ok(stat))) => slot.remove_file(path, &stat),
            Some((_, Err(error))) => Err(error),
            None => Err(Errno::NOENT.into()),
        })
        .await
    }

    async fn replace(
        &mut self,
        slot: String,
        path: String,
        content: Vec<u8>,
        expected: ExpectedFile,
        backup: Option<String>,
    ) -> Result<String, Fault> {
        let name = slot;
        let paths = std::iter::once(path.as_str()).chain(backup.as_deref());
        let slot = self.files_at(&name, Verb::FilesWrite, paths)?;
        self.count_written(content.len())?;
        self.count_transferred(content.len());
        let work = move |slot: &FilesSlot, path: &str, stop: &blocking::StopFlag| {
            replace::replace(slot, path, &content, &expected, backup.as_deref(), stop)
        };
        slot.run_long(path, work).await.map(|digest| digest.to_string())
    }

    async fn rename(
        &mut self,
        slot: String,
        from: String,
        to: String,
        existing: ExistingFile,
    ) -> Result<(), Fault> {
        let (name, verb) = (slot, Verb::FilesRename);
        self.enter(&GateRequest::FileRename { slot: &name, verb, from: &from, to: &to })?;
        let slot = self.begin(&name, verb, 1)?;
        let if_exists = match existing {
            ExistingFile::Refuse => IfExists::Refuse,
            ExistingFile::Replace => {
                let verb = Verb::FilesWrite;
                self.enter(&GateRequest::Files { slot: &name, verb, path: &to })?;
                IfExists::Replace
            }
        };
        let replacing = (if_exists == IfExists::Replace)
            .then(|| self.begin_uncommitted(&name, Verb::FilesWrite, 1));
        slot.run(from, move |slot, from| {
            if let Some(commit) = &replacing {
                commit.mark_sent().map_err(|_| blocking::StopFlag::error())?;
            }
            slot.change(|directory| directory.rename(from, &to, if_exists)).inspect_err(|error| {
                if let Some(commit) = replacing.as_ref().filter(|_| leaves_all_as_it_was(error)) {
                    commit.mark_rolled_back();
                }
            })
        })
        .await
    }

    async fn prune(&mut self, slot: String, files: Vec<FileInfo>) -> Result<Pruned, Fault> {
        let (name, verb) = (slot, Verb::FilesRemove);
        if files.is_empty() {
            return Ok(Pruned { removed: Vec::new(), kept: Vec::new() });
        }
        let slot = self.files_at(&name, verb, files.iter().map(|file| file.path.as_str()))?;
        let paths = files.iter().map(|file| file.path.clone()).collect();
        let found = slot.clone().run_long(String::new(), prune::stats_of(paths)).await?;
        self.judge_ages(&name, &found)?;
        slot.run_long(String::new(), move |slot, _, stop| prune::prune(slot, files, found, stop))
            .await
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
    async fn rotated(
        &mut self,
        slot: &str,
        path: &str,
        is_wanted: bool,
    ) -> Result<Vec<String>, Fault> {
        if !is_wanted {
            return Ok(Vec::new());
        }
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

/// Both names are not in one file system.
#[derive(Debug, thiserror::Error)]
#[error("the other name is on another file system, where only a copy could be made")]
struct OtherFileSystemError;

fn other_file_system() -> io::Error {
    io::Error::other(OtherFileSystemError)
}

fn changed_meanwhile() -> io::Error {
    io::Error::other(replace::ChangedError::Meanwhile)
}

fn is_other_file_system(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.is::<OtherFileSystemError>()
}

/// Whether everything is as before after this error of a change: it was refused. After a disk error
/// this is unknown.
fn leaves_all_as_it_was(error: &io::Error) -> bool {
    classify(error).0 != FaultClass::Unknown
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
        None if error.get_ref().is_some_and(replace::is_changed_error) => {
            (FaultClass::Conflict, "files.changed", error.to_string())
        }
        None if error.get_ref().is_some_and(is_other_file_system) => {
            (FaultClass::Conflict, "files.other-file-system", error.to_string())
        }
        None if error.get_ref().is_some_and(search::is_rotation_error) => {
            (FaultClass::Transient, "files.rotated", error.to_string())
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
mod change_tests;
#[cfg(test)]
pub(super) mod tests;
