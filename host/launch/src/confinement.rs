//! The walls around a program that may change something: what its target does not grant, the
//! kernel refuses.
//!
//! A filter of system calls ([`crate::refused`]) refuses sockets, name spaces, mounts and the
//! tracing of other processes, and every new privilege. Landlock adds what a filter cannot see: the
//! port of a connection, the receiver of a signal, the memory of another process.
//!
//! The filter is there on every kernel that this program runs on, or the program is not started.
//! Of Landlock, older kernels lack a part: [`Confinement::lacks`] says which.

use crate::protection::Protection;
use crate::refused;
use crate::sandbox::MissingFeature;
use landlock::{
    AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};
use serde::{Deserialize, Serialize};

/// What a program may reach beyond files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// The sockets that it may make.
    pub network: Network,
    /// The processes that it may send signals to.
    pub signals: Signals,
}

/// The sockets that a program may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// None, not even to a daemon of this host, which could act for it. A pair of sockets that are
    /// connected with each other is no way out and stays.
    Closed,
    /// Connections by TCP to this port: those that a lent database needs.
    Port(u16),
    /// Connections to sockets that are files: those that a lent database needs.
    Files,
    /// All.
    Open,
}

/// The processes that a program may send signals to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signals {
    /// Itself and what it started.
    Own,
    /// Whatever its user may.
    Any,
}

impl Confinement {
    /// What the kernel is asked to keep it from.
    pub fn protections(&self) -> Vec<Protection> {
        let signals = (self.signals == Signals::Own).then_some(Protection::Signals);
        let ports = matches!(self.network, Network::Port(_)).then_some(Protection::Ports);
        [Protection::SystemCalls, Protection::Processes]
            .into_iter()
            .chain(signals)
            .chain(ports)
            .collect()
    }

    /// Those of them that this kernel does not have.
    pub fn lacks(&self) -> Vec<Protection> {
        self.protections().into_iter().filter(|protection| !protection.is_available()).collect()
    }

    /// Gives up all that it does not grant, for the rest of the life of this process.
    ///
    /// # Errors
    /// [`MissingFeature`], if the system calls cannot be filtered, or if a part of Landlock is
    /// there and cannot be used. Nothing may be run then.
    pub fn enter(&self) -> Result<(), MissingFeature> {
        self.enter_landlock().map_err(|error| MissingFeature::new("Landlock", error))?;
        refused::restrict(self.network)
            .map_err(|error| MissingFeature::new(Protection::SystemCalls.needs(), error))
    }

    fn enter_landlock(&self) -> Result<(), RulesetError> {
        // Where a kernel knows a domain of files at all, it denies to link and move from one folder
        // to another unless that is granted. What makes it one of files is that devices are made
        // nowhere.
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::Refer | AccessFs::MakeBlock | AccessFs::MakeChar)?;
        let scopes = self.scopes();
        if !scopes.is_empty() {
            ruleset = ruleset.scope(scopes)?;
        }
        if let Network::Port(_) = self.network {
            ruleset = ruleset.handle_access(AccessNet::ConnectTcp | AccessNet::BindTcp)?;
        }
        let mut ruleset = ruleset.create()?;
        if let Ok(everything) = PathFd::new("/") {
            ruleset = ruleset.add_rule(PathBeneath::new(everything, AccessFs::Refer))?;
        }
        if let Network::Port(port) = self.network {
            ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
        ruleset.restrict_self().map(drop)
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
