//! The protected paths of this host: the files and folders that it trusts. They are collected once
//! and compared with the grants of each step.

use crate::context::Context;
use crate::directories::{cache_directory, config_directory, state_directory};
use crate::host_policy;
use crate::mounts::Mounts;
use crate::project::Project;
use runbook_authority::EffectiveGrants;
use runbook_authority::protected_paths::{Privacy, ProtectedPath, ProtectedPaths};
use runbook_document::{Diagnostic, Diagnostics};
use runbook_engine::CallSite;
use runbook_runtime::resolve_symlinks;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The suffixes of the files that SQLite writes beside a database.
const SQLITE_SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The protected paths of this host, and the mounts by which they can have other paths.
#[derive(Debug, Default)]
pub struct ProtectedPathsAndMounts {
    paths: Vec<ProtectedPath>,
    mounts: Mounts,
}

/// The protected paths of this host, and the mounts of this process.
pub fn of(context: &Context, projects: &[Project]) -> ProtectedPathsAndMounts {
    ProtectedPathsAndMounts { paths: paths(context, projects), mounts: Mounts::of_this_process() }
}

/// Every protected path of this host: its own data, its policy files, those of the projects in
/// force, and the program itself.
pub fn paths(context: &Context, projects: &[Project]) -> Vec<ProtectedPath> {
    let mut paths = PathList(Vec::new());
    paths.add("the settings of this host", Path::new(host_policy::FOLDER), Privacy::Public);
    for boundary in context
        .boundaries
        .iter()
        .chain(projects.iter().filter_map(|project| project.boundary.as_ref()))
    {
        paths.add("a boundary", boundary, Privacy::Public);
    }
    for trust in context
        .trust_files
        .iter()
        .chain(projects.iter().filter_map(|project| project.trust.as_ref()))
    {
        paths.add("a trust file", trust, Privacy::Public);
    }
    paths.add("the cache of compiled plugins", &context.cache, Privacy::Public);
    if let Some(journal) = context.journal.file() {
        paths.add("the journal", journal, Privacy::Private);
        for suffix in SQLITE_SUFFIXES {
            let mut name = journal.as_os_str().to_owned();
            name.push(suffix);
            paths.add("a part of the journal", Path::new(&name), Privacy::Private);
        }
    }
    for audit_log in
        [Some(&context.audit_log), context.host_audit_log.as_ref()].into_iter().flatten()
    {
        paths.add("the audit log", audit_log, Privacy::Private);
    }
    for identity in &context.identities {
        paths.add("a key that opens secrets", identity, Privacy::Private);
    }
    if let Some(passphrase) = &context.passphrase_file {
        paths.add("a passphrase that opens secrets", passphrase, Privacy::Private);
    }
    // The default folders, too, because the next run may use them: with the variables of this
    // process, and without any.
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let below_home = |below: &str| home.as_ref().map(|home| home.join(below).join("runbook"));
    for cache in [cache_directory().ok(), below_home(".cache")].into_iter().flatten() {
        paths.add("the folder of compiled plugins", &cache, Privacy::Public);
    }
    for state in [state_directory().ok(), below_home(".local/state")].into_iter().flatten() {
        paths.add("the folder of journals and audit logs", &state, Privacy::Private);
    }
    for config in [config_directory().ok(), below_home(".config")].into_iter().flatten() {
        paths.add("the folder of keys", &config, Privacy::Private);
    }
    if let Ok(program) = std::env::current_exe() {
        paths.add("this program", &program, Privacy::Public);
    }
    paths.0
}

struct PathList(Vec<ProtectedPath>);

impl PathList {
    fn add(&mut self, what: &'static str, path: &Path, privacy: Privacy) {
        let Ok(path) = std::path::absolute(path) else { return };
        let real = resolve_symlinks(&path);
        // The link itself is protected, too: whoever can replace it decides what the host reads.
        if real != path {
            self.0.push(ProtectedPath { what, path, privacy });
        }
        self.0.push(ProtectedPath { what, path: real, privacy });
    }
}

/// Whether two paths are the same file or folder, such as by a bind mount or a hard link.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity =
        |path: &Path| path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()));
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// Reports every slot of a step whose target reaches a protected path of the host.
pub fn check(
    paths_and_mounts: &ProtectedPathsAndMounts,
    site: &CallSite<'_>,
    grants: &EffectiveGrants,
    diagnostics: &mut Diagnostics,
) {
    let other_names = |path: &Path| paths_and_mounts.mounts.other_names(path);
    let paths = ProtectedPaths {
        paths: &paths_and_mounts.paths,
        is_same: &is_same,
        other_names: &other_names,
    };
    for (grant, reached) in paths.accesses(grants) {
        let target = &grant.target;
        let message = format!(
            "slot `{}` of step `{}` reaches what this host relies on: {} {}",
            grant.slot, site.step, reached.granted_path, reached.relation
        );
        let diagnostic = Diagnostic::error("E0118", &target.source, target.span.clone(), message)
            .label("reaches a protected path of the host");
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
    fn two_hard_links_to_a_file_are_the_same() {
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
