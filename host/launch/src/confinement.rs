//! The sandbox of a program that may change something: what its target does not grant, the
//! kernel refuses.
//!
//! A filter of system calls ([`crate::refused`]) refuses sockets, name spaces, mounts and the
//! tracing of other processes, and every new privilege. Landlock adds what a filter cannot see: the
//! port of a connection, the receiver of a signal, the memory of another process.
//!
//! The filter is there on every kernel that this program runs on, or the program is not started.
//! Of Landlock, older kernels lack a part: [`Confinement::lacks`] says which.

use crate::files::{self, FileAccess, Paths, Unusable};
use crate::identity;
use crate::missing_feature::MissingFeature;
use crate::network::{Network, Signals};
use crate::protection::Protection;
use crate::refused::{self, Attributes};
use crate::temporary::{self, TEMPORARY};
use landlock::{
    AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Whether a program has a `/tmp` of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnTemporary {
    Made,
    None,
}

/// What a program may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// The sockets that it may make.
    pub network: Network,
    /// The processes that it may send signals to.
    pub signals: Signals,
    /// The files that it may open. Where it may not write all, it has a `/tmp` of its own.
    pub files: FileAccess,
    /// Bytes of address space, of each of its processes.
    pub memory: Option<u64>,
    /// Seconds of one processor, of each of its processes.
    pub cpu_s: Option<u64>,
}

impl Confinement {
    /// What the kernel is asked to keep it from.
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

    /// Those of them that this kernel does not have.
    pub fn lacks(&self) -> Vec<Protection> {
        self.protections().into_iter().filter(|protection| !protection.is_available()).collect()
    }

    /// Makes a `/tmp` of the program's own, if it is to have one and the system lets it. To be done
    /// before anything else, because a process in a name space of its own forgets what was
    /// arranged.
    ///
    /// # Errors
    /// If a path that the target grants cannot be had in it.
    pub(crate) fn make_temporary(&self, more: &[&Path]) -> Result<OwnTemporary, MissingFeature> {
        if !self.has_own_temporary() || !Protection::Temporary.is_available() {
            return Ok(OwnTemporary::None);
        }
        temporary::make_private(self.files.named().chain(more.iter().copied()))
            .map(|()| OwnTemporary::Made)
            .map_err(|error| MissingFeature::new("a /tmp of its own", error))
    }

    /// Gives up all that it does not grant, for the rest of the life of this process.
    ///
    /// # Errors
    /// [`MissingFeature`], if the system calls cannot be filtered, if files are to be limited and
    /// cannot be, or if a part of Landlock is there and cannot be used. Nothing may be run then.
    pub(crate) fn enter(&self, temporary: OwnTemporary) -> Result<(), MissingFeature> {
        if self.files.is_limited() && !Protection::Files.is_available() {
            let part = Protection::Files.needs();
            return Err(MissingFeature::new(part, "this kernel does not have it"));
        }
        self.limit()?;
        self.enter_landlock(temporary)?;
        refused::restrict(self.network, self.attributes())
            .map_err(|error| MissingFeature::new(Protection::SystemCalls.needs(), error))
    }

    /// Sets the limits of each of its processes. How many there are is limited for whoever is not
    /// root: the kernel counts the processes of a user, and does not limit those of root.
    fn limit(&self) -> Result<(), MissingFeature> {
        let limits = [
            (Resource::As, self.memory),
            (Resource::Cpu, self.cpu_s),
            // What lay in its memory, secrets too, is written nowhere when it breaks.
            (Resource::Core, Some(0)),
        ];
        for (resource, limit) in limits {
            let Some(limit) = limit else { continue };
            setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
                .map_err(|error| MissingFeature::new("limits of a process", error))?;
        }
        identity::limit_tasks_beside_those_of_its_user()
            .map_err(|error| MissingFeature::new("a limit of processes", error))
    }

    /// Landlock does not judge who changes modes, owners and times: a program that may write
    /// nothing may change none.
    fn attributes(&self) -> Attributes {
        match &self.files.writes {
            Paths::Below(paths) if paths.is_empty() => Attributes::Fixed,
            Paths::Below(_) | Paths::Any => Attributes::Changed,
        }
    }

    fn enter_landlock(&self, temporary: OwnTemporary) -> Result<(), Unusable> {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        let mut ruleset = files::handle(ruleset, &self.files)?;
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
    refused::calls()
}
