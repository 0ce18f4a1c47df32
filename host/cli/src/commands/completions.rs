//! `runbook completions`

use crate::args::Args;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use clap::CommandFactory as _;

/// Prints a completion script.
pub fn run(shell: clap_complete::Shell) -> Result<ExitStatus, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "runbook", &mut script);
    ui::raw_data(&script)?;
    Ok(ExitStatus::Success)
}
