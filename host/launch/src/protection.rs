//! The protections against a program that a sandbox asks of the kernel, and whether this kernel has
//! them.

use landlock::{
    AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetError,
    Scope,
};
use serde::{Deserialize, Serialize};

/// A protection against a program, named by what the program cannot reach or misuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// System calls that make sockets, namespaces or mounts, or that trace other processes.
    SystemCalls,
    /// The memory of other processes of the same user, by `/proc`.
    Processes,
    /// Signals to processes that are not its own.
    Signals,
    /// Connections to ports other than that of the connection that its target names.
    Ports,
    /// Files beside those that its target names.
    Files,
    /// What others keep in `/tmp`.
    Temporary,
    /// Descendants that outlive the program. With this protection all of them are killed at its
    /// end, even those in a session of their own.
    Descendants,
}

impl Protection {
    /// All protections.
    pub const ALL: [Self; 7] = [
        Self::SystemCalls,
        Self::Processes,
        Self::Signals,
        Self::Ports,
        Self::Files,
        Self::Temporary,
        Self::Descendants,
    ];

    /// Its name in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::SystemCalls => "system-calls",
            Self::Processes => "processes",
            Self::Signals => "signals",
            Self::Ports => "ports",
            Self::Files => "files",
            Self::Temporary => "temporary",
            Self::Descendants => "descendants",
        }
    }

    /// What a program can do without it.
    pub fn effect_of_absence(self) -> &'static str {
        match self {
            Self::SystemCalls => "it can make connections and trace other processes",
            Self::Processes => "it can read and write the memory of other processes of its user",
            Self::Signals => "it can send signals to other processes of its user",
            Self::Ports => "it can connect to other ports than that of the database it is lent",
            Self::Files => "a target with `reads` or `writes` is refused",
            Self::Temporary => "a target with `writes` gives it no `/tmp` to write in",
            Self::Descendants => "what it starts in a session of its own goes on after its end",
        }
    }

    /// The feature of the kernel that provides it.
    pub fn requirement(self) -> &'static str {
        match self {
            Self::SystemCalls => "filters of system calls (seccomp)",
            Self::Processes => "Landlock (Linux 5.13)",
            Self::Signals => "Landlock of Linux 6.12",
            Self::Ports => "Landlock of Linux 6.7",
            Self::Files => "Landlock of Linux 6.2",
            Self::Temporary => {
                "name spaces of mounts, which root or (by a setting) every user may make"
            }
            Self::Descendants => {
                "cgroups of version 2 in Linux 5.14, with the right to make some (root, or a \
                 service with `Delegate=yes`)"
            }
        }
    }

    /// Those of `protections` that this kernel lacks.
    pub fn missing(protections: impl IntoIterator<Item = Self>) -> Vec<Self> {
        protections.into_iter().filter(|protection| !protection.is_available()).collect()
    }

    /// Whether this kernel has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::SystemCalls => crate::syscalls::is_available(),
            Self::Processes => {
                landlock_supports(|ruleset| ruleset.handle_access(AccessFs::MakeBlock))
            }
            Self::Signals => landlock_supports(|ruleset| ruleset.scope(Scope::Signal)),
            Self::Ports => {
                landlock_supports(|ruleset| ruleset.handle_access(AccessNet::ConnectTcp))
            }
            Self::Files => landlock_supports(|ruleset| ruleset.handle_access(AccessFs::Truncate)),
            Self::Descendants => crate::cgroup::own_group_folder().is_some(),
            Self::Temporary => crate::temporary::is_available(),
        }
    }
}

impl std::fmt::Display for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether this kernel's Landlock supports what `request` adds to a ruleset.
fn landlock_supports(request: impl FnOnce(Ruleset) -> Result<Ruleset, RulesetError>) -> bool {
    let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    request(strict).is_ok()
}
