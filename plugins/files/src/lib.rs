//! The bundled plugin `files`: looks at files of a directory, and changes them.

mod change;
mod count;
mod difference;
mod look;
mod prune;
mod rename;
mod replace;

use runbook_sdk::files::{Directory, FileInfo};
use runbook_sdk::prelude::*;

/// The directory of the slot.
fn directory() -> Directory {
    Directory::slot(runbook_sdk::slot!("directory"))
}

/// What is at a path; `None` if nothing is.
fn find(path: &str) -> Result<Option<FileInfo>> {
    absent_as_none(directory().stat(path))
}

/// `None` for a file that is not there. A missing directory of the slot stays a fault.
fn absent_as_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(fault) if fault.code == "files.not-found" => Ok(None),
        Err(fault) => Err(fault),
    }
}

runbook_sdk::plugin! {
    probes: {
        "exists" => look::exists,
        "age" => look::age,
        "size" => look::size,
        "count" => count::count,
    },
    steps: {
        "replace" => replace::Replace,
        "rename" => rename::Rename,
        "prune" => prune::Prune,
    },
}
