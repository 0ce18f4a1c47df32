//! Control groups: what a process starts stays in its group, whatever session it begins, and all of
//! a group can be killed at once.

use rustix::fs::{Access, FlockOperation, access, flock};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How the groups of programs are called. The number of the host comes next.
const PREFIX: &str = "runbook-program-";

/// How long a killed group is given to become empty.
const EMPTY_WITHIN: Duration = Duration::from_secs(2);

/// The folder of the group of this process, if it may make groups in it that can be killed.
pub(crate) fn own() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = mount.join(group);
    let may = access(&folder, Access::WRITE_OK).is_ok()
        && access(folder.join("cgroup.procs"), Access::WRITE_OK).is_ok();
    // The group at the top cannot be killed, and has no such file.
    let kills = folder.join("cgroup.kill").exists() || folder == mount;
    (may && kills).then_some(folder)
}

/// The group of one program. Dropped, it kills what is left in it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    /// Locked while its host lives.
    _lock: File,
}

impl Cgroup {
    /// A new one below that of this process; `None` where there can be none. What a host that was
    /// killed has left is ended first.
    ///
    /// # Errors
    /// If there can be one and it cannot be made.
    pub fn make() -> io::Result<Option<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(own) = own() else { return Ok(None) };
        end_abandoned(&own);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = own.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        let lock = File::open(&path)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        // Before Linux 5.14 a group cannot be killed.
        let kills = path.join("cgroup.kill").exists();
        let group = Self { path, _lock: lock };
        Ok(kills.then_some(group))
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What kills all that is in it.
    pub fn killer(&self) -> Killer {
        Killer(self.path.join("cgroup.kill"))
    }
}

/// Kills all that is in a group.
#[derive(Debug, Clone)]
pub struct Killer(PathBuf);

impl Killer {
    /// Kills it.
    pub fn kill(&self) {
        // A group that is gone has nothing left in it.
        let _ = fs::write(&self.0, "1");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        end(&self.path);
    }
}

/// Kills what is in a group and removes it.
fn end(group: &Path) {
    Killer(group.join("cgroup.kill")).kill();
    let until = Instant::now() + EMPTY_WITHIN;
    while fs::remove_dir(group).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
        if Instant::now() > until {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ends the groups of hosts that are no more: nobody of their number is there, and nobody holds the
/// lock (a host in a container has another number here).
fn end_abandoned(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let host = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        let is_gone = |host: &str| !Path::new("/proc").join(host).exists();
        let is_free = || {
            File::open(entry.path())
                .is_ok_and(|group| flock(&group, FlockOperation::NonBlockingLockExclusive).is_ok())
        };
        if host.is_some_and(|(host, _)| is_gone(host)) && is_free() {
            end(&entry.path());
        }
    }
}
