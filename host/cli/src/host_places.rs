//! The files and folders that the host relies on, found once, and compared with the grants of each
//! step.

use crate::context::Context;
use crate::directories::{cache_directory, config_directory, state_directory};
use crate::host_policy;
use crate::mounts::Mounts;
use crate::project::Project;
use runbook_authority::Effective;
use runbook_authority::host_places::{HostPlace, HostPlaces, Privacy};
use runbook_document::{Diagnostic, Diagnostics};
use runbook_engine::UseSite;
use runbook_runtime::follow_links;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What SQLite writes beside a database, by what stands behind its name.
const BESIDE_A_DATABASE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The places of this host, and by which names they can be reached.
#[derive(Debug, Default)]
pub struct PlacesOfHost {
    places: Vec<HostPlace>,
    mounts: Mounts,
}

/// The places, and what is mounted now.
pub fn of(context: &Context, projects: &[Project]) -> PlacesOfHost {
    PlacesOfHost { places: places(context, projects), mounts: Mounts::of_this_process() }
}

/// Every place of this host: its own data, its policy files, those of the projects in force, and
/// the program itself.
pub fn places(context: &Context, projects: &[Project]) -> Vec<HostPlace> {
    let mut places = Places(Vec::new());
    places.add("the settings of this host", Path::new(host_policy::FOLDER), Privacy::Public);
    for boundary in context
        .boundaries
        .iter()
        .chain(projects.iter().filter_map(|project| project.boundary.as_ref()))
    {
        places.add("a boundary", boundary, Privacy::Public);
    }
    for trust in
        context.trusts.iter().chain(projects.iter().filter_map(|project| project.trust.as_ref()))
    {
        places.add("a trust file", trust, Privacy::Public);
    }
    places.add("the cache of compiled plugins", &context.cache, Privacy::Public);
    if let Some(journal) = context.journal.file() {
        places.add("the journal", journal, Privacy::Private);
        for suffix in BESIDE_A_DATABASE {
            let mut name = journal.as_os_str().to_owned();
            name.push(suffix);
            places.add("a part of the journal", Path::new(&name), Privacy::Private);
        }
    }
    for audit_log in
        [Some(&context.audit_log), context.audit_log_of_host.as_ref()].into_iter().flatten()
    {
        places.add("the audit log", audit_log, Privacy::Private);
    }
    for identity in &context.identities {
        places.add("a key that opens secrets", identity, Privacy::Private);
    }
    if let Some(passphrase) = &context.passphrase_file {
        places.add("a passphrase that opens secrets", passphrase, Privacy::Private);
    }
    // Where the next run looks, whatever this one was told: by its own variables, and without any.
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let below_home = |below: &str| home.as_ref().map(|home| home.join(below).join("runbook"));
    for cache in [cache_directory().ok(), below_home(".cache")].into_iter().flatten() {
        places.add("the folder of compiled plugins", &cache, Privacy::Public);
    }
    for state in [state_directory().ok(), below_home(".local/state")].into_iter().flatten() {
        places.add("the folder of journals and audit logs", &state, Privacy::Private);
    }
    for config in [config_directory().ok(), below_home(".config")].into_iter().flatten() {
        places.add("the folder of keys", &config, Privacy::Private);
    }
    if let Ok(program) = std::env::current_exe() {
        places.add("this program", &program, Privacy::Public);
    }
    places.0
}

struct Places(Vec<HostPlace>);

impl Places {
    fn add(&mut self, what: &'static str, path: &Path, privacy: Privacy) {
        let Ok(path) = std::path::absolute(path) else { return };
        let real = follow_links(&path);
        // Whoever can replace a link that leads to it decides what the host finds there.
        if real != path {
            self.0.push(HostPlace { what, path, privacy });
        }
        self.0.push(HostPlace { what, path: real, privacy });
    }
}

/// Whether two paths are one file or folder: a bind mount is another name, and so is a hard link.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity =
        |path: &Path| path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()));
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// Reports every slot of one step that reaches a place of the host.
pub fn check(
    of_host: &PlacesOfHost,
    site: &UseSite<'_>,
    effective: &Effective,
    diagnostics: &mut Diagnostics,
) {
    let other_names = |path: &Path| of_host.mounts.other_names(path);
    let places =
        HostPlaces { places: &of_host.places, is_same: &is_same, other_names: &other_names };
    for (grant, reached) in places.reached(effective) {
        let target = &grant.target;
        let message = format!(
            "slot `{}` of step `{}` reaches what this host relies on: {} {}",
            grant.slot, site.step, reached.by, reached.how
        );
        let diagnostic = Diagnostic::error("E0118", &target.source, target.span.clone(), message)
            .label("reaches a place of the host");
        diagnostics.push(diagnostic.help(
            "grant another folder, such as one below that of the runbook that holds nothing of \
                 the host; `runbook doctor` shows where the host keeps its own files",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_by_two_names_is_one() {
        let home = tempfile::tempdir().expect("a folder");
        let path = |name: &str| -> PathBuf { home.path().join(name) };
        std::fs::write(path("a"), "").expect("it is written");
        std::fs::write(path("b"), "").expect("it is written");
        std::fs::hard_link(path("a"), path("again")).expect("a link can be made");
        assert!(is_same(&path("a"), &path("again")));
        assert!(
            !is_same(&path("a"), &path("b"))
                && !is_same(&path("a"), &path("none"))
                && !is_same(&path("none"), &path("none"))
        );
    }
}
