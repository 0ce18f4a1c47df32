//! Changes the user of a read-only program, takes the capabilities of root from others, and limits how many processes it may start: a program
//! that keeps forking would leave nothing for other processes.

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, geteuid, getpid, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use std::io;

/// The most processes and threads of one program.
const MAX_TASKS: u64 = 64;

/// The first user id of a range that no system assigns. The id of the process is added, so that
/// each program has a user of its own.
const FIRST_UID: u32 = 2_000_000_000;
/// The user `nobody`, for containers whose range of user ids is too small for the others.
const NOBODY: u32 = 65_534;

/// Limits how many tasks this process and its descendants may have. The kernel does not apply the
/// limit to root, so root first becomes an unused user and keeps only the right to read everything.
pub(crate) fn limit_tasks() -> io::Result<()> {
    let other_tasks = if geteuid().is_root() {
        drop_all_but_reading()?;
        0
    } else {
        count_tasks(geteuid())?
    };
    let limit = Some(other_tasks + MAX_TASKS);
    Ok(setrlimit(Resource::Nproc, Rlimit { current: limit, maximum: limit })?)
}

/// The most processes and threads of one program that may change something, if its user is not
/// root.
const MAX_TASKS_OF_WRITER: u64 = 4_096;

/// Limits how many tasks the user may have to its present ones and those of one more program. The
/// kernel does not limit root.
pub(crate) fn limit_further_tasks() -> io::Result<()> {
    if geteuid().is_root() {
        return Ok(());
    }
    let limit = count_tasks(geteuid())?.saturating_add(MAX_TASKS_OF_WRITER);
    let present = getrlimit(Resource::Nproc);
    let lowered = |other: Option<u64>| Some(other.map_or(limit, |other| other.min(limit)));
    let limit = Rlimit { current: lowered(present.current), maximum: lowered(present.maximum) };
    Ok(setrlimit(Resource::Nproc, limit)?)
}

/// Gives up every capability but these, for this process and what it becomes. Most processes that
/// are not of root have none.
pub(crate) fn keep_capabilities(kept: CapabilitySet) -> io::Result<()> {
    let present = capabilities(None)?;
    // A process without the right to change this set gives up nothing here. It regains nothing
    // either, because it gets no new privileges.
    if present.effective.contains(CapabilitySet::SETPCAP) {
        for number in 0..u64::BITS {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            match capability_is_in_bounding_set(capability) {
                Ok(true) if !kept.contains(capability) => {
                    remove_capability_from_bounding_set(capability)?;
                }
                Ok(_) => {}
                // The first number that this kernel does not know.
                Err(Errno::INVAL) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    let sets = CapabilitySets {
        effective: present.effective & kept,
        permitted: present.permitted & kept,
        inheritable: present.inheritable & kept,
    };
    // The kernel takes from the ambient set what is not in these.
    Ok(set_capabilities(None, sets)?)
}

/// Becomes an unused user who keeps, of root's capabilities, only the one to read every file.
fn drop_all_but_reading() -> io::Result<()> {
    let reading = capabilities(None)?.permitted & CapabilitySet::DAC_READ_SEARCH;
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    let own_uid = FIRST_UID + getpid().as_raw_nonzero().get().unsigned_abs();
    become_user(own_uid).or_else(|_| become_user(NOBODY))?;
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
fn count_tasks(uid: Uid) -> io::Result<u64> {
    let number_after = |status: &str, name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    let mut tasks = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        // An entry that is no process, or whose process has ended, has no such file.
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if number_after(&status, "Uid:") == Some(uid.as_raw().into()) {
            tasks += number_after(&status, "Threads:").unwrap_or(1);
        }
    }
    Ok(tasks)
}
