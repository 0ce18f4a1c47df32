//! `runbook help`: explains a command or a topic.

use crate::command_line::{self, Args};
use crate::exit_status::{CHECK_STATUSES, EXIT_STATUSES, ExitStatus};
use crate::failure::Failure;
use crate::ui;
use clap::CommandFactory as _;
use std::fmt::Write as _;

/// Explains a topic, a command such as `secret set`, or the program.
pub fn run(words: &[String]) -> Result<ExitStatus, Failure> {
    if words == ["exit-codes"] {
        ui::data(&exit_codes())?;
        return Ok(ExitStatus::Success);
    }
    if words == ["options"] {
        ui::data(&common_options())?;
        return Ok(ExitStatus::Success);
    }
    let mut command = command_line::command();
    // Needed for usage lines with the full name of a subcommand.
    command.build();
    let mut found = &mut command;
    for (index, word) in words.iter().enumerate() {
        let known: Vec<String> = found
            .get_subcommands()
            .flat_map(clap::Command::get_name_and_visible_aliases)
            .map(str::to_owned)
            .collect();
        if !known.contains(word) {
            let near = runbook_document::nearest(word, known.iter().map(String::as_str));
            let what = words[..=index].join(" ");
            let hint = near.map_or_else(
                || "topics: exit-codes, options; commands: see `runbook help`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(Failure::usage(format!("there is no topic or command `{what}`")).hint(hint));
        }
        found = found.find_subcommand_mut(word).expect("it is known");
    }
    ui::data(&found.render_long_help().to_string())?;
    Ok(ExitStatus::Success)
}

/// The options of every command.
fn common_options() -> String {
    let common = Args::command()
        .get_arguments()
        .filter(|option| option.is_global_set())
        .cloned()
        .collect::<Vec<_>>();
    let mut command = clap::Command::new("runbook")
        .args(common)
        .disable_help_flag(true)
        .help_template("{all-args}\n");
    command.render_long_help().to_string()
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
