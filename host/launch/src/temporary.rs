//! A `/tmp` of the program's own: empty, in memory, of limited size, and gone with the program.

use crate::files::open_without_links;
use crate::missing_feature::MissingFeature;
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change,
    mount_remount, move_mount, open_tree,
};
use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The folder of temporary files.
pub(crate) const TEMPORARY: &str = "/tmp";

/// The mount options: at most so many bytes of memory and so many files.
const MOUNT_OPTIONS: &std::ffi::CStr = c"size=256m,nr_inodes=64k,mode=1777";

/// Whether a program has a `/tmp` of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnTemporary {
    Made,
    None,
}

/// What a program may do with a path of the old `/tmp` that stays visible. Landlock does not tell
/// the difference there: it grants what lies below the new `/tmp` to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeptAs {
    Read,
    Written,
}

/// Gives this process a `/tmp` of its own. Of the old `/tmp`, only the `kept` paths and the working
/// directory stay visible in it. This needs a mount namespace, which root may make, and other users
/// if the system lets users make namespaces. Where the system does not let them, nothing is done.
pub(crate) fn make_private(kept: &[(&Path, KeptAs)]) -> Result<OwnTemporary, MissingFeature> {
    let failed = |error: io::Error| MissingFeature::new("a /tmp of its own", error);
    if !is_allowed_by_settings() {
        return Ok(OwnTemporary::None);
    }
    let directory = std::env::current_dir().ok().filter(|path| path.starts_with(TEMPORARY));
    let working = directory.iter().map(|path| (path.as_path(), KeptAs::Read));
    match enter_mount_namespace() {
        Ok(()) => {}
        Err(error) if is_refusal(&error) => return Ok(OwnTemporary::None),
        Err(error) => return Err(failed(error)),
    }
    let mut files = Vec::new();
    for (path, kept_as) in kept_paths(kept.iter().copied().chain(working)) {
        // A path that leads through a link is no grant.
        files.push((path, kept_as, open_without_links(path)?));
    }
    mount_private(&files).map_err(failed)?;
    // The process is still in the old `/tmp`, whose other folders are beside it.
    if let Some(directory) = directory {
        std::env::set_current_dir(&directory).map_err(failed)?;
    }
    Ok(OwnTemporary::Made)
}

/// The paths that lie below `/tmp`, each before those below it, without those that are mounted with
/// another one.
fn kept_paths<'a>(paths: impl Iterator<Item = (&'a Path, KeptAs)>) -> Vec<(&'a Path, KeptAs)> {
    let mut sorted: Vec<_> = paths
        .filter(|(path, _)| path.starts_with(TEMPORARY) && *path != Path::new(TEMPORARY))
        .collect();
    // Of a path that is named twice, the one that is written comes first.
    sorted.sort_by_key(|(path, kept_as)| (*path, *kept_as == KeptAs::Read));
    let mut kept: Vec<(&Path, KeptAs)> = Vec::new();
    for (path, kept_as) in sorted {
        let is_mounted = kept.iter().any(|(above, above_as)| {
            path.starts_with(above) && (*above_as == KeptAs::Written || kept_as == KeptAs::Read)
        });
        if !is_mounted {
            kept.push((path, kept_as));
        }
    }
    kept
}

fn mount_private(kept: &[(&Path, KeptAs, OwnedFd)]) -> io::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)?;
    let mut trees = Vec::new();
    for (path, kept_as, file) in kept {
        let all_below = match kept_as {
            // Only one mount can be made read-only: what is mounted below it is not there.
            KeptAs::Read => OpenTreeFlags::empty(),
            KeptAs::Written => OpenTreeFlags::AT_RECURSIVE,
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | all_below;
        trees.push((*path, *kept_as, open_tree(file, "", flags)?));
    }
    let mount_flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", TEMPORARY, "tmpfs", mount_flags, Some(MOUNT_OPTIONS))?;
    for (path, kept_as, tree) in &trees {
        mount_again(path, tree)?;
        match kept_as {
            KeptAs::Read => make_read_only(path)?,
            KeptAs::Written => {}
        }
    }
    Ok(())
}

/// Mounts a file or folder of the old `/tmp` at the same path in the new one.
fn mount_again(path: &Path, tree: &OwnedFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(tree)?;
    // Below a path that was mounted before, it is there already.
    if path.symlink_metadata().is_err() {
        if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
            std::fs::create_dir_all(path)?;
        } else {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::RUSR)?;
        }
    }
    Ok(move_mount(tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Makes the mount at a path read-only. The kernel lets a user who is not root take none of the
/// other limits of a mount away, so they are repeated.
fn make_read_only(path: &Path) -> io::Result<()> {
    let present = rustix::fs::statvfs(path)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (limit, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        if present.contains(limit) {
            flags |= flag;
        }
    }
    Ok(mount_remount(path, flags, c"")?)
}

/// Whether an error says that the system does not let this process make a namespace.
fn is_refusal(error: &io::Error) -> bool {
    [Errno::PERM, Errno::NOSYS]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Makes a mount namespace and enters it. A user who is not root makes it in a user namespace,
/// which contains this user alone and gives no right outside.
fn enter_mount_namespace() -> io::Result<()> {
    if geteuid().is_root() {
        return unshare(UnshareFlags::NEWNS);
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

#[expect(deprecated, reason = "only unsharing the file descriptor table is unsafe")]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(flags)?)
}

/// Whether a process of this user can have a `/tmp` of its own here.
pub(crate) fn is_available() -> bool {
    let attempt = || {
        std::thread::Builder::new()
            .spawn(is_not_refused)?
            .join()
            .map_err(|_| io::Error::other("it panicked"))
    };
    is_allowed_by_settings() && attempt().unwrap_or(false)
}

/// Whether no filter of system calls (as that of a container) refuses the namespace. The thread that
/// calls this is in another mount namespace then, and has to end.
fn is_not_refused() -> bool {
    if geteuid().is_root() {
        return unshare(UnshareFlags::NEWNS).is_ok();
    }
    // A process with several threads cannot make a user namespace: the kernel says so with `EINVAL`,
    // after the filters have let the call pass.
    match unshare(UnshareFlags::NEWUSER) {
        Ok(()) => true,
        Err(error) => error.raw_os_error() == Some(Errno::INVAL.raw_os_error()),
    }
}

/// Whether the rights of this process, or the settings of the system, allow it.
fn is_allowed_by_settings() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    if geteuid().is_root() {
        return capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    }
    let kernel_setting = |name: &str| {
        let text = std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    kernel_setting("user/max_user_namespaces").is_some_and(|most| most > 0)
        && kernel_setting("kernel/unprivileged_userns_clone") != Some(0)
        && kernel_setting("kernel/apparmor_restrict_unprivileged_userns") != Some(1)
}
