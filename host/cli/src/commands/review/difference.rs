//! `runbook review --diff OLD NEW`: shows what is wider, narrower or moved between two files,
//! folders, lockfiles or git revisions.

use super::ReviewArgs;
use super::entries::{ReviewedItem, reviewed_items};
use super::limits::{self, LimitFiles};
use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::lockfile::{self, LockfileEntry};
use crate::plugins::Plugins;
use crate::prepare::{self, Strictness};
use crate::runbook_file::RunbookFile;
use crate::ui;
use runbook_authority::Snapshot;
use runbook_authority::diff::{AccessChange, Direction, changed_keys, diff};
use runbook_authority::lockfile::FILE_NAME;
use runbook_authority::targets::normalize_path;
use runbook_report::access_report::ReviewFormat;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the compared files are, which decides how they are named.
enum Tree {
    /// The files as they are on disk now.
    Here,
    /// In a working tree with this top, because the other side is a revision.
    Working(PathBuf),
    /// In the checkout of a revision.
    Revision(Checkout),
}

/// The files of a revision. They are in `folder` at the path of the working tree, `folder/top`, so
/// that every path is right once `folder` is removed from its beginning, including paths that lead
/// out of the repository.
struct Checkout {
    folder: tempfile::TempDir,
    top: PathBuf,
}

/// One of the two sides of the comparison.
struct ComparedSide {
    snapshot: Snapshot,
    /// The files that limit runbooks; `None` for a lockfile or a single file outside of a checkout.
    limits: Option<LimitFiles>,
}

/// Shows the differences. The exit code is 1 if anything is wider or moved.
pub(super) fn run(
    context: &Context,
    old: &str,
    new: &str,
    args: &ReviewArgs,
) -> Result<ExitStatus, Failure> {
    let roots = copied_roots(old, new);
    let (mut old, mut new) = (side(context, (old, new), args)?, side(context, (new, old), args)?);
    if let Some((old_root, new_root)) = roots {
        new.snapshot = new.snapshot.moved(&new_root, &old_root);
    }
    let mut changes = old
        .limits
        .iter()
        .zip(&new.limits)
        .flat_map(|(old, new)| limits::changes(old, new))
        .collect::<Vec<_>>();
    let (old, new) = (&mut old.snapshot, &mut new.snapshot);
    unify_single_names(old, new);
    changes.extend(diff(old, new));
    changes.sort_by(|a, b| (a.direction, b.risk).cmp(&(b.direction, a.risk)));
    changes.extend(changed_keys(old, new));
    super::write_output(args, &render(args.format, &changes)?)?;
    let wider = changes
        .iter()
        .any(|change| matches!(change.direction, Direction::Widened | Direction::Moved));
    Ok(if wider { ExitStatus::Failed } else { ExitStatus::Success })
}

/// The two folders of which one may be a copy of the other: `…/old` and `…/new` for `old/ops` and
/// `new/ops`. `None` if a side is a revision, or both are in one folder.
fn copied_roots(old: &str, new: &str) -> Option<(String, String)> {
    if revision(old).is_some() || revision(new).is_some() {
        return None;
    }
    let folder = |text: &str| {
        let path = Path::new(text).canonicalize().ok()?;
        if path.is_dir() { Some(path) } else { path.parent().map(Path::to_owned) }
    };
    let (mut old, mut new) = (folder(old)?, folder(new)?);
    while old != new && old.file_name() == new.file_name() && old.pop() && new.pop() {}
    let text = |path: &Path| path.to_string_lossy().trim_end_matches('/').to_owned();
    (old != new).then(|| (text(&old), text(&new)))
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

/// If both sides have one plugin or one runbook, gives it the same name, so that `v1.wasm` is
/// compared with `v2.wasm`.
fn unify_single_names(old: &mut Snapshot, new: &mut Snapshot) {
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
        // The keys of the file have its name too.
        let file = name.split('@').next().unwrap_or(name);
        old.runbooks = std::mem::take(&mut old.runbooks)
            .into_iter()
            .map(|(old_name, facts)| {
                let old_file = old_name.split('@').next().unwrap_or(&old_name);
                (name.clone(), facts.with_file_renamed(old_file, file))
            })
            .collect();
    }
}

/// `REVISION:PATH`, unless a file has that name.
fn revision(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|_| !Path::new(text).exists())
}

/// Reads one side. `other` is the argument for the other side, which may be a revision.
fn side(
    context: &Context,
    (text, other): (&str, &str),
    args: &ReviewArgs,
) -> Result<ComparedSide, Failure> {
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

/// Reads one side, whose files are at `path` in `tree`.
fn side_of(
    context: &Context,
    path: &Path,
    tree: &Tree,
    args: &ReviewArgs,
) -> Result<ComparedSide, Failure> {
    let is_lockfile = path.file_name().is_some_and(|name| name == FILE_NAME);
    let limits = match tree.top() {
        _ if is_lockfile => None,
        Some(top) => {
            Some(limits::of(path, &top, |file| tree.display_name(&file.display().to_string()))?)
        }
        // Files of two folders have paths relative to them.
        None if path.is_dir() => Some(limits::of(path, path, |file| {
            file.strip_prefix(path).unwrap_or(file).display().to_string()
        })?),
        None => None,
    };
    Ok(ComparedSide { snapshot: snapshot(context, path, tree, args)?, limits })
}

/// The top of the working tree, with links resolved.
fn top() -> Result<PathBuf, Failure> {
    Ok(PathBuf::from(line_of_git(&["rev-parse", "--show-toplevel"])?))
}

fn line_of_git(arguments: &[&str]) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&git(arguments, None)?).trim_end_matches('\n').to_owned())
}

impl Checkout {
    /// Checks out all files of a revision. `git archive` is not used, because a revision can
    /// exclude files from it.
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
        // Messages show files of the revision as `REVISION:PATH`.
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

    /// The path of `REVISION:PATH` in the checkout. As in git, it is relative to the top, or to the
    /// working directory if it begins with `./` or `../`.
    fn find(&self, revision: &str, path: &str) -> Result<PathBuf, Failure> {
        let is_from_here =
            [".", ".."].iter().any(|dots| path == *dots || path.starts_with(&format!("{dots}/")));
        let prefix = line_of_git(&["rev-parse", "--show-prefix"])?;
        let (top, root) = (below(&self.root()?, &self.top), Path::new("/"));
        let from = if is_from_here { root.join(&prefix) } else { root.to_owned() };
        let wanted = normalize_path(&from.join(path));
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
        Err(failure.hint(listing_hint(&top, &found)))
    }

    fn root(&self) -> Result<PathBuf, Failure> {
        Ok(self.folder.path().canonicalize()?)
    }
}

/// An absolute path below another root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// How many names are listed in the hint for a missing file.
const MAX_LISTED: usize = 20;

/// A hint with the names in the nearest existing folder above a missing path.
fn listing_hint(top: &Path, missing: &Path) -> String {
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
    let more = names.len().saturating_sub(MAX_LISTED);
    names.truncate(MAX_LISTED);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let location =
        folder.strip_prefix(top).ok().filter(|location| !location.as_os_str().is_empty());
    let location = location
        .map_or_else(|| "at its top".to_owned(), |location| format!("in `{}`", location.display()));
    if names.is_empty() {
        format!("there is nothing {location}")
    } else {
        format!("{location} there are: {}{more}", names.join(", "))
    }
}

/// Runs git, with another index file if one is given.
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

/// The snapshot of a file, a folder or a lockfile.
fn snapshot(
    context: &Context,
    path: &Path,
    tree: &Tree,
    args: &ReviewArgs,
) -> Result<Snapshot, Failure> {
    if path.file_name().is_some_and(|name| name == FILE_NAME) {
        let folder = RunbookFile::locate(path)?.folder().to_owned();
        let location = LockfileEntry { file: path.to_owned(), folder, entry: String::new() };
        let locked = lockfile::read(&location)?
            .ok_or_else(|| Failure::usage(format!("there is no lockfile `{}`", path.display())))?;
        return tree.without_checkout_root(locked);
    }
    let mut all = Snapshot::default();
    for item in reviewed_items(&[path.display().to_string()])? {
        match item {
            ReviewedItem::Plugin(reference) => {
                let plugin = Plugins::default().get(&reference, Path::new("."))?;
                all.plugins.insert(tree.display_name(&reference), lockfile::plugin_facts(&plugin));
            }
            ReviewedItem::Runbook(file) => {
                for environment in environments(&file, args.env.as_deref())? {
                    let runbook = runbook_snapshot(context, &file, environment.as_deref(), tree)?;
                    all.plugins.extend(runbook.plugins);
                    all.runbooks.extend(runbook.runbooks);
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

/// The environments in which a runbook is compared: the requested one, else `None` and each one
/// beside the runbook.
fn environments(runbook: &Path, requested: Option<&str>) -> Result<Vec<Option<String>>, Failure> {
    if let Some(requested) = requested {
        return Ok(vec![Some(requested.to_owned())]);
    }
    let mut names = prepare::environments(RunbookFile::locate(runbook)?.folder());
    names.sort();
    Ok(std::iter::once(None).chain(names.into_iter().map(Some)).collect())
}

/// The snapshot of one runbook in one environment.
fn runbook_snapshot(
    context: &Context,
    file: &Path,
    environment: Option<&str>,
    tree: &Tree,
) -> Result<Snapshot, Failure> {
    let prepared = prepare::without_lockfile(context, file, environment, Strictness::Report)?;
    let entry = match (tree, environment) {
        (Tree::Here, _) => lockfile::locate(file, environment)?.entry,
        (Tree::Working(_) | Tree::Revision(_), None) => {
            tree.display_name(&file.display().to_string())
        }
        (Tree::Working(_) | Tree::Revision(_), Some(name)) => {
            format!("{}@{name}", tree.display_name(&file.display().to_string()))
        }
    };
    tree.without_checkout_root(lockfile::snapshot(&prepared, file, &entry)?)
}

impl Tree {
    fn without_checkout_root(&self, snapshot: Snapshot) -> Result<Snapshot, Failure> {
        Ok(match self {
            Self::Here | Self::Working(_) => snapshot,
            Self::Revision(checkout) => snapshot.relative_to(&checkout.root()?.to_string_lossy()),
        })
    }

    /// The name of a file in comparisons: relative to the top of the repository, if there is one.
    fn display_name(&self, file: &str) -> String {
        let path = Path::new(file);
        let path = path.strip_prefix("./").unwrap_or(path);
        let Some(top) = self.top() else { return file.to_owned() };
        path.strip_prefix(&top).unwrap_or(path).display().to_string()
    }

    /// The top of the repository, if there is one.
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
