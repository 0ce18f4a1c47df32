//! Checks secrets before the first effect: if a store is missing, the run would fail later anyway.

use crate::failure::Failure;
use crate::plugin_caller::{PluginCaller, Unavailable};
use crate::ui;
use runbook_engine::{RunState, Section, Stage, StepId, StepPhase};

/// Refuses to begin a run in which a call site needs a secret that cannot be had. All call sites
/// count, also those behind a `when`, of an undo, of `finally` and of notifications: it is not
/// known before which of them will be called.
///
/// # Errors
/// Each secret, with the call site that needs it.
pub fn of_new_run(operator: &PluginCaller) -> Result<(), Failure> {
    refuse(operator.unavailable_secrets(|_| true), "nothing was begun")
}

/// The same for a run that goes on: what is still to be done must be possible. What is done needs
/// its secrets no more, and what is being undone is not held up, because another undo may work.
///
/// # Errors
/// Each secret that a step needs which is still to be done.
pub fn of_resumed_run(operator: &PluginCaller, state: &RunState) -> Result<(), Failure> {
    let is_undone = state.stage >= Stage::Undo;
    let is_ahead = |site: &StepId| {
        let is_step =
            |section| matches!(section, Section::Preflight | Section::Step | Section::Verify);
        let is_listed =
            state.order.iter().any(|listing| listing.id == *site && is_step(listing.section));
        let found = state.steps.get(site);
        !is_undone && is_listed && found.is_some_and(|step| !is_over(step.phase))
    };
    refuse(operator.unavailable_secrets(is_ahead), "the run is as it was, and can be resumed")?;
    warn(operator.unavailable_secrets(|site| !is_ahead(site) && may_be_called(state, site)));
    Ok(())
}

/// Warns before an undo, which goes on as far as it can.
pub fn of_undo(operator: &PluginCaller, state: &RunState) {
    warn(operator.unavailable_secrets(|site| may_be_called(state, site)));
}

/// Whether a call site may still be called: an undo, a `finally`, a notification.
fn may_be_called(state: &RunState, site: &StepId) -> bool {
    let written = site.undoes().unwrap_or_else(|| site.clone());
    let section =
        state.order.iter().find(|listing| listing.id == written).map(|listing| listing.section);
    match section {
        Some(Section::Step) => {
            state.steps.iter().any(|(id, step)| id.as_written() == written && step.is_undoable())
        }
        Some(Section::Preflight | Section::Verify | Section::Guard | Section::Check) => false,
        Some(Section::Finally | Section::Undo | Section::Notify) | None => true,
    }
}

fn is_over(phase: StepPhase) -> bool {
    match phase {
        StepPhase::Skipped(_)
        | StepPhase::Succeeded
        | StepPhase::Failed(_)
        | StepPhase::Undoing
        | StepPhase::UndoWaiting(_)
        | StepPhase::Undone
        | StepPhase::UndoFailed => true,
        StepPhase::Pending
        | StepPhase::Repeating
        | StepPhase::Running
        | StepPhase::Asking
        | StepPhase::Waiting(_)
        | StepPhase::Unknown => false,
    }
}

fn refuse(missing: Vec<Unavailable>, so: &str) -> Result<(), Failure> {
    let told: Vec<String> = missing
        .iter()
        .map(|Unavailable { site, why }| format!("{why}; `{site}` needs it"))
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    Err(Failure::engine(format!("{} ({so})", told.join(", and "))).hint(
        "`runbook secret list STORE` shows what a store has, and \
               `runbook secret set STORE#NAME` puts it there",
    ))
}

fn warn(missing: Vec<Unavailable>) {
    for Unavailable { site, why } in missing {
        ui::warning(&format!("{why}; `{site}` needs it"));
    }
}
