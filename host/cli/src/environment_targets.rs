//! The targets of an environment: which ones it replaces, and which are used by nothing. A
//! name that is mistyped there would let the runbook run against its own target, in another
//! environment than the one that was named.

use crate::runbook_file::RunbookFile;
use crate::text_file;
use runbook_authority::Targets;
use runbook_document::{Diagnostic, Diagnostics, Source};
use runbook_engine::Runbook;
use runbook_engine::model::TargetOrigin;
use std::collections::BTreeSet;
use std::path::Path;

/// What other runbooks of the folder may name: one file of an environment is shared by all of them.
#[derive(Debug, Clone, Copy)]
pub enum SharedTargetNames<'a> {
    /// The other runbooks beside this one are read if there is a reason to.
    Beside(&'a RunbookFile),
    /// They are not looked at: the run began with this text, and files that lie beside it now have
    /// no say.
    Unasked,
}

/// Targets of the environment that replace nothing and are bound nowhere.
pub fn strays(
    runbook: &Runbook,
    targets: &Targets,
    neighbors: SharedTargetNames<'_>,
) -> Diagnostics {
    let mut found = Diagnostics::default();
    let SharedTargetNames::Beside(file) = neighbors else { return found };
    let bound = bound(runbook, targets);
    let added = runbook.targets.iter().filter(|entry| entry.origin == TargetOrigin::Added);
    for entry in added.filter(|entry| !bound.contains(entry.name.name.as_str())) {
        let name = &entry.name.name;
        if is_named_beside(file, name) {
            continue;
        }
        let own: Vec<&str> = of_origin(runbook, TargetOrigin::Runbook).collect();
        let message = format!(
            "target `{name}` of the environment replaces no target of the runbook, and is \
                     bound nowhere"
        );
        let help = match runbook_document::nearest(name, own.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if own.is_empty() => "remove it, or bind a slot to it".to_owned(),
            None => format!("remove it, or name one that the runbook has: {}", own.join(", ")),
        };
        found.push(
            Diagnostic::error("E0238", &entry.source, entry.name.span.clone(), message)
                .label("used by nothing")
                .help(help),
        );
    }
    found
}

/// One line: which targets the environment says, and which stay those of the runbook.
pub fn described(runbook: &Runbook, environment: &str) -> String {
    let named = |origin| of_origin(runbook, origin).collect::<Vec<_>>().join(", ");
    let of_environment = [named(TargetOrigin::Replaced), named(TargetOrigin::Added)];
    let of_environment: Vec<_> =
        of_environment.into_iter().filter(|names| !names.is_empty()).collect();
    let own = match named(TargetOrigin::Runbook) {
        own if own.is_empty() => "the runbook adds none".to_owned(),
        own => format!("the runbook's own: {own}"),
    };
    let of_environment =
        if of_environment.is_empty() { "no target".to_owned() } else { of_environment.join(", ") };
    format!("environment: {environment} ({of_environment}; {own})")
}

fn of_origin(runbook: &Runbook, origin: TargetOrigin) -> impl Iterator<Item = &str> {
    runbook
        .targets
        .iter()
        .filter(move |entry| entry.origin == origin)
        .map(|entry| entry.name.name.as_str())
}

fn bound<'a>(runbook: &'a Runbook, targets: &'a Targets) -> BTreeSet<&'a str> {
    let mut bound: BTreeSet<&str> = BTreeSet::new();
    for site in runbook.use_sites() {
        bound.extend(site.bind.iter().map(|bind| bind.target.value.as_str()));
    }
    bound.extend(targets.iter().filter_map(|target| target.connection()));
    bound
}

/// Whether another file of the folder has a target of this name, or binds a slot to one.
fn is_named_beside(file: &RunbookFile, name: &str) -> bool {
    let entries = std::fs::read_dir(file.folder()).into_iter().flatten().flatten();
    let others = entries.map(|entry| entry.path()).filter(|path| is_another_runbook(path, file));
    others
        .filter_map(|path| {
            Some(Source::new(path.display().to_string(), text_file::read(&path).ok()?))
        })
        .any(|source| {
            let table = runbook_document::parse(&source, &mut Diagnostics::default());
            table.is_some_and(|table| names(&table.to_json(), name))
        })
}

fn is_another_runbook(path: &Path, file: &RunbookFile) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    is_toml && path != file.real() && !name.starts_with("targets.") && !name.starts_with('.')
}

/// Whether a file has a target of this name, or a text that is exactly the name.
fn names(file: &serde_json::Value, name: &str) -> bool {
    fn is_said(value: &serde_json::Value, name: &str) -> bool {
        match value {
            serde_json::Value::String(text) => text == name,
            serde_json::Value::Array(items) => items.iter().any(|item| is_said(item, name)),
            serde_json::Value::Object(entries) => {
                entries.values().any(|value| is_said(value, name))
            }
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
                false
            }
        }
    }
    file.get("targets").and_then(|targets| targets.get(name)).is_some() || is_said(file, name)
}
