//! This machine, by parts: only those that a slot's target lists. The gate decides before anything
//! is read.
//!
//! Everything is read on a thread of its own that nobody waits for at the end of the program: the
//! file system of a server that does not answer holds up whoever asks for its size.

mod container;
#[cfg(feature = "system")]
mod enablement;
#[cfg(feature = "system")]
mod failure;
mod file_systems;
mod identity;
mod listeners;
mod processes;
mod processors;
mod rows;
mod sessions;
#[cfg(feature = "system")]
mod systemd;
#[cfg(feature = "system")]
mod units;

use crate::bindings::runbook::system::types::{
    CpuUsage, FileSystemList, ListenerList, LoadAverage, MachineIdentity, MachineUptime,
    MemoryUsage, ProcessList, SessionList,
};
use crate::bindings::runbook::system::{reader, types};
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use procfs::{Current as _, ProcError};
use runbook_authority::gate::SystemObject;
use runbook_authority::targets::SystemTarget;
use runbook_authority::{GateRequest, Target, Verb};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The shortest sample of the processors: the kernel counts time in ticks of 10 ms.
const MIN_SAMPLE_MS: u32 = 100;
/// The longest sample of the processors.
const MAX_SAMPLE_MS: u32 = 10_000;

impl types::Host for HostCall<'_> {}

impl reader::Host for HostCall<'_> {
    async fn cpu(&mut self, slot: String, sample_ms: u32) -> Result<CpuUsage, Fault> {
        let part = self.part(&slot, Verb::SystemCpu, SystemObject::Part)?;
        if !(MIN_SAMPLE_MS..=MAX_SAMPLE_MS).contains(&sample_ms) {
            let message = format!("a sample takes from {MIN_SAMPLE_MS} to {MAX_SAMPLE_MS} ms");
            return Err(Fault::new(FaultClass::Invalid, "system.sample", message));
        }
        let sample = Duration::from_millis(sample_ms.into());
        part.read(move || processors::usage(sample)).await
    }

    async fn load(&mut self, slot: String) -> Result<LoadAverage, Fault> {
        self.part(&slot, Verb::SystemCpu, SystemObject::Part)?.read(processors::load).await
    }

    async fn memory(&mut self, slot: String) -> Result<MemoryUsage, Fault> {
        self.part(&slot, Verb::SystemMemory, SystemObject::Part)?.read(memory).await
    }

    async fn disks(
        &mut self,
        slot: String,
        mount: Option<String>,
    ) -> Result<FileSystemList, Fault> {
        let object = mount.as_deref().map_or(SystemObject::Part, SystemObject::Mount);
        let part = self.part(&slot, Verb::SystemDisks, object)?;
        let (target, asked) = (Arc::clone(&part.target), file_systems::Asked::default());
        let last_asked = asked.clone();
        let work = move || file_systems::read(system_target(&target), mount.as_deref(), &asked);
        let found = part.read(work).await.map_err(|fault| match last_asked.take() {
            Some(file_system) if fault.class == FaultClass::Timeout => {
                let message = format!("{file_system} gave no answer within {}", part.limit());
                Fault::new(FaultClass::Timeout, "system.timeout", message)
            }
            Some(_) | None => fault,
        })?;
        Ok(self.file_systems(&part, found))
    }

    async fn uptime(&mut self, slot: String) -> Result<MachineUptime, Fault> {
        self.part(&slot, Verb::SystemUptime, SystemObject::Part)?.read(uptime).await
    }

    async fn identity(&mut self, slot: String) -> Result<MachineIdentity, Fault> {
        let part = self.part(&slot, Verb::SystemIdentity, SystemObject::Part)?;
        let found = part.read(identity::read).await?;
        let scrubber = self.scrubber();
        let clean = |text: &str| scrubber.text(text).into_owned();
        Ok(MachineIdentity {
            hostname: clean(&found.hostname),
            kernel: clean(&found.kernel),
            distribution: clean(&found.distribution),
            version: clean(&found.version),
            title: clean(&found.title),
            in_container: found.in_container,
        })
    }

    async fn processes(
        &mut self,
        slot: String,
        name: Option<String>,
    ) -> Result<ProcessList, Fault> {
        let object = name.as_deref().map_or(SystemObject::Part, SystemObject::Process);
        let part = self.part(&slot, Verb::SystemProcesses, object)?;
        let target = Arc::clone(&part.target);
        let found =
            part.read(move || processes::read(system_target(&target), name.as_deref())).await?;
        Ok(self.processes_of(&part, found))
    }

    async fn users(&mut self, slot: String) -> Result<SessionList, Fault> {
        let part = self.part(&slot, Verb::SystemUsers, SystemObject::Part)?;
        let found = part.read(|| sessions::read(sessions::FILE.as_ref())).await?;
        Ok(self.sessions(&part, found))
    }

    async fn ports(&mut self, slot: String, port: Option<u16>) -> Result<ListenerList, Fault> {
        let access = self.part(&slot, Verb::SystemPorts, SystemObject::Part)?;
        let target = Arc::clone(&access.target);
        let found = access.read(move || listeners::read(system_target(&target), port)).await?;
        Ok(self.listeners(&access, found))
    }
}

/// Why a part of this machine cannot be read.
#[derive(Debug)]
enum ReadError {
    /// A file of the kernel, or of the system, cannot be read.
    File(PathBuf, std::io::Error),
    /// `/proc` does not have what is expected there.
    Proc(ProcError),
    /// The system does not keep what is asked for.
    NotKept(&'static str),
}

impl From<ProcError> for ReadError {
    fn from(error: ProcError) -> Self {
        Self::Proc(error)
    }
}

impl ReadError {
    fn into_fault(self) -> Fault {
        let message = match self {
            Self::File(path, error) => format!("`{}` cannot be read: {error}", path.display()),
            Self::Proc(error) => format!("the files of the kernel cannot be read: {error}"),
            Self::NotKept(what) => format!("this machine keeps no {what}"),
        };
        Fault::new(FaultClass::Invalid, "system.unreadable", message)
    }
}

/// A part of this machine that the gate has allowed.
struct Part {
    target: Arc<Target>,
    within: Duration,
}

fn system_target(target: &Target) -> &SystemTarget {
    target.system().expect("the gate lets these calls through on system targets only")
}

impl Part {
    fn system(&self) -> &SystemTarget {
        system_target(&self.target)
    }

    /// The time limit, as people write it.
    fn limit(&self) -> String {
        crate::limits::format_limit(self.within)
    }

    /// Reads on a thread of its own, within the time limit of the target.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Fault> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let spawned = std::thread::Builder::new().name("machine".to_owned()).spawn(move || {
            // Nobody receives the result after the time limit.
            let _ = sender.send(work());
        });
        spawned.map_err(|error| {
            let message = format!("no thread can be started: {error}");
            Fault::new(FaultClass::Transient, "system.thread", message)
        })?;
        match tokio::time::timeout(self.within, receiver).await {
            Ok(Ok(result)) => result.map_err(ReadError::into_fault),
            Ok(Err(_)) => {
                let message = "the thread that read this machine ended without a result";
                Err(Fault::new(FaultClass::Unknown, "system.thread", message))
            }
            Err(_) => {
                let message = format!("this machine gave no answer within {}", self.limit());
                Err(Fault::new(FaultClass::Timeout, "system.timeout", message))
            }
        }
    }
}

impl Host {
    /// A part of this machine, if the gate allows it.
    fn part(&mut self, slot: &str, verb: Verb, object: SystemObject<'_>) -> Result<Part, Fault> {
        self.enter(&GateRequest::System { slot, verb, object })?;
        let target = self.target(slot)?;
        let within = self.remaining(system_target(&target).timeout);
        Ok(Part { target, within })
    }
}

fn memory() -> Result<MemoryUsage, ReadError> {
    let memory = procfs::Meminfo::current()?;
    Ok(MemoryUsage {
        total_bytes: memory.mem_total,
        // Every kernel since 3.14 has it.
        available_bytes: memory.mem_available.unwrap_or(memory.mem_free),
        swap_total_bytes: memory.swap_total,
        swap_free_bytes: memory.swap_free,
        limit_bytes: container::memory_limit(),
    })
}

fn uptime() -> Result<MachineUptime, ReadError> {
    let seconds = procfs::Uptime::current()?.uptime_duration().as_secs();
    Ok(MachineUptime { seconds, booted_at_ms: procfs::boot_time_secs()?.saturating_mul(1000) })
}

#[cfg(test)]
pub(super) mod tests;
