//! `runbook help`

use crate::args::Args;
use crate::exit_status::{CHECK_STATUSES, EXIT_STATUSES, ExitStatus};
use crate::failure::Failure;
use crate::ui;
use clap::CommandFactory as _;
use std::fmt::Write as _;

/// Explains a topic, or the program.
pub fn run(topic: Option<&str>) -> Result<ExitStatus, Failure> {
    match topic {
        None => ui::data(&Args::command().render_long_help().to_string())?,
        Some("exit-codes") => ui::data(&exit_codes())?,
        Some(name) => {
            let mut command = Args::command();
            let Some(found) = command.find_subcommand_mut(name) else {
                return Err(Failure::usage(format!("there is no topic or command `{name}`"))
                    .hint("topics: exit-codes; commands: see `runbook help`"));
            };
            ui::data(&found.render_long_help().to_string())?;
        }
    }
    Ok(ExitStatus::Success)
}

fn exit_codes() -> String {
    let mut text = String::from("exec, resume, undo and every other command but check:\n");
    for (_, code, meaning) in EXIT_STATUSES {
        let _ = writeln!(text, "  {code:>3}  {meaning}");
    }
    text.push_str("check:\n");
    for (_, code, meaning) in CHECK_STATUSES {
        let _ = writeln!(text, "  {code:>3}  {meaning}");
    }
    text.push_str("A number that is not listed is a failure.\n");
    text
}
