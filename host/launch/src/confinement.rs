//! The sandbox of a program that may change something: the kernel refuses what its target does not
//! grant.
//!
//! A program of root loses the capabilities of root but for a few. A filter of system calls
//! (`refused`) refuses sockets, namespaces, mounts, the tracing of other processes and acts on
//! them, and every new privilege. Landlock adds what a filter cannot see: the
//! port of a connection, the receiver of a signal, the memory of another process.
//!
//! Without the filter, no program is started. Older kernels lack parts of Landlock:
//! [`Confinement::missing_protections`] lists them.

use crate::files::{self, FileAccess, FileLimitError, Paths};
use crate::identity;
use crate::missing_feature::MissingFeature;
use crate::network::{Network, Signals};
use crate::protection::Protection;
use crate::refused;
use crate::temporary::{self, KeptAs, OwnTemporary, TEMPORARY};
use landlock::{
    AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a program may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// The sockets that it may make.
    pub network: Network,
    /// The processes that it may send signals to.
    pub signals: Signals,
    /// The files that it may open. If it may not write everywhere, it has a `/tmp` of its own.
    pub files: FileAccess,
    /// The limit of the address space of each of its processes, in bytes.
    pub memory: Option<u64>,
    /// The limit of the processor time of each of its processes, in seconds.
    pub cpu_s: Option<u64>,
}

impl Confinement {
    /// The protections that it needs from the kernel.
    pub fn protections(&self) -> Vec<Protection> {
        let signals = (self.signals == Signals::Own).then_some(Protection::Signals);
        let ports = matches!(self.network, Network::Port(_)).then_some(Protection::Ports);
        let files = self.files.is_limited().then_some(Protection::Files);
        let temporary = self.has_own_temporary().then_some(Protection::Temporary);
        [Protection::SystemCalls, Protection::Processes]
            .into_iter()
            .chain(signals)
            .chain(ports)
            .chain(files)
            .chain(temporary)
            .collect()
    }

    fn has_own_temporary(&self) -> bool {
        self.files.writes != Paths::Any
    }

    /// The protections that it needs and that this kernel does not have.
    pub fn missing_protections(&self) -> Vec<Protection> {
        Protection::missing(self.protections())
    }

    /// Makes a `/tmp` of the program's own, if it is to have one and the system allows it. The
    /// paths of the target, and `other_paths`, stay visible in it. Call it before the parent death
    /// signal is set: the kernel clears that signal when a process enters a namespace.
    ///
    /// # Errors
    /// If a path that the target grants cannot be had in it.
    pub(crate) fn make_temporary(
        &self,
        other_paths: &[&Path],
    ) -> Result<OwnTemporary, MissingFeature> {
        if !self.has_own_temporary() {
            return Ok(OwnTemporary::None);
        }
        let read = self.files.read_paths().chain(other_paths.iter().copied());
        let read = read.map(|path| (path, KeptAs::Read));
        let written = self.files.written_paths().map(|path| (path, KeptAs::Written));
        temporary::make_private(&written.chain(read).collect::<Vec<_>>())
    }

    /// Gives up every right that the confinement does not grant, until this process ends.
    ///
    /// # Errors
    /// [`MissingFeature`], if the system calls cannot be filtered, if files are to be limited and
    /// cannot be, or if a part of Landlock is there and cannot be used. Nothing may be run then.
    pub(crate) fn enter(&self, temporary: OwnTemporary) -> Result<(), MissingFeature> {
        if self.files.is_limited() && !Protection::Files.is_available() {
            let part = Protection::Files.requirement();
            return Err(MissingFeature::new(part, "this kernel does not have it"));
        }
        self.set_resource_limits()?;
        identity::keep_capabilities(self.kept_capabilities())
            .map_err(|error| MissingFeature::new("a limit of capabilities", error))?;
        self.enter_landlock(temporary)?;
        refused::restrict(self.network, self.signals, &self.files)
            .map_err(|error| MissingFeature::new(Protection::SystemCalls.requirement(), error))
    }

    /// The capabilities that the program of root keeps: those by which an ordinary program of root
    /// handles files and changes its user, and those of what its target grants.
    fn kept_capabilities(&self) -> CapabilitySet {
        let signals = match self.signals {
            Signals::Own => CapabilitySet::empty(),
            Signals::Any => CapabilitySet::KILL,
        };
        let network = match self.network {
            Network::Closed | Network::Port(_) | Network::Files => CapabilitySet::empty(),
            // `su` and `runuser` of root end with an error if they cannot write to the audit log
            // of the kernel, to which they connect.
            Network::Open => {
                CapabilitySet::NET_BIND_SERVICE
                    | CapabilitySet::NET_BROADCAST
                    | CapabilitySet::NET_RAW
                    | CapabilitySet::AUDIT_WRITE
            }
        };
        signals
            | network
            | CapabilitySet::CHOWN
            | CapabilitySet::DAC_OVERRIDE
            | CapabilitySet::DAC_READ_SEARCH
            | CapabilitySet::FOWNER
            | CapabilitySet::FSETID
            | CapabilitySet::SETUID
            | CapabilitySet::SETGID
    }

    /// Limits the memory and time of each process of the program, and the number of its processes.
    /// The number is not limited for root, to whom the kernel does not apply that limit.
    fn set_resource_limits(&self) -> Result<(), MissingFeature> {
        let limits = [
            (Resource::As, self.memory),
            (Resource::Cpu, self.cpu_s),
            // No core dump: it would write the secrets in the memory of the program to a file.
            (Resource::Core, Some(0)),
        ];
        for (resource, limit) in limits {
            let Some(limit) = limit else { continue };
            setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
                .map_err(|error| MissingFeature::new("limits of a process", error))?;
        }
        identity::limit_further_tasks()
            .map_err(|error| MissingFeature::new("a limit of processes", error))
    }

    fn enter_landlock(&self, temporary: OwnTemporary) -> Result<(), FileLimitError> {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        let mut ruleset = files::handle_file_access(ruleset, &self.files)?;
        let scopes = self.scopes();
        if !scopes.is_empty() {
            ruleset = ruleset.scope(scopes)?;
        }
        if let Network::Port(_) = self.network {
            ruleset = ruleset.handle_access(AccessNet::ConnectTcp | AccessNet::BindTcp)?;
        }
        let mut ruleset = ruleset.create()?;
        if let Network::Port(port) = self.network {
            ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
        let temporary = match temporary {
            OwnTemporary::Made => Some(Path::new(TEMPORARY)),
            OwnTemporary::None => None,
        };
        self.files.add_rules(ruleset, temporary)?.restrict_self()?;
        Ok(())
    }

    fn scopes(&self) -> BitFlags<Scope> {
        let signals = match self.signals {
            Signals::Own => BitFlags::from(Scope::Signal),
            Signals::Any => BitFlags::empty(),
        };
        let sockets = match self.network {
            Network::Closed | Network::Port(_) | Network::Files => {
                BitFlags::from(Scope::AbstractUnixSocket)
            }
            Network::Open => BitFlags::empty(),
        };
        signals | sockets
    }
}

/// The numbers of the system calls that every program of a target is refused, whatever their
/// arguments.
pub fn refused_calls() -> impl Iterator<Item = i64> {
    refused::refused_calls()
}

/// The numbers of the system calls that a program is refused, whatever their arguments, unless its
/// target grants signals.
pub fn sharing_calls() -> impl Iterator<Item = i64> {
    crate::other_processes::sharing_calls()
}
