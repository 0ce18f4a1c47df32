//! The targets of a runbook or of a file of targets, read with what is wrong with them.

use crate::failure::Failure;
use crate::runbook_file::RunbookFile;
use runbook_authority::Targets;
use runbook_authority::targets::{Folder, StoredSecret};
use runbook_document::Diagnostics;
use runbook_engine::model::{SecretEntry, TargetEntry};
use runbook_engine::{Runbook, Shared};
use std::collections::BTreeSet;
use std::path::Path;

/// The targets, and the names of those with mistakes.
pub fn read<'a>(
    runbook: &'a Runbook,
    folder: Folder<'_>,
    diagnostics: &mut Diagnostics,
) -> (Targets, BTreeSet<&'a str>) {
    let (mut targets, wrong) = read_each(&runbook.targets, folder, diagnostics);
    // A source with a mistake is told elsewhere.
    let stored = |secret: &SecretEntry| {
        let source = crate::secret_source::source_of(secret).ok()?;
        Some((
            secret.name.name.clone(),
            StoredSecret::locate(&source.path().to_string_lossy(), source.name(), folder),
        ))
    };
    targets.name_secrets(runbook.secrets.iter().filter_map(stored).collect());
    let secrets: Vec<_> = runbook.secrets.iter().map(|secret| secret.name.name.as_str()).collect();
    targets.check_references(&secrets, &wrong, diagnostics);
    (targets, wrong)
}

/// Reports what is wrong with a file of targets and secrets by itself. Which secrets its targets
/// may name depends on the runbook.
pub fn check_shared(
    file: &Path,
    shared: &Shared,
    diagnostics: &mut Diagnostics,
) -> Result<(), Failure> {
    let file = RunbookFile::locate(file)?;
    let Some(folder) = Folder::new(file.folder(), &runbook_runtime::follow_links) else {
        return Ok(());
    };
    read_each(&shared.targets, folder, diagnostics);
    diagnostics.extend(
        shared.secrets.iter().filter_map(|secret| crate::secret_source::source_of(secret).err()),
    );
    Ok(())
}

fn read_each<'a>(
    entries: &'a [TargetEntry],
    folder: Folder<'_>,
    diagnostics: &mut Diagnostics,
) -> (Targets, BTreeSet<&'a str>) {
    let mut targets = Targets::default();
    let mut wrong = BTreeSet::new();
    for entry in entries {
        let mut found = Diagnostics::default();
        targets.add(&entry.name, &entry.source, &entry.table, folder, &mut found);
        if found.has_errors() {
            wrong.insert(entry.name.name.as_str());
        }
        diagnostics.extend(found);
    }
    (targets, wrong)
}
