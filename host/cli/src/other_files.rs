//! Handles files that are not runbooks, because a command may be given all files of a folder.

use crate::failure::Failure;
use crate::kind_of_file::KindOfFile;
use crate::waivers::Waivers;
use crate::{configuration, host_policy, prepare, project, text_file, ui};
use runbook_authority::trust::TrustFile;
use runbook_authority::{Boundary, Manifest};
use runbook_document::{Diagnostics, Source};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The kind of a file. A file that cannot be read is `Unknown`; the error is reported when it is
/// read as a runbook.
pub fn kind(file: &Path) -> KindOfFile {
    source(file).map_or(KindOfFile::Unknown, |source| KindOfFile::of(&source))
}

fn source(file: &Path) -> std::io::Result<Arc<Source>> {
    text_file::source(file)
}

/// The runbooks and suites among several files. A note names the others.
///
/// # Errors
/// None of the files is a runbook or a suite.
pub fn runbooks_of(files: &[PathBuf]) -> Result<Vec<&PathBuf>, Failure> {
    let mut runbooks = Vec::new();
    for file in files {
        match kind(file).non_runbook_noun() {
            None => runbooks.push(file),
            Some(noun) => ui::note(&format!(
                "{}: skipped, because it is {noun} and not a runbook",
                runbook_text::line(&file.display().to_string())
            )),
        }
    }
    if runbooks.is_empty() {
        return Err(Failure::usage("none of the files is a runbook or a suite")
            .hint("name one that has `[runbook]`"));
    }
    Ok(runbooks)
}

/// Checks a file of this kind by itself, without the files that use it.
pub fn validate(file: &Path, kind: KindOfFile) -> Result<(), Failure> {
    let source = source(file)
        .map_err(|error| Failure::usage(format!("`{}` cannot be read: {error}", file.display())))?;
    let mut found = Diagnostics::default();
    match kind {
        KindOfFile::Runbook | KindOfFile::Unknown => {}
        KindOfFile::Targets => {
            let shared = runbook_engine::parse_targets_file(&source, &mut found);
            prepare::check_shared(file, &shared, &mut found)?;
        }
        KindOfFile::Waivers => drop(Waivers::entries(&source, &mut found)),
        KindOfFile::Inputs => runbook_engine::parse_inputs(&source, &mut found),
        KindOfFile::Boundary => drop(Boundary::parse(&source, &mut found)),
        KindOfFile::Trust => drop(TrustFile::parse(&source, &mut found)),
        KindOfFile::Settings => drop(host_policy::parse(&source, &mut found)),
        KindOfFile::Configuration => drop(configuration::parse(&source, &mut found)),
        KindOfFile::Project => drop(project::parse(&source, &mut found)),
        KindOfFile::Manifest => drop(Manifest::parse(&source, &mut found)),
    }
    if found.has_errors() { Err(Failure::findings(found)) } else { Ok(()) }
}
