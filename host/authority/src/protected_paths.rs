//! Protected paths: the files and folders that the host trusts. Compiled code in the cache runs
//! without a sandbox, the journal records what was approved, the audit log what was done, and
//! `/etc/runbook` what is allowed. No target may reach them.

use crate::capability::{Verb, VerbEffect};
use crate::grant::{EffectiveGrants, Grant};
use crate::targets::{
    ENGINE_SOCKETS, HostPath, ProcessTarget, SqlAddress, TargetKind, asks_systemd,
};
use std::path::{Component, Path, PathBuf};

/// Whether reading a protected path does harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Reading does harm: the path contains keys, or records of other users.
    Private,
    /// Reading is harmless: the path contains nothing confidential. Only a change does harm.
    Public,
}

/// One file or folder that no grant may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedPath {
    /// A description of the file or folder, such as `the journal`.
    pub what: &'static str,
    /// The absolute path, with links resolved. It need not exist yet.
    pub path: PathBuf,
    /// Whether reading the file or folder does harm.
    pub privacy: Privacy,
}

/// The protected paths of one host.
#[derive(Clone, Copy)]
pub struct ProtectedPaths<'a> {
    /// The protected paths.
    pub paths: &'a [ProtectedPath],
    /// Whether two paths are the same file or folder. A bind mount gives a folder a second path.
    pub is_same: &'a dyn Fn(&Path, &Path) -> bool,
    /// The other paths of a file or folder, and those of mounts below it.
    pub other_names: &'a dyn Fn(&Path) -> Vec<PathBuf>,
}

impl std::fmt::Debug for ProtectedPaths<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.paths).finish()
    }
}

/// How a grant reaches a protected path, as parts of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedPathAccess {
    /// The path of the grant: ``directory `/home/ops` ``.
    pub granted_path: String,
    /// How that path relates to the protected path: ``holds the journal, `/home/ops/journal.db` ``.
    pub relation: String,
}

/// How far a path of a grant reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathExtent {
    /// The path and everything below it.
    Below,
    /// Only the path itself.
    Itself,
}

/// The kind of the path of a socket.
const SOCKET: &str = "socket";

/// A path that a grant names.
#[derive(Clone, Copy)]
struct GrantedPath<'a> {
    kind: &'static str,
    path: &'a Path,
    extent: PathExtent,
    /// The effect that the grant allows there.
    effect: VerbEffect,
}

impl ProtectedPaths<'_> {
    /// The grants of one step that reach a protected path, each with the first path that it
    /// reaches.
    pub fn accesses<'g>(
        &self,
        grants: &'g EffectiveGrants,
    ) -> Vec<(&'g Grant, ProtectedPathAccess)> {
        grants
            .reviewed()
            .filter_map(|grant| self.access_by(grant).map(|access| (grant, access)))
            .collect()
    }

    /// The first protected path that a grant reaches.
    pub fn access_by(&self, grant: &Grant) -> Option<ProtectedPathAccess> {
        granted_paths(&grant.target.kind, &grant.verbs)
            .iter()
            .find_map(|granted| self.access_through(granted))
    }

    fn access_through(&self, granted: &GrantedPath<'_>) -> Option<ProtectedPathAccess> {
        let is_harmful = |protected: &&ProtectedPath| {
            granted.effect == VerbEffect::Change || protected.privacy == Privacy::Private
        };
        if let Some(access) = granted.engine_access(self.is_same) {
            return Some(access);
        }
        let named_access = self.paths.iter().filter(is_harmful).find_map(|protected| {
            let relation = self.relation(granted, &protected.path)?;
            Some(granted.access(&format!(
                "{relation} {}, `{}`",
                protected.what,
                protected.path.display()
            )))
        });
        named_access.or_else(|| {
            (self.other_names)(granted.path).iter().find_map(|name| {
                let other_path = GrantedPath { path: name, ..*granted };
                let (protected, relation) =
                    self.paths.iter().filter(is_harmful).find_map(|protected| {
                        Some((protected, self.relation(&other_path, &protected.path)?))
                    })?;
                let (name, protected_path) = (name.display(), protected.path.display());
                Some(granted.access(&format!(
                    "shows by a mount `{name}`, which {relation} {}, `{protected_path}`",
                    protected.what
                )))
            })
        })
    }

    /// How a path of a grant relates to a protected path, as a verb; `None` if it does not reach
    /// it.
    fn relation(&self, granted: &GrantedPath<'_>, protected: &Path) -> Option<&'static str> {
        let is_same_path = |one: &Path, other: &Path| one == other || (self.is_same)(one, other);
        if is_same_path(granted.path, protected) {
            Some("is")
        } else if granted.path.ancestors().any(|ancestor| is_same_path(ancestor, protected)) {
            Some("lies in")
        } else if granted.extent == PathExtent::Below
            && protected.ancestors().any(|ancestor| is_same_path(ancestor, granted.path))
        {
            Some("holds")
        } else {
            None
        }
    }
}

impl<'a> GrantedPath<'a> {
    fn socket(path: &'a HostPath) -> Self {
        let (path, extent) = (path.real(), PathExtent::Itself);
        GrantedPath { kind: SOCKET, path, extent, effect: VerbEffect::Change }
    }

    /// The socket of a container engine, if it is one by another path.
    fn engine_access(&self, is_same: &dyn Fn(&Path, &Path) -> bool) -> Option<ProtectedPathAccess> {
        let engine = ENGINE_SOCKETS
            .iter()
            .find(|engine| self.kind == SOCKET && is_same(self.path, Path::new(engine)))?;
        Some(self.access(&format!("is the socket of a container engine, `{engine}`")))
    }

    fn access(&self, relation: &str) -> ProtectedPathAccess {
        ProtectedPathAccess {
            granted_path: format!("{} `{}`", self.kind, self.path.display()),
            relation: relation.to_owned(),
        }
    }
}

/// The paths that a target names for files. The working directory of a program does not limit what
/// the program may do, so it counts only if it is a protected path or below one.
fn granted_paths<'a>(target: &'a TargetKind, verbs: &[Verb]) -> Vec<GrantedPath<'a>> {
    let may_change = verbs.iter().any(|verb| verb.effect() == VerbEffect::Change);
    match target {
        TargetKind::Files(files) => {
            let effect = if may_change { VerbEffect::Change } else { VerbEffect::Read };
            let path = files.root.real();
            vec![GrantedPath { kind: "directory", path, extent: PathExtent::Below, effect }]
        }
        TargetKind::Sql(sql) => match &sql.address {
            // SQLite creates files beside a database even if it only reads.
            SqlAddress::File(path) => vec![GrantedPath {
                kind: "database",
                path: path.real(),
                extent: PathExtent::Itself,
                effect: VerbEffect::Change,
            }],
            SqlAddress::Server { .. } => Vec::new(),
        },
        TargetKind::Process(process) => program_paths(process).collect(),
        TargetKind::Http(http) => http.socket.iter().map(GrantedPath::socket).collect(),
        TargetKind::System(system) if verbs.iter().any(|verb| asks_systemd(*verb)) => {
            vec![GrantedPath::socket(&system.bus)]
        }
        TargetKind::Docker(_)
        | TargetKind::Secret(_)
        | TargetKind::Net(_)
        | TargetKind::System(_)
        | TargetKind::Redis(_)
        | TargetKind::Objects(_)
        | TargetKind::Mail(_) => Vec::new(),
    }
}

/// The working directory of a program, and the paths that it may read and write.
fn program_paths(process: &ProcessTarget) -> impl Iterator<Item = GrantedPath<'_>> {
    let directory = process.directory.iter().map(|directory| GrantedPath {
        kind: "working directory",
        path: directory.real(),
        extent: PathExtent::Itself,
        effect: VerbEffect::Change,
    });
    let lists = [
        ("written path", VerbEffect::Change, &process.writes),
        ("read path", VerbEffect::Read, &process.reads),
    ];
    let listed = lists.into_iter().flat_map(|(kind, effect, paths)| {
        paths.iter().flatten().map(move |path| GrantedPath {
            kind,
            path: path.real(),
            extent: PathExtent::Below,
            effect,
        })
    });
    directory.chain(listed)
}

/// The folders of this program below a home directory.
const FOLDERS_BELOW_HOME: &[(&[&str], &str)] = &[
    (&[".cache", "runbook"], "the cache of compiled plugins of its user"),
    (&[".local", "state", "runbook"], "the journal and the audit log of its user"),
    (&[".config", "runbook"], "the keys of its user"),
];

/// The folder with the settings of a host.
const SETTINGS: &str = "/etc/runbook";

/// The first default protected path that a target reaches. The defaults are the same on every host,
/// so a review on another host than that of the run finds them, too.
pub(crate) fn default_protected_path(
    target: &TargetKind,
    verbs: &[Verb],
) -> Option<ProtectedPathAccess> {
    granted_paths(target, verbs)
        .iter()
        .filter(|granted| granted.effect == VerbEffect::Change)
        .find_map(default_access)
}

fn default_access(granted: &GrantedPath<'_>) -> Option<ProtectedPathAccess> {
    let names: Vec<_> = granted
        .path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            Component::RootDir
            | Component::CurDir
            | Component::ParentDir
            | Component::Prefix(_) => None,
        })
        .collect();
    let settings = Path::new(SETTINGS);
    if granted.path.starts_with(settings) {
        return Some(granted.access(&format!("lies in the settings of the host, `{SETTINGS}`")));
    }
    for (folder, what) in FOLDERS_BELOW_HOME {
        if names.windows(folder.len()).any(|window| window == *folder) {
            return Some(granted.access(&format!("lies in {what}, `~/{}`", folder.join("/"))));
        }
    }
    if granted.extent == PathExtent::Itself {
        return None;
    }
    if settings.starts_with(granted.path) {
        return Some(granted.access(&format!("holds the settings of the host, `{SETTINGS}`")));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let is_home = matches!(names.as_slice(), ["home" | "root"] | ["home", _]);
    let is_above_folder =
        |folder: &[&str]| (1..folder.len()).any(|length| names.ends_with(&folder[..length]));
    let held_folder =
        FOLDERS_BELOW_HOME.iter().find(|(folder, _)| is_home || is_above_folder(folder));
    held_folder
        .map(|(folder, what)| granted.access(&format!("holds {what}, `~/{}`", folder.join("/"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::tests::grants_with_verbs;

    const PROTECTED_PATHS: &[(&str, Privacy)] = &[
        ("/home/ops/.cache/runbook", Privacy::Public),
        ("/srv/app/journal.db", Privacy::Private),
        ("/etc/runbook", Privacy::Public),
        ("/usr/local/bin/runbook", Privacy::Public),
    ];

    /// A stand-in for the host, on which `/mnt/again` is another path of `/home/ops`.
    fn is_same(one: &Path, other: &Path) -> bool {
        let resolved = |path: &Path| {
            path.strip_prefix("/mnt/again")
                .map_or(path.to_owned(), |rest| Path::new("/home/ops").join(rest))
        };
        // Compare by components, which ignores double slashes.
        resolved(one).components().eq(resolved(other).components())
    }

    /// A stand-in for the host, on which a part of a protected path is mounted at `/data/part`.
    fn other_names_of(path: &Path) -> Vec<PathBuf> {
        let part = Path::new("/home/ops/.cache/runbook/part");
        match path.strip_prefix("/data/part") {
            Ok(below) => vec![part.join(below)],
            Err(_) if Path::new("/data/part").starts_with(path) => vec![part.to_owned()],
            Err(_) => Vec::new(),
        }
    }

    #[test]
    fn a_protected_path_that_is_mounted_below_a_granted_path_is_reached() {
        for path in ["/data", "/data/part", "/data/part/x"] {
            let found = relation_of(
                "files",
                &["write"],
                &format!("files = \"{path}\"\naccess = \"write\""),
            );
            assert!(
                found.as_ref().is_some_and(|relation| {
                    relation.contains("by a mount") && relation.contains("lies in it")
                }),
                "{path}: {found:?}"
            );
        }
        assert!(relation_of("sql", &["query"], "sql = \"sqlite:/data/part/x.db\"").is_some());
        assert_eq!(
            relation_of("files", &["write"], "files = \"/data/other\"\naccess = \"write\""),
            None
        );
        // The cache contains nothing confidential, so that reading it is harmless.
        assert_eq!(relation_of("files", &["read"], "files = \"/data\""), None);
    }

    fn relation_of(capability: &str, verbs: &[&str], target: &str) -> Option<String> {
        let paths: Vec<_> = PROTECTED_PATHS
            .iter()
            .map(|(path, privacy)| ProtectedPath {
                what: "it",
                path: PathBuf::from(path),
                privacy: *privacy,
            })
            .collect();
        let paths =
            ProtectedPaths { paths: &paths, is_same: &is_same, other_names: &other_names_of };
        let grants = grants_with_verbs(capability, verbs, target);
        let mut accesses = paths.accesses(&grants);
        assert!(accesses.len() <= 1);
        accesses.pop().map(|(_, access)| access.relation)
    }

    #[test]
    fn a_socket_is_refused_if_it_is_that_of_an_engine_by_another_path_or_a_protected_path() {
        let app = |path: &str| format!("http = \"http://app/\"\nsocket = \"{path}\"");
        for path in ["/srv/app/journal.db", "/etc/runbook/x.sock", "/mnt/again/.cache/runbook/x"] {
            assert!(relation_of("http", &["get"], &app(path)).is_some(), "{path}");
        }
        assert_eq!(relation_of("http", &["get"], &app("/run/app.sock")), None);
        let is_same = |one: &Path, other: &Path| {
            one == other
                || (one == Path::new("/run/app.sock")
                    && other == Path::new("/run/podman/podman.sock"))
        };
        let paths = ProtectedPaths { paths: &[], is_same: &is_same, other_names: &|_| Vec::new() };
        let grants = grants_with_verbs("http", &["get"], &app("/run/app.sock"));
        let accesses = paths.accesses(&grants);
        assert!(accesses[0].1.relation.contains("`/run/podman/podman.sock`"), "{accesses:?}");
        // A folder is not a socket: its files cannot be connected to.
        let grants = grants_with_verbs("files", &["read"], "files = \"/run/app.sock\"");
        assert!(paths.accesses(&grants).is_empty());
    }

    /// Every protected path, each of its parents and some paths below it, with every kind of target
    /// that names a path.
    #[test]
    fn a_target_that_contains_is_or_lies_in_a_protected_path_is_found() {
        for (protected, privacy) in PROTECTED_PATHS {
            for ancestor in Path::new(protected).ancestors() {
                let files = format!("files = \"{}\"", ancestor.display());
                let writes = relation_of(
                    "files",
                    &["read", "write"],
                    &format!("{files}\naccess = \"write\""),
                );
                let expected =
                    if ancestor == Path::new(protected) { "is it, `" } else { "holds it, `" };
                assert!(
                    writes.as_ref().is_some_and(|relation| relation.starts_with(expected)),
                    "{ancestor:?}: {writes:?}"
                );
                let reads = relation_of("files", &["read"], &files);
                let is_private = PROTECTED_PATHS.iter().any(|(protected, privacy)| {
                    *privacy == Privacy::Private && Path::new(protected).starts_with(ancestor)
                });
                assert_eq!(reads.is_some(), is_private, "{ancestor:?}");
            }
            for suffix in ["", "/x", "/x/../y", "//x/./z"] {
                let path = format!("{protected}{suffix}");
                let write = format!("files = \"{path}\"\naccess = \"write\"");
                assert!(relation_of("files", &["write"], &write).is_some(), "{path}");
                assert_eq!(
                    relation_of("files", &["read"], &format!("files = \"{path}\"")).is_some(),
                    *privacy == Privacy::Private,
                    "{path}"
                );
                assert!(
                    relation_of("sql", &["query"], &format!("sql = \"sqlite:{path}\"")).is_some(),
                    "{path}"
                );
                assert!(
                    relation_of(
                        "process",
                        &["run"],
                        &format!("process = \"/bin/x\"\ndirectory = \"{path}\"")
                    )
                    .is_some(),
                    "{path}"
                );
            }
        }
        for second_path in [
            "/mnt/again",
            "/mnt/again/.cache",
            "/mnt/again/.cache/runbook",
            "/mnt/again/.cache/runbook/x",
        ] {
            assert!(
                relation_of(
                    "files",
                    &["write"],
                    &format!("files = \"{second_path}\"\naccess = \"write\"")
                )
                .is_some(),
                "{second_path}"
            );
        }
        for unprotected in [
            "/home/ops/.cache/runbooks",
            "/srv/app/journal.db2",
            "/srv/app/dumps",
            "/etc/runbook.d",
            "/home/ops/x",
        ] {
            assert_eq!(
                relation_of(
                    "files",
                    &["write"],
                    &format!("files = \"{unprotected}\"\naccess = \"write\"")
                ),
                None,
                "{unprotected}"
            );
            assert_eq!(
                relation_of("sql", &["query"], &format!("sql = \"sqlite:{unprotected}\"")),
                None,
                "{unprotected}"
            );
        }
        // A working directory that contains a protected path is allowed: it does not limit what the
        // program may do, and the default is `/`.
        assert_eq!(
            relation_of("process", &["run"], "process = \"/bin/x\"\ndirectory = \"/srv/app\""),
            None
        );
        assert_eq!(relation_of("sql", &["query"], "sql = \"postgres://a@h/d\""), None);
    }

    fn reaches_default_path(capability: &str, verbs: &[&str], target: &str) -> bool {
        let grants = grants_with_verbs(capability, verbs, target);
        grants
            .iter()
            .any(|grant| default_protected_path(&grant.target.kind, &grant.verbs).is_some())
    }

    #[test]
    fn the_default_protected_paths_of_any_user_are_known() {
        let is_reached = |path: &str| {
            reaches_default_path(
                "files",
                &["write"],
                &format!("files = \"{path}\"\naccess = \"write\""),
            )
        };
        for home in ["/root", "/home/ops", "/home/somebody.else"] {
            for suffix in [
                "",
                "/.cache",
                "/.cache/runbook",
                "/.cache/runbook/x",
                "/.local",
                "/.local/state",
                "/.config",
            ] {
                assert!(is_reached(&format!("{home}{suffix}")), "{home}{suffix}");
            }
            for unprotected_suffix in ["/dumps", "/.cache/other", "/.local/share", "/.config/other"]
            {
                assert!(
                    !is_reached(&format!("{home}{unprotected_suffix}")),
                    "{home}{unprotected_suffix}"
                );
            }
        }
        for path in [
            "/",
            "/etc",
            "/etc/runbook",
            "/etc/runbook/x",
            "/home",
            "/var/lib/ci/.cache/runbook",
            "/data/u/.config",
        ] {
            assert!(is_reached(path), "{path}");
        }
        for path in ["/var/backups", "/etc/cron.d", "/srv", "/base/dumps"] {
            assert!(!is_reached(path), "{path}");
        }
        assert!(reaches_default_path(
            "sql",
            &["query"],
            "sql = \"sqlite:/home/ops/.local/state/runbook/journal.db\""
        ));
        assert!(!reaches_default_path("sql", &["query"], "sql = \"sqlite:/home/ops/orders.db\""));
        assert!(reaches_default_path(
            "process",
            &["run"],
            "process = \"/bin/x\"\ndirectory = \"/etc/runbook\""
        ));
        assert!(!reaches_default_path(
            "process",
            &["run"],
            "process = \"/bin/x\"\ndirectory = \"/home/ops\""
        ));
    }
}
