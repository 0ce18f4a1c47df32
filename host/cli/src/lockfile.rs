//! Reads and writes `runbook.lock` beside runbooks, and compares the reviewed texts and grants with
//! those that would run.

use crate::atomic_write::{self, FileMode};
use crate::context::{Context, LockPolicy};
use crate::failure::Failure;
use crate::prepared::PreparedRunbook;
use crate::runbook_file::RunbookFile;
use crate::text_change::{self, TextChange};
use crate::text_file;
use crate::ui;
use crate::waivers;
use crate::writable;
use runbook_authority::diff::{AccessChange, Direction, diff};
use runbook_authority::lockfile::{self, FILE_NAME};
use runbook_authority::snapshot::{PluginFacts, RunbookFacts};
use runbook_authority::{Digest, Snapshot};
use runbook_document::Diagnostics;
use runbook_report::push_line;
use runbook_runtime::VerifiedComponent;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The lockfile for a runbook, and the runbook's name in it.
pub struct LockfileEntry {
    /// The path of the lockfile, which need not exist.
    pub file: PathBuf,
    /// Its folder, absolute and with links resolved.
    pub folder: PathBuf,
    /// The name of the runbook's entry: its file name, and `@ENVIRONMENT` if there is one.
    pub entry: String,
}

/// The lockfile and entry of a runbook. The lockfile is beside the runbook.
pub fn locate(runbook: &Path, environment: Option<&str>) -> Result<LockfileEntry, Failure> {
    let file = RunbookFile::locate(runbook)?;
    let (folder, name) = (file.folder().to_owned(), file.name());
    let entry =
        environment.map_or_else(|| name.clone(), |environment| format!("{name}@{environment}"));
    Ok(LockfileEntry { file: folder.join(FILE_NAME), folder, entry })
}

/// The texts, plugins and grants of one prepared runbook, as a lockfile holds them. `entry` is the
/// name of its entry.
pub fn snapshot(
    prepared: &PreparedRunbook,
    runbook: &Path,
    entry: &str,
) -> Result<Snapshot, Failure> {
    let file = RunbookFile::locate(runbook)?;
    let mut snapshot = Snapshot::default();
    let mut facts = RunbookFacts { texts: texts(prepared, &file)?, ..RunbookFacts::default() };
    for (step, site) in &prepared.sites {
        facts.plugins.insert(site.reference.clone());
        let uses = format!("{}:{}", site.reference, site.operation);
        facts.add((step.as_str(), &uses, &site.plugin.manifest().name), &site.grants);
        snapshot.plugins.insert(site.reference.clone(), plugin_facts(&site.plugin));
    }
    snapshot.runbooks.insert(entry.to_owned(), facts);
    Ok(snapshot)
}

/// The texts of a runbook, by their paths in the folder. The runbook itself has its real name, even
/// if a link to it was given on the command line.
fn texts(
    prepared: &PreparedRunbook,
    file: &RunbookFile,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut texts = BTreeMap::new();
    if let Some(waivers) = &prepared.waivers {
        // Waivers decide which checks run, so they are part of what was reviewed.
        texts.insert(waivers::FILE_NAME.to_owned(), waivers.text().to_owned());
    }
    for (index, source) in prepared.runbook.sources.iter().enumerate() {
        let name = if index == 0 { file.name() } else { file.relative_path(source.name()) };
        let other = texts.insert(name.clone(), source.text().to_owned());
        if other.is_some_and(|other| other != source.text()) {
            return Err(Failure::refused(format!(
                "two files of the runbook are called `{name}`, so the lockfile cannot hold both"
            ))
            .hint("name each file by its real name, not through a link"));
        }
    }
    Ok(texts)
}

/// What the lockfile holds about a plugin: its manifest, digest, imports and exports.
pub fn plugin_facts(plugin: &VerifiedComponent) -> PluginFacts {
    let imports: BTreeSet<_> = plugin
        .imports()
        .iter()
        .filter_map(|import| {
            import.function.as_ref().map(|function| format!("{}#{function}", import.interface))
        })
        .collect();
    PluginFacts::of(plugin.manifest(), plugin.digest(), imports, plugin.exports())
}

/// Reads the lockfile; `None` if there is none.
pub fn read(location: &LockfileEntry) -> Result<Option<Snapshot>, Failure> {
    let source = match text_file::source(&location.file) {
        Ok(source) => source,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::refused(format!(
                "`{}` cannot be read: {error}",
                location.file.display()
            )));
        }
    };
    writable::warn_if_world_writable("the lockfile", &location.file);
    let mut diagnostics = Diagnostics::default();
    match lockfile::parse(&source, &location.folder.to_string_lossy(), &mut diagnostics) {
        Some(snapshot) => Ok(Some(snapshot)),
        None => {
            Err(Failure::Findings { status: crate::exit_status::ExitStatus::Refused, diagnostics })
        }
    }
}

/// Writes the lockfile atomically.
pub fn write(location: &LockfileEntry, snapshot: &Snapshot) -> Result<Digest, Failure> {
    let text = lockfile::render(snapshot, &location.folder.to_string_lossy());
    atomic_write::replace(&location.file, &text, FileMode::Everybody)?;
    Ok(Digest::of(text.as_bytes()))
}

/// The part of a lockfile about one runbook: its entry, and the plugins that it used then or uses
/// now.
pub fn entry_snapshot(locked: &Snapshot, entry: &str, current: &Snapshot) -> Snapshot {
    let mut entry_snapshot = Snapshot::default();
    let Some(runbook) = locked.runbooks.get(entry) else { return entry_snapshot };
    let names: BTreeSet<&String> = runbook.plugins.iter().chain(current.plugins.keys()).collect();
    for name in names {
        if let Some(facts) = locked.plugins.get(name) {
            entry_snapshot.plugins.insert(name.clone(), facts.clone());
        }
    }
    entry_snapshot.runbooks.insert(entry.to_owned(), runbook.clone());
    entry_snapshot
}

/// Fails if a runbook differs from its entry in the lockfile, or if it must have one and has none.
pub fn check(
    context: &Context,
    runbook: &Path,
    environment: Option<&str>,
    prepared: &PreparedRunbook,
) -> Result<(), Failure> {
    let location = locate(runbook, environment)?;
    let is_required = context
        .additional_projects(&location.folder)?
        .iter()
        .any(|project| project.locked.is_some());
    let policy =
        LockPolicy::required_if(is_required || context.lock_policy == LockPolicy::Required);
    let lock_hint =
        format!("review it, then `runbook lock {}`", command_arguments(runbook, environment));
    let Some(locked) = read(&location)? else {
        return match policy {
            LockPolicy::WherePresent => Ok(()),
            LockPolicy::Required => Err(Failure::refused(format!(
                "`{}` is not locked: there is no `{}`",
                runbook.display(),
                location.file.display()
            ))
            .hint(lock_hint)),
        };
    };
    if !locked.runbooks.contains_key(&location.entry) {
        let message =
            format!("`{}` has no entry for `{}`", location.file.display(), location.entry);
        return Err(Failure::refused(message).hint(lock_hint));
    }
    let current = snapshot(prepared, runbook, &location.entry)?;
    let difference = Difference::between(&locked, &location.entry, &current);
    if !difference.is_empty() {
        let message = format!(
            "`{}` is not what `{}` holds:\n{}",
            runbook.display(),
            location.file.display(),
            difference.render()
        );
        let accept_hint = format!(
            "review the difference; if it is right: `runbook lock --accept {}`",
            command_arguments(runbook, environment)
        );
        return Err(Failure::refused(message).hint(accept_hint));
    }
    if !difference.lacks_text {
        return Ok(());
    }
    let message = format!(
        "`{}` does not hold the text of `{}`: an earlier version wrote it",
        location.file.display(),
        runbook.display()
    );
    match policy {
        LockPolicy::Required => Err(Failure::refused(message).hint(lock_hint)),
        LockPolicy::WherePresent => {
            ui::warning(&format!(
                "{message}, so only plugins and grants are compared; {lock_hint}"
            ));
            Ok(())
        }
    }
}

/// Compares the grants of a resumed run with its lock entry, if it has one. Its texts come from the
/// journal, and may be older than the entry, so they are not compared. Paths are resolved again, so
/// a moved link could widen a grant.
///
/// # Errors
/// A grant is wider than the lockfile says.
pub fn check_access(
    runbook: &Path,
    environment: Option<&str>,
    prepared: &PreparedRunbook,
) -> Result<(), Failure> {
    let location = locate(runbook, environment)?;
    let Some(locked) =
        read(&location)?.filter(|locked| locked.runbooks.contains_key(&location.entry))
    else {
        return Ok(());
    };
    let current = snapshot(prepared, runbook, &location.entry)?;
    let wider: Vec<AccessChange> =
        diff(&entry_snapshot(&locked, &location.entry, &current), &current)
            .into_iter()
            .filter(|change| change.direction != Direction::Narrowed)
            .collect();
    if wider.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the run could reach what `{}` does not hold:\n{}",
        location.file.display(),
        render(&wider)
    );
    Err(Failure::refused(message)
        .hint("put back what was moved since the run began, or review it and lock it again"))
}

/// How a runbook differs from its entry.
pub struct Difference {
    /// Changes of what plugins may do.
    pub access: Vec<AccessChange>,
    /// Changes of its files.
    pub texts: Vec<TextChange>,
    /// Whether the entry has no texts, so that only grants are compared.
    pub lacks_text: bool,
}

impl Difference {
    /// Compares an entry of a lockfile with what there is now.
    pub fn between(locked: &Snapshot, entry: &str, current: &Snapshot) -> Self {
        let no_texts = BTreeMap::new();
        let [old, new] = [locked, current].map(|snapshot| {
            snapshot.runbooks.get(entry).map_or(&no_texts, |runbook| &runbook.texts)
        });
        let lacks_text = old.is_empty();
        let texts = if lacks_text { Vec::new() } else { text_change::between(old, new) };
        Self { access: diff(&entry_snapshot(locked, entry, current), current), texts, lacks_text }
    }

    /// Whether nothing differs from what the entry has.
    pub fn is_empty(&self) -> bool {
        self.access.is_empty() && self.texts.is_empty()
    }

    /// The changes of what plugins may do, then those of the texts.
    pub fn render(&self) -> String {
        let texts = self.texts.iter().map(TextChange::render);
        let parts: Vec<String> = Some(render(&self.access))
            .filter(|access| !access.is_empty())
            .into_iter()
            .chain(texts)
            .collect();
        parts.join("\n")
    }
}

/// The arguments of a command that name this runbook.
pub fn command_arguments(runbook: &Path, environment: Option<&str>) -> String {
    let (path_text, environment) =
        (runbook.display().to_string(), environment.map(runbook_text::shell_argument));
    let file = runbook_text::file_argument(&path_text);
    environment
        .map_or_else(|| file.to_string(), |environment| format!("--env {environment} {file}"))
}

/// The changes, one a line. Below each that widens a grant, its witness.
pub fn render(changes: &[AccessChange]) -> String {
    let mut text = String::new();
    for change in changes {
        let (direction, risk) = (change.direction.name(), change.risk.name());
        push_line(
            &mut text,
            format_args!("  {direction:<8}  {risk:<8}  {}: {}", change.subject, change.what),
        );
        if let Some(witness) = &change.witness {
            push_line(&mut text, format_args!("            {:<8}  now possible: {witness}", ""));
        }
    }
    text.trim_end().to_owned()
}
