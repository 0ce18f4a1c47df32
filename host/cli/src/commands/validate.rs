//! `runbook validate`: checks files without running anything.

use crate::completion;
use crate::context::{Context, LockPolicy};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::kind_of_file::KindOfFile;
use crate::prepare;
use crate::prepared::{GrantedSite, PreparedRunbook};
use crate::runbook_file::RunbookFile;
use crate::shared_arguments::ListFormat;
use crate::validation::Validation;
use crate::{lockfile, missing_paths, other_files, project, ui};
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
    /// What the file contains, such as `3 steps`.
    holds: String,
    /// Warnings about the file.
    warnings: Diagnostics,
    /// Paths that its targets name and that do not exist on this machine.
    missing: BTreeSet<String>,
}

/// Checks each file, according to its kind. The status is that of the first file that fails.
pub fn run(context: &Context, args: &ValidateArgs) -> Result<ExitStatus, Failure> {
    let mut status = ExitStatus::Success;
    for file in &project::find_all(&context.project, &args.files)? {
        let checked = check(context, file, args.env.as_deref());
        if let Err(failure) = &checked {
            status = if status == ExitStatus::Success { failure.status() } else { status };
        }
        match args.format {
            ListFormat::Text => print_result(context, file, &checked)?,
            ListFormat::Json => ui::json(&validation(file, checked).json())?,
        }
    }
    Ok(status)
}

fn print_result(
    context: &Context,
    file: &Path,
    checked: &Result<ValidFile, Failure>,
) -> Result<(), Failure> {
    match checked {
        Ok(ValidFile { holds, warnings, missing }) => {
            ui::findings(warnings, context.color_stderr.into());
            missing.iter().for_each(|missing| ui::minor_warning(missing));
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
    if let Some(noun) = kind.non_runbook_noun() {
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
    // `from_file` has failed for errors, so these are warnings.
    let mut warnings = prepared.runbook.warnings.clone();
    warnings.append(runbook_engine::check_facts(&prepared.runbook, &prepared.facts));
    let missing = missing_on_this_machine(&prepared);
    let pluralize = |section, noun| ui::pluralize(prepared.runbook.section(section).count(), noun);
    let is_suite = prepared.runbook.section(Section::Check).next().is_some();
    let holds = if is_suite {
        pluralize(Section::Check, "check")
    } else {
        pluralize(Section::Step, "step")
    };
    Ok(ValidFile { holds, warnings, missing })
}

/// Compares each runbook that is locked in the environment of a targets file with its lock entry.
/// Warns if no runbook is locked in it, because then none can run in it.
fn check_environment(context: &Context, targets: &Path) -> Result<(), Failure> {
    let file = RunbookFile::locate(targets)?;
    let name = file.name();
    let Some(environment) = prepare::environment_of(&name) else { return Ok(()) };
    let locked = lockfile::read(&lockfile::locate(targets, None)?)?.unwrap_or_default();
    let suffix = format!("@{environment}");
    let runbooks: Vec<&str> =
        locked.runbooks.keys().filter_map(|entry| entry.strip_suffix(suffix.as_str())).collect();
    if runbooks.is_empty() {
        let (shown, argument) = (
            file.display_path(&name).display().to_string(),
            runbook_text::shell_argument(environment),
        );
        ui::warning(&format!(
            "`{shown}`: no runbook is locked in environment `{environment}`, so none runs in it; \
             after a review: `runbook lock --env {argument} FILE`"
        ));
    }
    for runbook in runbooks {
        prepare::from_file(context, &file.display_path(runbook), Some(environment))?;
    }
    Ok(())
}

/// Paths that targets name and that do not exist on this machine. That is not an error, because
/// they may exist on the machine where the runbook runs.
fn missing_on_this_machine(prepared: &PreparedRunbook) -> BTreeSet<String> {
    let missing_of = |site: &GrantedSite| {
        missing_paths::of(&site.grants)
            .into_iter()
            .chain(missing_paths::stores(&site.grants))
            .collect::<Vec<_>>()
    };
    prepared.sites.values().flat_map(missing_of).map(|missing| missing.to_string()).collect()
}
