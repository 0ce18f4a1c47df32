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
}

impl Protection {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::SystemCalls, Self::Processes, Self::Signals, Self::Ports];

    /// Its name in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::SystemCalls => "system-calls",
            Self::Processes => "processes",
            Self::Signals => "signals",
            Self::Ports => "ports",
        }
    }

    /// What a program can do without it.
    pub fn without(self) -> &'static str {
        match self {
            Self::SystemCalls => "it can make connections and trace other processes",
            Self::Processes => "it can read and write the memory of other processes of its user",
            Self::Signals => "it can send signals to other processes of its user",
            Self::Ports => "it can connect to other ports than that of the database it is lent",
        }
    }

    /// The part of the kernel that it is made of.
    pub fn needs(self) -> &'static str {
        match self {
            Self::SystemCalls => "filters of system calls (seccomp)",
            Self::Processes => "Landlock (Linux 5.13)",
            Self::Signals => "Landlock of Linux 6.12",
            Self::Ports => "Landlock of Linux 6.7",
        }
    }

    /// Whether this kernel has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::SystemCalls => crate::syscalls::is_available(),
            Self::Processes => has(|ruleset| ruleset.handle_access(AccessFs::MakeBlock)),
            Self::Signals => has(|ruleset| ruleset.scope(Scope::Signal)),
            Self::Ports => has(|ruleset| ruleset.handle_access(AccessNet::ConnectTcp)),
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
