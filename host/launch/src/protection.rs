//! What the kernel is asked to keep a program from, and which of it this kernel has.

use landlock::{
    AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetError,
    Scope,
};
use serde::{Deserialize, Serialize};

/// One thing that the kernel keeps a program from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// System calls that make sockets, name spaces or mounts, or that trace other processes.
    SystemCalls,
    /// The memory of other processes of the same user, by `/proc`.
    Processes,
    /// Signals to processes that are not its own.
    Signals,
    /// Connections to other ports than that of the database that it is lent.
    Ports,
    /// Files beside those that its target names.
    Files,
    /// What others keep in `/tmp`.
    Temporary,
    /// An end of all that it started, also of what began a session of its own.
    Descendants,
}

impl Protection {
    /// Each of them.
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
    pub fn without(self) -> &'static str {
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

    /// The part of the kernel that it is made of.
    pub fn needs(self) -> &'static str {
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

    /// Whether this kernel has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::SystemCalls => crate::syscalls::is_available(),
            Self::Processes => has(|ruleset| ruleset.handle_access(AccessFs::MakeBlock)),
            Self::Signals => has(|ruleset| ruleset.scope(Scope::Signal)),
            Self::Ports => has(|ruleset| ruleset.handle_access(AccessNet::ConnectTcp)),
            Self::Files => has(|ruleset| ruleset.handle_access(AccessFs::Truncate)),
            Self::Descendants => crate::cgroup::own().is_some(),
            Self::Temporary => crate::temporary::is_available(),
        }
    }
}

impl std::fmt::Display for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether the Landlock of this kernel knows what is asked of it.
fn has(ask: impl FnOnce(Ruleset) -> Result<Ruleset, RulesetError>) -> bool {
    let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ask(strict).is_ok()
}
