//! `systemd:restart` and `systemd:reload`

use crate::{Input, is_active, loaded, units};
use runbook_sdk::prelude::*;

/// What the unit does now.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    unit: String,
    /// Its active state, such as `active`.
    active: String,
    /// The main process, if it runs.
    pid: Option<u32>,
}

pub(crate) struct Restart;

impl Step for Restart {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let unit = loaded(&input.unit)?;
        let summary = format!("restart {}, which is {}", input.unit, unit.active);
        let what = effect("system.unit-restart", input.unit.clone(), summary);
        Ok(Proposal::one(what, Json::Null))
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        units().restart(&input.unit)?;
        let unit = loaded(&input.unit)?;
        if unit.active == "failed" {
            let message = format!("{} was restarted and failed", input.unit);
            return Err(Fault::assertion("systemd.failed", message));
        }
        let output = Output { unit: unit.name, active: unit.active, pid: unit.pid };
        Ok(Completion::changed(format!("restarted {}", input.unit), output))
    }
}

pub(crate) struct Reload;

impl Step for Reload {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let unit = loaded(&input.unit)?;
        if !is_active(&unit) {
            let message = format!("{} is {}, so it cannot be reloaded", input.unit, unit.active);
            return Err(Fault::conflict("systemd.not-active", message));
        }
        let what =
            effect("system.unit-reload", input.unit.clone(), format!("reload {}", input.unit));
        Ok(Proposal::one(what, Json::Null))
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        units().reload(&input.unit)?;
        let unit = loaded(&input.unit)?;
        let output = Output { unit: unit.name, active: unit.active, pid: unit.pid };
        Ok(Completion::changed(format!("reloaded {}", input.unit), output))
    }
}
