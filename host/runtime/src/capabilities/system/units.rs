//! Units of systemd: those that a slot's target lists, each effect on a unit that it names.

use super::enablement::Enablement;
use super::failure::BusError;
use super::rows::rows;
use super::systemd::{Job, Manager};
use super::{Part, system_target};
use crate::bindings::runbook::system::types::{Unit, UnitList, UnitRow};
use crate::bindings::runbook::system::{control, units};
use crate::fault::{Fault, FaultClass};
use crate::host::{Host, HostCall};
use runbook_authority::Verb;
use runbook_authority::gate::SystemObject;
use std::time::Duration;

impl units::Host for HostCall<'_> {
    async fn inspect(&mut self, slot: String, name: String) -> Result<Unit, Fault> {
        let part = self.part(&slot, Verb::SystemUnits, SystemObject::Unit(&name))?;
        let found = within(part.within, async { part.manager().await?.unit(&name).await }).await;
        let found = found.map_err(|fault| self.scrubbed_fault(fault))?;
        let scrubber = self.scrubber();
        let clean = |text: String| scrubber.text(&text).into_owned();
        Ok(Unit { name: clean(found.name), description: clean(found.description), ..found })
    }

    async fn list(&mut self, slot: String) -> Result<UnitList, Fault> {
        let part = self.part(&slot, Verb::SystemUnits, SystemObject::Part)?;
        let found = within(part.within, async { part.manager().await?.units().await }).await;
        let found = found.map_err(|fault| self.scrubbed_fault(fault))?;
        Ok(self.unit_list(&part, found))
    }
}

impl control::Host for HostCall<'_> {
    async fn start(&mut self, slot: String, name: String) -> Result<(), Fault> {
        self.run_job(&slot, Verb::SystemUnitStart, Job::Start, &name).await
    }

    async fn stop(&mut self, slot: String, name: String) -> Result<(), Fault> {
        self.run_job(&slot, Verb::SystemUnitStop, Job::Stop, &name).await
    }

    async fn restart(&mut self, slot: String, name: String) -> Result<(), Fault> {
        self.run_job(&slot, Verb::SystemUnitRestart, Job::Restart, &name).await
    }

    async fn reload(&mut self, slot: String, name: String) -> Result<(), Fault> {
        self.run_job(&slot, Verb::SystemUnitReload, Job::Reload, &name).await
    }

    async fn enable(&mut self, slot: String, name: String) -> Result<bool, Fault> {
        self.set_enablement(&slot, Verb::SystemUnitEnable, Enablement::Enable, &name).await
    }

    async fn disable(&mut self, slot: String, name: String) -> Result<bool, Fault> {
        self.set_enablement(&slot, Verb::SystemUnitDisable, Enablement::Disable, &name).await
    }
}

impl Part {
    async fn manager(&self) -> Result<Manager, BusError> {
        Manager::connect(self.system().bus.real()).await
    }
}

impl Host {
    async fn run_job(&mut self, slot: &str, verb: Verb, job: Job, unit: &str) -> Result<(), Fault> {
        let part = self.part(slot, verb, SystemObject::Unit(unit))?;
        let commit = self.begin_uncommitted(slot, verb, 1);
        let done = within_fault(part.within, async {
            part.manager().await.map_err(BusError::into_fault)?.run(job, unit, &commit).await
        });
        done.await.map_err(|fault| self.scrubbed_fault(fault))
    }

    async fn set_enablement(
        &mut self,
        slot: &str,
        verb: Verb,
        enablement: Enablement,
        unit: &str,
    ) -> Result<bool, Fault> {
        let part = self.part(slot, verb, SystemObject::Unit(unit))?;
        let commit = self.begin_uncommitted(slot, verb, 1);
        let done = within_fault(part.within, async {
            let manager = part.manager().await.map_err(BusError::into_fault)?;
            manager.set_enabled(enablement, unit, part.system(), &commit).await
        });
        done.await.map_err(|fault| self.scrubbed_fault(fault))
    }

    fn unit_list(&mut self, part: &Part, mut found: Vec<UnitRow>) -> UnitList {
        found.retain(|unit| part.system().shows_unit(&unit.name));
        found.sort_by(|one, other| one.name.cmp(&other.name));
        let scrubber = self.scrubber();
        let clean = |one: UnitRow| UnitRow {
            name: scrubber.text(&one.name).into_owned(),
            description: scrubber.text(&one.description).into_owned(),
            ..one
        };
        let bytes = |one: &UnitRow| one.name.len() + one.description.len();
        let all = found.into_iter().map(clean).collect();
        let rows = rows(all, 0, part.system(), bytes);
        self.count_transferred(rows.found.iter().map(bytes).sum());
        UnitList { found: rows.found, count: rows.count, cut: rows.cut }
    }

    /// Connects to the bus of the target, and asks systemd for nothing.
    pub(in super::super) async fn reach_systemd(
        &mut self,
        slot: &str,
        verb: Verb,
    ) -> Result<String, Fault> {
        let target = self.target(slot)?;
        let object = SystemObject::Part;
        let part = self.part(slot, verb, object)?;
        within(part.within, async { part.manager().await.map(drop) }).await?;
        Ok(format!("the bus at {} answers", system_target(&target).bus))
    }
}

/// The result of asking systemd, if it comes in time.
async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, BusError>>,
) -> Result<T, Fault> {
    within_fault(limit, async { asked.await.map_err(BusError::into_fault) }).await
}

async fn within_fault<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
        let limit = crate::limits::format_limit(limit);
        let message = format!("systemd gave no answer within {limit}");
        Err(Fault::new(FaultClass::Timeout, "system.timeout", message))
    })
}
