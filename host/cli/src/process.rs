//! Identifies this process, and checks whether another process still lives.
//!
//! A machine's name is no proof of anything: cloned machines and containers share names, and each
//! pid namespace counts for itself.

use runbook_engine::{Holder, ProcessIdentity, ProcessSighting};
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs;

/// What tells this process from every other one. `None` without a `/proc` of its own pid namespace:
/// then nothing is known.
pub fn identity() -> Option<ProcessIdentity> {
    let pid = std::process::id();
    // A namespace without its own `/proc` sees the pids of another one there.
    let own = fs::read_link("/proc/self").ok()?;
    (own.to_str()? == pid.to_string()).then_some(())?;
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
        started: started(pid)?,
    })
}

/// Whether the process that holds a lease is proven dead.
pub fn is_dead(own: Option<&ProcessIdentity>, holder: &Holder) -> bool {
    holder.is_dead(own, inspect)
}

fn inspect(pid: u32) -> ProcessSighting {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return ProcessSighting::Hidden;
    };
    if rustix::process::test_kill_process(raw) == Err(Errno::SRCH) {
        return ProcessSighting::Missing;
    }
    started(pid).map_or(ProcessSighting::Hidden, ProcessSighting::Started)
}

/// When a process started, in ticks since its kernel did.
fn started(pid: u32) -> Option<u64> {
    started_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `stat`. The name of the program, field 2, may hold spaces and parentheses.
fn started_in(stat: &str) -> Option<u64> {
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
            (started_in(stat), started_in(""), started_in("1 (x) S 1")),
            (Some(4711), None, None)
        );
    }

    #[test]
    fn this_process_lives_and_one_that_has_ended_is_dead() {
        let own = identity().expect("tests run with `/proc`");
        assert!(!is_dead(Some(&own), &holder(std::process::id(), Some(own.clone()))));
        let mut child = std::process::Command::new("true").spawn().expect("`true` starts");
        let pid = child.id();
        child.wait().expect("it ends");
        assert!(is_dead(Some(&own), &holder(pid, Some(own.clone()))));
        // The pid is used again, by this process: it is younger than the one that held the lease.
        let older = ProcessIdentity { started: own.started - 1, ..own.clone() };
        assert!(is_dead(Some(&own), &holder(std::process::id(), Some(older))));
        assert!(!is_dead(None, &holder(pid, Some(own))));
    }
}
