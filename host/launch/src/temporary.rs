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

/// Where programs put what they need for a while.
pub(crate) const TEMPORARY: &str = "/tmp";

/// How much it holds: bytes of memory, and files.
const LIMITS: &std::ffi::CStr = c"size=256m,nr_inodes=64k,mode=1777";

/// Gives this process a `/tmp` of its own, in which only the `kept` paths are what they were. It
/// needs a name space of mounts: root makes one, and another user where the system lets users make
/// name spaces.
pub(crate) fn make_private<'a>(kept: impl Iterator<Item = &'a Path>) -> io::Result<()> {
    unshare()?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)?;
    let mut kept: Vec<&Path> =
        kept.filter(|path| path.starts_with(TEMPORARY) && *path != Path::new(TEMPORARY)).collect();
    kept.sort_unstable();
    // What is below another one comes with it.
    kept.dedup_by(|below, above| below.starts_with(above));
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let mut trees: Vec<(PathBuf, OwnedFd)> = Vec::new();
    for path in kept {
        trees.push((path.to_owned(), open_tree(CWD, path, flags)?));
    }
    mount("tmpfs", TEMPORARY, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(LIMITS))?;
    trees.iter().try_for_each(|(path, tree)| put(path, tree))
}

/// Mounts a tree where it was.
fn put(path: &Path, tree: &OwnedFd) -> io::Result<()> {
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

/// Makes a name space of mounts; for one who is not root, in a name space of users where they are
/// the only user, without a right beyond it.
fn unshare() -> io::Result<()> {
    if geteuid().is_root() {
        return spaces(UnshareFlags::NEWNS);
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    spaces(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

#[expect(deprecated, reason = "it is unsafe for tables of files alone, which stay shared")]
fn spaces(flags: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(flags)?)
}

/// Whether a process of this user can have one here.
pub(crate) fn is_available() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    if geteuid().is_root() {
        return capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    }
    let says = |name: &str| {
        let text = std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    says("user/max_user_namespaces").is_some_and(|most| most > 0)
        && says("kernel/unprivileged_userns_clone") != Some(0)
        && says("kernel/apparmor_restrict_unprivileged_userns") != Some(1)
}
