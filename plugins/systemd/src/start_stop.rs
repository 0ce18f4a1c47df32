//! `systemd:start` and `systemd:stop`, each the undo of the other.

use crate::{Input, await_job, is_active, loaded, units};
use runbook_sdk::prelude::*;

/// What the unit does now.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    unit: String,
    /// Its active state, such as `active`.
    active: String,
}

/// The state that `undo` needs and that the host compares after it. A unit that has failed is
/// stopped too.
fn state(name: &str) -> Result<Json> {
    Ok(json!({ "active": is_active(&loaded(name)?) }))
}

/// Starts the unit. If it runs already it is left alone.
fn start(name: &str) -> Result<Output> {
    if !is_active(&loaded(name)?) {
        units().start(name)?;
    }
    let unit = loaded(name)?;
    // A unit of one run ends by itself, and that is no failure.
    if unit.active == "failed" {
        return Err(Fault::assertion("systemd.failed", format!("{name} was started and failed")));
    }
    Ok(Output { unit: unit.name, active: unit.active })
}

fn stop(name: &str) -> Result<Output> {
    if is_active(&loaded(name)?) {
        units().stop(name)?;
    }
    let unit = loaded(name)?;
    if is_active(&unit) {
        let message = format!("{name} was stopped and is {} again", unit.active);
        return Err(Fault::assertion("systemd.still-active", message));
    }
    Ok(Output { unit: unit.name, active: unit.active })
}

/// Starts or stops the unit, so that it runs exactly if it ran before.
fn restore(input: &Input, before: &Json) -> Result<Completion<Json>> {
    let was_active = before["active"] == json!(true);
    if is_active(&loaded(&input.unit)?) == was_active {
        let summary = if was_active { "it runs, as before" } else { "it is stopped, as before" };
        return Ok(Completion::unchanged(summary, Json::Null));
    }
    let word = if was_active {
        start(&input.unit)?;
        "started"
    } else {
        stop(&input.unit)?;
        "stopped"
    };
    Ok(Completion::changed(format!("{word} {} again", input.unit), Json::Null))
}

pub(crate) struct Start;

impl Step for Start {
    type Input = Input;
    type Output = Output;

    fn plan(job: &Job, input: &Input) -> Result<Proposal> {
        // A unit that is about to change must not count as it is now.
        await_job(job, &input.unit)?;
        let unit = loaded(&input.unit)?;
        let before = json!({ "active": is_active(&unit) });
        if is_active(&unit) {
            return Ok(Proposal::nothing(
                format!("{} is {} already", input.unit, unit.active),
                before,
            ));
        }
        let what = effect("system.unit-start", input.unit.clone(), format!("start {}", input.unit));
        Ok(Proposal::one(what, before))
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        let output = start(&input.unit)?;
        Ok(if proposal.effects.is_empty() {
            Completion::unchanged(format!("{} ran already", input.unit), output)
        } else {
            Completion::changed(format!("started {}", input.unit), output)
        })
    }

    fn observe(job: &Job, input: &Input) -> Result<Json> {
        await_job(job, &input.unit)?;
        state(&input.unit)
    }

    fn undo(job: &Job, input: &Input, before: &Json) -> Result<Completion<Json>> {
        await_job(job, &input.unit)?;
        restore(input, before)
    }
}

pub(crate) struct Stop;

impl Step for Stop {
    type Input = Input;
    type Output = Output;

    fn plan(job: &Job, input: &Input) -> Result<Proposal> {
        // A unit that is about to change must not count as it is now.
        await_job(job, &input.unit)?;
        let unit = loaded(&input.unit)?;
        let before = json!({ "active": is_active(&unit) });
        if !is_active(&unit) {
            return Ok(Proposal::nothing(
                format!("{} is {} already", input.unit, unit.active),
                before,
            ));
        }
        let what = effect("system.unit-stop", input.unit.clone(), format!("stop {}", input.unit));
        Ok(Proposal::one(what, before))
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        let output = stop(&input.unit)?;
        Ok(if proposal.effects.is_empty() {
            Completion::unchanged(format!("{} was stopped already", input.unit), output)
        } else {
            Completion::changed(format!("stopped {}", input.unit), output)
        })
    }

    fn observe(job: &Job, input: &Input) -> Result<Json> {
        await_job(job, &input.unit)?;
        state(&input.unit)
    }

    fn undo(job: &Job, input: &Input, before: &Json) -> Result<Completion<Json>> {
        await_job(job, &input.unit)?;
        restore(input, before)
    }
}
