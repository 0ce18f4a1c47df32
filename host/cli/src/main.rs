//! The `runbook` program.

mod args;
mod audit_log;
mod audited;
mod boundary;
mod commands;
mod completion;
mod context;
mod execution;
mod exit_status;
mod failure;
mod fault;
mod live;
mod lock;
mod operate;
mod person;
mod plugins;
mod prepare;
mod process;
mod schemas;
mod signatures;
mod telemetry;
mod ui;
mod vault;
mod waivers;
mod whole_file;

use clap::{CommandFactory as _, Parser as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    // A shell that completes a command line sets `COMPLETE`, gets its answer, and nothing else happens.
    clap_complete::CompleteEnv::with_factory(args::Args::command).complete();
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return commands::check::status_of_a_usage_error(&error);
        }
    };
    let context = match context::Context::new(&args.global) {
        Ok(context) => context,
        Err(failure) => {
            ui::failure(None, &failure);
            return ExitCode::from(failure.status().code());
        }
    };
    match commands::run(&context, args.command) {
        Ok(status) => ExitCode::from(status.code()),
        Err(failure) => {
            ui::failure(Some(&context), &failure);
            ExitCode::from(failure.status().code())
        }
    }
}
