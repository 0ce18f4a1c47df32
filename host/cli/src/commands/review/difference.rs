//! `runbook review --diff OLD NEW`: what is wider, narrower or moved between two files, folders,
//! lockfiles or git revisions.

use super::ReviewArgs;
use super::entries::{ReviewedItem, subjects};
use super::limits::{self, Limits};
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::lockfile::{self, LockfileEntry};
use crate::plugins::Plugins;
use crate::prepare::{self, Scrutiny};
use crate::runbook_file::RunbookFile;
use crate::ui;
use runbook_authority::Snapshot;
use runbook_authority::diff::{AccessChange, Direction, changed_keys, diff};
use runbook_authority::lockfile::FILE_NAME;
use runbook_authority::targets::lexical;
use runbook_report::access_report::ReviewFormat;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where files are looked for, and what they are called.
enum Tree {
    /// The files as they are on disk now.
    Here,
    /// In the working tree whose top this is, compared with a revision.
    Working(PathBuf),
    /// A revision's files, below a folder that stands for `/`, at the place of the working tree.
    Revision(Checkout),
}

/// The files of a revision: `folder` holds them at `folder/top`, so that all that is judged is at
/// its own path once `folder` is taken away, what lies outside of the repository too.
struct Checkout {
    folder: tempfile::TempDir,
    top: PathBuf,
}

/// One of the two that are compared.
struct Side {
    snapshot: Snapshot,
    /// What the checkout itself says of its limits; a lockfile and single files say nothing of
    /// them.
    limits: Option<Limits>,
}

/// Shows the differences; status 1 if anything is wider or moved.
pub(super) fn run(
    context: &Context,
    old: &str,
    new: &str,
    args: &ReviewArgs,
) -> Result<ExitStatus, Failure> {
    let (mut old, mut new) = (side(context, (old, new), args)?, side(context, (new, old), args)?);
    let mut changes = old
        .limits
        .iter()
        .zip(&new.limits)
        .flat_map(|(old, new)| limits::changes(old, new))
        .collect::<Vec<_>>();
    let (old, new) = (&mut old.snapshot, &mut new.snapshot);
    same_names(old, new);
    changes.extend(diff(old, new));
    changes.sort_by(|a, b| (a.direction, b.risk).cmp(&(b.direction, a.risk)));
    changes.extend(changed_keys(old, new));
    super::deliver(args, &render(args.format, &changes)?)?;
    let wider = changes
        .iter()
        .any(|change| matches!(change.direction, Direction::Widened | Direction::Moved));
    Ok(if wider { ExitStatus::Failed } else { ExitStatus::Success })
}

fn render(format: ReviewFormat, changes: &[AccessChange]) -> Result<String, Failure> {
    match format {
        ReviewFormat::Text if changes.is_empty() => {
            Ok("no difference in authority, nor in any key".to_owned())
        }
        ReviewFormat::Text => Ok(lockfile::render(changes)),
        ReviewFormat::Json => {
            Ok(runbook_text::json(&serde_json::to_string_pretty(changes).map_err(Failure::engine)?)
                .into_owned())
        }
        ReviewFormat::Sarif | ReviewFormat::Html => {
            Err(Failure::usage("a difference is shown as text or json"))
        }
    }
}

/// Gives two single things one name, so that they are compared: `v1.wasm` with `v2.wasm`.
fn same_names(old: &mut Snapshot, new: &mut Snapshot) {
    if old.plugins.len() == 1
        && let [name] = new.plugins.keys().cloned().collect::<Vec<_>>().as_slice()
    {
        old.plugins = std::mem::take(&mut old.plugins)
            .into_values()
            .map(|facts| (name.clone(), facts))
            .collect();
    }
    if old.runbooks.len() == 1
        && let [name] = new.runbooks.keys().cloned().collect::<Vec<_>>().as_slice()
    {
        old.runbooks = std::mem::take(&mut old.runbooks)
            .into_values()
            .map(|facts| (name.clone(), facts))
            .collect();
    }
}

/// `REVISION:PATH`, unless a file has that name.
fn revision(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|_| !Path::new(text).exists())
}

/// One of the two, with the other one, which may be a revision.
fn side(
    context: &Context,
    (text, other): (&str, &str),
    args: &ReviewArgs,
) -> Result<Side, Failure> {
    if let Some((revision, path)) = revision(text) {
        let checkout = Checkout::of(revision)?;
        let found = checkout.find(revision, path)?;
        return side_of(context, &found, &Tree::Revision(checkout), args);
    }
    let path = Path::new(text);
    if revision(other).is_none() {
        return side_of(context, path, &Tree::Here, args);
    }
    let absolute = path
        .canonicalize()
        .map_err(|error| Failure::usage(format!("`{text}` cannot be read: {error}")))?;
    side_of(context, &absolute, &Tree::Working(top()?), args)
}

fn side_of(
    context: &Context,
    path: &Path,
    tree: &Tree,
    args: &ReviewArgs,
) -> Result<Side, Failure> {
    let is_lockfile = path.file_name().is_some_and(|name| name == FILE_NAME);
    let limits = match tree.top() {
        _ if is_lockfile => None,
        Some(top) => Some(limits::of(path, &top, |file| tree.shown(&file.display().to_string()))?),
        // Two folders have names of their own.
        None if path.is_dir() => Some(limits::of(path, path, |file| {
            file.strip_prefix(path).unwrap_or(file).display().to_string()
        })?),
        None => None,
    };
    Ok(Side { snapshot: snapshot(context, path, tree, args)?, limits })
}

/// The top of the working tree, without links.
fn top() -> Result<PathBuf, Failure> {
    Ok(PathBuf::from(line_of_git(&["rev-parse", "--show-toplevel"])?))
}

fn line_of_git(arguments: &[&str]) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&git(arguments, None)?).trim_end_matches('\n').to_owned())
}

impl Checkout {
    /// All files of a revision as a checkout would make them. Not by `git archive`: a revision may
    /// say what that leaves out.
    fn of(revision: &str) -> Result<Self, Failure> {
        let top = top()?;
        let tree = format!("{revision}^{{tree}}");
        let tree =
            line_of_git(&["rev-parse", "--verify", "--end-of-options", &tree]).map_err(|_| {
                Failure::usage(format!("git: there is no revision `{revision}`")).hint(
                    "write REVISION:PATH, such as `HEAD~1:runbooks`, or name a file that is there",
                )
            })?;
        let folder = tempfile::tempdir()?;
        let root = folder.path().canonicalize()?;
        let below = below(&root, &top);
        std::fs::create_dir_all(&below)?;
        // Messages name a file of the revision as it was asked for.
        ui::name_path(&root.display().to_string(), "");
        ui::name_path(&below.display().to_string(), &format!("{revision}:."));
        ui::name_path(&format!("{}/", below.display()), &format!("{revision}:"));
        let index = root.join(".index");
        let (top_text, prefix) = (top.to_string_lossy(), format!("--prefix={}/", below.display()));
        git(&["-C", &top_text, "read-tree", &tree], Some(&index))?;
        git(&["-C", &top_text, "checkout-index", "--all", "--quiet", &prefix], Some(&index))?;
        std::fs::remove_file(&index)?;
        Ok(Self { folder, top })
    }

    /// Where `path` of `REVISION:PATH` is: from the top, or from here if it begins with `./` or
    /// `../`, as git takes it.
    fn find(&self, revision: &str, path: &str) -> Result<PathBuf, Failure> {
        let is_from_here =
            [".", ".."].iter().any(|dots| path == *dots || path.starts_with(&format!("{dots}/")));
        let prefix = line_of_git(&["rev-parse", "--show-prefix"])?;
        let (top, root) = (below(&self.root()?, &self.top), Path::new("/"));
        let from = if is_from_here { root.join(&prefix) } else { root.to_owned() };
        let wanted = lexical(&from.join(path));
        let found = top.join(wanted.strip_prefix("/").unwrap_or(&wanted));
        if found.exists() {
            return Ok(found);
        }
        let failure = Failure::usage(format!("`{path}` is not in revision `{revision}`"));
        if !is_from_here && !prefix.is_empty() && top.join(&prefix).join(path).exists() {
            return Err(failure.hint(format!(
                "paths are those from the top; from here it is `{revision}:./{path}`"
            )));
        }
        Err(failure.hint(listed(&top, &found)))
    }

    fn root(&self) -> Result<PathBuf, Failure> {
        Ok(self.folder.path().canonicalize()?)
    }
}

/// What an absolute path is called below another root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Names that are listed where one is missing.
const LISTED: usize = 20;

/// What there is in the nearest folder above a path that is missing.
fn listed(top: &Path, missing: &Path) -> String {
    let folder = missing
        .ancestors()
        .skip(1)
        .find(|folder| folder.is_dir())
        .filter(|folder| folder.starts_with(top))
        .unwrap_or(top);
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        })
        .collect();
    names.sort();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let place = folder.strip_prefix(top).ok().filter(|place| !place.as_os_str().is_empty());
    let place =
        place.map_or_else(|| "at its top".to_owned(), |place| format!("in `{}`", place.display()));
    if names.is_empty() {
        format!("there is nothing {place}")
    } else {
        format!("{place} there are: {}{more}", names.join(", "))
    }
}

/// Runs git, with an index of its own if one is named.
fn git(arguments: &[&str], index: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut command = Command::new("git");
    command.args(arguments);
    if let Some(index) = index {
        command.env("GIT_INDEX_FILE", index);
    }
    let output = command.output().map_err(|error| {
        Failure::usage(format!("`git` cannot be run: {error}"))
            .hint("install git, or compare files")
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(Failure::usage(format!("git: {message}"))
        .hint("write REVISION:PATH, such as `HEAD~1:runbooks`"))
}

/// What a file, a folder or a lockfile says.
fn snapshot(
    context: &Context,
    path: &Path,
    tree: &Tree,
    args: &ReviewArgs,
) -> Result<Snapshot, Failure> {
    if path.file_name().is_some_and(|name| name == FILE_NAME) {
        let folder = RunbookFile::locate(path)?.folder().to_owned();
        let place = LockfileEntry { file: path.to_owned(), folder, entry: String::new() };
        let locked = lockfile::read(&place)?
            .ok_or_else(|| Failure::usage(format!("there is no lockfile `{}`", path.display())))?;
        return tree.rebased(locked);
    }
    let mut all = Snapshot::default();
    for subject in subjects(&[path.display().to_string()])? {
        match subject {
            ReviewedItem::Plugin(reference) => {
                let plugin = Plugins::default().get(&reference, Path::new("."))?;
                all.plugins.insert(tree.shown(&reference), lockfile::plugin_facts(&plugin));
            }
            ReviewedItem::Runbook(file) => {
                for environment in environments(&file, args.env.as_deref())? {
                    let one = one_of(context, &file, environment.as_deref(), tree)?;
                    all.plugins.extend(one.plugins);
                    all.runbooks.extend(one.runbooks);
                }
            }
            ReviewedItem::Unreadable(_, failure) => return Err(failure),
            ReviewedItem::Link(link) => ui::warning(&format!(
                "{}: not compared, because it is a link to a folder",
                link.display()
            )),
        }
    }
    Ok(all)
}

/// The environments in which a runbook is compared: the one that was asked for, else none and each
/// that lies beside it. What `exec --env NAME` would reach is a part of what a folder can do.
fn environments(runbook: &Path, asked: Option<&str>) -> Result<Vec<Option<String>>, Failure> {
    if let Some(asked) = asked {
        return Ok(vec![Some(asked.to_owned())]);
    }
    let mut beside = prepare::environments(RunbookFile::locate(runbook)?.folder());
    beside.sort();
    Ok(std::iter::once(None).chain(beside.into_iter().map(Some)).collect())
}

/// What one runbook says in one environment.
fn one_of(
    context: &Context,
    file: &Path,
    environment: Option<&str>,
    tree: &Tree,
) -> Result<Snapshot, Failure> {
    let prepared = prepare::unlocked(context, file, environment, Scrutiny::Report)?;
    let entry = match (tree, environment) {
        (Tree::Here, _) => lockfile::place(file, environment)?.entry,
        (Tree::Working(_) | Tree::Revision(_), None) => tree.shown(&file.display().to_string()),
        (Tree::Working(_) | Tree::Revision(_), Some(name)) => {
            format!("{}@{name}", tree.shown(&file.display().to_string()))
        }
    };
    tree.rebased(lockfile::snapshot(&prepared, file, &entry)?)
}

impl Tree {
    fn rebased(&self, snapshot: Snapshot) -> Result<Snapshot, Failure> {
        Ok(match self {
            Self::Here | Self::Working(_) => snapshot,
            Self::Revision(checkout) => snapshot.rebased(&checkout.root()?.to_string_lossy()),
        })
    }

    /// What a file is called in comparisons: from the top of the repository, where there is one.
    fn shown(&self, file: &str) -> String {
        let path = Path::new(file);
        let path = path.strip_prefix("./").unwrap_or(path);
        let Some(top) = self.top() else { return file.to_owned() };
        path.strip_prefix(&top).unwrap_or(path).display().to_string()
    }

    /// The top of the repository, where there is one.
    fn top(&self) -> Option<PathBuf> {
        match self {
            Self::Here => None,
            Self::Working(top) => Some(top.clone()),
            Self::Revision(checkout) => Some(
                checkout
                    .root()
                    .map_or_else(|_| checkout.top.clone(), |root| below(&root, &checkout.top)),
            ),
        }
    }
}
