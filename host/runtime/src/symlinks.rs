//! Symbolic links in the paths of targets. They are resolved once, when a target is read; later, a
//! path with a link is refused.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Resolves the symbolic links in an absolute path, as far as the path exists. The rest of the path
/// is kept as written. A part that cannot be read is kept too; opening it fails later.
pub fn resolve_symlinks(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => resolve_symlinks(parent).join(name),
        // `..` after a part that does not exist.
        (Some(parent), None) => {
            resolve_symlinks(parent).parent().unwrap_or(Path::new("/")).to_owned()
        }
        (None, _) => path.to_owned(),
    }
}

/// Opens a directory whose links were resolved before. Fails with `ELOOP` if the path has a link
/// now.
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
        for (path, resolved) in [
            ("real/deep", "real/deep"),
            ("link/deep", "real/deep"),
            ("link/./deep/../deep", "real/deep"),
            ("link/new/file.db", "real/new/file.db"),
            ("link/../real", "real"),
            ("link/missing/../x", "real/x"),
            ("dangling", "dangling"),
            ("dangling/x", "dangling/x"),
        ] {
            assert_eq!(resolve_symlinks(&home.join(path)), home.join(resolved), "{path}");
        }
        assert_eq!(resolve_symlinks(Path::new("/")), Path::new("/"));
    }

    /// For each kind of path, a part of it is replaced by a link after the target was read.
    #[tokio::test]
    async fn a_path_that_became_a_symlink_after_the_gate_decided_is_not_opened() {
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
        for replaced_path in ["top", "top/dir", "top/dir/tool", "top/dir/a.db"] {
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
            for is_replaced in [false, true] {
                if is_replaced {
                    std::fs::rename(home.join(replaced_path), home.join("moved")).unwrap();
                    symlink(
                        home.join(replaced_path.replacen("top", "else", 1)),
                        home.join(replaced_path),
                    )
                    .unwrap();
                }
                let is_affected = |path: &str| is_replaced && path.starts_with(replaced_path);
                let entries = call.list("files".to_owned(), String::new()).await;
                assert_eq!(
                    entries.is_err(),
                    is_affected("top/dir"),
                    "{replaced_path}: {entries:?}"
                );
                let (slot, arguments, stdin, stdout) = run("there");
                let output = call.run(slot, arguments, stdin, stdout).await;
                assert_eq!(output.is_err(), is_affected("top/dir"), "{replaced_path}: {output:?}");
                let (slot, arguments, stdin, stdout) = run("program");
                let output = call.run(slot, arguments, stdin, stdout).await;
                assert_eq!(
                    output.is_err(),
                    is_affected("top/dir/tool"),
                    "{replaced_path}: {output:?}"
                );
                let rows = call.query("db".to_owned(), "select 1".to_owned(), Vec::new()).await;
                assert_eq!(rows.is_err(), is_affected("top/dir/a.db"), "{replaced_path}: {rows:?}");
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
