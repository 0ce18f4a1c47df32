//! `runbook man`: prints the manual page, or writes one for each command.

use crate::command_line::Args;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use clap::CommandFactory as _;
use std::path::Path;

/// Prints the manual page, or writes one for each command.
pub fn run(output: Option<&Path>) -> Result<ExitStatus, Failure> {
    match output {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut page)?;
            ui::raw_data(&page)?;
        }
        Some(folder) => {
            let written = std::fs::create_dir_all(folder)
                .and_then(|()| clap_mangen::generate_to(Args::command(), folder));
            written.map_err(|error| {
                Failure::usage(format!(
                    "the pages cannot be written to `{}`: {error}",
                    folder.display()
                ))
                .hint("name a folder that you may write to")
            })?;
        }
    }
    Ok(ExitStatus::Success)
}
