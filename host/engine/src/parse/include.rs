//! Targets and secrets, which may also stand in other files.

use super::{Loader, TargetsAndSecrets};
use crate::model::{SecretEntry, TargetEntry, TargetOrigin};
use runbook_document::{Diagnostic, Diagnostics, Key, Reader, Source, Spanned, Table, Value};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Reads `[secrets]` and `[targets]` of one file.
pub(super) fn read_shared(reader: &mut Reader<'_>, shared: &mut TargetsAndSecrets) {
    let source = Arc::clone(reader.source());
    for (name, entry) in read_targets(reader, &source) {
        add_target(reader.diagnostics(), shared, &name, entry);
    }
    for secret in read_secrets(reader, &source) {
        add_secret(reader.diagnostics(), shared, secret);
    }
}

/// Reads `[targets]`. The keys of each target are read by `runbook-authority`.
fn read_targets(reader: &mut Reader<'_>, source: &Arc<Source>) -> Vec<(Key, TargetEntry)> {
    let Some(targets) = reader.optional::<Table>("targets") else { return Vec::new() };
    let mut entries = Vec::new();
    for (name, node) in &targets.value.entries {
        match &node.value {
            Value::Table(table) => {
                let entry = TargetEntry {
                    name: name.clone(),
                    table: table.clone(),
                    source: Arc::clone(source),
                    origin: TargetOrigin::Runbook,
                };
                entries.push((name.clone(), entry));
            }
            other => {
                let message =
                    format!("target `{}` must be a table, not {}", name.name, other.kind());
                let help = format!(
                    "write `[targets.{}]`, and below it what it is, such as `http = \"https://…\"`",
                    name.name
                );
                reader.error_with_help("E0203", node.span.clone(), message, "wrong type", help);
            }
        }
    }
    entries
}

/// The keys of a secret that say more about its source; `runbook-authority` reads them.
const SOURCE_KEYS: [&str; 5] = ["arguments", "mount", "path", "field", "version"];

fn read_secrets(reader: &mut Reader<'_>, source: &Arc<Source>) -> Vec<SecretEntry> {
    reader.read_named("secrets", "secret", |name, secret| {
        let uri = secret.required::<String>("source");
        let max_age = secret.optional("max_age").map(|age| age.value);
        let expires = read_date(secret);
        SOURCE_KEYS.into_iter().for_each(|key| secret.mark_known(key));
        Some(SecretEntry {
            name: name.clone(),
            source_uri: uri?,
            table: secret.table().clone(),
            max_age,
            expires,
            source: Arc::clone(source),
        })
    })
}

fn add_target(
    diagnostics: &mut Diagnostics,
    shared: &mut TargetsAndSecrets,
    name: &Key,
    entry: TargetEntry,
) {
    if let Some(first) = shared.targets.iter().find(|target| target.name.name == name.name) {
        let message = format!(
            "target `{}` is defined twice; first at {}",
            name.name,
            first.source.place(&first.name.span)
        );
        diagnostics.push(
            Diagnostic::error("E0207", &entry.source, name.span.clone(), message)
                .label("defined again"),
        );
        return;
    }
    shared.targets.push(entry);
}

fn add_secret(diagnostics: &mut Diagnostics, shared: &mut TargetsAndSecrets, entry: SecretEntry) {
    if let Some(first) = shared.secrets.iter().find(|secret| secret.name.name == entry.name.name) {
        let message = format!(
            "secret `{}` is defined twice; first at {}",
            entry.name.name,
            first.source.place(&first.name.span)
        );
        diagnostics.push(
            Diagnostic::error("E0207", &entry.source, entry.name.span.clone(), message)
                .label("defined again"),
        );
        return;
    }
    shared.secrets.push(entry);
}

/// Loads what `include` names, then the targets of the environment, which replace those of the same
/// name.
pub(super) fn load_all(
    runbook: &Arc<Source>,
    includes: &[Spanned<String>],
    environment: Option<&str>,
    load: &mut Loader<'_>,
    shared: &mut TargetsAndSecrets,
    sources: &mut Vec<Arc<Source>>,
    diagnostics: &mut Diagnostics,
) {
    for include in includes {
        let extension = Path::new(&include.value).extension();
        if extension.is_some_and(|extension| extension == "sql") {
            let message = format!("`{}` is no file of targets and secrets", include.value);
            diagnostics.push(
                Diagnostic::error("E0225", runbook, include.span.clone(), message)
                    .label("a file of statements")
                    .help("name it where it is run: `with_file.statement` of a step"),
            );
            continue;
        }
        let Some(source) = load_one(runbook, &include.value, &include.span, load, diagnostics)
        else {
            continue;
        };
        read_included(&source, shared, diagnostics);
        sources.push(source);
    }
    if let Some(environment) = environment {
        let name = format!("targets.{environment}.toml");
        if let Some(source) = load_one(runbook, &name, &(0..0), load, diagnostics) {
            let mut environment_entries = TargetsAndSecrets::default();
            read_included(&source, &mut environment_entries, diagnostics);
            replace(shared, environment_entries);
            sources.push(source);
        }
    }
}

pub(super) fn load_one(
    runbook: &Arc<Source>,
    name: &str,
    span: &runbook_document::Span,
    load: &mut Loader<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<Source>> {
    let name = &file_name(runbook, name, span, diagnostics)?;
    load(name)
        .map_err(|error| {
            let message = format!("`{name}` cannot be read: {error}");
            let help = "give a path relative to the folder of the runbook";
            diagnostics.push(
                Diagnostic::error("E0225", runbook, span.clone(), message)
                    .label("needed here")
                    .help(help),
            );
        })
        .ok()
}

/// The normalized name of a file, without `.` and doubled slashes, so that one file is not two
/// sources of a run.
///
/// A name with characters that cannot be shown is an error: reviewers see the shown name, and
/// another file could have the same.
pub(super) fn file_name(
    runbook: &Arc<Source>,
    name: &str,
    span: &runbook_document::Span,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    let shown = runbook_text::line(name);
    if shown != name {
        let message = format!("`{shown}` stands for a name with characters that cannot be shown");
        let help = "rename the file, so that everybody who reads its name knows which one it is";
        diagnostics.push(
            Diagnostic::error("E0225", runbook, span.clone(), message)
                .label("another name would look the same")
                .help(help),
        );
        return None;
    }
    let components = Path::new(name).components().filter(|part| *part != Component::CurDir);
    let normalized = components.collect::<PathBuf>().to_string_lossy().into_owned();
    // A slash at the end means a folder, which the loader refuses.
    Some(if normalized.is_empty() || name.ends_with('/') { name.to_owned() } else { normalized })
}

/// Reads a file of targets and secrets by itself. All mistakes are reported.
pub fn parse_targets_file(
    source: &Arc<Source>,
    diagnostics: &mut Diagnostics,
) -> TargetsAndSecrets {
    let mut shared = TargetsAndSecrets::default();
    read_included(source, &mut shared, diagnostics);
    shared
}

fn read_included(
    source: &Arc<Source>,
    shared: &mut TargetsAndSecrets,
    diagnostics: &mut Diagnostics,
) {
    let Some(table) = runbook_document::parse(source, diagnostics) else { return };
    let mut reader = Reader::new(
        source,
        &table,
        "an included file, which may hold only `[targets]` and `[secrets]`",
        diagnostics,
    );
    super::read_format(&mut reader);
    read_shared(&mut reader, shared);
    reader.finish();
}

/// Adds the entries of an environment, which replace those of the same name.
fn replace(shared: &mut TargetsAndSecrets, environment_entries: TargetsAndSecrets) {
    for entry in environment_entries.targets {
        match shared.targets.iter_mut().find(|target| target.name.name == entry.name.name) {
            Some(slot) => *slot = TargetEntry { origin: TargetOrigin::Replaced, ..entry },
            None => shared.targets.push(TargetEntry { origin: TargetOrigin::Added, ..entry }),
        }
    }
    for entry in environment_entries.secrets {
        match shared.secrets.iter_mut().find(|secret| secret.name.name == entry.name.name) {
            Some(slot) => *slot = entry,
            None => shared.secrets.push(entry),
        }
    }
}

/// A TOML date without time: `expires = 2027-01-31`.
fn read_date(reader: &mut Reader<'_>) -> Option<jiff::civil::Date> {
    let node = reader.optional::<runbook_document::Node>("expires")?;
    let date = node.value.date().and_then(|text| text.parse().ok());
    if date.is_none() {
        let message = format!("`expires` of {} must be a date", reader.subject());
        reader.error("E0203", node.span, message, "such as 2027-01-31, without quotes");
    }
    date
}
