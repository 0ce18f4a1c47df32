//! Targets and secrets, which may also stand in other files.

use super::{Loader, Shared};
use crate::model::{SecretEntry, TargetEntry, TargetOrigin};
use runbook_document::{Diagnostic, Diagnostics, Key, Located, Reader, Source, Table, Value};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Reads `[secrets]` and `[targets]` of one file.
pub(super) fn read_shared(reader: &mut Reader<'_>, parts: &mut Shared) {
    let source = Arc::clone(reader.source());
    for (name, entry) in read_targets(reader, &source) {
        add_target(reader.diagnostics(), parts, &name, entry);
    }
    for secret in read_secrets(reader, &source) {
        add_secret(reader.diagnostics(), parts, secret);
    }
}

/// The keys of a target belong to `runbook-authority`, so its table is kept as it is.
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

fn read_secrets(reader: &mut Reader<'_>, source: &Arc<Source>) -> Vec<SecretEntry> {
    reader.named("secrets", "secret", |name, secret| {
        let uri = secret.required::<String>("source");
        let max_age = secret.optional("max_age").map(|age| age.value);
        let expires = read_date(secret);
        Some(SecretEntry {
            name: name.clone(),
            source_uri: uri?,
            max_age,
            expires,
            source: Arc::clone(source),
        })
    })
}

fn add_target(diagnostics: &mut Diagnostics, parts: &mut Shared, name: &Key, entry: TargetEntry) {
    if let Some(first) = parts.targets.iter().find(|target| target.name.name == name.name) {
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
    parts.targets.push(entry);
}

fn add_secret(diagnostics: &mut Diagnostics, parts: &mut Shared, entry: SecretEntry) {
    if let Some(first) = parts.secrets.iter().find(|secret| secret.name.name == entry.name.name) {
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
    parts.secrets.push(entry);
}

/// Loads what `include` names, then the targets of the environment, which replace those of the same
/// name.
pub(super) fn load_all(
    runbook: &Arc<Source>,
    includes: &[Located<String>],
    environment: Option<&str>,
    load: &mut Loader<'_>,
    parts: &mut Shared,
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
        read_included(&source, parts, diagnostics);
        sources.push(source);
    }
    if let Some(environment) = environment {
        let name = format!("targets.{environment}.toml");
        if let Some(source) = load_one(runbook, &name, &(0..0), load, diagnostics) {
            let mut over = Shared::default();
            read_included(&source, &mut over, diagnostics);
            replace(parts, over);
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

/// The one form in which a file is named, loaded, kept and locked: without `.` and doubled slashes,
/// so that one file is not two texts of a run.
///
/// A name that no screen shows as it is, is refused: what is reviewed and compared is what is shown,
/// and another file could look the same.
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
    let parts = Path::new(name).components().filter(|part| *part != Component::CurDir);
    let plain = parts.collect::<PathBuf>().to_string_lossy().into_owned();
    // A slash at the end asks for a folder, which the loader refuses.
    Some(if plain.is_empty() || name.ends_with('/') { name.to_owned() } else { plain })
}

/// Reads a file of targets and secrets by itself. All mistakes are reported.
pub fn parse_shared(source: &Arc<Source>, diagnostics: &mut Diagnostics) -> Shared {
    let mut parts = Shared::default();
    read_included(source, &mut parts, diagnostics);
    parts
}

fn read_included(source: &Arc<Source>, parts: &mut Shared, diagnostics: &mut Diagnostics) {
    let Some(table) = runbook_document::parse(source, diagnostics) else { return };
    let mut reader = Reader::new(
        source,
        &table,
        "an included file, which may hold only `[targets]` and `[secrets]`",
        diagnostics,
    );
    super::read_format(&mut reader);
    read_shared(&mut reader, parts);
    reader.finish();
}

fn replace(parts: &mut Shared, over: Shared) {
    for entry in over.targets {
        match parts.targets.iter_mut().find(|target| target.name.name == entry.name.name) {
            Some(slot) => *slot = TargetEntry { origin: TargetOrigin::Replaced, ..entry },
            None => parts.targets.push(TargetEntry { origin: TargetOrigin::Added, ..entry }),
        }
    }
    for entry in over.secrets {
        match parts.secrets.iter_mut().find(|secret| secret.name.name == entry.name.name) {
            Some(slot) => *slot = entry,
            None => parts.secrets.push(entry),
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
