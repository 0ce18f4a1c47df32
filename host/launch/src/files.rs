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

/// The files that a program may open, beside the rights of its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileAccess {
    /// What it may read and execute.
    pub reads: Paths,
    /// What it may write, create and remove. It may read that, too.
    pub writes: Paths,
    /// What the host itself names to it: its own file, the certificates of a lent connection.
    pub own: Vec<PathBuf>,
}

/// Files, by path. None of them has a link in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paths {
    /// All.
    Any,
    /// These, and all that is below.
    Below(Vec<PathBuf>),
}

/// What every program may read that may not read all: without it none would begin. It is the same
/// on every host, and nothing of it is confidential on a host that is set up as usual.
pub const READ_BY_ALL: &[&str] = &[
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
    "/etc/pki/tls",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// What every program may write that may not write all: what is written there is gone.
const WRITTEN_BY_ALL: &[&str] = &["/dev/null", "/dev/zero", "/dev/full"];

/// The oldest Landlock that knows every way to change what a file holds.
const ABI_OF_FILES: ABI = ABI::V3;

/// Rights that no program has: devices are made nowhere.
fn devices() -> BitFlags<AccessFs> {
    AccessFs::MakeBlock | AccessFs::MakeChar
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::from_read(ABI_OF_FILES)
}

fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_write(ABI_OF_FILES) & !devices()
}

impl Paths {
    fn named(&self) -> &[PathBuf] {
        match self {
            Self::Any => &[],
            Self::Below(paths) => paths,
        }
    }
}

impl FileAccess {
    /// All that the user of the program may open.
    pub const ANY: Self = Self { reads: Paths::Any, writes: Paths::Any, own: Vec::new() };

    /// Whether Landlock is needed to limit them.
    pub fn is_limited(&self) -> bool {
        [&self.reads, &self.writes].into_iter().any(|paths| *paths != Paths::Any)
    }

    /// The paths that it names.
    pub(crate) fn named(&self) -> impl Iterator<Item = &Path> {
        let all = self.reads.named().iter().chain(self.writes.named()).chain(&self.own);
        all.map(PathBuf::as_path)
    }

    /// The rights that are refused where no rule gives them. A Landlock domain of files denies to
    /// move from one folder to another unless a rule allows it.
    pub(crate) fn handled(&self) -> BitFlags<AccessFs> {
        let read = if self.reads == Paths::Any { BitFlags::empty() } else { reading() };
        let written = if self.writes == Paths::Any { BitFlags::empty() } else { writing() };
        read | written | devices() | AccessFs::Refer
    }

    /// Adds the rules of what it may open. `temporary` is a folder that is the program's own.
    pub(crate) fn add_rules(
        &self,
        mut ruleset: RulesetCreated,
        temporary: Option<&Path>,
    ) -> Result<RulesetCreated, Unusable> {
        let handled = self.handled();
        let everything = PathFd::new("/").map_err(|_| Unusable::path(Path::new("/")))?;
        let mut everywhere = BitFlags::empty();
        match &self.writes {
            Paths::Any => everywhere |= BitFlags::from(AccessFs::Refer),
            Paths::Below(paths) => {
                for path in paths {
                    let rights = (reading() | writing()) & handled;
                    ruleset = ruleset.add_rule(PathBeneath::new(open(path)?, rights))?;
                }
                for path in WRITTEN_BY_ALL {
                    ruleset =
                        add(ruleset, Path::new(path), AccessFs::WriteFile | AccessFs::Truncate)?;
                }
                if let Some(temporary) = temporary {
                    ruleset = add(ruleset, temporary, (reading() | writing()) & handled)?;
                }
            }
        }
        match &self.reads {
            Paths::Any => {}
            Paths::Below(paths) => {
                for path in paths.iter().chain(&self.own) {
                    ruleset = ruleset.add_rule(PathBeneath::new(open(path)?, reading()))?;
                }
                for path in READ_BY_ALL {
                    ruleset = add(ruleset, Path::new(path), reading())?;
                }
            }
        }
        if everywhere.is_empty() {
            return Ok(ruleset);
        }
        Ok(ruleset.add_rule(PathBeneath::new(everything, everywhere))?)
    }
}

/// Begins a ruleset that refuses what is handled.
pub(crate) fn handle(ruleset: Ruleset, access: &FileAccess) -> Result<Ruleset, RulesetError> {
    ruleset.handle_access(access.handled())
}

/// Adds a rule for what need not be there.
fn add(
    ruleset: RulesetCreated,
    path: &Path,
    rights: impl Into<BitFlags<AccessFs>>,
) -> Result<RulesetCreated, Unusable> {
    match PathFd::new(path) {
        Ok(found) => Ok(ruleset.add_rule(PathBeneath::new(found, rights))?),
        Err(_) => Ok(ruleset),
    }
}

/// Opens what was judged: a path that has become a link is not followed.
fn open(path: &Path) -> Result<OwnedFd, Unusable> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)
        .map_err(|error| Unusable::Path(path.to_owned(), error.into()))
}

/// Why the files of a program cannot be limited.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error(transparent)]
    Landlock(#[from] RulesetError),
    #[error("{} cannot be opened: {_1}", _0.display())]
    Path(PathBuf, std::io::Error),
}

impl Unusable {
    fn path(path: &Path) -> Self {
        Self::Path(path.to_owned(), std::io::Error::last_os_error())
    }
}

impl From<Unusable> for MissingFeature {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Landlock(error) => Self::new("Landlock", error),
            Unusable::Path(..) => Self::new("the files that its target grants", unusable),
        }
    }
}
