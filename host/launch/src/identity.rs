//! The user of a read-only program, and its limit of processes. The kernel enforces the limit,
//! because a program that keeps forking would starve everything else.

use rustix::fs::{Gid, Uid};
use rustix::process::{Resource, Rlimit, geteuid, getpid, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
    set_capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use std::io;

/// Processes and threads of one program.
const MOST_TASKS: u64 = 64;

/// The first user id of a range that no system gives to anybody; the number of the process is
/// added, so that each program has its own.
const FIRST_UID: u32 = 2_000_000_000;
/// `nobody`, where a container knows no larger numbers.
const NOBODY: u32 = 65_534;

/// Limits how many tasks this process and its descendants may be. The limit does not hold for root,
/// so root first becomes a user that nobody else is, and keeps only the right to read everything.
pub(crate) fn limit_tasks() -> io::Result<()> {
    let others = if geteuid().is_root() {
        become_a_reader()?;
        0
    } else {
        tasks_of(geteuid())?
    };
    let limit = Some(others + MOST_TASKS);
    Ok(setrlimit(Resource::Nproc, Rlimit { current: limit, maximum: limit })?)
}

/// Processes and threads of one program that may change something, where the kernel can count them.
const MOST_TASKS_OF_A_WRITER: u64 = 4_096;

/// Limits how many tasks this process and its descendants may be, unless it is root's.
pub(crate) fn limit_tasks_beside_those_of_its_user() -> io::Result<()> {
    if geteuid().is_root() {
        return Ok(());
    }
    let limit = tasks_of(geteuid())?.saturating_add(MOST_TASKS_OF_A_WRITER);
    let had = getrlimit(Resource::Nproc);
    let least = |other: Option<u64>| Some(other.map_or(limit, |other| other.min(limit)));
    let limit = Rlimit { current: least(had.current), maximum: least(had.maximum) };
    Ok(setrlimit(Resource::Nproc, limit)?)
}

fn become_a_reader() -> io::Result<()> {
    let reading = capabilities(None)?.permitted & CapabilitySet::DAC_READ_SEARCH;
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    let own = FIRST_UID + getpid().as_raw_nonzero().get().unsigned_abs();
    become_user(own).or_else(|_| become_user(NOBODY))?;
    set_capabilities(
        None,
        CapabilitySets { effective: reading, permitted: reading, inheritable: reading },
    )?;
    if !reading.is_empty() {
        configure_capability_in_ambient_set(CapabilitySet::DAC_READ_SEARCH, true)?;
    }
    Ok(())
}

fn become_user(number: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(number), Gid::from_raw(number));
    set_thread_res_gid(gid, gid, gid)?;
    Ok(set_thread_res_uid(uid, uid, uid)?)
}

/// How many tasks a user has now.
fn tasks_of(uid: Uid) -> io::Result<u64> {
    let line = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let mut tasks = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        // What is no process, or is gone by now, has no such file.
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if line(&status, "Uid:") == Some(uid.as_raw().into()) {
            tasks += line(&status, "Threads:").unwrap_or(1);
        }
    }
    Ok(tasks)
}
