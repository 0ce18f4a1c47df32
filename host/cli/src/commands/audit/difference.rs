//! `runbook audit --diff OLD NEW`: what is wider, narrower or moved between two files, folders, lockfiles or git revisions.

use super::AuditArgs;
use super::review::{Subject, subjects};
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::lock::{self, Place};
use crate::plugins::Plugins;
use crate::prepare::{self, Scrutiny};
use crate::runbook_file::RunbookFile;
use runbook_authority::Snapshot;
use runbook_authority::diff::{Change, Direction, diff};
use runbook_authority::lockfile::FILE_NAME;
use runbook_report::access_report::LedgerFormat;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where files are looked for, and what their folders are called.
enum Tree {
    /// As they are.
    Here,
    /// Below a folder that stands for `/`: a checkout of a revision, or the working tree that one is compared with.
    Below(PathBuf),
}

/// Shows the differences; status 1 if anything is wider or moved.
pub(super) fn run(context: &Context, old: &str, new: &str, args: &AuditArgs) -> Result<ExitStatus, Failure> {
    let (mut old, mut new) = (side(context, (old, new), args)?, side(context, (new, old), args)?);
    same_names(&mut old, &mut new);
    let changes = diff(&old, &new);
    super::deliver(args, &render(args.format, &changes)?)?;
    let wider = changes.iter().any(|change| change.direction != Direction::Narrowed);
    Ok(if wider { ExitStatus::Failed } else { ExitStatus::Success })
}

fn render(format: LedgerFormat, changes: &[Change]) -> Result<String, Failure> {
    match format {
        LedgerFormat::Text if changes.is_empty() => Ok("no difference in authority".to_owned()),
        LedgerFormat::Text => Ok(lock::render(changes)),
        LedgerFormat::Json => {
            Ok(runbook_text::json(&serde_json::to_string_pretty(changes).map_err(Failure::engine)?).into_owned())
        }
        LedgerFormat::Sarif | LedgerFormat::Html => Err(Failure::usage("a difference is shown as text or json")),
    }
}

/// Two single things are compared whatever they are called: `v1.wasm` with `v2.wasm`.
fn same_names(old: &mut Snapshot, new: &mut Snapshot) {
    if old.plugins.len() == 1
        && let [name] = new.plugins.keys().cloned().collect::<Vec<_>>().as_slice()
    {
        old.plugins = std::mem::take(&mut old.plugins).into_values().map(|facts| (name.clone(), facts)).collect();
    }
    if old.runbooks.len() == 1
        && let [name] = new.runbooks.keys().cloned().collect::<Vec<_>>().as_slice()
    {
        old.runbooks = std::mem::take(&mut old.runbooks).into_values().map(|facts| (name.clone(), facts)).collect();
    }
}

/// `REVISION:PATH`, unless a file has that name.
fn revision(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|_| !Path::new(text).exists())
}

/// One of the two, with the other one, which may be a revision.
fn side(context: &Context, (text, other): (&str, &str), args: &AuditArgs) -> Result<Snapshot, Failure> {
    if let Some((revision, path)) = revision(text) {
        let checkout = checkout(revision)?;
        let root = checkout.path().canonicalize()?;
        return snapshot(context, &root.join(line_of_git("--show-prefix")?).join(path), &Tree::Below(root), args);
    }
    let path = Path::new(text);
    if revision(other).is_none() {
        return snapshot(context, path, &Tree::Here, args);
    }
    let top = PathBuf::from(line_of_git("--show-toplevel")?);
    let absolute = path.canonicalize().map_err(|error| Failure::usage(format!("`{text}` cannot be read: {error}")))?;
    snapshot(context, &absolute, &Tree::Below(top), args)
}

fn line_of_git(question: &str) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&git(&["rev-parse", question])?).trim().to_owned())
}

/// The files of a revision, in a folder of their own.
fn checkout(revision: &str) -> Result<tempfile::TempDir, Failure> {
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("archive.tar");
    let top = line_of_git("--show-toplevel")?;
    git(&["-C", &top, "archive", "--format=tar", "-o", &archive.to_string_lossy(), "--end-of-options", revision])?;
    let unpacked = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder.path()).output()?;
    if !unpacked.status.success() {
        return Err(Failure::usage(format!("revision `{revision}` cannot be unpacked")));
    }
    std::fs::remove_file(&archive)?;
    Ok(folder)
}

fn git(arguments: &[&str]) -> Result<Vec<u8>, Failure> {
    let output = Command::new("git")
        .args(arguments)
        .output()
        .map_err(|error| Failure::usage(format!("`git` cannot be run: {error}")).hint("install git, or compare files"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(Failure::usage(format!("git: {message}")).hint("write REVISION:PATH, such as `HEAD~1:runbooks`"))
}

/// What a file, a folder or a lockfile says.
fn snapshot(context: &Context, path: &Path, tree: &Tree, args: &AuditArgs) -> Result<Snapshot, Failure> {
    if path.file_name().is_some_and(|name| name == FILE_NAME) {
        let folder = RunbookFile::locate(path)?.folder().to_owned();
        let place = Place { file: path.to_owned(), folder, entry: String::new() };
        let locked = lock::read(&place)?.ok_or_else(|| Failure::usage(format!("there is no lockfile `{}`", path.display())))?;
        return Ok(tree.rebased(locked));
    }
    let mut all = Snapshot::default();
    for subject in subjects(&[path.display().to_string()])? {
        match subject {
            Subject::Plugin(reference) => {
                let plugin = Plugins::default().get(&reference, Path::new("."))?;
                all.plugins.insert(tree.shown(&reference), lock::plugin_facts(&plugin));
            }
            Subject::Runbook(file) => {
                let prepared = prepare::unlocked(context, &file, args.env.as_deref(), Scrutiny::Report)?;
                let entry = match tree {
                    Tree::Here => lock::place(&file, args.env.as_deref())?.entry,
                    Tree::Below(_) => tree.shown(&file.display().to_string()),
                };
                let one = tree.rebased(lock::snapshot(&prepared, &file, &entry)?);
                all.plugins.extend(one.plugins);
                all.runbooks.extend(one.runbooks);
            }
        }
    }
    Ok(all)
}

impl Tree {
    fn rebased(&self, snapshot: Snapshot) -> Snapshot {
        match self {
            Self::Here => snapshot,
            Self::Below(root) => snapshot.rebased(&root.to_string_lossy()),
        }
    }

    /// What a file is called in comparisons.
    fn shown(&self, file: &str) -> String {
        match self {
            Self::Here => file.to_owned(),
            Self::Below(root) => {
                let path = Path::new(file);
                path.strip_prefix("./").unwrap_or(path).strip_prefix(root).unwrap_or(path).display().to_string()
            }
        }
    }
}
