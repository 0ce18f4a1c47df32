//! Arguments that several commands take.

use crate::completion;
use crate::events::Events;
use crate::failure::Failure;
use crate::value_parsers::{parameter, report};
use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::ArgValueCompleter;
use std::path::Path;
use std::path::PathBuf;

/// How a runbook is filled in.
#[derive(Debug, ClapArgs)]
pub struct RunbookArgs {
    /// Its parameters.
    #[command(flatten)]
    pub params: ParamArgs,
    /// Take targets from `targets.NAME.toml` beside the runbook
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV", add = ArgValueCompleter::new(completion::environments))]
    pub env: Option<String>,
}

/// The parameters of a runbook or suite.
#[derive(Debug, ClapArgs)]
pub struct ParamArgs {
    /// Set a parameter; may be given several times. Stronger than `RUNBOOK_PARAM_NAME`, which is stronger than `--params-file`
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter, add = ArgValueCompleter::new(completion::parameters))]
    pub set: Vec<(String, String)>,
    /// Take parameters from a file of `name = value` in TOML; `-` is stdin
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub params_file: Option<PathBuf>,
}

/// A run, and what is told of it.
#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// What is told.
    #[command(flatten)]
    pub told: OutputArgs,
}

/// What is told of a run beside what is shown.
#[derive(Debug, ClapArgs)]
pub struct OutputArgs {
    /// Write a report of the run when it ends or waits, such as `junit=report.xml`; may be given several times; `-` is stdout
    #[arg(long, value_name = "FORMAT=PATH", value_parser = report)]
    pub report: Vec<(runbook_report::Format, PathBuf)>,
    /// Write what happens while it happens, one line of JSON an event (`runbook schema events`); `-` is stdout, which then has nothing else
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
}

impl OutputArgs {
    /// Whether each report has a folder to be written into, before anything runs: afterwards it would be too late.
    ///
    /// # Errors
    /// The first report that has none.
    pub fn look_before(&self) -> Result<(), Failure> {
        for (_, path) in self.report.iter().filter(|(_, path)| path != std::path::Path::new("-")) {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let why = match folder {
                Some(folder) if !folder.is_dir() => format!("there is no folder `{}`", folder.display()),
                _ if path.is_dir() => "it is a folder".to_owned(),
                _ => continue,
            };
            let message = format!("report `{}` could not be written: {why}", path.display());
            return Err(Failure::usage(message).hint("make the folder, or name another file"));
        }
        Ok(())
    }

    /// Whether stdout belongs to a report or to events, so that nothing else is written to it.
    pub fn has_stdout(&self) -> bool {
        let stdout = Path::new("-");
        self.events.as_deref() == Some(stdout) || self.report.iter().any(|(_, path)| path == stdout)
    }

    /// Opens what events are written to.
    ///
    /// # Errors
    /// It cannot be opened, or a report goes to stdout as well.
    pub fn open(&self) -> Result<Option<Events>, Failure> {
        let stdout = Path::new("-");
        if self.events.as_deref() == Some(stdout) && self.report.iter().any(|(_, path)| path == stdout) {
            return Err(Failure::usage("events and a report are both to go to stdout").hint("write one of them to a file"));
        }
        self.events.as_deref().map(Events::open).transpose()
    }
}

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ListFormat {
    /// For people
    Text,
    /// For programs: one JSON object a line
    Json,
}
