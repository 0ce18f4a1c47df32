//! Finds targets of an environment that nothing uses. Such a target may have a mistyped name, and
//! the runbook would then use its own target, in another environment than the one that was chosen.

use crate::runbook_file::RunbookFile;
use crate::text_file;
use runbook_authority::Targets;
use runbook_authority::targets::SecretOrigin;
use runbook_document::{Diagnostic, Diagnostics, Source};
use runbook_engine::Runbook;
use runbook_engine::model::TargetOrigin;
use std::collections::BTreeSet;
use std::path::Path;

/// Whether other runbooks of the folder are read for uses of a target, because all of them share
/// the file of an environment.
#[derive(Debug, Clone, Copy)]
pub enum SiblingRunbooks<'a> {
    /// The other runbooks beside this one are read if necessary.
    Read(&'a RunbookFile),
    /// They are not read: the run uses its recorded texts, and the files in the folder may have
    /// changed.
    Ignored,
}

/// Reports the targets of the environment that replace no target, are bound to no slot, and are
/// the source of no secret.
pub fn unused_targets(
    runbook: &Runbook,
    targets: &Targets,
    siblings: SiblingRunbooks<'_>,
) -> Diagnostics {
    let mut found = Diagnostics::default();
    let SiblingRunbooks::Read(file) = siblings else { return found };
    let bound_targets = bound_targets(runbook, targets);
    let added = runbook.targets.iter().filter(|entry| entry.origin == TargetOrigin::Added);
    for entry in added.filter(|entry| !bound_targets.contains(entry.name.name.as_str())) {
        let name = &entry.name.name;
        if is_named_beside(file, name) {
            continue;
        }
        let own_targets: Vec<&str> = names_by_origin(runbook, TargetOrigin::Runbook).collect();
        let message = format!(
            "target `{name}` of the environment replaces no target of the runbook, and is \
                     bound nowhere"
        );
        let help = match runbook_document::nearest(name, own_targets.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if own_targets.is_empty() => "remove it, or bind a slot to it".to_owned(),
            None => {
                format!("remove it, or name one that the runbook has: {}", own_targets.join(", "))
            }
        };
        found.push(
            Diagnostic::error("E0238", &entry.source, entry.name.span.clone(), message)
                .label("used by nothing")
                .help(help),
        );
    }
    found
}

/// One line for the plan: the targets of the environment, and those that the runbook itself has.
pub fn describe(runbook: &Runbook, environment: &str) -> String {
    let names_of = |origin| names_by_origin(runbook, origin).collect::<Vec<_>>().join(", ");
    let of_environment = [names_of(TargetOrigin::Replaced), names_of(TargetOrigin::Added)];
    let of_environment: Vec<_> =
        of_environment.into_iter().filter(|names| !names.is_empty()).collect();
    let own_targets = match names_of(TargetOrigin::Runbook) {
        own_targets if own_targets.is_empty() => "the runbook adds none".to_owned(),
        own_targets => format!("the runbook's own: {own_targets}"),
    };
    let of_environment =
        if of_environment.is_empty() { "no target".to_owned() } else { of_environment.join(", ") };
    format!("environment: {environment} ({of_environment}; {own_targets})")
}

fn names_by_origin(runbook: &Runbook, origin: TargetOrigin) -> impl Iterator<Item = &str> {
    runbook
        .targets
        .iter()
        .filter(move |entry| entry.origin == origin)
        .map(|entry| entry.name.name.as_str())
}

fn bound_targets<'a>(runbook: &'a Runbook, targets: &'a Targets) -> BTreeSet<&'a str> {
    let mut bound_targets: BTreeSet<&str> = BTreeSet::new();
    for site in runbook.call_sites() {
        bound_targets.extend(site.bind.iter().map(|bind| bind.target.value.as_str()));
    }
    for target in targets.iter() {
        bound_targets.extend(target.connection());
        bound_targets.extend(target.via.as_ref().map(|via| via.gateway.value.as_str()));
        let sources = target.secret_origins.values().filter_map(SecretOrigin::target);
        bound_targets.extend(sources.map(|source| source.name.as_str()));
    }
    bound_targets
}

/// Whether another runbook in the folder mentions a target of this name.
fn is_named_beside(file: &RunbookFile, name: &str) -> bool {
    let entries = std::fs::read_dir(file.folder()).into_iter().flatten().flatten();
    let others = entries.map(|entry| entry.path()).filter(|path| is_another_runbook(path, file));
    others
        .filter_map(|path| {
            Some(Source::new(path.display().to_string(), text_file::read(&path).ok()?))
        })
        .any(|source| {
            let table = runbook_document::parse(&source, &mut Diagnostics::default());
            table.is_some_and(|table| mentions(&table.to_json(), name))
        })
}

fn is_another_runbook(path: &Path, file: &RunbookFile) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    is_toml && path != file.real() && !name.starts_with("targets.") && !name.starts_with('.')
}

/// Whether a file has a target of this name, or a text that is exactly the name.
fn mentions(file: &serde_json::Value, name: &str) -> bool {
    fn contains_text(value: &serde_json::Value, name: &str) -> bool {
        match value {
            serde_json::Value::String(text) => text == name,
            serde_json::Value::Array(items) => items.iter().any(|item| contains_text(item, name)),
            serde_json::Value::Object(entries) => {
                entries.values().any(|value| contains_text(value, name))
            }
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
                false
            }
        }
    }
    file.get("targets").and_then(|targets| targets.get(name)).is_some() || contains_text(file, name)
}
