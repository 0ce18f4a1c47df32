//! `runbook report`: writes the report of a run.

use super::resume::load;
use crate::completion;
use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output_file;
use crate::ui;
use crate::value_parsers::format;
use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::ArgValueCompleter;
use runbook_report::{Format, Summary};
use std::path::Path;
use std::path::PathBuf;

/// The arguments of `runbook report`.
#[derive(Debug, ClapArgs)]
pub struct ReportArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// text, json, junit, markdown or html [default: by the ending of `--output`, else text]
    #[arg(long, value_parser = format)]
    pub format: Option<runbook_report::Format>,
    /// The file to write [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Writes the report of a run, from its journal.
pub fn run(context: &Context, args: &ReportArgs) -> Result<ExitStatus, Failure> {
    let format = match (args.format, args.output.as_deref()) {
        (Some(format), _) => format,
        (None, None) => Format::Text,
        (None, Some(path)) => format_by_name(path)?,
    };
    args.output.iter().try_for_each(|path| output_file::refuse_overwriting_input(context, path))?;
    let summary = execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let (run, stored) = load(&journal, &args.run).await?;
        let mut summary = Summary::of(&stored.header, &stored.records);
        crate::earlier_runs::add_to_summary(&journal, run, &mut summary).await?;
        Ok::<_, Failure>(summary)
    })?;
    match &args.output {
        None => ui::report(format, &summary)?,
        Some(path) => {
            std::fs::write(path, ui::render_report(format, &summary)).map_err(|error| {
                Failure::engine(format!(
                    "the report cannot be written to `{}`: {error}",
                    path.display()
                ))
                .hint("name another file")
            })?;
        }
    }
    Ok(ExitStatus::Success)
}

fn format_by_name(path: &Path) -> Result<Format, Failure> {
    Format::of_file(path).ok_or_else(|| {
        Failure::usage(format!("`{}` does not say which format it is to be in", path.display()))
            .hint("give `--format`, or end the name in .txt, .json, .xml (JUnit), .md or .html")
    })
}
