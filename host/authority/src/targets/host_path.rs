//! Paths of this host in targets: what a file says, and where that leads.

use super::pem_file::FileContent;
use crate::digest::Digest;
use std::path::{Component, Path, PathBuf};

/// What tells the digest of a file's content; `None` of one that cannot be read.
pub type ReadDigest = dyn Fn(&Path) -> Option<Digest>;

/// The folder of a runbook, below which its relative paths lie, and how links are followed there.
///
/// The folder is absolute. A path is joined with it only here; those who judge it and those who
/// open it take the same result.
#[derive(Clone, Copy)]
pub struct Folder<'a> {
    path: &'a Path,
    follow: Option<&'a dyn Fn(&Path) -> PathBuf>,
    digest: Option<&'a ReadDigest>,
}

impl std::fmt::Debug for Folder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Folder").field(&self.path).finish()
    }
}

impl<'a> Folder<'a> {
    /// A folder whose links are followed by `follow`, which answers with a path that has no link in
    /// it (as far as it exists). `None` if `path` is not absolute.
    pub fn new(path: &'a Path, follow: &'a dyn Fn(&Path) -> PathBuf) -> Option<Self> {
        path.is_absolute().then_some(Self { path, follow: Some(follow), digest: None })
    }

    /// A folder without links, for those who look at texts alone. `None` if `path` is not absolute.
    pub fn without_links(path: &'a Path) -> Option<Self> {
        path.is_absolute().then_some(Self { path, follow: None, digest: None })
    }

    /// The same folder, whose files `digest` reads: the digest of a file's content, or `None` of
    /// one that cannot be read.
    #[must_use]
    pub fn with_digests(self, digest: &'a ReadDigest) -> Self {
        Self { digest: Some(digest), ..self }
    }

    /// What is in a file now.
    pub(super) fn content_of(&self, path: &Path) -> FileContent {
        self.digest.map_or(FileContent::Unknown, |digest| {
            digest(path).map_or(FileContent::Absent, FileContent::Is)
        })
    }

    /// The path that a target names.
    pub(super) fn locate(&self, written: &str) -> HostPath {
        let named = self.path.join(written);
        let real = self.follow.map_or_else(|| lexical(&named), |follow| follow(&named));
        let belongs_to_folder =
            Path::new(written).is_relative() || lexical(&named).starts_with(lexical(self.path));
        HostPath {
            owner: if belongs_to_folder { LinkOwner::Folder } else { LinkOwner::Host },
            named,
            real,
        }
    }
}

/// Who made the links in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkOwner {
    /// The owner of the runbook's folder made them, so they are a part of what is reviewed.
    Folder,
    /// The administrator of the host. They differ from host to host.
    Host,
}

/// A path of this host that a target names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPath {
    named: PathBuf,
    real: PathBuf,
    owner: LinkOwner,
}

/// For whom a path is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathView {
    /// For a boundary: the path that is opened on this host.
    Opened,
    /// For a lockfile, which holds on every host: links in the runbook's own folder are followed,
    /// those of the host are not.
    Reviewed,
}

impl HostPath {
    /// The absolute path without following links: the name by which a program is started.
    pub fn named(&self) -> &Path {
        &self.named
    }

    /// The absolute path that is judged and opened. No part of it was a link when the target was
    /// read.
    pub fn real(&self) -> &Path {
        &self.real
    }

    /// Whether it lies in the folder of the runbook, or is named from there.
    pub(super) fn belongs_to_folder(&self) -> bool {
        self.owner == LinkOwner::Folder
    }

    /// The text that is compared.
    pub(crate) fn shown(&self, view: PathView) -> String {
        match (view, self.owner) {
            (PathView::Opened, _) | (PathView::Reviewed, LinkOwner::Folder) => text(&self.real),
            (PathView::Reviewed, LinkOwner::Host) => text(&lexical(&self.named)),
        }
    }

    /// The texts of a program. A program may look at the name by which it is started (`busybox`,
    /// `pg_wrapper`), so its name counts as well as its file.
    pub(crate) fn shown_as_program(&self, view: PathView) -> Vec<String> {
        match (view, self.owner) {
            (PathView::Opened, _) | (PathView::Reviewed, LinkOwner::Folder) => {
                let mut both = vec![text(&lexical(&self.named)), text(&self.real)];
                both.dedup();
                both
            }
            (PathView::Reviewed, LinkOwner::Host) => vec![text(&lexical(&self.named))],
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

/// An absolute path without `.`, `..` and doubled slashes, by its text alone: no link is followed.
pub fn lexical(path: &Path) -> PathBuf {
    let mut found = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(part) => found.push(part),
            Component::ParentDir => {
                found.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/base/link` leads to `/etc`, and `/host` to `/mnt`.
    fn follow(path: &Path) -> PathBuf {
        for (link, to) in [("/base/link", "/etc"), ("/host", "/mnt")] {
            if let Ok(rest) = path.strip_prefix(link) {
                return lexical(&Path::new(to).join(rest));
            }
        }
        lexical(path)
    }

    #[test]
    fn a_folder_that_is_not_absolute_is_none() {
        assert!(Folder::new(Path::new("checks"), &follow).is_none());
        assert!(Folder::without_links(Path::new(".")).is_none());
    }

    #[test]
    fn a_lockfile_follows_the_links_of_the_checkout_and_a_boundary_all_links() {
        let folder = Folder::new(Path::new("/base"), &follow).expect("absolute");
        for (written, opened, reviewed) in [
            ("data", "/base/data", "/base/data"),
            ("./data/../data//x", "/base/data/x", "/base/data/x"),
            ("../other", "/other", "/other"),
            ("link/x", "/etc/x", "/etc/x"),
            ("/base/link/x", "/etc/x", "/etc/x"),
            ("/host/x", "/mnt/x", "/host/x"),
            ("/var/x", "/var/x", "/var/x"),
        ] {
            let path = folder.locate(written);
            assert_eq!(path.shown(PathView::Opened), opened, "{written}");
            assert_eq!(path.shown(PathView::Reviewed), reviewed, "{written}");
            assert_eq!(path.real(), Path::new(opened), "{written}");
        }
        assert_eq!(
            folder.locate("/host/tool").shown_as_program(PathView::Opened),
            ["/host/tool", "/mnt/tool"]
        );
        assert_eq!(
            folder.locate("/host/tool").shown_as_program(PathView::Reviewed),
            ["/host/tool"]
        );
        assert_eq!(
            folder.locate("/base/link/sh").shown_as_program(PathView::Reviewed),
            ["/base/link/sh", "/etc/sh"]
        );
    }
}
