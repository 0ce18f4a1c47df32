//! A sandbox in which a process can read and change nothing.
//!
//! It uses two mechanisms of the kernel. Landlock allows opening files for reading only, except
//! `/dev/null`, and no terminal, and denies access to processes outside of the sandbox. A seccomp filter allows only
//! listed system calls. None of them is for sockets, signals, modes, owners, times, locks, mounts,
//! keys or sessions, so the ways to change something that Landlock does not cover are refused.
//! Limits of time, memory and file size apply in addition.
//!
//! If the kernel lacks one of the mechanisms, the launcher names it and starts nothing.

use crate::files::{ALWAYS_READABLE, FileAccess, Paths, add_rule_if_present};
use crate::missing_feature::MissingFeature;
use crate::{identity, syscalls};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The limits of a program that may change nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadOnlyLimits {
    /// Seconds of one processor, of each process.
    pub cpu_s: u64,
    /// Bytes of address space, of each process.
    pub memory: u64,
    /// What it may read, in addition to what every program needs to begin. `Any` is every file but
    /// the devices.
    pub reads: Paths,
    /// What the host adds to `reads`: the file of the program.
    pub own: Vec<PathBuf>,
}

/// The limits of a process of this program that works on untrusted data, such as the compiler of
/// plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Seconds of one processor, all threads together. Then the process ends by `SIGXCPU`.
    pub cpu_s: u64,
    /// Bytes of memory that it may write to. Address space that is only reserved is not counted: a
    /// process has much of it for each of its threads.
    pub memory: u64,
}

const LANDLOCK: &str = "Landlock of Linux 6.2 or later, as one of the kernel's security modules";
const SECCOMP: &str = "filters of system calls (seccomp)";

/// The folder of devices, terminals among them.
const DEVICES: &str = "/dev";

/// The oldest Landlock that knows every way to change what a file holds: opening, creating,
/// removing, moving, truncating.
const OLDEST_ABI: ABI = ABI::V3;
/// The newest Landlock that is used, if the kernel has it.
const NEWEST_ABI: ABI = ABI::V6;

/// Checks that the kernel has what the sandbox needs.
///
/// # Errors
/// [`MissingFeature`] names the part that is missing.
pub fn available() -> Result<(), MissingFeature> {
    read_everywhere_ruleset()?;
    syscalls::filters().map_err(|error| MissingFeature::new(SECCOMP, error)).map(|_| ())
}

/// The numbers of the system calls that are not refused, some of them with some arguments only.
pub fn system_calls() -> impl Iterator<Item = i64> {
    syscalls::allowed_calls()
}

/// Limits how many processes and threads this process may start. Root gives up all rights but that
/// of reading, because the kernel does not apply the limit to root.
///
/// # Errors
/// [`MissingFeature`], if the limit cannot be set.
pub fn limit_tasks() -> Result<(), MissingFeature> {
    identity::limit_tasks().map_err(|error| MissingFeature::new("a limit of processes", error))
}

/// Gives up every way to change something, for this process and its descendants.
///
/// # Errors
/// [`MissingFeature`] names what cannot be given up; nothing may be run then.
pub fn make_read_only(read_only_limits: &ReadOnlyLimits) -> Result<(), MissingFeature> {
    let limits = [
        (Resource::Cpu, read_only_limits.cpu_s),
        (Resource::As, read_only_limits.memory),
        // No file can be opened for writing anyway.
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Nofile, 256),
        (Resource::Msgqueue, 0),
    ];
    for (resource, limit) in limits {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, limit)
            .map_err(|error| MissingFeature::new("limits of a process", error))?;
    }
    let status = match &read_only_limits.reads {
        Paths::Any => read_everywhere_ruleset()?,
        Paths::Below(_) => listed_paths_ruleset(read_only_limits)?,
    }
    .restrict_self()
    .map_err(|error| MissingFeature::new(LANDLOCK, error))?;
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(MissingFeature::new(LANDLOCK, "it is not enforced"));
    }
    syscalls::restrict().map_err(|error| MissingFeature::new(SECCOMP, error))
}

/// Limits this process, and denies it to open files and connections and to start processes, until
/// it ends. It must have read its data before, and can write only to open files.
///
/// The limits work on every kernel. The sandbox is a second defence around code of this program, so
/// a kernel without it is accepted.
///
/// # Errors
/// [`MissingFeature`], if a limit cannot be set.
pub fn restrict_own_process(sandbox_limits: &SandboxLimits) -> Result<(), MissingFeature> {
    // One second between `SIGXCPU`, which tells the reason, and `SIGKILL`.
    let limits = [
        (Resource::Cpu, sandbox_limits.cpu_s, sandbox_limits.cpu_s + 1),
        (Resource::Data, sandbox_limits.memory, sandbox_limits.memory),
        (Resource::Core, 0, 0),
    ];
    for (resource, current, maximum) in limits {
        let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
        setrlimit(resource, limit)
            .map_err(|error| MissingFeature::new("limits of a process", error))?;
    }
    if let Ok(empty_ruleset) =
        handled_access().and_then(|ruleset| ruleset.create().map_err(landlock_missing))
    {
        let _ = empty_ruleset.restrict_self();
    }
    let _ = syscalls::restrict();
    Ok(())
}

fn landlock_missing(error: landlock::RulesetError) -> MissingFeature {
    MissingFeature::new(LANDLOCK, error)
}

/// The ruleset of a read-only program that may read every file but devices: who reads a terminal
/// takes what the operator types. It may list every folder.
fn read_everywhere_ruleset() -> Result<landlock::RulesetCreated, MissingFeature> {
    let missing = |error: &dyn std::fmt::Display| MissingFeature::new(LANDLOCK, error);
    let root_folder = PathFd::new("/").map_err(|error| missing(&error))?;
    let dev_null = PathFd::new("/dev/null").map_err(|error| missing(&error))?;
    let mut ruleset = handled_access()?
        .create()
        .map_err(landlock_missing)?
        .add_rule(PathBeneath::new(root_folder, AccessFs::ReadDir))
        .map_err(landlock_missing)?
        .add_rule(PathBeneath::new(dev_null, AccessFs::WriteFile | AccessFs::Truncate))
        .map_err(landlock_missing)?;
    // Landlock has no exceptions, so what lies beside the folder of devices is granted by name.
    for entry in std::fs::read_dir("/").map_err(|error| missing(&error))? {
        let path = entry.map_err(|error| missing(&error))?.path();
        if path != Path::new(DEVICES) {
            ruleset = add_rule_if_present(ruleset, &path, AccessFs::from_read(OLDEST_ABI))?;
        }
    }
    for device in ALWAYS_READABLE.iter().filter(|path| path.starts_with(DEVICES)) {
        ruleset = add_rule_if_present(ruleset, Path::new(device), AccessFs::ReadFile)?;
    }
    Ok(ruleset)
}

/// The ruleset of a read-only program that may read only the listed paths.
fn listed_paths_ruleset(
    read_only_limits: &ReadOnlyLimits,
) -> Result<landlock::RulesetCreated, MissingFeature> {
    let files = FileAccess {
        reads: read_only_limits.reads.clone(),
        writes: Paths::Below(Vec::new()),
        own: read_only_limits.own.clone(),
    };
    let ruleset = handled_access()?.create().map_err(landlock_missing)?;
    Ok(files.add_rules(ruleset, None)?)
}

/// A ruleset that refuses all access to files and the network unless a rule allows it.
fn handled_access() -> Result<Ruleset, MissingFeature> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(OLDEST_ABI))
        .map_err(landlock_missing)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST_ABI))
        .map_err(landlock_missing)?
        .handle_access(AccessNet::from_all(NEWEST_ABI))
        .map_err(landlock_missing)
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST_ABI)).map_err(landlock_missing))
}
