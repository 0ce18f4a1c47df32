//! Processes, by name.

use super::ReadError;
use crate::bindings::runbook::system::types;
use procfs::Current as _;
use procfs::process::{Process, StatFlags};
use runbook_authority::targets::SystemTarget;
use std::io::Read as _;

/// The processes that the target lets be seen, the oldest first; with a name, only those of it. A
/// process that ends meanwhile is left out.
pub(super) fn read(
    target: &SystemTarget,
    asked: Option<&str>,
) -> Result<Vec<types::Process>, ReadError> {
    let uptime = procfs::Uptime::current()?.uptime_duration();
    let mut found = Vec::new();
    for process in procfs::process::all_processes()?.flatten() {
        let Ok(stat) = process.stat() else { continue };
        let is_kernel_thread = stat.flags & StatFlags::PF_KTHREAD.bits() != 0;
        let is_asked_for = asked.is_none_or(|asked| asked == stat.comm);
        if is_kernel_thread || !is_asked_for || !target.shows_process(&stat.comm) {
            continue;
        }
        let Ok(pid) = u32::try_from(stat.pid) else { continue };
        let arguments = target.process_arguments.then(|| arguments(&process));
        let began_after = stat.starttime / procfs::ticks_per_second();
        let row = types::Process {
            pid,
            state: state(stat.state),
            age_s: uptime.as_secs().saturating_sub(began_after),
            resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
            name: stat.comm,
            arguments,
        };
        found.push((stat.starttime, row));
    }
    found.sort_by_key(|(began, process)| (*began, process.pid));
    Ok(found.into_iter().map(|(_, process)| process).collect())
}

/// The arguments of a process, without the program itself; empty if it has ended.
fn arguments(process: &Process) -> Vec<String> {
    let mut bytes = Vec::new();
    let read = process.open_relative("cmdline").map(|mut file| file.read_to_end(&mut bytes));
    if !matches!(read, Ok(Ok(_))) {
        return Vec::new();
    }
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    bytes
        .split(|byte| *byte == 0)
        .skip(1)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

/// The state by its letter in `/proc/PID/stat`.
fn state(letter: char) -> types::ProcessState {
    match letter {
        'R' => types::ProcessState::Running,
        'S' => types::ProcessState::Sleeping,
        'D' => types::ProcessState::DiskWait,
        'T' | 't' => types::ProcessState::Stopped,
        'Z' | 'X' => types::ProcessState::Zombie,
        'I' => types::ProcessState::Idle,
        _ => types::ProcessState::Other,
    }
}
