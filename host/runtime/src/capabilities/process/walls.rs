//! The walls around a program, as its target says them.

use crate::fault::Fault;
use crate::host::Host;
use runbook_authority::Verb;
use runbook_authority::targets::{ProcessTarget, SqlAddress};
use runbook_contract::LogLevel;
use runbook_launch::Walls;
use runbook_launch::confinement::{Confinement, Network, Signals};
use runbook_launch::sandbox::Allowance;
use std::time::Duration;

/// The address space of each process of a program that may only read, in bytes. Programs that
/// reserve much, such as those in Java, need more than they use.
const READ_ONLY_MEMORY: u64 = 8 << 30;

impl Host {
    /// The walls around the program of a target, for a call of `verb` that may take `timeout`. What
    /// this kernel lacks for them is told in the log of the call.
    pub(super) fn walls(
        &mut self,
        verb: Verb,
        process: &ProcessTarget,
        timeout: Duration,
    ) -> Result<Walls, Fault> {
        if verb == Verb::ProcessInspect {
            let cpu_s = timeout.as_secs().saturating_add(1);
            return Ok(Walls::ReadOnly(Allowance { cpu_s, memory: READ_ONLY_MEMORY }));
        }
        let confinement = Confinement {
            network: self.network(process)?,
            signals: if process.signals { Signals::Any } else { Signals::Own },
        };
        for protection in confinement.lacks() {
            let told = format!(
                "this kernel lacks a wall around the program, `{protection}`: {}; it needs {}",
                protection.without(),
                protection.needs()
            );
            self.log.add(LogLevel::Warn, told);
        }
        Ok(Walls::Confined(confinement))
    }

    fn network(&self, process: &ProcessTarget) -> Result<Network, Fault> {
        let lent = match &process.connection {
            Some(name) => self.connection(name)?.sql().map(|sql| sql.address.clone()),
            None => None,
        };
        Ok(match lent {
            _ if process.network => Network::Open,
            Some(SqlAddress::Server { host, .. }) if host.starts_with('/') => Network::Files,
            Some(SqlAddress::Server { port, .. }) => Network::Port(port),
            Some(SqlAddress::File(_)) | None => Network::Closed,
        })
    }
}
