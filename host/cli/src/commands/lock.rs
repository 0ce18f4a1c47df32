//! `runbook lock`: records what was reviewed.

use crate::completion;
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::lockfile::{self, Difference};
use crate::prepare::{self, Strictness};
use crate::{other_files, project, ui};
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_authority::Snapshot;
use runbook_authority::diff::Direction;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

/// The arguments of `runbook lock`.
#[derive(Debug, ClapArgs)]
pub struct LockArgs {
    /// The runbooks and suites; files of other kinds, such as `targets.NAME.toml`, are named and
    /// skipped
    #[arg(required = true, value_name = "FILE|NAME", add = ArgValueCompleter::new(completion::runbooks))]
    pub files: Vec<PathBuf>,
    /// Take targets from `targets.NAME.toml` beside each runbook
    #[arg(long, value_name = "NAME", env = "RUNBOOK_ENV", add = ArgValueCompleter::new(completion::environments))]
    pub env: Option<String>,
    /// Accept a changed text, a wider grant or changed code; the difference is shown
    #[arg(long)]
    pub accept: bool,
}

/// Locks runbooks, one after the other. A new entry is written, and so is one that only narrows
/// grants. Changed texts, wider grants and changed code are shown and need `--accept`.
pub fn run(context: &Context, args: &LockArgs) -> Result<ExitStatus, Failure> {
    let mut status = ExitStatus::Success;
    let files = project::find_all(&context.project, &args.files)?;
    for file in other_files::runbooks_of(&files)? {
        let file_status = lock_one(context, file, args).unwrap_or_else(|failure| {
            ui::failure(context.color_stderr.into(), &failure);
            failure.status()
        });
        status = if status == ExitStatus::Success { file_status } else { status };
    }
    Ok(status)
}

fn lock_one(context: &Context, file: &Path, args: &LockArgs) -> Result<ExitStatus, Failure> {
    let environment = args.env.as_deref();
    // Fails for a runbook that could not run.
    let prepared = prepare::without_lockfile(context, file, environment, Strictness::Full)?;
    let location = lockfile::locate(file, environment)?;
    let locked = lockfile::read(&location)?.unwrap_or_default();
    let new_snapshot = lockfile::snapshot(&prepared, file, &location.entry)?;
    if !locked.runbooks.contains_key(&location.entry) {
        let digest = lockfile::write(&location, &merge(locked, new_snapshot))?;
        ui::report_done_line(&format!(
            "{}: locked for the first time in {} ({})",
            file.display(),
            location.file.display(),
            digest.short()
        ));
        return Ok(ExitStatus::Success);
    }
    let difference = Difference::between(&locked, &location.entry, &new_snapshot);
    if difference.is_empty() && difference.lacks_text {
        let digest = lockfile::write(&location, &merge(locked, new_snapshot))?;
        let (file, lockfile) = (file.display(), location.file.display());
        ui::report_done_line(&format!(
            "{file}: its text is held from now on, too, in {lockfile} ({})",
            digest.short()
        ));
        return Ok(ExitStatus::Success);
    }
    if difference.is_empty() {
        ui::line(&format!("{}: as locked", file.display()))?;
        return Ok(ExitStatus::Success);
    }
    let changes_text = difference.render();
    let needs_acceptance = !difference.texts.is_empty()
        || difference.access.iter().any(|change| change.direction != Direction::Narrowed);
    if needs_acceptance && !args.accept {
        ui::line(&format!("{}: differs from {}", file.display(), location.file.display()))?;
        ui::text(&changes_text)?;
        let arguments = lockfile::command_arguments(file, environment);
        ui::note(&format!("not written; if this is right: `runbook lock --accept {arguments}`"));
        return Ok(ExitStatus::Refused);
    }
    lockfile::write(&location, &merge(locked, new_snapshot))?;
    ui::report_done_line(&format!(
        "{}: locked anew in {}",
        file.display(),
        location.file.display()
    ));
    ui::warn_if_unwritten(ui::text(&changes_text), "the difference, which is locked now");
    Ok(ExitStatus::Success)
}

/// The lockfile with the entries of a new snapshot, without plugins that none of its runbooks uses
/// any more.
fn merge(mut locked: Snapshot, new_snapshot: Snapshot) -> Snapshot {
    locked.plugins.extend(new_snapshot.plugins);
    locked.runbooks.extend(new_snapshot.runbooks);
    let used: BTreeSet<String> =
        locked.runbooks.values().flat_map(|runbook| runbook.plugins.iter().cloned()).collect();
    locked.plugins.retain(|reference, _| used.contains(reference));
    locked
}
