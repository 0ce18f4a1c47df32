//! Identifies this process, and checks whether another process is alive.
//!
//! Host name and pid do not identify a process: cloned machines and containers share names, and
//! each pid namespace has its own pids.

use runbook_engine::{Holder, PidStatus, ProcessIdentity};
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs;

/// What distinguishes this process from all others. `None` if `/proc` is missing or belongs to
/// another pid namespace.
pub fn identity() -> Option<ProcessIdentity> {
    let pid = std::process::id();
    // A pid namespace without its own `/proc` sees the pids of another namespace there.
    let proc_self = fs::read_link("/proc/self").ok()?;
    (proc_self.to_str()? == pid.to_string()).then_some(())?;
    let line = |path: &str| {
        fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let namespace = |kind: &str| {
        fs::read_link(format!("/proc/self/ns/{kind}")).map(|link| link.display().to_string())
    };
    let namespaces =
        format!("{} {}", namespace("pid").ok()?, namespace("time").unwrap_or_default());
    Some(ProcessIdentity {
        machine: line("/etc/machine-id"),
        boot: line("/proc/sys/kernel/random/boot_id"),
        namespaces,
        started: start_time(pid)?,
    })
}

/// Whether the process that holds a lease is proven dead.
pub fn is_dead(this_process: Option<&ProcessIdentity>, holder: &Holder) -> bool {
    holder.is_dead(this_process, pid_status)
}

fn pid_status(pid: u32) -> PidStatus {
    let Some(raw_pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return PidStatus::Hidden;
    };
    if rustix::process::test_kill_process(raw_pid) == Err(Errno::SRCH) {
        return PidStatus::Missing;
    }
    start_time(pid).map_or(PidStatus::Hidden, PidStatus::Started)
}

/// When a process started, in clock ticks since boot.
fn start_time(pid: u32) -> Option<u64> {
    start_time_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `/proc/PID/stat`. Field 2, the name of the program, may contain spaces and
/// parentheses.
fn start_time_in(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_engine::RunId;

    fn holder(pid: u32, process: Option<ProcessIdentity>) -> Holder {
        Holder {
            run: RunId::generate(),
            executor: uuid::Uuid::nil(),
            host: "h".into(),
            pid,
            process,
        }
    }

    #[test]
    fn a_program_with_parentheses_in_its_name_is_read() {
        let stat = "12 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(
            (start_time_in(stat), start_time_in(""), start_time_in("1 (x) S 1")),
            (Some(4711), None, None)
        );
    }

    #[test]
    fn this_process_lives_and_one_that_has_ended_is_dead() {
        let this_process = identity().expect("tests run with `/proc`");
        assert!(!is_dead(
            Some(&this_process),
            &holder(std::process::id(), Some(this_process.clone()))
        ));
        let mut child = std::process::Command::new("true").spawn().expect("`true` starts");
        let pid = child.id();
        child.wait().expect("it ends");
        assert!(is_dead(Some(&this_process), &holder(pid, Some(this_process.clone()))));
        // The pid was reused: the process that has it now started later than the holder.
        let older = ProcessIdentity { started: this_process.started - 1, ..this_process.clone() };
        assert!(is_dead(Some(&this_process), &holder(std::process::id(), Some(older))));
        assert!(!is_dead(None, &holder(pid, Some(this_process))));
    }
}
