//! Arguments that several commands take.

use crate::completion;
use crate::output_arguments::OutputArgs;
use crate::value_parsers::parameter;
use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::ArgValueCompleter;
use std::path::PathBuf;

/// The parameters and the environment of a runbook.
#[derive(Debug, ClapArgs)]
pub struct RunbookArgs {
    /// The parameters of the runbook.
    #[command(flatten)]
    pub params: ParamArgs,
    /// Take targets from `targets.NAME.toml` beside the runbook
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV", add = ArgValueCompleter::new(completion::environments))]
    pub env: Option<String>,
}

/// The parameters of a runbook or suite.
#[derive(Debug, ClapArgs)]
pub struct ParamArgs {
    /// Set a parameter; may be given several times. It overrides `RUNBOOK_PARAM_NAME`, which
    /// overrides `--params-file`
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter, add = ArgValueCompleter::new(completion::parameters))]
    pub set: Vec<(String, String)>,
    /// Take parameters from a file of `name = value` in TOML; `-` is stdin
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub params_file: Option<PathBuf>,
}

/// A run, and which events and reports of it are written.
#[derive(Debug, ClapArgs)]
pub struct ExistingRunArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// Which events and reports are written, and where.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ListFormat {
    /// Text for people
    Text,
    /// For programs: one JSON object a line
    Json,
}
