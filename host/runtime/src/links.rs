//! Symbolic links in the paths of targets: followed once, when a target is read, and never again.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where an absolute path leads: every link is followed, as far as the path exists. The rest is
/// kept as written, because what does not exist has no links. A part that cannot be looked at is
/// kept too; opening it fails then.
pub fn follow_links(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => follow_links(parent).join(name),
        // `..` behind something that does not exist.
        (Some(parent), None) => follow_links(parent).parent().unwrap_or(Path::new("/")).to_owned(),
        (None, _) => path.to_owned(),
    }
}

/// Opens a directory whose path has no link in it, and fails with `ELOOP` if it has one by now.
pub(crate) fn open_directory(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(
        CWD,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_as_far_as_a_path_exists() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        std::fs::create_dir_all(home.join("real/deep")).unwrap();
        symlink("real", home.join("link")).unwrap();
        symlink("nowhere", home.join("dangling")).unwrap();
        for (path, leads) in [
            ("real/deep", "real/deep"),
            ("link/deep", "real/deep"),
            ("link/./deep/../deep", "real/deep"),
            ("link/new/file.db", "real/new/file.db"),
            ("link/../real", "real"),
            ("link/missing/../x", "real/x"),
            ("dangling", "dangling"),
            ("dangling/x", "dangling/x"),
        ] {
            assert_eq!(follow_links(&home.join(path)), home.join(leads), "{path}");
        }
        assert_eq!(follow_links(Path::new("/")), Path::new("/"));
    }

    /// Each kind of path, in its last part and in the middle: what was judged is exchanged for a
    /// link before it is opened.
    #[tokio::test]
    async fn what_became_a_link_after_it_was_judged_is_not_opened() {
        use crate::bindings::runbook::files::reader::Host as _;
        use crate::bindings::runbook::process::runner::Host as _;
        use crate::bindings::runbook::process::types::{Input, Sink};
        use crate::bindings::runbook::sql::reader::Host as _;
        use crate::host::HostCall;
        use crate::testing::{Slot, host};
        const SLOTS: &[Slot] = &[
            ("files", &["files.read"], "files"),
            ("db", &["sql.query"], "db"),
            ("program", &["process.run"], "program"),
            ("there", &["process.run"], "there"),
        ];
        for swapped in ["top", "top/dir", "top/dir/tool", "top/dir/a.db"] {
            let home = tempfile::tempdir().unwrap();
            let home = home.path().canonicalize().unwrap();
            for folder in [home.join("top/dir"), home.join("else/dir")] {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join("a.db"), "").unwrap();
                std::fs::write(folder.join("tool"), "#!/bin/sh\npwd\n").unwrap();
                let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                std::fs::set_permissions(folder.join("tool"), executable).unwrap();
            }
            let targets = format!(
                "[targets.files]\nfiles = \"top/dir\"\n[targets.db]\n\
                 sql = \"sqlite:top/dir/a.db\"\n[targets.program]\nprocess = {:?}\n\
                 [targets.there]\nprocess = \"/bin/pwd\"\ndirectory = \"top/dir\"\n",
                home.join("top/dir/tool")
            );
            let mut host = host(SLOTS, &targets, &home);
            let mut call = HostCall::new(&mut host);
            let run = |slot: &str| (slot.to_owned(), Vec::new(), Input::Nothing, Sink::Capture);
            for is_swapped in [false, true] {
                if is_swapped {
                    std::fs::rename(home.join(swapped), home.join("moved")).unwrap();
                    symlink(home.join(swapped.replacen("top", "else", 1)), home.join(swapped))
                        .unwrap();
                }
                let touched = |path: &str| is_swapped && path.starts_with(swapped);
                let listed = call.list("files".to_owned(), String::new()).await;
                assert_eq!(listed.is_err(), touched("top/dir"), "{swapped}: {listed:?}");
                let (slot, arguments, stdin, stdout) = run("there");
                let output = call.run(slot, arguments, stdin, stdout).await;
                assert_eq!(output.is_err(), touched("top/dir"), "{swapped}: {output:?}");
                let (slot, arguments, stdin, stdout) = run("program");
                let output = call.run(slot, arguments, stdin, stdout).await;
                assert_eq!(output.is_err(), touched("top/dir/tool"), "{swapped}: {output:?}");
                let rows = call.query("db".to_owned(), "select 1".to_owned(), Vec::new()).await;
                assert_eq!(rows.is_err(), touched("top/dir/a.db"), "{swapped}: {rows:?}");
            }
        }
    }

    #[test]
    fn a_directory_is_not_opened_through_a_link() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        std::fs::create_dir_all(home.join("real/deep")).unwrap();
        symlink("real", home.join("link")).unwrap();
        assert!(open_directory(&home.join("real/deep")).is_ok());
        for path in ["link", "link/deep"] {
            let error = open_directory(&home.join(path)).unwrap_err();
            assert_eq!(
                error.raw_os_error(),
                Some(rustix::io::Errno::LOOP.raw_os_error()),
                "{path}"
            );
        }
    }
}
