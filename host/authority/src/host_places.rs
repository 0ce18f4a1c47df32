//! The files and folders that the host relies on without a check. Compiled code in its cache runs
//! without a sandbox, the journal says what was approved, the audit log what was done,
//! `/etc/runbook` what is allowed. No target may reach them.

use crate::capability::{Verb, VerbEffect};
use crate::grant::{Effective, Grant};
use crate::targets::{ProcessTarget, SqlAddress, TargetKind};
use std::path::{Component, Path, PathBuf};

/// Whether reading a place does harm too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// It holds keys, or records of other users: reading it does harm.
    Private,
    /// It holds nothing confidential.
    Public,
}

/// One place of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPlace {
    /// What it is: `the journal`.
    pub what: &'static str,
    /// A file or a folder, absolute and without links. It need not exist yet.
    pub path: PathBuf,
    /// Whether reading it does harm.
    pub privacy: Privacy,
}

/// The places of one host.
#[derive(Clone, Copy)]
pub struct HostPlaces<'a> {
    /// The places that no grant may reach.
    pub places: &'a [HostPlace],
    /// Tells whether two paths are one file or folder; a bind mount is another name of a folder.
    pub is_same: &'a dyn Fn(&Path, &Path) -> bool,
    /// Gives the other names of a path, and those of mounts below it.
    pub other_names: &'a dyn Fn(&Path) -> Vec<PathBuf>,
}

impl std::fmt::Debug for HostPlaces<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.places).finish()
    }
}

/// A grant that reaches a place of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReachedPlace {
    /// The part of the grant that does: ``directory `/home/ops` ``.
    pub by: String,
    /// How it relates to the place, and which place: ``holds the journal, `/home/ops/journal.db`
    /// ``.
    pub how: String,
}

/// Which paths of a grant could reach a place, and in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlaceAccess {
    /// The path and all that is below.
    Below,
    /// The path itself; a place that is a folder reaches further down.
    Itself,
}

/// A path of a grant.
#[derive(Clone, Copy)]
struct Granted<'a> {
    kind: &'static str,
    path: &'a Path,
    reach: PlaceAccess,
    /// Whether something can be changed there.
    effect: VerbEffect,
}

impl HostPlaces<'_> {
    /// The places that the grants of one step reach, with the grant of each.
    pub fn reached<'g>(&self, effective: &'g Effective) -> Vec<(&'g Grant, ReachedPlace)> {
        effective
            .iter()
            .filter_map(|grant| self.reached_by(grant).map(|reached| (grant, reached)))
            .collect()
    }

    /// The first place that a grant reaches.
    pub fn reached_by(&self, grant: &Grant) -> Option<ReachedPlace> {
        granted(&grant.target.kind, &grant.verbs)
            .iter()
            .find_map(|granted| self.reached_by_path(granted))
    }

    fn reached_by_path(&self, granted: &Granted<'_>) -> Option<ReachedPlace> {
        let counts = |place: &&HostPlace| {
            granted.effect == VerbEffect::Change || place.privacy == Privacy::Private
        };
        let by_name = self.places.iter().filter(counts).find_map(|place| {
            let how = self.how(granted, &place.path)?;
            Some(granted.reached(&format!("{how} {}, `{}`", place.what, place.path.display())))
        });
        by_name.or_else(|| {
            (self.other_names)(granted.path).iter().find_map(|name| {
                let other = Granted { path: name, ..*granted };
                let (place, how) = self
                    .places
                    .iter()
                    .filter(counts)
                    .find_map(|place| Some((place, self.how(&other, &place.path)?)))?;
                let (name, at) = (name.display(), place.path.display());
                Some(granted.reached(&format!(
                    "shows by a mount `{name}`, which {how} {}, `{at}`",
                    place.what
                )))
            })
        })
    }

    fn how(&self, granted: &Granted<'_>, place: &Path) -> Option<&'static str> {
        let is_one = |one: &Path, other: &Path| one == other || (self.is_same)(one, other);
        if is_one(granted.path, place) {
            Some("is")
        } else if granted.path.ancestors().any(|above| is_one(above, place)) {
            Some("lies in")
        } else if granted.reach == PlaceAccess::Below
            && place.ancestors().any(|above| is_one(above, granted.path))
        {
            Some("holds")
        } else {
            None
        }
    }
}

impl Granted<'_> {
    fn reached(&self, how: &str) -> ReachedPlace {
        ReachedPlace { by: format!("{} `{}`", self.kind, self.path.display()), how: how.to_owned() }
    }
}

/// The paths of this host that a target names for files. What a program may do is not limited by its
/// working directory, so that one counts only where it is a place of the host, or below one.
fn granted<'a>(target: &'a TargetKind, verbs: &[Verb]) -> Vec<Granted<'a>> {
    let changes = verbs.iter().any(|verb| verb.effect() == VerbEffect::Change);
    match target {
        TargetKind::Files(files) => {
            let effect = if changes { VerbEffect::Change } else { VerbEffect::Read };
            let path = files.root.real();
            vec![Granted { kind: "directory", path, reach: PlaceAccess::Below, effect }]
        }
        TargetKind::Sql(sql) => match &sql.address {
            // Files are made beside a database that is only read.
            SqlAddress::File(path) => vec![Granted {
                kind: "database",
                path: path.real(),
                reach: PlaceAccess::Itself,
                effect: VerbEffect::Change,
            }],
            SqlAddress::Server { .. } => Vec::new(),
        },
        TargetKind::Process(process) => of_program(process).collect(),
        TargetKind::Http(_)
        | TargetKind::Docker(_)
        | TargetKind::Secret(_)
        | TargetKind::Net(_) => Vec::new(),
    }
}

fn of_program(process: &ProcessTarget) -> impl Iterator<Item = Granted<'_>> {
    let directory = process.directory.iter().map(|directory| Granted {
        kind: "working directory",
        path: directory.real(),
        reach: PlaceAccess::Itself,
        effect: VerbEffect::Change,
    });
    let named = [
        ("written path", VerbEffect::Change, &process.writes),
        ("read path", VerbEffect::Read, &process.reads),
    ];
    let named = named.into_iter().flat_map(|(kind, effect, paths)| {
        paths.iter().flatten().map(move |path| Granted {
            kind,
            path: path.real(),
            reach: PlaceAccess::Below,
            effect,
        })
    });
    directory.chain(named)
}

/// The folders of the program below a home.
const BELOW_A_HOME: &[(&[&str], &str)] = &[
    (&[".cache", "runbook"], "the cache of compiled plugins of its user"),
    (&[".local", "state", "runbook"], "the journal and the audit log of its user"),
    (&[".config", "runbook"], "the keys of its user"),
];

/// Where the settings of a host are.
const SETTINGS: &str = "/etc/runbook";

/// The default places of every host that a target reaches: for a review on another host than that
/// of the run.
pub(crate) fn default_place(target: &TargetKind, verbs: &[Verb]) -> Option<ReachedPlace> {
    granted(target, verbs)
        .iter()
        .filter(|granted| granted.effect == VerbEffect::Change)
        .find_map(default_place_of)
}

fn default_place_of(granted: &Granted<'_>) -> Option<ReachedPlace> {
    let parts: Vec<_> = granted
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
        return Some(granted.reached(&format!("lies in the settings of the host, `{SETTINGS}`")));
    }
    for (folder, what) in BELOW_A_HOME {
        if parts.windows(folder.len()).any(|window| window == *folder) {
            return Some(granted.reached(&format!("lies in {what}, `~/{}`", folder.join("/"))));
        }
    }
    if granted.reach == PlaceAccess::Itself {
        return None;
    }
    if settings.starts_with(granted.path) {
        return Some(granted.reached(&format!("holds the settings of the host, `{SETTINGS}`")));
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let is_home = matches!(parts.as_slice(), ["home" | "root"] | ["home", _]);
    let below_home =
        |folder: &[&str]| (1..folder.len()).any(|length| parts.ends_with(&folder[..length]));
    let held = BELOW_A_HOME.iter().find(|(folder, _)| is_home || below_home(folder));
    held.map(|(folder, what)| granted.reached(&format!("holds {what}, `~/{}`", folder.join("/"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::tests::effective_for;

    const PLACES: &[(&str, Privacy)] = &[
        ("/home/ops/.cache/runbook", Privacy::Public),
        ("/srv/app/journal.db", Privacy::Private),
        ("/etc/runbook", Privacy::Public),
        ("/usr/local/bin/runbook", Privacy::Public),
    ];

    /// `/mnt/again` is another name of `/home/ops`.
    fn is_same(one: &Path, other: &Path) -> bool {
        let named = |path: &Path| {
            path.strip_prefix("/mnt/again")
                .map_or(path.to_owned(), |rest| Path::new("/home/ops").join(rest))
        };
        // Compared are files, and what stands behind the name of a mount is one.
        named(one).components().eq(named(other).components())
    }

    /// Below `/data`, a part of a place is mounted; `/data/part/x` is that, too.
    fn mounted(path: &Path) -> Vec<PathBuf> {
        let part = Path::new("/home/ops/.cache/runbook/part");
        match path.strip_prefix("/data/part") {
            Ok(below) => vec![part.join(below)],
            Err(_) if Path::new("/data/part").starts_with(path) => vec![part.to_owned()],
            Err(_) => Vec::new(),
        }
    }

    #[test]
    fn a_place_that_is_mounted_below_what_is_granted_is_reached() {
        for path in ["/data", "/data/part", "/data/part/x"] {
            let found =
                how("files", &["write"], &format!("files = \"{path}\"\naccess = \"write\""));
            assert!(
                found
                    .as_ref()
                    .is_some_and(|how| how.contains("by a mount") && how.contains("lies in it")),
                "{path}: {found:?}"
            );
        }
        assert!(how("sql", &["query"], "sql = \"sqlite:/data/part/x.db\"").is_some());
        assert_eq!(how("files", &["write"], "files = \"/data/other\"\naccess = \"write\""), None);
        // The cache holds nothing confidential.
        assert_eq!(how("files", &["read"], "files = \"/data\""), None);
    }

    fn how(capability: &str, verbs: &[&str], target: &str) -> Option<String> {
        let places: Vec<_> = PLACES
            .iter()
            .map(|(path, privacy)| HostPlace {
                what: "it",
                path: PathBuf::from(path),
                privacy: *privacy,
            })
            .collect();
        let places = HostPlaces { places: &places, is_same: &is_same, other_names: &mounted };
        let effective = effective_for(capability, verbs, target);
        let mut reached = places.reached(&effective);
        assert!(reached.len() <= 1);
        reached.pop().map(|(_, reached)| reached.how)
    }

    /// Every place × itself, what holds it at every height, and what lies in it at some depths ×
    /// everything that names a path.
    #[test]
    fn no_target_holds_is_or_lies_in_a_place_of_the_host() {
        for (place, privacy) in PLACES {
            for above in Path::new(place).ancestors() {
                let files = format!("files = \"{}\"", above.display());
                let writes =
                    how("files", &["read", "write"], &format!("{files}\naccess = \"write\""));
                let expected = if above == Path::new(place) { "is it, `" } else { "holds it, `" };
                assert!(
                    writes.as_ref().is_some_and(|how| how.starts_with(expected)),
                    "{above:?}: {writes:?}"
                );
                let reads = how("files", &["read"], &files);
                let is_private = PLACES.iter().any(|(place, privacy)| {
                    *privacy == Privacy::Private && Path::new(place).starts_with(above)
                });
                assert_eq!(reads.is_some(), is_private, "{above:?}");
            }
            for below in ["", "/x", "/x/../y", "//x/./z"] {
                let path = format!("{place}{below}");
                let write = format!("files = \"{path}\"\naccess = \"write\"");
                assert!(how("files", &["write"], &write).is_some(), "{path}");
                assert_eq!(
                    how("files", &["read"], &format!("files = \"{path}\"")).is_some(),
                    *privacy == Privacy::Private,
                    "{path}"
                );
                assert!(
                    how("sql", &["query"], &format!("sql = \"sqlite:{path}\"")).is_some(),
                    "{path}"
                );
                assert!(
                    how(
                        "process",
                        &["run"],
                        &format!("process = \"/bin/x\"\ndirectory = \"{path}\"")
                    )
                    .is_some(),
                    "{path}"
                );
            }
        }
        for again in [
            "/mnt/again",
            "/mnt/again/.cache",
            "/mnt/again/.cache/runbook",
            "/mnt/again/.cache/runbook/x",
        ] {
            assert!(
                how("files", &["write"], &format!("files = \"{again}\"\naccess = \"write\""))
                    .is_some(),
                "{again}"
            );
        }
        for beside in [
            "/home/ops/.cache/runbooks",
            "/srv/app/journal.db2",
            "/srv/app/dumps",
            "/etc/runbook.d",
            "/home/ops/x",
        ] {
            assert_eq!(
                how("files", &["write"], &format!("files = \"{beside}\"\naccess = \"write\"")),
                None,
                "{beside}"
            );
            assert_eq!(
                how("sql", &["query"], &format!("sql = \"sqlite:{beside}\"")),
                None,
                "{beside}"
            );
        }
        // What a program may do is not limited by its working directory, which is `/` where none is
        // named.
        assert_eq!(
            how("process", &["run"], "process = \"/bin/x\"\ndirectory = \"/srv/app\""),
            None
        );
        assert_eq!(how("sql", &["query"], "sql = \"postgres://a@h/d\""), None);
    }

    fn default_of(capability: &str, verbs: &[&str], target: &str) -> bool {
        let effective = effective_for(capability, verbs, target);
        effective.iter().any(|grant| default_place(&grant.target.kind, &grant.verbs).is_some())
    }

    #[test]
    fn the_default_places_of_any_user_are_known() {
        let write = |path: &str| {
            default_of("files", &["write"], &format!("files = \"{path}\"\naccess = \"write\""))
        };
        for home in ["/root", "/home/ops", "/home/somebody.else"] {
            for below in [
                "",
                "/.cache",
                "/.cache/runbook",
                "/.cache/runbook/x",
                "/.local",
                "/.local/state",
                "/.config",
            ] {
                assert!(write(&format!("{home}{below}")), "{home}{below}");
            }
            for beside in ["/dumps", "/.cache/other", "/.local/share", "/.config/other"] {
                assert!(!write(&format!("{home}{beside}")), "{home}{beside}");
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
            assert!(write(path), "{path}");
        }
        for path in ["/var/backups", "/etc/cron.d", "/srv", "/base/dumps"] {
            assert!(!write(path), "{path}");
        }
        assert!(default_of(
            "sql",
            &["query"],
            "sql = \"sqlite:/home/ops/.local/state/runbook/journal.db\""
        ));
        assert!(!default_of("sql", &["query"], "sql = \"sqlite:/home/ops/orders.db\""));
        assert!(default_of(
            "process",
            &["run"],
            "process = \"/bin/x\"\ndirectory = \"/etc/runbook\""
        ));
        assert!(!default_of(
            "process",
            &["run"],
            "process = \"/bin/x\"\ndirectory = \"/home/ops\""
        ));
    }
}
