//! A `/tmp` of the program's own: empty, in memory, of limited size, and gone with the program.

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change,
    move_mount, open_tree,
};
use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The folder of temporary files.
pub(crate) const TEMPORARY: &str = "/tmp";

/// The mount options: at most so many bytes of memory and so many files.
const MOUNT_OPTIONS: &std::ffi::CStr = c"size=256m,nr_inodes=64k,mode=1777";

/// Gives this process a `/tmp` of its own. Of the old `/tmp`, only the `kept` paths stay visible in
/// it. This needs a mount namespace, which root may make, and other users if the system lets users
/// make namespaces.
pub(crate) fn make_private<'a>(kept: impl Iterator<Item = &'a Path>) -> io::Result<()> {
    enter_mount_namespace()?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)?;
    let mut kept: Vec<&Path> =
        kept.filter(|path| path.starts_with(TEMPORARY) && *path != Path::new(TEMPORARY)).collect();
    kept.sort_unstable();
    // A path below another kept path is mounted with that one.
    kept.dedup_by(|below, above| below.starts_with(above));
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let mut trees: Vec<(PathBuf, OwnedFd)> = Vec::new();
    for path in kept {
        trees.push((path.to_owned(), open_tree(CWD, path, flags)?));
    }
    let mount_flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", TEMPORARY, "tmpfs", mount_flags, Some(MOUNT_OPTIONS))?;
    trees.iter().try_for_each(|(path, tree)| mount_again(path, tree))
}

/// Mounts a file or folder of the old `/tmp` at the same path in the new one.
fn mount_again(path: &Path, tree: &OwnedFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(tree)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
        std::fs::create_dir_all(path)?;
    } else {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::RUSR)?;
    }
    Ok(move_mount(tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
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
