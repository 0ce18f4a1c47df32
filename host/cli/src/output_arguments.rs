//! The options for reports and events that every command that runs something has.

use crate::context::Context;
use crate::events::EventWriter;
use crate::failure::Failure;
use crate::output_file;
use crate::value_parsers::report;
use clap::Args as ClapArgs;
use std::path::{Path, PathBuf};

/// Where reports and events of a run are written.
#[derive(Debug, ClapArgs)]
pub struct OutputArgs {
    /// Write a report of the run when it ends or waits, such as `junit=report.xml`; may be given
    /// several times; `-` is stdout
    #[arg(long, value_name = "FORMAT=PATH", value_parser = report)]
    pub report: Vec<(runbook_report::Format, PathBuf)>,
    /// Write each event when it happens, as one line of JSON (`runbook schema events`);
    /// `-` is stdout, which then has nothing else
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
}

impl OutputArgs {
    /// Checks, before anything runs, that each report has a folder to be written into and that no
    /// output replaces a file that the program reads.
    ///
    /// # Errors
    /// The first report or file of events that fails the check, or two outputs with the same file.
    pub fn check_destinations(&self, context: &Context) -> Result<(), Failure> {
        let mut files: Vec<&Path> = Vec::new();
        let paths =
            self.report.iter().map(|(_, path)| path).chain(&self.events).map(PathBuf::as_path);
        for path in paths.filter(|path| *path != Path::new("-")) {
            output_file::refuse_overwriting_input(context, path)?;
            if files.contains(&path) {
                let message = format!("two of the files to be written are `{}`", path.display());
                return Err(Failure::usage(message).hint("name another file for one of them"));
            }
            files.push(path);
        }
        for (_, path) in self.report.iter().filter(|(_, path)| path != std::path::Path::new("-")) {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let why = match folder {
                Some(folder) if !folder.is_dir() => {
                    format!("there is no folder `{}`", folder.display())
                }
                _ if path.is_dir() => "it is a folder".to_owned(),
                _ => continue,
            };
            let message = format!("report `{}` could not be written: {why}", path.display());
            return Err(Failure::usage(message).hint("make the folder, or name another file"));
        }
        Ok(())
    }

    /// Whether stdout belongs to a report or to events, so that nothing else is written to it.
    pub fn writes_to_stdout(&self) -> bool {
        let stdout = Path::new("-");
        self.events.as_deref() == Some(stdout) || self.report.iter().any(|(_, path)| path == stdout)
    }

    /// Opens the file or stream of `--events`, if it was given.
    ///
    /// # Errors
    /// It cannot be opened, or a report goes to stdout as well.
    pub fn open(&self) -> Result<Option<EventWriter>, Failure> {
        let stdout = Path::new("-");
        if self.events.as_deref() == Some(stdout)
            && self.report.iter().any(|(_, path)| path == stdout)
        {
            return Err(Failure::usage("events and a report are both to go to stdout")
                .hint("write one of them to a file"));
        }
        self.events.as_deref().map(EventWriter::open).transpose()
    }
}
