//! `runbook validate`

use crate::completion;
use crate::context::{Context, LockPolicy};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::kind_of_file::KindOfFile;
use crate::prepare;
use crate::prepared::{Prepared, Site};
use crate::runbook_file::RunbookFile;
use crate::secret_source::secret_stores;
use crate::{lockfile, missing_things, other_files, project, ui};
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_engine::Section;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

/// `runbook validate`
#[derive(Debug, ClapArgs)]
pub struct ValidateArgs {
    /// The runbooks and suites; targets, waivers, boundaries, trust files, settings and manifests are checked as what they are
    #[arg(required = true, value_name = "FILE|NAME", add = ArgValueCompleter::new(completion::runbooks))]
    pub files: Vec<PathBuf>,
    /// Take targets from `targets.NAME.toml` beside each runbook
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV", add = ArgValueCompleter::new(completion::environments))]
    pub env: Option<String>,
}

/// Checks runbooks, and other files as what they are; each is checked whatever is wrong with another.
pub fn run(context: &Context, args: &ValidateArgs) -> Result<ExitStatus, Failure> {
    let mut worst = ExitStatus::Success;
    for file in &project::find_all(&context.project, &args.files)? {
        match check(context, file, args.env.as_deref()) {
            Ok(what) => ui::line(&format!("{}: ok, {what}", file.display()))?,
            Err(failure) => {
                ui::failure(context.color_stderr.into(), &failure);
                worst = if worst == ExitStatus::Success { failure.status() } else { worst };
            }
        }
    }
    Ok(worst)
}

fn check(context: &Context, file: &Path, environment: Option<&str>) -> Result<String, Failure> {
    let kind = other_files::kind(file);
    if let Some(noun) = kind.other_than_a_runbook() {
        other_files::validate(file, kind)?;
        if kind == KindOfFile::Targets && context.lock_policy == LockPolicy::Required {
            check_environment(context, file)?;
        }
        return Ok(noun.to_owned());
    }
    let prepared = prepare::from_file(context, file, environment)?;
    // What is wrong was refused there, as it is for all who run it.
    let mut warnings = prepared.runbook.warnings.clone();
    warnings.append(runbook_engine::check_facts(&prepared.runbook, &prepared.facts));
    if !warnings.is_empty() {
        ui::note_painted(&ui::render_diagnostics(&warnings, context.color_stderr.into()));
    }
    for missing in missing_here(&prepared)? {
        ui::warning(&missing);
    }
    let counted = |section, noun| ui::counted(prepared.runbook.section(section).count(), noun);
    let is_suite = prepared.runbook.section(Section::Check).next().is_some();
    Ok(if is_suite { counted(Section::Check, "check") } else { counted(Section::Step, "step") })
}

/// Holds the targets of an environment against the lockfile: each runbook that is locked in this environment is compared with its entry.
/// Where none is, that is told, because no runbook will be run in it.
fn check_environment(context: &Context, targets: &Path) -> Result<(), Failure> {
    let file = RunbookFile::locate(targets)?;
    let name = file.name();
    let Some(environment) = prepare::environment_of(&name) else { return Ok(()) };
    let locked = lockfile::read(&lockfile::place(targets, None)?)?.unwrap_or_default();
    let suffix = format!("@{environment}");
    let runbooks: Vec<&str> = locked.runbooks.keys().filter_map(|entry| entry.strip_suffix(suffix.as_str())).collect();
    if runbooks.is_empty() {
        let (shown, argument) = (file.shown(&name).display().to_string(), runbook_text::argument(environment));
        ui::warning(&format!(
            "`{shown}`: no runbook is locked in environment `{environment}`, so none runs in it; after a review: `runbook lock --env {argument} FILE`"
        ));
    }
    for runbook in runbooks {
        prepare::from_file(context, &file.shown(runbook), Some(environment))?;
    }
    Ok(())
}

/// What targets name and this machine does not have. It may be there on the one where the runbook runs, so it is no mistake.
fn missing_here(prepared: &Prepared) -> Result<BTreeSet<String>, Failure> {
    let stores = secret_stores(&prepared.runbook, &prepared.folder)?;
    let of = |site: &Site| {
        let things = missing_things::of(&site.effective);
        things.into_iter().chain(missing_things::stores(&site.effective, &stores)).collect::<Vec<_>>()
    };
    Ok(prepared.sites.values().flat_map(of).map(|missing| missing.to_string()).collect())
}
