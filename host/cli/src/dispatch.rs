//! Which function runs which command.

use crate::command_line::Command;
use crate::commands::{
    answer, approve, audit, cancel, check, completions, doctor, exec, explain, fmt, help, list,
    lock, locks, man, plan, plugin, prune, report, resume, retry, review, runs, schema, secret,
    show, undo, validate,
};
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;

/// Runs the command that was typed.
pub fn run(context: &Context, command: Command) -> Result<ExitStatus, Failure> {
    match command {
        Command::Exec(args) => exec::run(context, &args),
        Command::Check(args) => Ok(check::run(context, &args)),
        Command::Plan(args) => plan::run(context, &args),
        Command::Validate(args) => validate::run(context, &args),
        Command::Resume(args) => resume::run(context, &args),
        Command::Retry(args) => retry::run(context, &args),
        Command::Undo(args) => undo::run(context, &args),
        Command::Cancel(args) => cancel::run(context, &args),
        Command::Approve(args) => approve::approve(context, &args),
        Command::Answer(args) => answer::run(context, &args),
        Command::Reject(args) => approve::reject(context, &args),
        Command::Runs(args) => runs::run(context, &args),
        Command::List(args) => list::run(context, &args),
        Command::Show(args) => show::run(context, &args),
        Command::Report(args) => report::run(context, &args),
        Command::Prune(args) => prune::run(context, &args),
        Command::Review(args) => review::run(context, &args),
        Command::Audit { command } => audit::run(context, &command),
        Command::Lock(args) => lock::run(context, &args),
        Command::Secret { command } => secret::run(context, command),
        Command::Plugin { command } => plugin::run(context, command),
        Command::Fmt(args) => fmt::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Schema { file } => schema::run(file),
        Command::Man { output } => man::run(output.as_deref()),
        Command::Completions { shell } => completions::run(shell),
        Command::Doctor(args) => doctor::run(context, &args),
        Command::Locks(args) => locks::run(context, &args),
        Command::Help { topic } => help::run(&topic),
    }
}
