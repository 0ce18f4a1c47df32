//! The files that a program may open.

use crate::missing_feature::MissingFeature;
use landlock::{
    ABI, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError,
};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The files that a program may open, as far as its user may open them too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileAccess {
    /// What it may read and execute.
    pub reads: Paths,
    /// What it may write, create and remove, and also read.
    pub writes: Paths,
    /// What the host adds to `reads`: the file of the program, and the certificates of the
    /// connection that its target names.
    pub own: Vec<PathBuf>,
}

/// A set of files, by path. No path contains a symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paths {
    /// All files.
    Any,
    /// These files and folders, and everything below the folders.
    Below(Vec<PathBuf>),
}

/// What a program may read even if its target limits `reads`: few programs would start without it.
/// The list is the same on every host. On a usual host, none of these files is confidential.
pub const ALWAYS_READABLE: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/locale.alias",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// What a program may write even if its target limits `writes`: devices that discard what is
/// written.
const ALWAYS_WRITABLE: &[&str] = &["/dev/null", "/dev/zero", "/dev/full"];

/// The oldest Landlock that knows every way to change what a file holds.
const OLDEST_FILES_ABI: ABI = ABI::V3;

/// The rights to make devices, which no program has.
fn device_rights() -> BitFlags<AccessFs> {
    AccessFs::MakeBlock | AccessFs::MakeChar
}

fn read_rights() -> BitFlags<AccessFs> {
    AccessFs::from_read(OLDEST_FILES_ABI)
}

fn write_rights() -> BitFlags<AccessFs> {
    AccessFs::from_write(OLDEST_FILES_ABI) & !device_rights()
}

impl Paths {
    /// The listed paths; none for `Any`.
    fn listed(&self) -> &[PathBuf] {
        match self {
            Self::Any => &[],
            Self::Below(paths) => paths,
        }
    }
}

impl FileAccess {
    /// Every file that the user of the program may open.
    pub const ANY: Self = Self { reads: Paths::Any, writes: Paths::Any, own: Vec::new() };

    /// Whether reading or writing is limited, for which Landlock is needed.
    pub fn is_limited(&self) -> bool {
        [&self.reads, &self.writes].into_iter().any(|paths| *paths != Paths::Any)
    }

    /// The paths that it lists to be read.
    pub(crate) fn read_paths(&self) -> impl Iterator<Item = &Path> {
        self.reads.listed().iter().chain(&self.own).map(PathBuf::as_path)
    }

    /// The paths that it lists to be written.
    pub(crate) fn written_paths(&self) -> impl Iterator<Item = &Path> {
        self.writes.listed().iter().map(PathBuf::as_path)
    }

    /// The rights that Landlock refuses wherever no rule grants them. `Refer` is always among them:
    /// once Landlock handles any file access, moving a file to another folder needs a rule.
    pub(crate) fn handled_rights(&self) -> BitFlags<AccessFs> {
        let read = if self.reads == Paths::Any { BitFlags::empty() } else { read_rights() };
        // The commands of devices, with the newer kernels that know this right.
        let written = if self.writes == Paths::Any {
            BitFlags::empty()
        } else {
            write_rights() | AccessFs::IoctlDev
        };
        read | written | device_rights() | AccessFs::Refer
    }

    /// Adds a rule for each path that the program may open. `temporary` is the `/tmp` of its own,
    /// if it has one.
    pub(crate) fn add_rules(
        &self,
        mut ruleset: RulesetCreated,
        temporary: Option<&Path>,
    ) -> Result<RulesetCreated, FileLimitError> {
        let handled = self.handled_rights();
        let root_folder =
            PathFd::new("/").map_err(|_| FileLimitError::from_last_os_error(Path::new("/")))?;
        let mut rights_everywhere = BitFlags::empty();
        match &self.writes {
            Paths::Any => rights_everywhere |= BitFlags::from(AccessFs::Refer),
            Paths::Below(paths) => {
                for path in paths {
                    let rights = (read_rights() | write_rights() | AccessFs::IoctlDev) & handled;
                    let file = open_without_links(path)?;
                    ruleset = ruleset.add_rule(PathBeneath::new(file, rights))?;
                }
                for path in ALWAYS_WRITABLE {
                    let rights = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
                    ruleset = add_rule_if_present(ruleset, Path::new(path), rights)?;
                }
                if let Some(temporary) = temporary {
                    let rights = (read_rights() | write_rights()) & handled;
                    ruleset = add_rule_if_present(ruleset, temporary, rights)?;
                }
            }
        }
        match &self.reads {
            Paths::Any => {}
            Paths::Below(paths) => {
                for path in paths.iter().chain(&self.own) {
                    let file = open_without_links(path)?;
                    ruleset = ruleset.add_rule(PathBeneath::new(file, read_rights()))?;
                }
                for path in ALWAYS_READABLE {
                    ruleset = add_rule_if_present(ruleset, Path::new(path), read_rights())?;
                }
            }
        }
        if rights_everywhere.is_empty() {
            return Ok(ruleset);
        }
        Ok(ruleset.add_rule(PathBeneath::new(root_folder, rights_everywhere))?)
    }
}

/// Has the ruleset refuse every file access for which no rule is added later.
pub(crate) fn handle_file_access(
    ruleset: Ruleset,
    access: &FileAccess,
) -> Result<Ruleset, RulesetError> {
    ruleset.handle_access(access.handled_rights())
}

/// Adds a rule for a path, if there is a file.
pub(crate) fn add_rule_if_present(
    ruleset: RulesetCreated,
    path: &Path,
    rights: impl Into<BitFlags<AccessFs>>,
) -> Result<RulesetCreated, FileLimitError> {
    match PathFd::new(path) {
        Ok(file) => Ok(ruleset.add_rule(PathBeneath::new(file, rights))?),
        Err(_) => Ok(ruleset),
    }
}

/// Opens a path without following links. The path had none when the host resolved it; one that has
/// become a link since then is refused.
pub(crate) fn open_without_links(path: &Path) -> Result<OwnedFd, FileLimitError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)
        .map_err(|error| FileLimitError::Path(path.to_owned(), error.into()))
}

/// Why the files of a program cannot be limited.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileLimitError {
    #[error(transparent)]
    Landlock(#[from] RulesetError),
    #[error("{} cannot be opened: {_1}", _0.display())]
    Path(PathBuf, std::io::Error),
}

impl FileLimitError {
    fn from_last_os_error(path: &Path) -> Self {
        Self::Path(path.to_owned(), std::io::Error::last_os_error())
    }
}

impl From<FileLimitError> for MissingFeature {
    fn from(error: FileLimitError) -> Self {
        match error {
            FileLimitError::Landlock(error) => Self::new("Landlock", error),
            FileLimitError::Path(..) => Self::new("the files that its target grants", error),
        }
    }
}
