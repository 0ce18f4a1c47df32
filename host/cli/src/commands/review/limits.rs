//! Compares the files that limit runbooks: projects, boundaries, trust files, settings and
//! lockfiles. Removing one widens what runbooks may do, although no runbook changes.

use crate::failure::Failure;
use crate::kind_of_file::{KindOfFile, PROJECT_FILE};
use crate::{other_files, project, text_file};
use runbook_authority::Risk;
use runbook_authority::diff::{AccessChange, Direction};
use runbook_authority::lockfile::FILE_NAME;
use runbook_authority::toml_entries::{self, EntryChange};
use runbook_document::Diagnostics;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The text of each file that limits runbooks, by name. The text of a lockfile is empty, because
/// its content is compared separately.
pub(super) type LimitFiles = BTreeMap<String, String>;

/// The limit files for a path: those in it, and the projects above it up to `top` with the files
/// that they name.
///
/// # Errors
/// A folder or a file cannot be read.
pub(super) fn of(
    path: &Path,
    top: &Path,
    display_name: impl Fn(&Path) -> String,
) -> Result<LimitFiles, Failure> {
    let mut files = BTreeSet::new();
    if path.is_dir() {
        walk(path, &mut files)?;
    }
    for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(top)) {
        files.extend(Some(folder.join(PROJECT_FILE)).filter(|file| file.exists()));
    }
    files.extend(
        path.parent()
            .map(|folder| folder.join(FILE_NAME))
            .filter(|file| path.is_file() && file.exists()),
    );
    let named_files: Vec<PathBuf> = files
        .iter()
        .flat_map(|file| files_named_by_project(file))
        .filter(|file| file.exists())
        .collect();
    files.extend(named_files);
    files.into_iter().map(|file| Ok((display_name(&file), compared_text(&file)?))).collect()
}

fn walk(folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("`{}` cannot be read: {error}", folder.display()))
    };
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            if !path.is_symlink() && name != "target" && name != ".git" {
                walk(&path, files)?;
            }
        } else if name == FILE_NAME || name == PROJECT_FILE || is_limit(&path) {
            files.insert(path);
        }
    }
    Ok(())
}

fn is_limit(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "toml")
        && match other_files::kind(path) {
            KindOfFile::Boundary
            | KindOfFile::Trust
            | KindOfFile::Settings
            | KindOfFile::Configuration
            | KindOfFile::Project => true,
            KindOfFile::Runbook
            | KindOfFile::Unknown
            | KindOfFile::Targets
            | KindOfFile::Waivers
            | KindOfFile::Inputs
            | KindOfFile::Manifest => false,
        }
}

/// The boundary and the trust file that a project names.
fn files_named_by_project(file: &Path) -> Vec<PathBuf> {
    if file.file_name().is_none_or(|name| name != PROJECT_FILE)
        || text_file::real_path_if_elsewhere(file).is_some()
    {
        return Vec::new();
    }
    let Ok(source) = text_file::source(file) else { return Vec::new() };
    let found = project::parse(&source, &mut Diagnostics::default());
    [found.boundary, found.trust].into_iter().flatten().collect()
}

/// The text of a limit file for the comparison: empty for a lockfile, the destination for a link.
fn compared_text(file: &Path) -> Result<String, Failure> {
    if file.file_name().is_some_and(|name| name == FILE_NAME) {
        return Ok(String::new());
    }
    // The text of a file outside is not shown, because the author of the checkout may not be
    // allowed to read it.
    if let Some(real) = text_file::real_path_if_elsewhere(file) {
        return Ok(format!("link = {}\n", serde_json::Value::from(real.display().to_string())));
    }
    text_file::read(file)
        .map_err(|error| Failure::usage(format!("`{}` cannot be read: {error}", file.display())))
}

/// The differences in limit files, key by key.
pub(super) fn changes(old: &LimitFiles, new: &LimitFiles) -> Vec<AccessChange> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.into_iter().flat_map(|name| file_changes(name, old.get(name), new.get(name))).collect()
}

fn file_changes(name: &str, old: Option<&String>, new: Option<&String>) -> Vec<AccessChange> {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (Some(_), None) => {
            return vec![change(
                Direction::Widened,
                name.to_owned(),
                "is gone, and limits nothing any more".to_owned(),
            )];
        }
        (None, Some(_)) => {
            return vec![change(
                Direction::Narrowed,
                name.to_owned(),
                "is new, and limits what is run".to_owned(),
            )];
        }
        (None, None) => return Vec::new(),
    };
    let texts = |text: &String| BTreeMap::from([(name.to_owned(), text.clone())]);
    let as_change = |EntryChange { key, old, new, .. }: EntryChange| {
        let what = match (&old, &new) {
            (Some(old), Some(new)) => format!("is {new}, and was {old}"),
            (None, Some(new)) => format!("is new: {new}"),
            (Some(old), None) => format!("is gone; it was {old}"),
            (None, None) => String::new(),
        };
        change(direction(&key, old.as_deref(), new.as_deref()), format!("`{key}` of {name}"), what)
    };
    toml_entries::changed_entries(&texts(old), &texts(new)).into_iter().map(as_change).collect()
}

/// Whether a changed key widens or narrows. For rules of a boundary and keys of a trust file this
/// is not known, so a reviewer must look at them.
fn direction(key: &str, old: Option<&str>, new: Option<&str>) -> Direction {
    match (key, old, new) {
        ("locked", _, Some("true")) | ("boundary" | "trust" | "audit_log", None, _) => {
            Direction::Narrowed
        }
        ("locked", Some("true"), _) | ("boundary" | "trust" | "audit_log", _, None) => {
            Direction::Widened
        }
        ("locked" | "runbooks" | "format", _, _) => Direction::Changed,
        (_, _, _) => Direction::Moved,
    }
}

fn change(direction: Direction, subject: String, what: String) -> AccessChange {
    let risk = match direction {
        Direction::Widened | Direction::Moved => Risk::High,
        Direction::Narrowed | Direction::Changed => Risk::Info,
    };
    AccessChange { direction, risk, subject, what, witness: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_taken_away_widens_and_one_that_is_added_narrows() {
        for key in ["boundary", "trust", "audit_log"] {
            assert_eq!(direction(key, Some("\"a\""), None), Direction::Widened, "{key}");
            assert_eq!(direction(key, None, Some("\"a\"")), Direction::Narrowed, "{key}");
            assert_eq!(direction(key, Some("\"a\""), Some("\"b\"")), Direction::Moved, "{key}");
        }
        assert_eq!(direction("locked", Some("true"), None), Direction::Widened);
        assert_eq!(direction("locked", Some("true"), Some("false")), Direction::Widened);
        assert_eq!(direction("locked", None, Some("true")), Direction::Narrowed);
        assert_eq!(direction("locked", None, Some("false")), Direction::Changed);
        assert_eq!(direction("allow.1.hosts", Some("[\"a\"]"), Some("[\"*\"]")), Direction::Moved);
        assert_eq!(direction("runbooks", Some("[\"a\"]"), None), Direction::Changed);
        assert_eq!(direction("link", None, Some("\"/x\"")), Direction::Moved);
    }
}
