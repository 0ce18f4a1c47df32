//! Reads the targets of a runbook or of a file of targets, with diagnostics.

use crate::failure::Failure;
use crate::runbook_file::RunbookFile;
use runbook_authority::Targets;
use runbook_authority::targets::{Folder, check_sources, read_origins};
use runbook_document::Diagnostics;
use runbook_engine::model::TargetEntry;
use runbook_engine::{Runbook, TargetsAndSecrets};
use std::collections::BTreeSet;
use std::path::Path;

/// The targets, and the names of those with mistakes.
pub fn read<'a>(
    runbook: &'a Runbook,
    folder: Folder<'_>,
    diagnostics: &mut Diagnostics,
) -> (Targets, BTreeSet<&'a str>) {
    let (mut targets, wrong_targets) = read_entries(&runbook.targets, folder, diagnostics);
    let declared = crate::secret_source::declared(&runbook.secrets);
    let origins = read_origins(&declared, &targets, &wrong_targets, folder, diagnostics);
    targets.set_secret_origins(origins);
    let secrets: Vec<_> = runbook.secrets.iter().map(|secret| secret.name.name.as_str()).collect();
    targets.check_references(&secrets, &wrong_targets, diagnostics);
    (targets, wrong_targets)
}

/// Checks a file of targets and secrets by itself. Which secrets its targets may name depends on
/// the runbook, so that is not checked.
pub fn check_shared(
    file: &Path,
    shared: &TargetsAndSecrets,
    diagnostics: &mut Diagnostics,
) -> Result<(), Failure> {
    let file = RunbookFile::locate(file)?;
    let Some(folder) = Folder::new(file.folder(), &runbook_runtime::resolve_symlinks) else {
        return Ok(());
    };
    read_entries(&shared.targets, folder, diagnostics);
    check_sources(&crate::secret_source::declared(&shared.secrets), diagnostics);
    Ok(())
}

fn read_entries<'a>(
    entries: &'a [TargetEntry],
    folder: Folder<'_>,
    diagnostics: &mut Diagnostics,
) -> (Targets, BTreeSet<&'a str>) {
    let mut targets = Targets::default();
    let mut wrong_targets = BTreeSet::new();
    for entry in entries {
        let mut found = Diagnostics::default();
        targets.add(&entry.name, &entry.source, &entry.table, folder, &mut found);
        if found.has_errors() {
            wrong_targets.insert(entry.name.name.as_str());
        }
        diagnostics.extend(found);
    }
    (targets, wrong_targets)
}
