//! `systemd:enable` and `systemd:disable`, each the undo of the other.

use crate::{Input, await_job, loaded, units};
use runbook_sdk::prelude::*;
use runbook_sdk::system::Unit;

/// What the file of the unit says now.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    unit: String,
    /// Such as `enabled` or `disabled`.
    file_state: String,
}

fn is_enabled(unit: &Unit) -> bool {
    unit.file_state == "enabled"
}

fn state(name: &str) -> Result<Json> {
    Ok(json!({ "enabled": is_enabled(&loaded(name)?) }))
}

/// Enables or disables the unit, if it is not so already.
fn set(name: &str, enabled: bool) -> Result<Output> {
    if is_enabled(&loaded(name)?) != enabled {
        if enabled {
            units().enable(name)?;
        } else {
            units().disable(name)?;
        }
    }
    let unit = loaded(name)?;
    if is_enabled(&unit) == enabled {
        return Ok(Output { unit: unit.name, file_state: unit.file_state });
    }
    let message = format!("{name} is `{}` still", unit.file_state);
    Err(Fault::assertion("systemd.file-state", message))
}

fn plan(input: &Input, enabled: bool) -> Result<Proposal> {
    let unit = loaded(&input.unit)?;
    let before = json!({ "enabled": is_enabled(&unit) });
    if is_enabled(&unit) == enabled {
        let summary = format!("{} is `{}` already", input.unit, unit.file_state);
        return Ok(Proposal::nothing(summary, before));
    }
    let (verb, word) =
        if enabled { ("system.unit-enable", "enable") } else { ("system.unit-disable", "disable") };
    let what = effect(verb, input.unit.clone(), format!("{word} {}", input.unit));
    Ok(Proposal::one(what, before))
}

fn apply(input: &Input, enabled: bool, proposal: &Proposal) -> Result<Completion<Output>> {
    let output = set(&input.unit, enabled)?;
    let word = if enabled { "enabled" } else { "disabled" };
    Ok(if proposal.effects.is_empty() {
        Completion::unchanged(format!("{} was {word} already", input.unit), output)
    } else {
        Completion::changed(format!("{word} {}", input.unit), output)
    })
}

fn restore(input: &Input, before: &Json) -> Result<Completion<Json>> {
    let was_enabled = before["enabled"] == json!(true);
    let word = if was_enabled { "enabled" } else { "disabled" };
    if is_enabled(&loaded(&input.unit)?) == was_enabled {
        return Ok(Completion::unchanged(format!("it is {word}, as before"), Json::Null));
    }
    set(&input.unit, was_enabled)?;
    Ok(Completion::changed(format!("{word} {} again", input.unit), Json::Null))
}

pub(crate) struct Enable;

impl Step for Enable {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        plan(input, true)
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        apply(input, true, proposal)
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

pub(crate) struct Disable;

impl Step for Disable {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        plan(input, false)
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        apply(input, false, proposal)
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
