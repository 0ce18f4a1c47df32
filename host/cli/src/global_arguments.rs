//! The options that every command has, as they are typed.

use crate::program_log::LogFormat;
use clap::builder::BoolishValueParser;
use std::path::PathBuf;

/// The heading of the options that every command has.
pub const COMMON_OPTIONS: &str = "Options of every command";

/// When colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Options that every command has.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = COMMON_OPTIONS)]
pub struct GlobalArgs {
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value = "auto", env = "RUNBOOK_COLOR")]
    pub color: Color,
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
    /// A limit of what any runbook may be granted, besides /etc/runbook/boundary.toml, which always
    /// holds
    #[arg(long, global = true, value_name = "FILE", env = "RUNBOOK_BOUNDARY")]
    pub boundary: Option<PathBuf>,
    /// The folder of the audit log [default: the one that /etc/runbook/settings.toml names, else
    /// runbook/audit in the state directory]
    #[arg(long, global = true, value_name = "DIR", env = "RUNBOOK_AUDIT_LOG")]
    pub audit_log: Option<PathBuf>,
    /// Whose signatures are required for which plugins, besides those of /etc/runbook/trust.toml,
    /// which always holds
    #[arg(long, global = true, value_name = "FILE", env = "RUNBOOK_TRUST")]
    pub trust: Option<PathBuf>,
    /// Refuse a runbook without an entry in the `runbook.lock` beside it, or with one that keeps no
    /// text: for CI. One that differs from its entry is refused with and without this
    #[arg(long, global = true, env = "RUNBOOK_LOCKED", value_parser = BoolishValueParser::new())]
    pub locked: bool,
    /// Where compiled plugins are kept [default: runbook in the cache directory]
    #[arg(long, global = true, value_name = "DIR", env = "RUNBOOK_CACHE")]
    pub cache: Option<PathBuf>,
    /// Say on stderr what the program does; `-vv` says more, `-vvv` everything
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Which parts of the program say what they do, such as `debug` or
    /// `runbook_runtime=debug,info`; stronger than `-v`
    #[arg(long, global = true, value_name = "FILTER", env = "RUNBOOK_LOG")]
    pub log: Option<String>,
    /// How what the program does is written on stderr; implies `-v`
    #[arg(long, global = true, value_enum, env = "RUNBOOK_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}
