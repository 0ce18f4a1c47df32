//! `runbook audit`: what plugins and runbooks may do. Nothing is run and nothing is contacted.

mod details;
mod difference;
mod records;
mod review;
mod tighten;

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use crate::value_parsers::one_of;
use records::Unsealed;
use runbook_authority::Risk;
use runbook_report::access_report::{LEDGER_FORMATS, LedgerFormat};
use std::path::PathBuf;

/// What to do with the audit log.
#[derive(Debug, clap::Subcommand)]
pub enum AuditCommand {
    /// Check that no record of the audit log was changed, removed or moved
    Verify {
        /// The head that an earlier `verify` printed: what came before it must still be there
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
        /// Fail as well if a run was killed and nobody has sealed its records yet: the next run on this host does
        #[arg(long)]
        strict: bool,
    },
    /// Show what a run did, host call by host call
    Log {
        /// The run's id, or as much of it as is unambiguous [default: the newest]
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        run: Option<String>,
        /// As JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Propose the least grant that covers what a runbook's runs used
    Tighten {
        /// The runbook
        file: PathBuf,
        /// Take targets from `targets.NAME.toml` beside it
        #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV")]
        env: Option<String>,
    },
}

/// `runbook audit`
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AuditArgs {
    /// What to do with the audit log.
    #[command(subcommand)]
    pub command: Option<AuditCommand>,
    /// Runbooks, component files, bundled plugins by name, or folders of them [default: the folder]
    pub paths: Vec<String>,
    /// Take targets from `targets.NAME.toml` beside each runbook
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV")]
    pub env: Option<String>,
    /// text, json, sarif or html
    #[arg(long, default_value = "text", value_parser = format)]
    pub format: LedgerFormat,
    /// Write to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// End with status 1 if there is a finding of this risk or a higher one: info, low, medium, high, critical
    #[arg(long, value_name = "RISK", value_parser = risk)]
    pub fail_on: Option<Risk>,
    /// Count how often each capability was used, by the audit log of this host
    #[arg(long)]
    pub used: bool,
    /// Compare two: files, folders, lockfiles, or `REVISION:PATH` of git; status 1 if anything is wider
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with_all = ["paths", "fail_on"])]
    pub diff: Option<Vec<String>>,
}

/// Runs `runbook audit`.
pub fn run(context: &Context, args: &AuditArgs) -> Result<ExitStatus, Failure> {
    match &args.command {
        Some(AuditCommand::Verify { head, strict }) => {
            return records::verify(context, head.as_deref(), if *strict { Unsealed::Fail } else { Unsealed::Told });
        }
        Some(AuditCommand::Log { run, json }) => return records::log(context, run.as_deref(), (*json).into()),
        Some(AuditCommand::Tighten { file, env }) => return tighten::run(context, file, env.as_deref()),
        None => {}
    }
    if let Some([old, new]) = args.diff.as_deref() {
        return difference::run(context, old, new, args);
    }
    review::run(context, args)
}

/// Writes data where it was asked for.
fn deliver(args: &AuditArgs, text: &str) -> Result<(), Failure> {
    let Some(path) = &args.output else {
        return match args.format {
            LedgerFormat::Text => ui::text(text),
            LedgerFormat::Json | LedgerFormat::Sarif | LedgerFormat::Html => ui::data(text),
        };
    };
    let text = ui::by_name(text);
    let ended = if text.ends_with('\n') { text.into_owned() } else { format!("{text}\n") };
    std::fs::write(path, ended).map_err(|error| Failure::usage(format!("`{}` cannot be written: {error}", path.display())))
}

fn format(text: &str) -> Result<LedgerFormat, String> {
    let known: Vec<_> = LEDGER_FORMATS.iter().map(|(_, name, _)| *name).collect();
    one_of(LedgerFormat::find(text), text, &known)
}

fn risk(text: &str) -> Result<Risk, String> {
    Risk::find(text).ok_or_else(|| format!("`{text}` is not a risk; known: info, low, medium, high, critical"))
}
