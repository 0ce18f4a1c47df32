//! Paths of this host in targets: as written, and with symbolic links resolved.

use super::pem_file::FileContent;
use super::secret_origin::RecipientList;
use crate::digest::Digest;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// A function that returns the digest of a file's content; `None` if the file cannot be read.
pub type FileDigestFn = dyn Fn(&Path) -> Option<Digest>;

/// A function that returns the public keys that are listed beside the secret store at a path;
/// `None` if there is no list.
pub type RecipientsFn = dyn Fn(&Path) -> Option<BTreeSet<String>>;

/// The absolute folder of a runbook. It resolves the paths that targets name: relative paths are
/// below the folder, and symbolic links are followed.
///
/// Paths are resolved only here, so that the path that is judged is the path that is opened.
#[derive(Clone, Copy)]
pub struct Folder<'a> {
    path: &'a Path,
    follow: Option<&'a dyn Fn(&Path) -> PathBuf>,
    digest: Option<&'a FileDigestFn>,
    recipients: Option<&'a RecipientsFn>,
}

impl std::fmt::Debug for Folder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Folder").field(&self.path).finish()
    }
}

impl<'a> Folder<'a> {
    /// A folder whose symbolic links are resolved by `follow`. Its result has no link, as far as
    /// the path exists. `None` if `path` is not absolute.
    pub fn new(path: &'a Path, follow: &'a dyn Fn(&Path) -> PathBuf) -> Option<Self> {
        path.is_absolute().then_some(Self {
            path,
            follow: Some(follow),
            digest: None,
            recipients: None,
        })
    }

    /// A folder whose links are not resolved, for callers that only read the texts. `None` if
    /// `path` is not absolute.
    pub fn without_links(path: &'a Path) -> Option<Self> {
        path.is_absolute().then_some(Self { path, follow: None, digest: None, recipients: None })
    }

    /// The same folder, with a function that returns the digests of its files.
    #[must_use]
    pub fn with_digests(self, digest: &'a FileDigestFn) -> Self {
        Self { digest: Some(digest), ..self }
    }

    /// The same folder, with a function that returns the recipients of its secret stores.
    #[must_use]
    pub fn with_recipients(self, recipients: &'a RecipientsFn) -> Self {
        Self { recipients: Some(recipients), ..self }
    }

    /// The public keys that are listed now beside the secret store at a path.
    pub(super) fn recipients_of(&self, store: &Path) -> RecipientList {
        self.recipients.map_or(RecipientList::Unknown, |recipients| recipients(store).into())
    }

    /// The current content of a file, as its digest.
    pub(super) fn content_of(&self, path: &Path) -> FileContent {
        self.digest.map_or(FileContent::Unknown, |digest| {
            digest(path).map_or(FileContent::Absent, FileContent::Known)
        })
    }

    /// Resolves a path that a target names.
    pub(super) fn locate(&self, written: &str) -> HostPath {
        let unresolved = self.path.join(written);
        let real =
            self.follow.map_or_else(|| normalize_path(&unresolved), |follow| follow(&unresolved));
        let belongs_to_folder = Path::new(written).is_relative()
            || normalize_path(&unresolved).starts_with(normalize_path(self.path));
        HostPath {
            owner: if belongs_to_folder { LinkOwner::Folder } else { LinkOwner::Host },
            unresolved,
            real,
        }
    }
}

/// The owner of the links in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkOwner {
    /// The owner of the runbook's folder. The links are reviewed with the runbook.
    Folder,
    /// The administrator of the host. The links differ from host to host.
    Host,
}

/// A path of this host that a target names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPath {
    unresolved: PathBuf,
    real: PathBuf,
    owner: LinkOwner,
}

/// The form in which a path is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathView {
    /// The path that is opened on this host, for boundaries.
    OnThisHost,
    /// The path that is the same on every host, for lockfiles: links in the runbook's folder are
    /// resolved, links of the host are not.
    Portable,
}

impl HostPath {
    /// The absolute path as written, with its links. A program is started by this path.
    pub fn unresolved(&self) -> &Path {
        &self.unresolved
    }

    /// The absolute path with its links resolved, which is judged and opened.
    pub fn real(&self) -> &Path {
        &self.real
    }

    /// Whether it is in the folder of the runbook, or was written relative to it.
    pub(super) fn belongs_to_folder(&self) -> bool {
        self.owner == LinkOwner::Folder
    }

    /// The path as text, for comparisons.
    pub(crate) fn render(&self, view: PathView) -> String {
        match (view, self.owner) {
            (PathView::OnThisHost, _) | (PathView::Portable, LinkOwner::Folder) => text(&self.real),
            (PathView::Portable, LinkOwner::Host) => text(&normalize_path(&self.unresolved)),
        }
    }

    /// The paths of a program as texts: as written and resolved. Both count, because a program may
    /// behave differently by the name by which it is started (`busybox`, `pg_wrapper`).
    pub(crate) fn render_program(&self, view: PathView) -> Vec<String> {
        match (view, self.owner) {
            (PathView::OnThisHost, _) | (PathView::Portable, LinkOwner::Folder) => {
                let mut paths = vec![text(&normalize_path(&self.unresolved)), text(&self.real)];
                paths.dedup();
                paths
            }
            (PathView::Portable, LinkOwner::Host) => vec![text(&normalize_path(&self.unresolved))],
        }
    }
}

impl std::fmt::Display for HostPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.real.display().fmt(f)
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// An absolute path with `.`, `..` and double slashes removed. Symbolic links are not followed.
pub fn normalize_path(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(part) => normalized.push(part),
            Component::ParentDir => {
                normalized.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    normalized
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/base/link` is a link to `/etc`, and `/host` one to `/mnt`.
    fn follow(path: &Path) -> PathBuf {
        for (link, link_target) in [("/base/link", "/etc"), ("/host", "/mnt")] {
            if let Ok(rest) = path.strip_prefix(link) {
                return normalize_path(&Path::new(link_target).join(rest));
            }
        }
        normalize_path(path)
    }

    #[test]
    fn a_folder_must_be_absolute() {
        assert!(Folder::new(Path::new("checks"), &follow).is_none());
        assert!(Folder::without_links(Path::new(".")).is_none());
    }

    #[test]
    fn a_lockfile_resolves_the_links_of_the_checkout_and_a_boundary_all_links() {
        let folder = Folder::new(Path::new("/base"), &follow).expect("absolute");
        for (written, real_path, portable_path) in [
            ("data", "/base/data", "/base/data"),
            ("./data/../data//x", "/base/data/x", "/base/data/x"),
            ("../other", "/other", "/other"),
            ("link/x", "/etc/x", "/etc/x"),
            ("/base/link/x", "/etc/x", "/etc/x"),
            ("/host/x", "/mnt/x", "/host/x"),
            ("/var/x", "/var/x", "/var/x"),
        ] {
            let path = folder.locate(written);
            assert_eq!(path.render(PathView::OnThisHost), real_path, "{written}");
            assert_eq!(path.render(PathView::Portable), portable_path, "{written}");
            assert_eq!(path.real(), Path::new(real_path), "{written}");
        }
        assert_eq!(
            folder.locate("/host/tool").render_program(PathView::OnThisHost),
            ["/host/tool", "/mnt/tool"]
        );
        assert_eq!(folder.locate("/host/tool").render_program(PathView::Portable), ["/host/tool"]);
        assert_eq!(
            folder.locate("/base/link/sh").render_program(PathView::Portable),
            ["/base/link/sh", "/etc/sh"]
        );
    }
}
