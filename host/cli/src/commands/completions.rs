//! `runbook completions`: prints a completion script for a shell.

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

/// Shells for which there are completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CompletionShell {
    /// The shell GNU Bash
    Bash,
    /// The shell Zsh
    Zsh,
    /// The shell fish
    Fish,
}

/// Prints a script that gets its completions from this program.
pub fn run(shell: CompletionShell) -> Result<ExitStatus, Failure> {
    let shell: &dyn EnvCompleter = match shell {
        CompletionShell::Bash => &Bash,
        CompletionShell::Zsh => &Zsh,
        CompletionShell::Fish => &Fish,
    };
    let mut script = Vec::new();
    shell.write_registration("COMPLETE", "runbook", "runbook", "runbook", &mut script)?;
    ui::raw_data(&script)?;
    Ok(ExitStatus::Success)
}
