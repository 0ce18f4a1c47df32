//! Checks before the first effect that the secrets of a run can be read.

use crate::failure::Failure;
use crate::plugin_caller::{PluginCaller, UnavailableSecret};
use crate::ui;
use runbook_engine::{RunState, Section, Stage, StepId, StepPhase};

/// Checks the secrets of all call sites of a new run, including those with `when`, undos, `finally`
/// and notifications, because it is not known which of them will be called.
///
/// # Errors
/// The secrets that cannot be read, each with a call site that needs it.
pub fn check_new_run(caller: &PluginCaller) -> Result<(), Failure> {
    refuse(caller.unavailable_secrets(|_| true), "nothing was begun")
}

/// Checks the secrets of a run that is resumed. Only steps that are still to be executed must have
/// theirs. Those of other call sites, such as undos, only cause warnings.
///
/// # Errors
/// The secrets that cannot be read and that a step to be executed needs.
pub fn check_resumed_run(caller: &PluginCaller, state: &RunState) -> Result<(), Failure> {
    let is_undone = state.stage >= Stage::Undo;
    let is_to_be_executed = |site: &StepId| {
        let is_step =
            |section| matches!(section, Section::Preflight | Section::Step | Section::Verify);
        let is_listed =
            state.order.iter().any(|listing| listing.id == *site && is_step(listing.section));
        let found = state.steps.get(site);
        !is_undone && is_listed && found.is_some_and(|step| !is_over(step.phase))
    };
    refuse(
        caller.unavailable_secrets(is_to_be_executed),
        "the run is as it was, and can be resumed",
    )?;
    warn(caller.unavailable_secrets(|site| !is_to_be_executed(site) && may_be_called(state, site)));
    Ok(())
}

/// Warns of missing secrets before an undo. The undo is not refused, because parts of it may work.
pub fn warn_before_undo(caller: &PluginCaller, state: &RunState) {
    warn(caller.unavailable_secrets(|site| may_be_called(state, site)));
}

/// Whether a call site may still be called although its step is not to be executed: an undo, a
/// `finally`, a notification.
fn may_be_called(state: &RunState, site: &StepId) -> bool {
    let written_step = site.undone_step().unwrap_or_else(|| site.clone());
    let section = state
        .order
        .iter()
        .find(|listing| listing.id == written_step)
        .map(|listing| listing.section);
    match section {
        Some(Section::Step) => state
            .steps
            .iter()
            .any(|(id, step)| id.as_written() == written_step && step.is_undoable()),
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

fn refuse(missing: Vec<UnavailableSecret>, consequence: &str) -> Result<(), Failure> {
    let reasons: Vec<String> = missing
        .iter()
        .map(|UnavailableSecret { site, why, .. }| format!("{why}; `{site}` needs it"))
        .collect();
    let Some(first) = missing.first() else { return Ok(()) };
    Err(Failure::engine(format!("{} ({consequence})", reasons.join(", and "))).hint(first.help()))
}

fn warn(missing: Vec<UnavailableSecret>) {
    for UnavailableSecret { site, why, .. } in missing {
        ui::warning(&format!("{why}; `{site}` needs it"));
    }
}
