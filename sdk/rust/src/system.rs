//! This machine, by the parts that the runbook's target lists.

use crate::bindings::runbook::system::{control, reader, types, units};
use crate::fault::Result;
use crate::native::host;
use crate::slot::Slot;
use std::time::Duration;

pub use types::{
    CpuUsage, ExitKind, FileSystem, FileSystemList, Listener, ListenerList, LoadAverage,
    MachineIdentity, MachineUptime, MemoryUsage, Process, ProcessList, ProcessState, Protocol,
    Session, SessionList, Unit, UnitExit, UnitList, UnitRow,
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

/// A slot that is bound to units of systemd. A unit is named in full, such as `nginx.service`.
#[derive(Debug, Clone)]
pub struct Units {
    slot: Slot,
}

impl Units {
    /// The units of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot }
    }

    /// One unit. That there is none is no error: its `load` is `not-found`.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `units` or the target does not list the unit;
    /// `transient` if the bus does not answer; `timeout` if systemd does not.
    #[track_caller]
    pub fn unit(&self, name: &str) -> Result<Unit> {
        host!("system/units.inspect", units::inspect(self.slot.name(), name))
    }

    /// The loaded units that the target lets be seen.
    ///
    /// # Errors
    /// As [`unit`](Self::unit).
    #[track_caller]
    pub fn list(&self) -> Result<UnitList> {
        host!("system/units.list", units::list(self.slot.name()))
    }

    /// Starts a unit and waits until it is started; does nothing if it runs already.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `unit-start` or the target does not list the unit in
    /// `control`; `not-found` if there is none; `invalid` if the user of the host may not do it;
    /// `conflict` if systemd refuses it, such as for a masked unit, or another job replaces it;
    /// `assertion` if the job fails; `transient` if the bus does not answer; `timeout` if the job
    /// takes too long, and `unknown` if the bus is cut after the request: both may have an effect.
    #[track_caller]
    pub fn start(&self, name: &str) -> Result<()> {
        host!("system/control.start", control::start(self.slot.name(), name))
    }

    /// Stops a unit and waits until it is stopped.
    ///
    /// # Errors
    /// As [`start`](Self::start), with the verb `unit-stop`.
    #[track_caller]
    pub fn stop(&self, name: &str) -> Result<()> {
        host!("system/control.stop", control::stop(self.slot.name(), name))
    }

    /// Stops a unit, if it runs, and starts it.
    ///
    /// # Errors
    /// As [`start`](Self::start), with the verb `unit-restart`.
    #[track_caller]
    pub fn restart(&self, name: &str) -> Result<()> {
        host!("system/control.restart", control::restart(self.slot.name(), name))
    }

    /// Lets a unit that runs read its configuration again.
    ///
    /// # Errors
    /// As [`start`](Self::start), with the verb `unit-reload`; `conflict` if the unit cannot reload.
    #[track_caller]
    pub fn reload(&self, name: &str) -> Result<()> {
        host!("system/control.reload", control::reload(self.slot.name(), name))
    }

    /// Lets a unit start with the machine. Returns whether anything was changed.
    ///
    /// # Errors
    /// As [`start`](Self::start), with the verb `unit-enable`; `conflict` if the unit has no
    /// `[Install]` section.
    #[track_caller]
    pub fn enable(&self, name: &str) -> Result<bool> {
        host!("system/control.enable", control::enable(self.slot.name(), name))
    }

    /// Lets a unit not start with the machine. Returns whether anything was changed.
    ///
    /// # Errors
    /// As [`start`](Self::start), with the verb `unit-disable`.
    #[track_caller]
    pub fn disable(&self, name: &str) -> Result<bool> {
        host!("system/control.disable", control::disable(self.slot.name(), name))
    }
}
