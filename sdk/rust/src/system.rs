//! This machine, by the parts that the runbook's target lists.

use crate::bindings::runbook::system::{reader, types};
use crate::fault::Result;
use crate::native::host;
use crate::slot::Slot;
use std::time::Duration;

pub use types::{
    CpuUsage, FileSystem, FileSystemList, Listener, ListenerList, LoadAverage, MachineIdentity,
    MachineUptime, MemoryUsage, Process, ProcessList, ProcessState, Protocol, Session, SessionList,
};

/// A slot that is bound to this machine. Each function needs the part of its name as a verb.
#[derive(Debug, Clone)]
pub struct Machine {
    slot: Slot,
}

impl Machine {
    /// The machine of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot }
    }

    /// What the processors do during a sample, which takes that long.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `cpu`; `invalid` if the sample is shorter than 100 ms or
    /// longer than 10 s; `timeout` if it is longer than the target allows.
    #[track_caller]
    pub fn cpu(&self, sample: Duration) -> Result<CpuUsage> {
        let sample_ms = u32::try_from(sample.as_millis()).unwrap_or(u32::MAX);
        host!("system/reader.cpu", reader::cpu(self.slot.name(), sample_ms))
    }

    /// How many processes run or wait for disks, on average. It needs the verb `cpu`.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `cpu`; `invalid` if the kernel does not tell.
    #[track_caller]
    pub fn load(&self) -> Result<LoadAverage> {
        host!("system/reader.load", reader::load(self.slot.name()))
    }

    /// Memory and swap.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `memory`; `invalid` if the kernel does not tell.
    #[track_caller]
    pub fn memory(&self) -> Result<MemoryUsage> {
        host!("system/reader.memory", reader::memory(self.slot.name()))
    }

    /// The file system of one mount point; without one, of all that the target lets be seen. An
    /// answer without any means that nothing is mounted there.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `disks` or the target does not list the mount point;
    /// `timeout` if a file system, such as that of a remote server, does not answer.
    #[track_caller]
    pub fn disks(&self, mount: Option<&str>) -> Result<FileSystemList> {
        host!("system/reader.disks", reader::disks(self.slot.name(), mount))
    }

    /// How long the machine has been running.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `uptime`.
    #[track_caller]
    pub fn uptime(&self) -> Result<MachineUptime> {
        host!("system/reader.uptime", reader::uptime(self.slot.name()))
    }

    /// The host name, the kernel and the distribution.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `identity`.
    #[track_caller]
    pub fn identity(&self) -> Result<MachineIdentity> {
        host!("system/reader.identity", reader::identity(self.slot.name()))
    }

    /// The processes of one name; without one, all that the target lets be seen.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `processes` or the target does not list the name.
    #[track_caller]
    pub fn processes(&self, name: Option<&str>) -> Result<ProcessList> {
        host!("system/reader.processes", reader::processes(self.slot.name(), name))
    }

    /// Who is logged in.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `users`; `invalid` if the machine keeps no list of them.
    #[track_caller]
    pub fn users(&self) -> Result<SessionList> {
        host!("system/reader.users", reader::users(self.slot.name()))
    }

    /// The sockets that listen on one port, or on any.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `ports`.
    #[track_caller]
    pub fn ports(&self, port: Option<u16>) -> Result<ListenerList> {
        host!("system/reader.ports", reader::ports(self.slot.name(), port))
    }
}
