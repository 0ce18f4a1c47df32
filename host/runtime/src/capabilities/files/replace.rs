//! Replaces a file if it is as expected, and keeps the old one under another name.

use super::FilesSlot;
use super::database::refuse_new;
use super::directory::{Directory, is_same_file};
use super::stream::{FileWriter, IfExists};
use crate::bindings::runbook::files::types::ExpectedFile;
use crate::blocking::StopFlag;
use runbook_authority::Digest;
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

/// The file is not what was expected.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangedError {
    #[error("it is not what was expected: somebody has changed it")]
    OtherContent,
    #[error("it is there, and was expected not to be")]
    Present,
    #[error("it is not there any more")]
    Absent,
    #[error("it was changed while it was replaced")]
    Meanwhile,
}

fn changed(error: ChangedError) -> io::Error {
    io::Error::other(error)
}

/// Replaces the file at `path`. It blocks.
pub(super) fn replace(
    slot: &FilesSlot,
    path: &str,
    content: &[u8],
    expected: &ExpectedFile,
    backup: Option<&str>,
    stop: &StopFlag,
) -> io::Result<Digest> {
    let directory = slot.open()?;
    let old = match directory.file(path) {
        Ok(file) => Some(file),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => None,
        Err(error) => return Err(error),
    };
    // Read before the content is: a change in between is then found.
    let old_stat = old.as_ref().map(rustix::fs::fstat).transpose()?;
    check_expected(old, expected, stop)?;
    let if_exists = if old_stat.is_some() { IfExists::Replace } else { IfExists::Refuse };
    let mut writer = directory.create_plain(path, if_exists)?;
    if let Some(stat) = &old_stat {
        writer.set_owner(stat)?;
    }
    writer.write_all(content)?;
    // Everything that needs room on the disk is written before anything gets a name.
    writer.sync()?;
    slot.commit.mark_sent().map_err(|_| StopFlag::error())?;
    let result = give_names(&directory, path, old_stat.as_ref(), backup, writer);
    result.inspect_err(|error| {
        if super::leaves_all_as_it_was(error) {
            slot.commit.mark_rolled_back();
        }
    })
}

fn check_expected(old: Option<File>, expected: &ExpectedFile, stop: &StopFlag) -> io::Result<()> {
    match (expected, old) {
        (ExpectedFile::Anything, _) | (ExpectedFile::Absent, None) => Ok(()),
        (ExpectedFile::Absent, Some(_)) => Err(changed(ChangedError::Present)),
        (ExpectedFile::Digest(_), None) => Err(changed(ChangedError::Absent)),
        (ExpectedFile::Digest(expected), Some(mut file)) => {
            if super::digest(&mut file, stop)?.to_string() == *expected {
                Ok(())
            } else {
                Err(changed(ChangedError::OtherContent))
            }
        }
    }
}

fn give_names(
    directory: &Directory,
    path: &str,
    old: Option<&Stat>,
    backup: Option<&str>,
    writer: FileWriter,
) -> io::Result<Digest> {
    let (parent, name) = directory.parent(path)?;
    let Some(old) = old else { return writer.finish().map(|written| written.digest) };
    let new_backup = match backup {
        Some(backup) => link_backup(directory, (&parent, name), old, backup)?,
        None => None,
    };
    let result = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if is_same_file(&stat, old) => writer.finish().map(|written| written.digest),
        Ok(_) | Err(Errno::NOENT) => Err(changed(ChangedError::Meanwhile)),
        Err(error) => Err(error.into()),
    };
    if result.as_ref().is_err_and(super::leaves_all_as_it_was)
        && let Some((parent, name)) = new_backup
    {
        // An error is ignored: the old file then has two names.
        let _ = rustix::fs::unlinkat(&parent, name, AtFlags::empty());
    }
    result
}

/// Gives the old file a second name. Returns the name if this call has made it: a run that was
/// killed may have made it before.
fn link_backup<'b>(
    directory: &Directory,
    (parent, name): (&OwnedFd, &str),
    old: &Stat,
    backup: &'b str,
) -> io::Result<Option<(OwnedFd, &'b str)>> {
    let (backup_parent, backup_name) = directory.parent(backup)?;
    refuse_new(backup_name)?;
    let made = match rustix::fs::linkat(
        parent.as_fd(),
        name,
        backup_parent.as_fd(),
        backup_name,
        AtFlags::empty(),
    ) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(Errno::XDEV) => return Err(super::other_file_system()),
        Err(error) => return Err(error.into()),
    };
    let linked = rustix::fs::statat(&backup_parent, backup_name, AtFlags::SYMLINK_NOFOLLOW)?;
    if !is_same_file(&linked, old) {
        if !made {
            return Err(Errno::EXIST.into());
        }
        rustix::fs::unlinkat(&backup_parent, backup_name, AtFlags::empty())?;
        return Err(changed(ChangedError::Meanwhile));
    }
    rustix::fs::fsync(&backup_parent)?;
    Ok(made.then_some((backup_parent, backup_name)))
}

/// True for the error that a file is not as expected.
pub(super) fn is_changed_error(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.is::<ChangedError>()
}
