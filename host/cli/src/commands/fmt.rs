//! `runbook fmt`: formats TOML files, or checks that they are formatted.

use crate::atomic_write::{self, FileMode};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::text_file;
use crate::ui;
use clap::Args as ClapArgs;
use runbook_document::Diagnostics;
use std::path::Path;
use std::path::PathBuf;

/// The arguments of `runbook fmt`.
#[derive(Debug, ClapArgs)]
pub struct FmtArgs {
    /// The TOML files to format
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Change nothing; exit code 1 if a file is not formatted
    #[arg(long)]
    pub check: bool,
}

/// Formats files. Comments, order and values stay.
pub fn run(args: &FmtArgs) -> Result<ExitStatus, Failure> {
    let mut n_unformatted = 0;
    for file in &args.files {
        let text = crate::text_file::read(file).map_err(|error| {
            Failure::usage(format!("`{}` cannot be read: {error}", file.display()))
        })?;
        let formatted = format(file, &text)?;
        if formatted == text {
            continue;
        }
        n_unformatted += 1;
        if args.check {
            ui::print_stderr(&format!("{} is not formatted", file.display()));
        } else {
            atomic_write::replace(file, &formatted, FileMode::AsBefore)?;
            ui::note(&format!("formatted {}", file.display()));
        }
    }
    Ok(if args.check && n_unformatted > 0 { ExitStatus::Failed } else { ExitStatus::Success })
}

fn format(file: &Path, text: &str) -> Result<String, Failure> {
    let before = values(file, text)?;
    let formatted = layout(text)?;
    // A bug of the formatter must not change the meaning of a file.
    if values(file, &formatted)? == before {
        return Ok(formatted);
    }
    Err(Failure::engine(format!(
        "`{}` would not say the same after formatting; it was left as it is",
        file.display()
    ))
    .hint("report this with the file"))
}

/// The text with the spaces and line breaks that the formatter gives it.
#[cfg(feature = "fmt")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature there is no formatter")]
fn layout(text: &str) -> Result<String, Failure> {
    let options = taplo::formatter::Options {
        array_auto_collapse: false,
        array_auto_expand: false,
        allowed_blank_lines: 1,
        column_width: 140,
        ..taplo::formatter::Options::default()
    };
    Ok(taplo::formatter::format(text, options))
}

#[cfg(not(feature = "fmt"))]
fn layout(_: &str) -> Result<String, Failure> {
    Err(Failure::refused("this program was built without the feature `fmt`")
        .hint("build it with `cargo build --features fmt`, or with all features by `cargo build`"))
}

fn values(file: &Path, text: &str) -> Result<serde_json::Value, Failure> {
    let mut diagnostics = Diagnostics::default();
    let table = runbook_document::parse(
        &text_file::named_source(file, file.display().to_string(), text.to_owned()),
        &mut diagnostics,
    );
    table.map(|table| table.to_json()).ok_or_else(|| Failure::findings(diagnostics))
}
