//! The options that every command has, as they are typed.

use crate::program_log::LogFormat;
use clap::builder::BoolishValueParser;
use std::path::PathBuf;

/// The heading of the options that every command has.
pub const COMMON_OPTIONS: &str = "Options of every command";

/// When color is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Even where there is no terminal.
    Always,
    /// Not even on a terminal.
    Never,
}

/// Options that every command has.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = COMMON_OPTIONS)]
pub struct GlobalArgs {
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value = "auto", env = "RUNBOOK_COLOR")]
    pub color: ColorChoice,
    /// Never ask a question; a question that would be needed is an error
    #[arg(long, global = true, env = "RUNBOOK_NO_INPUT", value_parser = BoolishValueParser::new())]
    pub no_input: bool,
    /// The journal of runs: a file, or `postgres://user@host/database` [default: runbook/journal.db
    /// in the state directory]
    #[arg(
        long,
        global = true,
        value_name = "FILE|URL",
        env = "RUNBOOK_JOURNAL",
        hide_env_values = true
    )]
    pub journal: Option<String>,
    /// An age or SSH private key that opens secret stores; may be given several times [default:
    /// runbook/identity.txt in the configuration directory]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "RUNBOOK_IDENTITY",
        value_delimiter = ':'
    )]
    pub identity: Vec<PathBuf>,
    /// A file with the passphrase of a store or a private key, where nobody can be asked
    #[arg(long, global = true, value_name = "FILE", env = "RUNBOOK_PASSPHRASE_FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// A boundary file: the most that any runbook may be granted. /etc/runbook/boundary.toml always
    /// holds as well
    #[arg(long, global = true, value_name = "FILE", env = "RUNBOOK_BOUNDARY")]
    pub boundary: Option<PathBuf>,
    /// The folder of the audit log [default: the one that /etc/runbook/settings.toml names, else
    /// runbook/audit in the state directory]
    #[arg(long, global = true, value_name = "DIR", env = "RUNBOOK_AUDIT_LOG")]
    pub audit_log: Option<PathBuf>,
    /// A trust file: whose signatures are required for which plugins. /etc/runbook/trust.toml
    /// always holds as well
    #[arg(long, global = true, value_name = "FILE", env = "RUNBOOK_TRUST")]
    pub trust: Option<PathBuf>,
    /// Refuse a runbook without an entry in the `runbook.lock` beside it, or with one that keeps no
    /// text: for CI. A runbook that differs from its entry is always refused
    #[arg(long, global = true, env = "RUNBOOK_LOCKED", value_parser = BoolishValueParser::new())]
    pub locked: bool,
    /// Where compiled plugins are kept [default: runbook in the cache directory]
    #[arg(long, global = true, value_name = "DIR", env = "RUNBOOK_CACHE")]
    pub cache: Option<PathBuf>,
    /// Log on stderr what the program does; `-vv` logs more, `-vvv` everything
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only what is wrong, what needs a person, and what was asked for; of a run, how it ended
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Which parts of the program log, and how much, such as `debug` or
    /// `runbook_runtime=debug,info`; overrides `-v`
    #[arg(long, global = true, value_name = "FILTER", env = "RUNBOOK_LOG")]
    pub log: Option<String>,
    /// The form of the log on stderr; implies `-v`
    #[arg(long, global = true, value_enum, env = "RUNBOOK_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}
