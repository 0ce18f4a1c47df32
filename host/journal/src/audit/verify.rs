//! Verifies that the audit log is whole.

use super::alive::is_alive;
use super::chain::{ChainRecord, GENESIS, files, parse};
use super::{AuditError, CHAIN, OPEN, RUNS};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// What [`verify`] found in the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifiedLog {
    /// Records that were read, of all chains.
    pub records: u64,
    /// How many chains of runs were read.
    pub runs: u64,
    /// Chains whose process still lives.
    pub going_on: Vec<String>,
    /// Chains whose process was killed and that are not sealed yet. If records were cut off from
    /// their ends, that cannot be seen; the records that they have are right.
    pub open: Vec<String>,
    /// The last hash of the host's chain. Kept elsewhere, it proves that nothing was cut off since.
    pub head: String,
    /// What is wrong; empty if nothing is.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file that the problem is in.
    pub file: String,
    /// The line, from 1; 0 is the file as a whole.
    pub line: u64,
    /// What is wrong, as a sentence without its period.
    pub what: String,
}

/// Verifies all chains of an audit log.
///
/// # Errors
/// [`AuditError::Io`] if a file or folder that exists cannot be read. Damage is no error: it is
/// among the problems of [`VerifiedLog`].
pub fn verify(folder: &Path) -> Result<VerifiedLog, AuditError> {
    let mut verified = VerifiedLog { head: GENESIS.to_owned(), ..VerifiedLog::default() };
    let main = folder.join(CHAIN);
    let host = walk(&main, GENESIS, &mut verified)?;
    verified.head.clone_from(&host.head);
    if let Some(what) = nothing_in(folder, &host) {
        verified.problems.push(problem(&main, 0, what));
    }
    let mut opened: BTreeMap<String, String> = BTreeMap::new();
    let mut closed: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for record in &host.records {
        let text = |key: &str| {
            record.body.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
        };
        match text("kind").as_str() {
            "run-opened" => {
                opened.insert(text("file"), record.hash.clone());
            }
            "run-closed" | "run-sealed" => {
                let records =
                    record.body.get("records").and_then(serde_json::Value::as_u64).unwrap_or(0);
                closed.insert(text("file"), (records, text("head")));
            }
            _ => {}
        }
    }
    for (file, start) in &opened {
        verified.runs += 1;
        let path = folder.join(RUNS).join(file);
        let run = walk(&path, start, &mut verified)?;
        match closed.get(file) {
            None if is_alive(&folder.join(OPEN).join(file)) => verified.going_on.push(file.clone()),
            None => verified.open.push(file.clone()),
            // A process that was killed before it made a file has left none.
            Some((0, _)) if run.count == 0 => {}
            Some(_) if run.count == 0 && files(&path).is_ok_and(|files| files.is_empty()) => {
                verified.problems.push(problem(
                    &path,
                    0,
                    "it is missing, though the host's chain has closed it",
                ));
            }
            Some((records, head)) if (*records, head) != (run.count, &run.head) => {
                let what = format!(
                    "it ends after {} records; {records} were written when it was closed",
                    run.count
                );
                verified.problems.push(problem(&path, run.count, &what));
            }
            Some(_) => {}
        }
    }
    strangers(folder, &opened.keys().cloned().collect(), &mut verified)?;
    Ok(verified)
}

/// Why there is no log in a folder. A log that was never begun, one that was removed or emptied,
/// and a wrong name look alike, so none of them counts as complete.
fn nothing_in(folder: &Path, host: &Walked) -> Option<&'static str> {
    match host.count {
        0 if !folder.exists() => {
            Some("there is no such folder: its name is wrong, it was removed, or nothing ran yet")
        }
        0 if host.is_read => Some("it holds no record: it was emptied"),
        0 => Some("it is not there: nothing ran yet, or it was removed"),
        _ => None,
    }
}

/// How many records a chain has, and the hash of the last one.
pub(super) fn end_of(path: &Path) -> Result<(u64, String), AuditError> {
    let walked = walk(path, "", &mut VerifiedLog::default())?;
    Ok((walked.count, walked.head))
}

/// Files among the runs that no record has opened.
fn strangers(
    folder: &Path,
    opened: &BTreeSet<String>,
    verified: &mut VerifiedLog,
) -> Result<(), AuditError> {
    let runs = folder.join(RUNS);
    if !runs.exists() {
        return Ok(());
    }
    let failed = |source| AuditError::Io { path: runs.display().to_string(), source };
    for entry in std::fs::read_dir(&runs).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        let stem = name.split('.').next().unwrap_or_default();
        if !opened.contains(&format!("{stem}.jsonl")) {
            verified.problems.push(problem(
                &runs.join(&name),
                0,
                "no record of the host's chain has opened it",
            ));
        }
    }
    verified.problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Ok(())
}

struct Walked {
    records: Vec<ChainRecord>,
    count: u64,
    head: String,
    /// Whether the record before is known, so that the next one can be held against it. One break
    /// is one problem.
    before: Before,
    /// Whether there is any file.
    is_read: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Known,
    Broken,
}

/// Reads one chain from its first file to its last, and reports where it breaks.
fn walk(path: &Path, start: &str, verified: &mut VerifiedLog) -> Result<Walked, AuditError> {
    let mut walked = Walked {
        records: Vec::new(),
        count: 0,
        head: start.to_owned(),
        before: Before::Known,
        is_read: false,
    };
    let files = match files(path) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(AuditError::Io { path: path.display().to_string(), source }),
    };
    for file in files {
        let failed = |source| AuditError::Io { path: file.display().to_string(), source };
        let reader = BufReader::new(std::fs::File::open(&file).map_err(failed)?);
        walked.is_read = true;
        for (index, line) in reader.split(b'\n').enumerate() {
            let line = String::from_utf8_lossy(&line.map_err(failed)?).into_owned();
            let number = index as u64 + 1;
            verified.records += 1;
            match parse(&line) {
                Err(reason) => {
                    verified.problems.push(problem(&file, number, &reason));
                    walked.before = Before::Broken;
                }
                Ok(record) => {
                    if walked.before == Before::Known {
                        check_place(&record, &walked, &file, number, verified);
                    }
                    walked.before = Before::Known;
                    walked.count = record.sequence;
                    walked.head.clone_from(&record.hash);
                    walked.records.push(record);
                }
            }
        }
    }
    Ok(walked)
}

fn check_place(
    record: &ChainRecord,
    walked: &Walked,
    file: &Path,
    line: u64,
    verified: &mut VerifiedLog,
) {
    let expected = walked.count + 1;
    if record.sequence != expected {
        let what = format!(
            "it is record {}, and {expected} comes here: records were removed, added or moved",
            record.sequence
        );
        verified.problems.push(problem(file, line, &what));
    } else if record.previous != walked.head {
        verified.problems.push(problem(file, line, "it does not follow the record before it"));
    }
}

fn problem(file: &Path, line: u64, what: &str) -> Problem {
    Problem { file: file.display().to_string(), line, what: what.to_owned() }
}

/// The records of every run in an audit log, as they are; those that cannot be read are left out.
/// Chains of one run are in order.
///
/// # Errors
/// [`AuditError::Io`] if a file or the folder exists and cannot be read.
pub fn records_of(folder: &Path) -> Result<Vec<(String, Vec<ChainRecord>)>, AuditError> {
    let runs = folder.join(RUNS);
    let failed = |source| AuditError::Io { path: runs.display().to_string(), source };
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(&runs) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(failed)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read(&path).map_err(failed)?;
        let records =
            String::from_utf8_lossy(&text).lines().filter_map(|line| parse(line).ok()).collect();
        let run = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .split('.')
            .next()
            .unwrap_or_default()
            .to_owned();
        all.push((run, records));
    }
    Ok(all)
}

/// The records of the host's own chain: which runs were opened and closed.
///
/// # Errors
/// [`AuditError::Io`] if a file of the chain cannot be read.
pub fn host_records(folder: &Path) -> Result<Vec<ChainRecord>, AuditError> {
    Ok(walk(&folder.join(CHAIN), GENESIS, &mut VerifiedLog::default())?.records)
}
