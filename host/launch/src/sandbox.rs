//! A sandbox in which a process can read and change nothing.
//!
//! It uses two mechanisms of the kernel. Landlock lets it open files for reading only, with
//! `/dev/null` as the one exception, and keeps it from looking into processes outside. A list of
//! system calls holds what Landlock does not know: there is no call for sockets, signals, modes,
//! owners, times, locks, mounts, keys or sessions among them, so every other way to change
//! something is refused, because it is not listed. Limits of time, memory and file size apply in
//! addition.
//!
//! If the kernel lacks one of them, the launcher names it and starts nothing.

use crate::files::{FileAccess, Paths};
use crate::{identity, syscalls};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How much a program that may change nothing may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// Seconds of one processor, of each process.
    pub cpu_s: u64,
    /// Bytes of address space, of each process.
    pub memory: u64,
    /// What it may read, beside what every program needs to begin.
    pub reads: Paths,
    /// What the host itself names to it: its own file.
    pub own: Vec<PathBuf>,
}

/// How much a part of this program that works on what others wrote may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Seconds of one processor, all threads together. Then the process ends by `SIGXCPU`.
    pub cpu_s: u64,
    /// Bytes of memory that it may write to. Address space that is only reserved is not counted: a
    /// process has much of it for each of its threads.
    pub memory: u64,
}

/// What this system lacks for a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the walls around it cannot be made here: {part} ({reason})")]
pub struct MissingFeature {
    /// The part of the sandbox.
    pub part: String,
    /// Why it cannot be had.
    pub reason: String,
}

impl MissingFeature {
    pub(crate) fn new(part: &str, reason: impl std::fmt::Display) -> Self {
        Self { part: part.to_owned(), reason: reason.to_string() }
    }
}

const LANDLOCK: &str = "Landlock of Linux 6.2 or later, as one of the kernel's security modules";
const SECCOMP: &str = "filters of system calls (seccomp)";

/// The oldest Landlock that knows every way to change what a file holds: opening, creating,
/// removing, moving, truncating.
const OLDEST_ABI: ABI = ABI::V3;
/// The newest that is used, where it is there.
const NEWEST: ABI = ABI::V6;

/// Whether the kernel has what the sandbox needs.
///
/// # Errors
/// [`MissingFeature`] says which part is not there.
pub fn available() -> Result<(), MissingFeature> {
    ruleset()?;
    syscalls::program().map_err(|error| MissingFeature::new(SECCOMP, error)).map(|_| ())
}

/// The numbers of the system calls that are not refused, some of them with some arguments only.
pub fn system_calls() -> impl Iterator<Item = i64> {
    syscalls::listed()
}

/// Limits how many processes and threads may come of this one. Root gives up all rights but that of
/// reading, because for root there is no such limit.
///
/// # Errors
/// [`MissingFeature`], if that cannot be had.
pub fn limit_tasks() -> Result<(), MissingFeature> {
    identity::limit_tasks().map_err(|error| MissingFeature::new("a limit of processes", error))
}

/// Gives up every way to change something, for this process and all that come of it.
///
/// # Errors
/// [`MissingFeature`] says what cannot be given up; nothing may be run then.
pub fn enter(allowance: &Allowance) -> Result<(), MissingFeature> {
    let limits = [
        (Resource::Cpu, allowance.cpu_s),
        (Resource::As, allowance.memory),
        // Room for the launcher to say why `exec` failed; no file can be opened for writing.
        (Resource::Fsize, 4096),
        (Resource::Core, 0),
        (Resource::Nofile, 256),
        (Resource::Msgqueue, 0),
    ];
    for (resource, limit) in limits {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, limit)
            .map_err(|error| MissingFeature::new("limits of a process", error))?;
    }
    let status = match &allowance.reads {
        Paths::Any => ruleset()?,
        Paths::Below(_) => limited(allowance)?,
    }
    .restrict_self()
    .map_err(|error| MissingFeature::new(LANDLOCK, error))?;
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(MissingFeature::new(LANDLOCK, "it is not enforced"));
    }
    syscalls::restrict().map_err(|error| MissingFeature::new(SECCOMP, error))
}

/// Limits what this process may use, and gives up files, connections and other processes, for the
/// rest of its life. It has to have read what it works on, and writes to what is open.
///
/// The limits hold on every kernel. The rest is a second defence around our own code, so a kernel
/// without it is accepted.
///
/// # Errors
/// [`MissingFeature`], if a limit cannot be set.
pub fn enclose(walls: &SandboxLimits) -> Result<(), MissingFeature> {
    // One second between the signal that tells the reason and the one that cannot be ignored.
    let limits = [
        (Resource::Cpu, walls.cpu_s, walls.cpu_s + 1),
        (Resource::Data, walls.memory, walls.memory),
        (Resource::Core, 0, 0),
    ];
    for (resource, current, maximum) in limits {
        let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
        setrlimit(resource, limit)
            .map_err(|error| MissingFeature::new("limits of a process", error))?;
    }
    if let Ok(nothing) = handled().and_then(|ruleset| ruleset.create().map_err(landlock_missing)) {
        let _ = nothing.restrict_self();
    }
    let _ = syscalls::restrict();
    Ok(())
}

fn landlock_missing(error: landlock::RulesetError) -> MissingFeature {
    MissingFeature::new(LANDLOCK, error)
}

fn ruleset() -> Result<landlock::RulesetCreated, MissingFeature> {
    let everything = PathFd::new("/").map_err(|error| MissingFeature::new(LANDLOCK, error))?;
    let null = PathFd::new("/dev/null").map_err(|error| MissingFeature::new(LANDLOCK, error))?;
    handled()?
        .create()
        .map_err(landlock_missing)?
        .add_rule(PathBeneath::new(everything, AccessFs::from_read(OLDEST_ABI)))
        .map_err(landlock_missing)?
        .add_rule(PathBeneath::new(null, AccessFs::WriteFile | AccessFs::Truncate))
        .map_err(landlock_missing)
}

/// The same, with files to read that are listed.
fn limited(allowance: &Allowance) -> Result<landlock::RulesetCreated, MissingFeature> {
    let files = FileAccess {
        reads: allowance.reads.clone(),
        writes: Paths::Below(Vec::new()),
        own: allowance.own.clone(),
    };
    let ruleset = handled()?.create().map_err(landlock_missing)?;
    Ok(files.add_rules(ruleset, None)?)
}

/// All that is refused unless a rule allows it.
fn handled() -> Result<Ruleset, MissingFeature> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(OLDEST_ABI))
        .map_err(landlock_missing)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .map_err(landlock_missing)?
        .handle_access(AccessNet::from_all(NEWEST))
        .map_err(landlock_missing)
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)).map_err(landlock_missing))
}
