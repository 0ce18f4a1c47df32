//! Removes several files, each if it has not changed since it was listed.

use super::directory::file_type;
use super::{FilesSlot, FoundFile, classify, file_info, leaves_all_as_it_was};
use crate::bindings::runbook::files::types::{FileInfo, KeptFile, Pruned};
use crate::blocking::StopFlag;
use rustix::fs::FileType;
use rustix::io::Errno;
use std::io;

/// What is found now under these paths.
pub(super) fn stats_of(
    paths: Vec<String>,
) -> impl FnOnce(&FilesSlot, &str, &StopFlag) -> io::Result<Vec<FoundFile>> + Send + 'static {
    move |slot, _, stop| {
        let directory = slot.open()?;
        paths
            .into_iter()
            .map(|path| {
                if stop.is_set() {
                    return Err(StopFlag::error());
                }
                let stat = directory.removable_stat(&path);
                Ok((path, stat))
            })
            .collect()
    }
}

/// Removes the files that are as they were listed. A file that cannot be removed is kept, with the
/// reason.
pub(super) fn prune(
    slot: &FilesSlot,
    files: Vec<FileInfo>,
    found: Vec<FoundFile>,
    stop: &StopFlag,
) -> io::Result<Pruned> {
    let directory = slot.open()?;
    let mut is_certain = true;
    let mut pruned = Pruned { removed: Vec::new(), kept: Vec::new() };
    for (file, (path, stat)) in files.into_iter().zip(found) {
        if stop.is_set() {
            return Err(StopFlag::error());
        }
        let result = match stat {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => {
                Err("it is not there any more".to_owned())
            }
            Err(error) => Err(classify(&error).2),
            Ok(stat) if file_type(&stat) != FileType::RegularFile => {
                Err("it is not an ordinary file".to_owned())
            }
            Ok(stat) => {
                let now = file_info(path.clone(), &stat);
                let listed = (file.size_bytes, file.modified_ms);
                if (now.size_bytes, now.modified_ms) == listed {
                    slot.commit.mark_sent().map_err(|_| StopFlag::error())?;
                    directory.remove_same(&path, &stat).map_err(|error| {
                        is_certain &= leaves_all_as_it_was(&error);
                        classify(&error).2
                    })
                } else {
                    Err("it has changed since it was listed".to_owned())
                }
            }
        };
        match result {
            Ok(()) => pruned.removed.push(file),
            Err(reason) => pruned.kept.push(KeptFile { path, reason }),
        }
    }
    if pruned.removed.is_empty() && slot.commit.is_sent() && is_certain {
        slot.commit.mark_rolled_back();
    }
    directory.sync_folders(pruned.removed.iter().map(|file| file.path.as_str()))?;
    Ok(pruned)
}
