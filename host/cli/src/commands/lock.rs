//! `runbook lock`: writes down what was reviewed.

use crate::args::LockArgs;
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::prepare::{self, Scrutiny};
use crate::{lock, ui};
use runbook_authority::Snapshot;
use runbook_authority::diff::{Direction, diff};
use std::collections::BTreeSet;
use std::path::Path;

/// Locks runbooks. What only narrows, or is locked for the first time, is written; what widens or moves is shown and needs `--accept`.
pub fn run(context: &Context, args: &LockArgs) -> Result<ExitStatus, Failure> {
    let mut status = ExitStatus::Success;
    for file in &args.files {
        if lock_one(context, file, args)? == ExitStatus::Refused {
            status = ExitStatus::Refused;
        }
    }
    Ok(status)
}

fn lock_one(context: &Context, file: &Path, args: &LockArgs) -> Result<ExitStatus, Failure> {
    let environment = args.env.as_deref();
    let prepared = prepare::unlocked(context, file, environment, Scrutiny::Refuse)?;
    let place = lock::place(file, environment)?;
    let locked = lock::read(&place)?.unwrap_or_default();
    let now = lock::snapshot(&prepared, &place);
    if !locked.runbooks.contains_key(&place.entry) {
        let digest = lock::write(&place, &merged(locked, now))?;
        ui::line(&format!("{}: locked for the first time in {} ({})", file.display(), place.file.display(), digest.short()))?;
        return Ok(ExitStatus::Success);
    }
    let changes = diff(&lock::part(&locked, &place.entry, &now), &now);
    if changes.is_empty() {
        ui::line(&format!("{}: as locked", file.display()))?;
        return Ok(ExitStatus::Success);
    }
    let shown = lock::render(&changes);
    let needs_acceptance = changes.iter().any(|change| change.direction != Direction::Narrowed);
    if needs_acceptance && !args.accept {
        ui::line(&format!("{}: differs from {}", file.display(), place.file.display()))?;
        ui::text(&shown)?;
        let again = lock::command_arguments(file, environment);
        ui::note(&format!("not written; if this is right: `runbook lock --accept {again}`"));
        return Ok(ExitStatus::Refused);
    }
    lock::write(&place, &merged(locked, now))?;
    ui::line(&format!("{}: locked anew in {}", file.display(), place.file.display()))?;
    ui::text(&shown)?;
    Ok(ExitStatus::Success)
}

/// The lockfile with new entries; plugins that no runbook of it uses any more are dropped.
fn merged(mut locked: Snapshot, now: Snapshot) -> Snapshot {
    locked.plugins.extend(now.plugins);
    locked.runbooks.extend(now.runbooks);
    let used: BTreeSet<String> = locked
        .runbooks
        .values()
        .flat_map(|runbook| runbook.grants.values())
        .filter_map(|grant| grant.uses.rsplit_once(':').map(|(reference, _)| reference.to_owned()))
        .collect();
    locked.plugins.retain(|reference, _| used.contains(reference));
    locked
}
