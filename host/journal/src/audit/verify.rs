//! Verifies that the audit log is complete and unchanged.

use super::alive::is_alive;
use super::chain::{ChainRecord, GENESIS, files, parse};
use super::{AuditError, CHAIN, OPEN, RUNS};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// What [`verify`] found in the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogVerification {
    /// How many records were read, of all chains.
    pub records: u64,
    /// How many chains of runs were read.
    pub runs: u64,
    /// Chains whose process is alive.
    pub live_chains: Vec<String>,
    /// Chains whose process was killed and that are not sealed yet. Records that were cut off from
    /// their ends cannot be detected; the remaining records are verified.
    pub unsealed: Vec<String>,
    /// The last hash of the host's chain. A copy kept elsewhere proves that no record was cut off
    /// since.
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
/// among the problems of [`LogVerification`].
pub fn verify(folder: &Path) -> Result<LogVerification, AuditError> {
    let mut verification =
        LogVerification { head: GENESIS.to_owned(), ..LogVerification::default() };
    let host_path = folder.join(CHAIN);
    let host_chain = read_chain(&host_path, GENESIS, &mut verification)?;
    verification.head.clone_from(&host_chain.head);
    if let Some(what) = missing_log_reason(folder, &host_chain) {
        verification.problems.push(problem(&host_path, 0, what));
    }
    let mut opened: BTreeMap<String, String> = BTreeMap::new();
    let mut closed: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for record in &host_chain.records {
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
        verification.runs += 1;
        let path = folder.join(RUNS).join(file);
        let run = read_chain(&path, start, &mut verification)?;
        match closed.get(file) {
            None if is_alive(&folder.join(OPEN).join(file)) => {
                verification.live_chains.push(file.clone());
            }
            None => verification.unsealed.push(file.clone()),
            // A process that was killed before it made a file has left none.
            Some((0, _)) if run.count == 0 => {}
            Some(_) if run.count == 0 && files(&path).is_ok_and(|files| files.is_empty()) => {
                verification.problems.push(problem(
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
                verification.problems.push(problem(&path, run.count, &what));
            }
            Some(_) => {}
        }
    }
    report_unopened_files(folder, &opened.keys().cloned().collect(), &mut verification)?;
    Ok(verification)
}

/// Why a folder has no log; `None` if it has one. A log that was never begun cannot be
/// distinguished from one that was removed, or from a wrong name, so each of them is a problem.
fn missing_log_reason(folder: &Path, host_chain: &ChainReading) -> Option<&'static str> {
    match host_chain.count {
        0 if !folder.exists() => {
            Some("there is no such folder: its name is wrong, it was removed, or nothing ran yet")
        }
        0 if host_chain.is_read => Some("it holds no record: it was emptied"),
        0 => Some("it is not there: nothing ran yet, or it was removed"),
        _ => None,
    }
}

/// The number of records in a chain, and the hash of the last one.
pub(super) fn chain_end(path: &Path) -> Result<(u64, String), AuditError> {
    let reading = read_chain(path, "", &mut LogVerification::default())?;
    Ok((reading.count, reading.head))
}

/// Reports the files in the folder of runs that no record of the host's chain has opened.
fn report_unopened_files(
    folder: &Path,
    opened: &BTreeSet<String>,
    verification: &mut LogVerification,
) -> Result<(), AuditError> {
    let runs = folder.join(RUNS);
    if !runs.exists() {
        return Ok(());
    }
    let io_error = |source| AuditError::Io { path: runs.display().to_string(), source };
    for entry in std::fs::read_dir(&runs).map_err(io_error)? {
        let name = entry.map_err(io_error)?.file_name().to_string_lossy().into_owned();
        let stem = name.split('.').next().unwrap_or_default();
        if !opened.contains(&format!("{stem}.jsonl")) {
            verification.problems.push(problem(
                &runs.join(&name),
                0,
                "no record of the host's chain has opened it",
            ));
        }
    }
    verification.problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Ok(())
}

struct ChainReading {
    records: Vec<ChainRecord>,
    count: u64,
    head: String,
    /// Whether the record before could be read, so that the next one can be compared with it. Thus
    /// one broken record is reported once.
    previous_record: PreviousRecord,
    /// Whether the chain has any file.
    is_read: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PreviousRecord {
    Known,
    Broken,
}

/// Reads one chain from its first file to its last, and reports where it breaks.
fn read_chain(
    path: &Path,
    start: &str,
    verification: &mut LogVerification,
) -> Result<ChainReading, AuditError> {
    let mut reading = ChainReading {
        records: Vec::new(),
        count: 0,
        head: start.to_owned(),
        previous_record: PreviousRecord::Known,
        is_read: false,
    };
    let files = match files(path) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(AuditError::Io { path: path.display().to_string(), source }),
    };
    for file in files {
        let io_error = |source| AuditError::Io { path: file.display().to_string(), source };
        let reader = BufReader::new(std::fs::File::open(&file).map_err(io_error)?);
        reading.is_read = true;
        for (index, line) in reader.split(b'\n').enumerate() {
            let line = String::from_utf8_lossy(&line.map_err(io_error)?).into_owned();
            let number = index as u64 + 1;
            verification.records += 1;
            match parse(&line) {
                Err(reason) => {
                    verification.problems.push(problem(&file, number, &reason));
                    reading.previous_record = PreviousRecord::Broken;
                }
                Ok(record) => {
                    if reading.previous_record == PreviousRecord::Known {
                        check_sequence(&record, &reading, &file, number, verification);
                    }
                    reading.previous_record = PreviousRecord::Known;
                    reading.count = record.sequence;
                    reading.head.clone_from(&record.hash);
                    reading.records.push(record);
                }
            }
        }
    }
    Ok(reading)
}

fn check_sequence(
    record: &ChainRecord,
    reading: &ChainReading,
    file: &Path,
    line: u64,
    verification: &mut LogVerification,
) {
    let expected = reading.count + 1;
    if record.sequence != expected {
        let what = format!(
            "it is record {}, and {expected} comes here: records were removed, added or moved",
            record.sequence
        );
        verification.problems.push(problem(file, line, &what));
    } else if record.previous != reading.head {
        verification.problems.push(problem(file, line, "it does not follow the record before it"));
    }
}

fn problem(file: &Path, line: u64, what: &str) -> Problem {
    Problem { file: file.display().to_string(), line, what: what.to_owned() }
}

/// The records of every chain of a run in an audit log, with the name of the chain. Records that
/// cannot be read are left out. The chains of a run are in the order of its processes.
///
/// # Errors
/// [`AuditError::Io`] if a file or the folder exists and cannot be read.
pub fn run_records(folder: &Path) -> Result<Vec<(String, Vec<ChainRecord>)>, AuditError> {
    let runs = folder.join(RUNS);
    let io_error = |source| AuditError::Io { path: runs.display().to_string(), source };
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(&runs) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(io_error)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(io_error(error)),
    };
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read(&path).map_err(io_error)?;
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
    Ok(read_chain(&folder.join(CHAIN), GENESIS, &mut LogVerification::default())?.records)
}
