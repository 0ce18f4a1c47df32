//! `runbook review`: shows what plugins and runbooks may do. Nothing is run and nothing is
//! contacted.

mod details;
mod difference;
mod entries;
mod limits;
mod suggest;
mod usage;

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output_file;
use crate::ui;
use crate::value_parsers::one_of;
use runbook_authority::Risk;
use runbook_report::access_report::{REVIEW_FORMATS, ReviewFormat};
use std::path::PathBuf;

/// The commands under `runbook review`.
#[derive(Debug, clap::Subcommand)]
pub enum ReviewCommand {
    /// Suggest the least grant that covers what a runbook's runs used
    Suggest {
        /// The runbook whose grants are to be narrowed
        file: PathBuf,
        /// Take targets from `targets.NAME.toml` beside it
        #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV")]
        env: Option<String>,
    },
}

/// The arguments of `runbook review`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ReviewArgs {
    /// The command under `runbook review`, if one is given.
    #[command(subcommand)]
    pub command: Option<ReviewCommand>,
    /// Runbooks, component files, bundled plugins by name, or folders of them [default: the folder]
    pub paths: Vec<String>,
    /// Take targets from `targets.NAME.toml` beside each runbook
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV")]
    pub env: Option<String>,
    /// text, json, sarif or html
    #[arg(long, default_value = "text", value_parser = format)]
    pub format: ReviewFormat,
    /// Write to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// End with exit code 1 if there is a finding of this risk or a higher one: info, low, medium,
    /// high, critical
    #[arg(long, value_name = "RISK", value_parser = risk)]
    pub fail_on: Option<Risk>,
    /// Count how often each capability was used, by the audit log of this host
    #[arg(long)]
    pub used: bool,
    /// Compare two: files, folders, lockfiles, or `REVISION:PATH` of git; exit code 1 if anything
    /// is wider
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with_all = ["paths", "fail_on"])]
    pub diff: Option<Vec<String>>,
}

/// Runs `runbook review` or one of the commands under it.
pub fn run(context: &Context, args: &ReviewArgs) -> Result<ExitStatus, Failure> {
    if let Some(ReviewCommand::Suggest { file, env }) = &args.command {
        return suggest::run(context, file, env.as_deref());
    }
    args.output.iter().try_for_each(|path| output_file::refuse_overwriting_input(context, path))?;
    if let Some([old, new]) = args.diff.as_deref() {
        return difference::run(context, old, new, args);
    }
    entries::run(context, args)
}

/// Writes the review to stdout or to the file of `--output`.
fn write_output(args: &ReviewArgs, text: &str) -> Result<(), Failure> {
    let Some(path) = &args.output else {
        return match args.format {
            ReviewFormat::Text => ui::text(text),
            ReviewFormat::Json | ReviewFormat::Sarif | ReviewFormat::Html => ui::data(text),
        };
    };
    let text = ui::with_path_names(text);
    let with_newline = if text.ends_with('\n') { text.into_owned() } else { format!("{text}\n") };
    std::fs::write(path, with_newline)
        .map_err(|error| Failure::usage(format!("`{}` cannot be written: {error}", path.display())))
}

fn format(text: &str) -> Result<ReviewFormat, String> {
    let known: Vec<_> = REVIEW_FORMATS.iter().map(|(_, name, _)| *name).collect();
    one_of(ReviewFormat::find(text), text, &known)
}

fn risk(text: &str) -> Result<Risk, String> {
    Risk::find(text)
        .ok_or_else(|| format!("`{text}` is not a risk; known: info, low, medium, high, critical"))
}
