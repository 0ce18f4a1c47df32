//! The sandbox of a program, as its target describes it.

use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use runbook_authority::targets::{HostPath, ProcessTarget, SqlAddress};
use runbook_authority::{Target, Verb};
use runbook_contract::LogLevel;
use runbook_launch::ProgramSandbox;
use runbook_launch::cgroup::Cgroup;
use runbook_launch::confinement::Confinement;
use runbook_launch::files::{FileAccess, Paths};
use runbook_launch::network::{Network, Signals};
use runbook_launch::protection::Protection;
use runbook_launch::sandbox::ReadOnlyLimits;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The address space of each process of a program that may only read and whose target has no
/// `memory`, in bytes. Programs that reserve much, such as those in Java, need more than they use.
const READ_ONLY_MEMORY: u64 = 8 << 30;

impl Host {
    /// The sandbox of the program of a target, for a call of `verb` that may take `timeout`, and
    /// the control group that the program is to belong to. A protection that this kernel lacks is
    /// reported as a warning in the log of the call.
    pub(super) fn program_sandbox(
        &mut self,
        verb: Verb,
        process: &ProcessTarget,
        timeout: Duration,
    ) -> Result<(ProgramSandbox, Option<Cgroup>), Fault> {
        let connection = match &process.connection {
            Some(name) => Some(self.connection(name)?),
            None => None,
        };
        let files = FileAccess {
            reads: paths_below(process.reads.as_deref()),
            writes: paths_below(process.writes.as_deref()),
            own: own_files(process, connection.as_deref()),
        };
        let cpu_s = process.cpu.map(|time| time.as_secs().max(1));
        let memory = process.memory.map(|size| size.0);
        if verb == Verb::ProcessInspect {
            return Ok((
                ProgramSandbox::ReadOnly(ReadOnlyLimits {
                    cpu_s: cpu_s.unwrap_or_else(|| timeout.as_secs().saturating_add(1)),
                    memory: memory.unwrap_or(READ_ONLY_MEMORY),
                    reads: files.reads,
                    own: files.own,
                }),
                // It needs no control group: its system calls include none that begins a session,
                // so it cannot leave its process group.
                None,
            ));
        }
        let confinement = Confinement {
            network: allowed_network(process, connection.as_ref()),
            signals: if process.signals { Signals::Any } else { Signals::Own },
            files,
            memory,
            cpu_s,
        };
        let cgroup = Cgroup::make().map_err(|error| {
            let message = format!("no control group can be made for the program: {error}");
            Fault::new(FaultClass::Conflict, "process.start", message)
        })?;
        let without_group = cgroup.is_none().then_some(Protection::Descendants);
        for protection in confinement.missing_protections().into_iter().chain(without_group) {
            let warning = format!(
                "this kernel lacks a protection for the program, `{protection}`: {}; it needs {}",
                protection.effect_of_absence(),
                protection.requirement()
            );
            self.log.add(LogLevel::Warn, warning);
        }
        Ok((ProgramSandbox::Confined(confinement), cgroup))
    }
}

/// The sockets that the program of a target may make.
fn allowed_network(process: &ProcessTarget, connection: Option<&Arc<Target>>) -> Network {
    let address = connection.and_then(|target| target.sql()).map(|sql| &sql.address);
    match address {
        _ if process.network => Network::Open,
        Some(SqlAddress::Server { host, .. }) if host.starts_with('/') => Network::Files,
        Some(SqlAddress::Server { port, .. }) => Network::Port(*port),
        Some(SqlAddress::File(_)) | None => Network::Closed,
    }
}

/// The listed paths and all that is below them, or every file if the target lists none.
fn paths_below(paths: Option<&[HostPath]>) -> Paths {
    let real = |path: &HostPath| path.real().to_owned();
    paths.map_or(Paths::Any, |paths| Paths::Below(paths.iter().map(real).collect()))
}

/// What a program may read in addition to `reads`: its own file, and the certificate files of the
/// connection that its target names.
fn own_files(process: &ProcessTarget, connection: Option<&Target>) -> Vec<PathBuf> {
    let certificates =
        connection.into_iter().flat_map(Target::certificate_files).map(Path::to_owned);
    std::iter::once(process.program.real().to_owned()).chain(certificates).collect()
}
