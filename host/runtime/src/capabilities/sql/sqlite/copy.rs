//! Copies a whole database into a directory, and back.

use super::{ConnectionPurpose, call_over_fault, fault, file_of, open};
use crate::bindings::runbook::sql::types::Artifact;
use crate::blocking::{self, StopFlag};
use crate::capabilities::files::FilesSlot;
use crate::capabilities::files::stream::IfExists;
use crate::capabilities::sql::DatabaseAccess;
use crate::fault::{Fault, FaultClass};
use crate::host::Commit;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::io;
use std::path::Path;
use std::time::Duration;

pub(in super::super) async fn backup(
    access: DatabaseAccess,
    files: FilesSlot,
    path: String,
) -> Result<Artifact, Fault> {
    blocking::run(move |stop| {
        let source = open(&access, ConnectionPurpose::CopyFrom, stop)?;
        let files_fault = |error: &io::Error| files.fault(&path, error);
        let copy = tempfile::Builder::new()
            .prefix(".runbook-")
            .tempfile_in(files.root())
            .map_err(|error| files_fault(&error))?;
        let mut target = Connection::open(copy.path()).map_err(|error| fault(&error))?;
        copy_pages(&source, &mut target, stop)?;
        drop(target);
        let mut writer = files
            .open()
            .and_then(|directory| directory.create(&path, IfExists::Refuse))
            .map_err(|error| files_fault(&error))?;
        copy_stream(&mut copy.reopen().map_err(|error| files_fault(&error))?, &mut writer, stop)
            .map_err(|error| files_fault(&error))?;
        let written = files.complete(writer).map_err(|error| files_fault(&error))?;
        Ok(Artifact {
            path: path.clone(),
            size_bytes: written.size,
            digest: written.digest.to_string(),
        })
    })
    .await
}

pub(in super::super) async fn restore(
    access: DatabaseAccess,
    files: FilesSlot,
    path: String,
    commit: Commit,
) -> Result<(), Fault> {
    blocking::run(move |stop| {
        let files_fault = |error: &io::Error| files.fault(&path, error);
        let database = file_of(access.sql());
        // The temporary file is in the directory of the database, which must be writable anyway.
        let folder = database
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
        let mut copy = tempfile::Builder::new()
            .prefix(".runbook-")
            .tempfile_in(folder)
            .map_err(|error| files_fault(&error))?;
        let mut reader = files
            .open()
            .and_then(|directory| directory.reader(&path))
            .map_err(|error| files_fault(&error))?;
        let max_bytes = access.sql().max_copy.0;
        // One byte more than allowed shows whether the file is larger. The decompressed size is not
        // known before.
        let written = copy_stream(
            &mut io::Read::take(&mut reader, max_bytes.saturating_add(1)),
            copy.as_file_mut(),
            stop,
        );
        if written.map_err(|error| files_fault(&error))? > max_bytes {
            return Err(too_large(max_bytes));
        }
        copy.as_file().sync_all().map_err(|error| files_fault(&error))?;
        let source = Connection::open_with_flags(copy.path(), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|error| fault(&error))?;
        let integrity: String = source
            .query_row("pragma integrity_check(1)", [], |row| row.get(0))
            .map_err(|error| fault(&error))?;
        if integrity != "ok" {
            return Err(Fault::new(
                FaultClass::Conflict,
                "sql.copy-damaged",
                format!("the copy is damaged, so nothing was restored: {integrity}"),
            ));
        }
        let mut target = open(&access, ConnectionPurpose::CopyInto, stop)?;
        commit.mark_sent()?;
        // The copy is one transaction of the database, which is rolled back if the copy does not
        // complete.
        copy_pages(&source, &mut target, stop).inspect_err(|_| commit.mark_rolled_back())
    })
    .await
}

/// Copies all pages, and waits for writers in between.
fn copy_pages(source: &Connection, target: &mut Connection, stop: &StopFlag) -> Result<(), Fault> {
    let backup = Backup::new(source, target).map_err(|error| fault(&error))?;
    loop {
        if stop.is_set() {
            return Err(call_over_fault());
        }
        match backup.step(1_000).map_err(|error| fault(&error))? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn too_large(max_bytes: u64) -> Fault {
    let message = format!(
        "the copy is larger than {max_bytes} bytes, so nothing was restored; a larger one needs \
                 `max_copy` in the database's target"
    );
    Fault::new(FaultClass::Limit, "sql.copy-too-large", message)
}

/// Copies a stream to its end, and returns the number of bytes.
fn copy_stream(
    reader: &mut impl io::Read,
    writer: &mut impl io::Write,
    stop: &StopFlag,
) -> io::Result<u64> {
    let mut chunk = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        if stop.is_set() {
            return Err(StopFlag::error());
        }
        let length = reader.read(&mut chunk)?;
        if length == 0 {
            return writer.flush().map(|()| total);
        }
        writer.write_all(&chunk[..length])?;
        total += length as u64;
    }
}
