//! `runbook.lock` beside the runbooks: the reviewed texts and grants, compared with those that
//! would run.

use crate::atomic_write::{self, FileMode};
use crate::context::{Context, LockPolicy};
use crate::failure::Failure;
use crate::prepared::Prepared;
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
use runbook_runtime::Verified;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The lockfile for a runbook, and the runbook's name in it.
pub struct LockfileEntry {
    /// The path of the lockfile, which need not exist.
    pub file: PathBuf,
    /// Its folder, absolute and without links.
    pub folder: PathBuf,
    /// The runbook's entry: its file name, with the environment behind an `@`.
    pub entry: String,
}

/// Where a runbook is locked: beside it.
pub fn place(runbook: &Path, environment: Option<&str>) -> Result<LockfileEntry, Failure> {
    let file = RunbookFile::locate(runbook)?;
    let (folder, name) = (file.folder().to_owned(), file.name());
    let entry =
        environment.map_or_else(|| name.clone(), |environment| format!("{name}@{environment}"));
    Ok(LockfileEntry { file: folder.join(FILE_NAME), folder, entry })
}

/// What one prepared runbook is made of, and what its plugins may do. Its entry gets the name
/// `entry`.
pub fn snapshot(prepared: &Prepared, runbook: &Path, entry: &str) -> Result<Snapshot, Failure> {
    let file = RunbookFile::locate(runbook)?;
    let mut snapshot = Snapshot::default();
    let mut facts = RunbookFacts { texts: texts(prepared, &file)?, ..RunbookFacts::default() };
    for (step, site) in &prepared.sites {
        facts.plugins.insert(site.reference.clone());
        let uses = format!("{}:{}", site.reference, site.operation);
        facts.add((step.as_str(), &uses, &site.plugin.manifest().name), &site.effective);
        snapshot.plugins.insert(site.reference.clone(), plugin_facts(&site.plugin));
    }
    snapshot.runbooks.insert(entry.to_owned(), facts);
    Ok(snapshot)
}

/// The texts that a runbook is made of, each under its own name in the folder. The runbook itself
/// is the first, under its real name, even if a link to it was given on the command line.
fn texts(prepared: &Prepared, file: &RunbookFile) -> Result<BTreeMap<String, String>, Failure> {
    let mut texts = BTreeMap::new();
    if let Some(waivers) = &prepared.waivers {
        // Which checks are made is as much a part of a suite as the checks are.
        texts.insert(waivers::FILE_NAME.to_owned(), waivers.text().to_owned());
    }
    for (index, source) in prepared.runbook.sources.iter().enumerate() {
        let name = if index == 0 { file.name() } else { file.beside(source.name()) };
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

/// What one plugin may ask for.
pub fn plugin_facts(plugin: &Verified) -> PluginFacts {
    let imports: BTreeSet<_> = plugin
        .imports()
        .iter()
        .filter_map(|import| {
            import.function.as_ref().map(|function| format!("{}#{function}", import.interface))
        })
        .collect();
    PluginFacts::of(plugin.manifest(), plugin.digest(), imports, plugin.exports())
}

/// The lockfile as it is; `None` if there is none.
pub fn read(place: &LockfileEntry) -> Result<Option<Snapshot>, Failure> {
    let source = match text_file::source(&place.file) {
        Ok(source) => source,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::refused(format!(
                "`{}` cannot be read: {error}",
                place.file.display()
            )));
        }
    };
    writable::warn("the lockfile", &place.file);
    let mut diagnostics = Diagnostics::default();
    match lockfile::parse(&source, &place.folder.to_string_lossy(), &mut diagnostics) {
        Some(snapshot) => Ok(Some(snapshot)),
        None => {
            Err(Failure::Findings { status: crate::exit_status::ExitStatus::Refused, diagnostics })
        }
    }
}

/// Writes the lockfile, whole or not at all.
pub fn write(place: &LockfileEntry, snapshot: &Snapshot) -> Result<Digest, Failure> {
    let text = lockfile::render(snapshot, &place.folder.to_string_lossy());
    atomic_write::replace(&place.file, &text, FileMode::Everybody)?;
    Ok(Digest::of(text.as_bytes()))
}

/// The part of a lockfile that is about one runbook: its entry, and the plugins that it uses now or
/// used then.
pub fn part(locked: &Snapshot, entry: &str, now: &Snapshot) -> Snapshot {
    let mut part = Snapshot::default();
    let Some(runbook) = locked.runbooks.get(entry) else { return part };
    let names: BTreeSet<&String> = runbook.plugins.iter().chain(now.plugins.keys()).collect();
    for name in names {
        if let Some(facts) = locked.plugins.get(name) {
            part.plugins.insert(name.clone(), facts.clone());
        }
    }
    part.runbooks.insert(entry.to_owned(), runbook.clone());
    part
}

/// Refuses a runbook that differs from its entry.
pub fn check(
    context: &Context,
    runbook: &Path,
    environment: Option<&str>,
    prepared: &Prepared,
) -> Result<(), Failure> {
    let place = place(runbook, environment)?;
    let is_required =
        context.projects_beyond(&place.folder)?.iter().any(|project| project.locked.is_some());
    let policy =
        LockPolicy::required_if(is_required || context.lock_policy == LockPolicy::Required);
    let again =
        format!("review it, then `runbook lock {}`", command_arguments(runbook, environment));
    let Some(locked) = read(&place)? else {
        return match policy {
            LockPolicy::WherePresent => Ok(()),
            LockPolicy::Required => Err(Failure::refused(format!(
                "`{}` is not locked: there is no `{}`",
                runbook.display(),
                place.file.display()
            ))
            .hint(again)),
        };
    };
    if !locked.runbooks.contains_key(&place.entry) {
        let message = format!("`{}` has no entry for `{}`", place.file.display(), place.entry);
        return Err(Failure::refused(message).hint(again));
    }
    let now = snapshot(prepared, runbook, &place.entry)?;
    let difference = Difference::between(&locked, &place.entry, &now);
    if !difference.is_empty() {
        let message = format!(
            "`{}` is not what `{}` holds:\n{}",
            runbook.display(),
            place.file.display(),
            difference.render()
        );
        let accept = format!(
            "review the difference; if it is right: `runbook lock --accept {}`",
            command_arguments(runbook, environment)
        );
        return Err(Failure::refused(message).hint(accept));
    }
    if !difference.lacks_text {
        return Ok(());
    }
    let message = format!(
        "`{}` does not hold the text of `{}`: an earlier version wrote it",
        place.file.display(),
        runbook.display()
    );
    match policy {
        LockPolicy::Required => Err(Failure::refused(message).hint(again)),
        LockPolicy::WherePresent => {
            ui::warning(&format!("{message}, so only plugins and grants are compared; {again}"));
            Ok(())
        }
    }
}

/// Compares what a resumed run may reach with its lock entry, if it has one. Its texts are those of
/// the journal, which may be older than the entry. Its paths are followed anew, and nothing may be
/// in reach that was not reviewed.
///
/// # Errors
/// The run could reach what the lockfile does not hold.
pub fn check_reach(
    runbook: &Path,
    environment: Option<&str>,
    prepared: &Prepared,
) -> Result<(), Failure> {
    let place = place(runbook, environment)?;
    let Some(locked) = read(&place)?.filter(|locked| locked.runbooks.contains_key(&place.entry))
    else {
        return Ok(());
    };
    let now = snapshot(prepared, runbook, &place.entry)?;
    let wider: Vec<AccessChange> = diff(&part(&locked, &place.entry, &now), &now)
        .into_iter()
        .filter(|change| change.direction != Direction::Narrowed)
        .collect();
    if wider.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the run could reach what `{}` does not hold:\n{}",
        place.file.display(),
        render(&wider)
    );
    Err(Failure::refused(message)
        .hint("put back what was moved since the run began, or review it and lock it again"))
}

/// How a runbook departs from its entry.
pub struct Difference {
    /// In what plugins may do.
    pub reach: Vec<AccessChange>,
    /// In the files that it is made of.
    pub texts: Vec<TextChange>,
    /// Whether the entry keeps no text, so that there is nothing to compare with.
    pub lacks_text: bool,
}

impl Difference {
    /// Compares an entry of a lockfile with what there is now.
    pub fn between(locked: &Snapshot, entry: &str, now: &Snapshot) -> Self {
        let nothing = BTreeMap::new();
        let [old, new] = [locked, now].map(|snapshot| {
            snapshot.runbooks.get(entry).map_or(&nothing, |runbook| &runbook.texts)
        });
        let lacks_text = old.is_empty();
        let texts = if lacks_text { Vec::new() } else { text_change::between(old, new) };
        Self { reach: diff(&part(locked, entry, now), now), texts, lacks_text }
    }

    /// Whether nothing that is held differs.
    pub fn is_empty(&self) -> bool {
        self.reach.is_empty() && self.texts.is_empty()
    }

    /// What plugins may do now, then the texts.
    pub fn render(&self) -> String {
        let texts = self.texts.iter().map(TextChange::render);
        let parts: Vec<String> = Some(render(&self.reach))
            .filter(|reach| !reach.is_empty())
            .into_iter()
            .chain(texts)
            .collect();
        parts.join("\n")
    }
}

/// What to type behind a command to mean this runbook.
pub fn command_arguments(runbook: &Path, environment: Option<&str>) -> String {
    let (written, environment) =
        (runbook.display().to_string(), environment.map(runbook_text::argument));
    let file = runbook_text::file(&written);
    environment
        .map_or_else(|| file.to_string(), |environment| format!("--env {environment} {file}"))
}

/// Changes, one a line, with what would be possible below each that widens.
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
