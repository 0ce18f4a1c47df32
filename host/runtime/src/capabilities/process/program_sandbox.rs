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
    /// the control group that it is to belong to. What this kernel lacks for them is told in the
    /// log of the call.
    pub(super) fn program_sandbox(
        &mut self,
        verb: Verb,
        process: &ProcessTarget,
        timeout: Duration,
    ) -> Result<(ProgramSandbox, Option<Cgroup>), Fault> {
        let lent = match &process.connection {
            Some(name) => Some(self.connection(name)?),
            None => None,
        };
        let files = FileAccess {
            reads: below(process.reads.as_deref()),
            writes: below(process.writes.as_deref()),
            own: own_files(process, lent.as_deref()),
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
                // It can leave no group: there is no call for a session in its list.
                None,
            ));
        }
        let confinement = Confinement {
            network: network(process, lent.as_ref()),
            signals: if process.signals { Signals::Any } else { Signals::Own },
            files,
            memory,
            cpu_s,
        };
        let cgroup = Cgroup::make().map_err(|error| {
            let message = format!("no control group can be made for the program: {error}");
            Fault::new(FaultClass::Conflict, "process.start", message)
        })?;
        let group = cgroup.is_none().then_some(Protection::Descendants);
        for protection in confinement.lacks().into_iter().chain(group) {
            let told = format!(
                "this kernel lacks a protection for the program, `{protection}`: {}; it needs {}",
                protection.without(),
                protection.needs()
            );
            self.log.add(LogLevel::Warn, told);
        }
        Ok((ProgramSandbox::Confined(confinement), cgroup))
    }
}

fn network(process: &ProcessTarget, lent: Option<&Arc<Target>>) -> Network {
    let address = lent.and_then(|target| target.sql()).map(|sql| &sql.address);
    match address {
        _ if process.network => Network::Open,
        Some(SqlAddress::Server { host, .. }) if host.starts_with('/') => Network::Files,
        Some(SqlAddress::Server { port, .. }) => Network::Port(*port),
        Some(SqlAddress::File(_)) | None => Network::Closed,
    }
}

fn below(paths: Option<&[HostPath]>) -> Paths {
    let real = |path: &HostPath| path.real().to_owned();
    paths.map_or(Paths::Any, |paths| Paths::Below(paths.iter().map(real).collect()))
}

/// What the host names to a program beside `reads`: its own file, and the certificates by which it
/// uses a lent connection.
fn own_files(process: &ProcessTarget, lent: Option<&Target>) -> Vec<PathBuf> {
    let certificates = lent.into_iter().flat_map(Target::certificate_files).map(Path::to_owned);
    std::iter::once(process.program.real().to_owned()).chain(certificates).collect()
}
