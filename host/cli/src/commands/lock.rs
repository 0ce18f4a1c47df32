//! `runbook lock`: records what was reviewed.

use crate::completion;
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::lockfile::{self, Difference};
use crate::prepare::{self, Scrutiny};
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

/// Locks runbooks, each by itself. What is locked for the first time is written, and what only
/// narrows while all texts stay is written too. Another text, a wider grant and changed code are
/// shown and need `--accept`.
pub fn run(context: &Context, args: &LockArgs) -> Result<ExitStatus, Failure> {
    let mut status = ExitStatus::Success;
    let files = project::find_all(&context.project, &args.files)?;
    for file in other_files::runbooks_of(&files)? {
        let ended = lock_one(context, file, args).unwrap_or_else(|failure| {
            ui::failure(context.color_stderr.into(), &failure);
            failure.status()
        });
        status = if status == ExitStatus::Success { ended } else { status };
    }
    Ok(status)
}

fn lock_one(context: &Context, file: &Path, args: &LockArgs) -> Result<ExitStatus, Failure> {
    let environment = args.env.as_deref();
    // A runbook that could not run is not locked.
    let prepared = prepare::unlocked(context, file, environment, Scrutiny::Refuse)?;
    let place = lockfile::place(file, environment)?;
    let locked = lockfile::read(&place)?.unwrap_or_default();
    let now = lockfile::snapshot(&prepared, file, &place.entry)?;
    if !locked.runbooks.contains_key(&place.entry) {
        let digest = lockfile::write(&place, &merged(locked, now))?;
        ui::done_line(&format!(
            "{}: locked for the first time in {} ({})",
            file.display(),
            place.file.display(),
            digest.short()
        ));
        return Ok(ExitStatus::Success);
    }
    let difference = Difference::between(&locked, &place.entry, &now);
    if difference.is_empty() && difference.lacks_text {
        let digest = lockfile::write(&place, &merged(locked, now))?;
        let (file, lockfile) = (file.display(), place.file.display());
        ui::done_line(&format!(
            "{file}: its text is held from now on, too, in {lockfile} ({})",
            digest.short()
        ));
        return Ok(ExitStatus::Success);
    }
    if difference.is_empty() {
        ui::line(&format!("{}: as locked", file.display()))?;
        return Ok(ExitStatus::Success);
    }
    let shown = difference.render();
    let needs_acceptance = !difference.texts.is_empty()
        || difference.reach.iter().any(|change| change.direction != Direction::Narrowed);
    if needs_acceptance && !args.accept {
        ui::line(&format!("{}: differs from {}", file.display(), place.file.display()))?;
        ui::text(&shown)?;
        let again = lockfile::command_arguments(file, environment);
        ui::note(&format!("not written; if this is right: `runbook lock --accept {again}`"));
        return Ok(ExitStatus::Refused);
    }
    lockfile::write(&place, &merged(locked, now))?;
    ui::done_line(&format!("{}: locked anew in {}", file.display(), place.file.display()));
    ui::warn_if_unwritten(ui::text(&shown), "the difference, which is locked now");
    Ok(ExitStatus::Success)
}

/// The lockfile with new entries; plugins that no runbook of it uses any more are dropped.
fn merged(mut locked: Snapshot, now: Snapshot) -> Snapshot {
    locked.plugins.extend(now.plugins);
    locked.runbooks.extend(now.runbooks);
    let used: BTreeSet<String> =
        locked.runbooks.values().flat_map(|runbook| runbook.plugins.iter().cloned()).collect();
    locked.plugins.retain(|reference, _| used.contains(reference));
    locked
}
