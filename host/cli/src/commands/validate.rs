//! `runbook validate`: checks files without running anything.

use crate::completion;
use crate::context::{Context, LockPolicy};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::kind_of_file::KindOfFile;
use crate::prepare;
use crate::prepared::{Prepared, Site};
use crate::runbook_file::RunbookFile;
use crate::secret_source::secret_stores;
use crate::shared_arguments::ListFormat;
use crate::validation::Validation;
use crate::{lockfile, missing_things, other_files, project, ui};
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_document::Diagnostics;
use runbook_engine::Section;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

/// The arguments of `runbook validate`.
#[derive(Debug, ClapArgs)]
pub struct ValidateArgs {
    /// The runbooks and suites; targets, waivers, boundaries, trust files, settings and manifests
    /// are checked too
    #[arg(required = true, value_name = "FILE|NAME", add = ArgValueCompleter::new(completion::runbooks))]
    pub files: Vec<PathBuf>,
    /// Take targets from `targets.NAME.toml` beside each runbook
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV", add = ArgValueCompleter::new(completion::environments))]
    pub env: Option<String>,
    /// The form of the output
    #[arg(long, value_enum, default_value = "text")]
    pub format: ListFormat,
}

/// A file that can be used.
struct ValidFile {
    /// What it holds: `3 steps`.
    holds: String,
    /// What somebody should look at.
    warnings: Diagnostics,
    /// What its targets name and this machine does not have.
    missing: BTreeSet<String>,
}

/// Checks runbooks, and files of other kinds as what they are. Each is checked by itself.
pub fn run(context: &Context, args: &ValidateArgs) -> Result<ExitStatus, Failure> {
    let mut worst = ExitStatus::Success;
    for file in &project::find_all(&context.project, &args.files)? {
        let checked = check(context, file, args.env.as_deref());
        if let Err(failure) = &checked {
            worst = if worst == ExitStatus::Success { failure.status() } else { worst };
        }
        match args.format {
            ListFormat::Text => tell(context, file, &checked)?,
            ListFormat::Json => ui::json(&validation(file, checked).json())?,
        }
    }
    Ok(worst)
}

fn tell(
    context: &Context,
    file: &Path,
    checked: &Result<ValidFile, Failure>,
) -> Result<(), Failure> {
    match checked {
        Ok(ValidFile { holds, warnings, missing }) => {
            ui::findings(warnings, context.color_stderr.into());
            missing.iter().for_each(|missing| ui::advice(missing));
            if ui::is_quiet() {
                return Ok(());
            }
            ui::line(&format!("{}: ok, {holds}", file.display()))
        }
        Err(failure) => {
            ui::failure(context.color_stderr.into(), failure);
            Ok(())
        }
    }
}

fn validation(file: &Path, checked: Result<ValidFile, Failure>) -> Validation {
    let file = file.display().to_string();
    match checked {
        Ok(ValidFile { holds, warnings, missing }) => {
            Validation::passed(file, holds, &warnings, missing)
        }
        Err(failure) => Validation::failed(file, &failure),
    }
}

fn check(context: &Context, file: &Path, environment: Option<&str>) -> Result<ValidFile, Failure> {
    let kind = other_files::kind(file);
    if let Some(noun) = kind.other_than_a_runbook() {
        other_files::validate(file, kind)?;
        if kind == KindOfFile::Targets && context.lock_policy == LockPolicy::Required {
            check_environment(context, file)?;
        }
        return Ok(ValidFile {
            holds: noun.to_owned(),
            warnings: Diagnostics::default(),
            missing: BTreeSet::new(),
        });
    }
    let prepared = prepare::from_file(context, file, environment)?;
    // A mistake was refused there, as it is when the runbook runs.
    let mut warnings = prepared.runbook.warnings.clone();
    warnings.append(runbook_engine::check_facts(&prepared.runbook, &prepared.facts));
    let missing = missing_here(&prepared)?;
    let counted = |section, noun| ui::counted(prepared.runbook.section(section).count(), noun);
    let is_suite = prepared.runbook.section(Section::Check).next().is_some();
    let holds =
        if is_suite { counted(Section::Check, "check") } else { counted(Section::Step, "step") };
    Ok(ValidFile { holds, warnings, missing })
}

/// Compares each runbook that is locked in this environment with its lock entry. If none is locked
/// in it, that is told, because no runbook would run there.
fn check_environment(context: &Context, targets: &Path) -> Result<(), Failure> {
    let file = RunbookFile::locate(targets)?;
    let name = file.name();
    let Some(environment) = prepare::environment_of(&name) else { return Ok(()) };
    let locked = lockfile::read(&lockfile::place(targets, None)?)?.unwrap_or_default();
    let suffix = format!("@{environment}");
    let runbooks: Vec<&str> =
        locked.runbooks.keys().filter_map(|entry| entry.strip_suffix(suffix.as_str())).collect();
    if runbooks.is_empty() {
        let (shown, argument) =
            (file.shown(&name).display().to_string(), runbook_text::argument(environment));
        ui::warning(&format!(
            "`{shown}`: no runbook is locked in environment `{environment}`, so none runs in it; \
             after a review: `runbook lock --env {argument} FILE`"
        ));
    }
    for runbook in runbooks {
        prepare::from_file(context, &file.shown(runbook), Some(environment))?;
    }
    Ok(())
}

/// What targets name and this machine does not have. It may be there on the one where the runbook
/// runs, so it is no mistake.
fn missing_here(prepared: &Prepared) -> Result<BTreeSet<String>, Failure> {
    let stores = secret_stores(&prepared.runbook, &prepared.folder)?;
    let of = |site: &Site| {
        let things = missing_things::of(&site.effective);
        things
            .into_iter()
            .chain(missing_things::stores(&site.effective, &stores))
            .collect::<Vec<_>>()
    };
    Ok(prepared.sites.values().flat_map(of).map(|missing| missing.to_string()).collect())
}
