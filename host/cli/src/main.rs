//! The `runbook` program.

mod account;
mod atomic_write;
mod audit_log;
mod audit_records;
mod audited_runbook;
mod boundary;
mod command_line;
mod commands;
mod completion;
mod component_file;
mod configuration;
mod context;
mod directories;
mod dispatch;
mod earlier_runs;
mod environment_targets;
mod error_pages;
mod events;
mod execution;
mod executor;
mod exit_status;
mod failpoints;
mod failure;
mod fault_codes;
mod file_format;
mod global_arguments;
mod host_policy;
mod input;
mod interactive;
mod kind_of_file;
mod live;
mod lockfile;
mod misfits;
mod missing_paths;
mod mounts;
mod operator_words;
mod other_files;
mod output_arguments;
mod output_file;
mod outputs;
mod parameters;
mod plan_file;
mod plan_form;
mod plugin_caller;
mod plugins;
mod prepare;
mod prepared;
mod process;
mod program_log;
mod project;
mod protected_paths;
mod question;
mod resolver_environment;
mod rotation_locks;
mod runbook_file;
mod schema_words;
mod schemas;
mod screen;
mod secret_availability;
mod secret_source;
mod secret_store;
mod session;
mod shared_arguments;
mod signals;
mod signatures;
mod spent_time;
mod statements;
mod system_clock;
mod telemetry;
mod temporary_journal;
mod text_change;
mod text_file;
mod ui;
mod validation;
mod value_parsers;
mod waivers;
mod writable;
mod written_input;

use clap::FromArgMatches as _;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::process::ExitCode;

fn main() -> ExitCode {
    // In two hidden modes the program only starts another program in its place, or only compiles
    // one component.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(mode) if mode == runbook_launch::LAUNCH_ARGUMENT => {
            return runbook_launch::run(arguments.next().as_deref());
        }
        Some(mode) if mode == runbook_runtime::COMPILE_MODE => {
            return runbook_runtime::serve_compiler(arguments.next().as_deref());
        }
        Some(_) | None => {}
    }
    if let Err(error) = resolver_environment::restart_without_variables() {
        let failure = failure::Failure::engine(format!(
            "the program cannot be started again without variables such as `HOSTALIASES`: {error}"
        ))
        .hint("unset them");
        ui::failure(ui::Color::Off, &failure);
        return ExitCode::from(failure.status().code());
    }
    // A program that a target names would get them too, whatever its target lets it read.
    close_fds::set_fds_cloexec(3, &[]);
    // A core dump would write the secrets in memory to a file. Lowering a limit is always allowed.
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, no_core);
    // A shell that completes a command line sets `COMPLETE`. The program then only prints the
    // completions.
    clap_complete::CompleteEnv::with_factory(command_line::command).complete();
    let status = run();
    ui::flush();
    ExitCode::from(status)
}

/// Parses the command line, runs its command, and returns the exit code.
fn run() -> u8 {
    let parsed = command_line::command()
        .try_get_matches()
        .and_then(|matches| Ok((command_line::Args::from_arg_matches(&matches)?, matches)));
    let (args, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            ui::wrong_command_line(&error);
            return command_line::usage_error_status(&error, std::env::args_os().skip(1));
        }
    };
    let family = args.command.family();
    if args.global.quiet {
        ui::set_quiet();
    }
    let context = match load_context(args.global, &matches, args.command.data()) {
        Ok(context) => context,
        Err(failure) => {
            ui::failure(ui::Color::Off, &failure);
            return failure.status().code_in(family);
        }
    };
    if let Some(journal) = context.named_journal() {
        ui::name_journal(journal);
    }
    match dispatch::run(&context, args.command) {
        Ok(status) => status.code(),
        Err(failure) => {
            ui::failure(context.color_stderr.into(), &failure);
            failure.status().code_in(family)
        }
    }
}

/// Reads the configuration and the environment, and starts the log if one is asked for.
fn load_context(
    typed: global_arguments::GlobalArgs,
    matches: &clap::ArgMatches,
    data: command_line::CommandData,
) -> Result<context::Context, failure::Failure> {
    let configuration = configuration::Configuration::load()?;
    let global = configuration.complete(typed, matches);
    program_log::start(global.verbose, global.log.as_deref(), global.log_format)?;
    let here = std::env::current_dir().unwrap_or_default();
    let projects = match (project::Project::enclosing(&here), data) {
        (Ok(projects), _) => projects,
        (Err(failure), command_line::CommandData::Runbooks) => return Err(failure),
        // A broken project file must not prevent a cancel.
        (Err(failure), command_line::CommandData::Records) => {
            ui::warning(&format!(
                "{}; this command does without the project",
                failure.to_single_line()
            ));
            Vec::new()
        }
    };
    context::Context::new(&global, &configuration, matches, (&here, projects))
}
