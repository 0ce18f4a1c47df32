//! Control groups. Every descendant of a process stays in its group, even if it begins a session of
//! its own, and all processes of a group can be killed at once.

use rustix::fs::{Access, FlockOperation, access, flock};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The prefix of the folder name of a program's group. The process id of the host follows it.
const PREFIX: &str = "runbook-program-";

/// How long to wait until a killed group is empty.
const MAX_EMPTYING_TIME: Duration = Duration::from_secs(2);

/// The folder of the group of this process, if the process may make groups in that folder and kill
/// them.
pub(crate) fn own_group_folder() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = mount.join(group);
    let is_writable = access(&folder, Access::WRITE_OK).is_ok()
        && access(folder.join("cgroup.procs"), Access::WRITE_OK).is_ok();
    // The root group cannot be killed and has no such file, but groups in it have one.
    let is_killable = folder.join("cgroup.kill").exists() || folder == mount;
    (is_writable && is_killable).then_some(folder)
}

/// The control group of one program. Dropping it kills the processes that are left in it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    /// The folder, locked as long as the host lives.
    _lock: File,
}

impl Cgroup {
    /// Makes a group below that of this process, or returns `None` where this process may make
    /// none. Groups that killed hosts have left are removed first.
    ///
    /// # Errors
    /// If the process may make a group, and making it fails.
    pub fn make() -> io::Result<Option<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(parent) = own_group_folder() else { return Ok(None) };
        remove_abandoned(&parent);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        let lock = File::open(&path)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        // Before Linux 5.14 a group cannot be killed.
        let is_killable = path.join("cgroup.kill").exists();
        let group = Self { path, _lock: lock };
        Ok(is_killable.then_some(group))
    }

    /// The folder of the group.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle that can kill the group, even after the group itself is dropped.
    pub fn killer(&self) -> Killer {
        Killer(self.path.join("cgroup.kill"))
    }
}

/// A handle that can kill all processes of a group.
#[derive(Debug, Clone)]
pub struct Killer(PathBuf);

impl Killer {
    /// Kills all processes of the group.
    pub fn kill(&self) {
        // A group that is gone has nothing left in it.
        let _ = fs::write(&self.0, "1");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        kill_and_remove(&self.path);
    }
}

/// Kills the processes of a group and removes its folder.
fn kill_and_remove(group: &Path) {
    Killer(group.join("cgroup.kill")).kill();
    let deadline = Instant::now() + MAX_EMPTYING_TIME;
    while fs::remove_dir(group).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
        if Instant::now() > deadline {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Removes the groups of hosts that have ended: no process has the id in the group's name, and
/// nobody holds its lock. The lock counts because a host in a container has another process id
/// here.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let host = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        let has_ended = |host: &str| !Path::new("/proc").join(host).exists();
        let is_unlocked = || {
            File::open(entry.path())
                .is_ok_and(|group| flock(&group, FlockOperation::NonBlockingLockExclusive).is_ok())
        };
        if host.is_some_and(|(host, _)| has_ended(host)) && is_unlocked() {
            kill_and_remove(&entry.path());
        }
    }
}
