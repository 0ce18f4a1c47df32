//! Whole copies of a database: out of it into a directory, and back.

use super::{Handle, fault, fault_stopped, file_of, open};
use crate::bindings::runbook::sql::types::Artifact;
use crate::blocking::{self, StopFlag};
use crate::capabilities::files::FilesSlot;
use crate::capabilities::files::stream::IfExists;
use crate::capabilities::sql::Access;
use crate::fault::{Fault, FaultClass};
use crate::host::Commit;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::io;
use std::path::Path;
use std::time::Duration;

pub(in super::super) async fn backup(
    access: Access,
    files: FilesSlot,
    path: String,
) -> Result<Artifact, Fault> {
    blocking::run(move |stop| {
        let source = open(&access, Handle::CopyFrom, stop)?;
        let failed = |error: &io::Error| files.fault(&path, error);
        let copy = tempfile::Builder::new()
            .prefix(".runbook-")
            .tempfile_in(files.root())
            .map_err(|error| failed(&error))?;
        let mut target = Connection::open(copy.path()).map_err(|error| fault(&error))?;
        pages(&source, &mut target, stop)?;
        drop(target);
        let mut writer = files
            .open()
            .and_then(|directory| directory.create(&path, IfExists::Refuse))
            .map_err(|error| failed(&error))?;
        pour(&mut copy.reopen().map_err(|error| failed(&error))?, &mut writer, stop)
            .map_err(|error| failed(&error))?;
        let written = files.complete(writer).map_err(|error| failed(&error))?;
        Ok(Artifact {
            path: path.clone(),
            size_bytes: written.size,
            digest: written.digest.to_string(),
        })
    })
    .await
}

pub(in super::super) async fn restore(
    access: Access,
    files: FilesSlot,
    path: String,
    commit: Commit,
) -> Result<(), Fault> {
    blocking::run(move |stop| {
        let failed = |error: &io::Error| files.fault(&path, error);
        let database = file_of(access.sql());
        // Beside the database, where its journal must be writable too.
        let folder = database
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
        let mut copy = tempfile::Builder::new()
            .prefix(".runbook-")
            .tempfile_in(folder)
            .map_err(|error| failed(&error))?;
        let mut reader = files
            .open()
            .and_then(|directory| directory.reader(&path))
            .map_err(|error| failed(&error))?;
        let most = access.sql().max_copy.0;
        // One byte more than may be, to see whether there are more: what a small file becomes is
        // not known before.
        let written = pour(
            &mut io::Read::take(&mut reader, most.saturating_add(1)),
            copy.as_file_mut(),
            stop,
        );
        if written.map_err(|error| failed(&error))? > most {
            return Err(too_large(most));
        }
        copy.as_file().sync_all().map_err(|error| failed(&error))?;
        let source = Connection::open_with_flags(copy.path(), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|error| fault(&error))?;
        let sound: String = source
            .query_row("pragma integrity_check(1)", [], |row| row.get(0))
            .map_err(|error| fault(&error))?;
        if sound != "ok" {
            return Err(Fault::new(
                FaultClass::Conflict,
                "sql.copy-damaged",
                format!("the copy is damaged, so nothing was restored: {sound}"),
            ));
        }
        let mut target = open(&access, Handle::CopyInto, stop)?;
        commit.send()?;
        // Until its last page the copy is a transaction of the database, which is rolled back if it
        // does not come to its end.
        pages(&source, &mut target, stop).inspect_err(|_| commit.void())
    })
    .await
}

/// Copies all pages, giving way to writers.
fn pages(source: &Connection, target: &mut Connection, stop: &StopFlag) -> Result<(), Fault> {
    let backup = Backup::new(source, target).map_err(|error| fault(&error))?;
    loop {
        if stop.is_set() {
            return Err(fault_stopped());
        }
        match backup.step(1_000).map_err(|error| fault(&error))? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn too_large(most: u64) -> Fault {
    let message = format!(
        "the copy is larger than {most} bytes, so nothing was restored; a larger one needs \
                 `max_copy` in the database's target"
    );
    Fault::new(FaultClass::Limit, "sql.copy-too-large", message)
}

/// Copies to the end and says how much it was.
fn pour(
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
