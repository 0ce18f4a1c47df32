//! Reads `runbook.lock` into a snapshot.

use super::{FORMAT, text};
use crate::boundary::read_values;
use crate::capability::{Capability, Verb};
use crate::digest::Digest;
use crate::scope::{AccessScope, Dimension, DimensionRow, Shape, Text, Values};
use crate::snapshot::{GrantFacts, PluginFacts, RunbookFacts, SlotFacts, Snapshot};
use crate::targets::map_path;
use runbook_document::{Diagnostics, Reader, Source, Spanned};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Reads a lockfile. `folder` is the absolute path of its folder. Returns `None` after it has
/// reported every mistake, because a partly read lockfile would not protect anything.
pub fn parse(
    source: &Arc<Source>,
    folder: &str,
    diagnostics: &mut Diagnostics,
) -> Option<Snapshot> {
    let table = runbook_document::parse(source, diagnostics)?;
    let mut lockfile_diagnostics = Diagnostics::default();
    let mut reader = Reader::new(source, &table, "the lockfile", &mut lockfile_diagnostics);
    let format = reader.required::<u32>("format");
    let format = format.and_then(|format| match format.value {
        1 => Some(LockfileFormat::GrantsOnly),
        FORMAT => Some(LockfileFormat::WithTexts),
        unknown => {
            let message = format!(
                "lockfile format {unknown} is not known; this host reads formats 1 to {FORMAT}"
            );
            let help =
                "use the version of `runbook` that wrote it, or remove it and write it anew with \
                 `runbook lock`";
            reader.error_with_help("E0122", format.span, message, "unknown format", help);
            None
        }
    });
    let Some(format) = format else {
        diagnostics.append(lockfile_diagnostics);
        return None;
    };
    let plugins = read_unique(&mut reader, "plugin", read_plugin);
    let runbooks =
        read_unique(&mut reader, "runbook", |reader| read_runbook(reader, folder, format));
    reader.finish();
    let is_valid = !lockfile_diagnostics.has_errors();
    diagnostics.append(lockfile_diagnostics);
    is_valid.then_some(Snapshot { plugins, runbooks })
}

/// Reads every table of a list. Two entries with the same key are an error: only the last one would
/// count, and a reviewer may have read the first.
fn read_unique<K: Ord + Clone + std::fmt::Debug, V>(
    reader: &mut Reader<'_>,
    key: &'static str,
    mut read: impl FnMut(&mut Reader<'_>) -> Option<(K, V)>,
) -> BTreeMap<K, V> {
    let mut entries = BTreeMap::new();
    reader.read_each(key, key, |reader| {
        let (name, value) = read(reader)?;
        if entries.insert(name.clone(), value).is_some() {
            let message = format!("there are two entries for {key} {name:?}");
            let help =
                "take the lockfile from the revision that was reviewed, or write it anew with \
                 `runbook lock`";
            reader.error_with_help(
                "E0122",
                reader.table().span.clone(),
                message,
                "the second one",
                help,
            );
        }
        Some(())
    });
    entries
}

fn read_plugin(reader: &mut Reader<'_>) -> Option<(String, PluginFacts)> {
    let reference = reader.required::<String>("reference");
    let name = reader.required::<String>("name");
    let version = reader.required::<String>("version");
    let digest = read_digest(reader, "digest");
    let interface = read_digest(reader, "interface");
    let imports = reader.required::<Vec<String>>("imports");
    let slots = reader.read_named("slots", "slot", |name, reader| {
        let capability = read_capability(reader);
        let verbs = reader.required::<Vec<Spanned<String>>>("verbs");
        let capability = capability?;
        let verbs = verbs?
            .value
            .into_iter()
            .filter_map(|name| Verb::find(capability, &name.value))
            .collect();
        Some((name.name.clone(), SlotFacts { capability, verbs }))
    });
    let facts = PluginFacts {
        name: name?.value,
        version: version?.value,
        digest: digest?,
        interface: interface?,
        imports: imports?.value.into_iter().collect(),
        slots: slots.into_iter().collect(),
    };
    Some((reference?.value, facts))
}

fn read_digest(reader: &mut Reader<'_>, key: &'static str) -> Option<Digest> {
    let text = reader.required::<String>(key)?;
    let digest = Digest::parse(&text.value);
    if digest.is_none() {
        reader.error(
            "E0122",
            text.span,
            format!("`{}` is not `sha256:` and 64 hex digits", text.value),
            "not a digest",
        );
    }
    digest
}

fn read_capability(reader: &mut Reader<'_>) -> Option<Capability> {
    let typed = reader.required::<String>("capability")?;
    let found = Capability::find(&typed.value);
    if found.is_none() {
        reader.error(
            "E0122",
            typed.span,
            format!("`{}` is not a capability", typed.value),
            "unknown",
        );
    }
    found
}

/// The content of the entries of a lockfile.
#[derive(Debug, Clone, Copy)]
enum LockfileFormat {
    /// Format 1: grants only. The plugins are those that the grants name, and there are no texts.
    GrantsOnly,
    /// Format 2: grants, texts and plugins.
    WithTexts,
}

fn read_runbook(
    reader: &mut Reader<'_>,
    folder: &str,
    format: LockfileFormat,
) -> Option<(String, RunbookFacts)> {
    let file = reader.required::<String>("file");
    let plugins = match format {
        LockfileFormat::GrantsOnly => None,
        LockfileFormat::WithTexts => {
            let plugin_list = reader.required::<Vec<Spanned<String>>>("plugins")?;
            Some(plugin_list.value.into_iter().map(|reference| reference.value).collect())
        }
    };
    let texts = match format {
        LockfileFormat::GrantsOnly => BTreeMap::new(),
        LockfileFormat::WithTexts => read_unique(reader, "text", read_text),
    };
    let grants: BTreeMap<_, GrantFacts> =
        read_unique(reader, "grant", |reader| read_grant(reader, folder));
    let granted_plugins = || {
        grants
            .values()
            .filter_map(|grant| grant.uses.rsplit_once(':'))
            .map(|(reference, _)| reference.to_owned())
    };
    let plugins = plugins.unwrap_or_else(|| granted_plugins().collect());
    Some((file?.value, RunbookFacts { plugins, texts, grants }))
}

/// Reads one file of a runbook. It is an error if the text does not match its digest: the lockfile
/// was damaged or edited.
fn read_text(reader: &mut Reader<'_>) -> Option<(String, String)> {
    let file = reader.required::<String>("file");
    let digest = read_digest(reader, "digest");
    let packed = reader.required::<String>("zstd")?;
    let (file, digest) = (file?.value, digest?);
    match text::unpack(&packed.value) {
        Some(content) if Digest::of(content.as_bytes()) == digest => Some((file, content)),
        Some(_) | None => {
            let message = format!("the text of `{file}` does not match its digest");
            let help = "take the lockfile from the revision that was reviewed, or write it anew with \
                 `runbook lock`";
            reader.error_with_help("E0122", packed.span, message, "damaged or edited", help);
            None
        }
    }
}

fn read_grant(reader: &mut Reader<'_>, folder: &str) -> Option<((String, String), GrantFacts)> {
    let step = reader.required::<String>("step");
    let uses = reader.required::<String>("uses");
    let slot = reader.required::<String>("slot");
    let target = reader.required::<String>("target");
    let capability = read_capability(reader)?;
    let mut values = BTreeMap::new();
    for row in Dimension::of(capability) {
        if let Some(dimension_values) = read_dimension(reader, capability, row, folder) {
            values.insert(row.dimension, dimension_values);
        }
    }
    let scope = AccessScope { capability, values };
    Some((
        (step?.value, slot?.value),
        GrantFacts { uses: uses?.value, target: target?.value, scope },
    ))
}

fn read_dimension(
    reader: &mut Reader<'_>,
    capability: Capability,
    row: &DimensionRow,
    folder: &str,
) -> Option<Values> {
    if matches!(row.shape, Shape::Duration | Shape::Size)
        && reader.table().get(row.key).is_some_and(is_unlimited)
    {
        reader.mark_known(row.key);
        return Some(Values::AtMost(u64::MAX));
    }
    if matches!(
        row.dimension,
        Dimension::Environment
            | Dimension::Headers
            | Dimension::Tls
            | Dimension::Via
            | Dimension::Recipients
    ) {
        // Values of grants are literal: a `*` is a `*`, and not a pattern.
        return reader.optional::<Vec<String>>(row.key).map(|written| Values::exact(written.value));
    }
    if !is_path(row.dimension) {
        return read_values(reader, capability, row);
    }
    let written = reader.optional::<Vec<String>>(row.key)?.value;
    let text = |path: String| {
        let path = map_path(&path, |path| match path.strip_prefix('.') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{folder}{rest}"),
            Some(_) | None => path.to_owned(),
        });
        let is_folder = matches!(row.dimension, Dimension::Reads | Dimension::Writes);
        if row.dimension == Dimension::Directories {
            Text::Directory(path)
        } else if path == "*" {
            Text::Any
        } else if is_folder {
            Text::Directory(path)
        } else {
            Text::Exact(path)
        }
    };
    Some(Values::Texts(written.into_iter().map(text).collect()))
}

fn is_unlimited(node: &runbook_document::Node) -> bool {
    matches!(&node.value, runbook_document::Value::String(text) if text == "unlimited")
}

/// Whether the values of a dimension are paths of this host, or contain one.
pub(super) fn is_path(dimension: Dimension) -> bool {
    matches!(
        dimension,
        Dimension::Files
            | Dimension::Directories
            | Dimension::Programs
            | Dimension::Reads
            | Dimension::Secrets
            | Dimension::Sockets
            | Dimension::Writes
    )
}
