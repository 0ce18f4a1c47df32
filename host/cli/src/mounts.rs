//! The mounts of this process, and the other names by which a path can be reached. A bind mount is
//! another name of a folder, and a granted folder includes what is mounted below it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// One mount: a folder of a file system, and the path at which it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// The device number of the file system, as `major:minor`.
    device: String,
    /// The folder of the file system that is mounted.
    root: PathBuf,
    /// The path at which it is mounted.
    point: PathBuf,
}

/// All mounts that this process sees.
#[derive(Debug, Default)]
pub struct Mounts(Vec<Mount>);

impl Mounts {
    /// The mounts of this process from `/proc/self/mountinfo`; none if it cannot be read.
    pub fn of_this_process() -> Self {
        std::fs::read("/proc/self/mountinfo").map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(text: &[u8]) -> Self {
        let mount = |line: &[u8]| {
            let mut fields = line.split(|byte| *byte == b' ').skip(2);
            let device = String::from_utf8(fields.next()?.to_owned()).ok()?;
            Some(Mount { device, root: unescape(fields.next()?), point: unescape(fields.next()?) })
        };
        Self(text.split(|byte| *byte == b'\n').filter_map(mount).collect())
    }

    /// Every other name of a path, and of what is mounted below it.
    pub fn other_names(&self, path: &Path) -> Vec<PathBuf> {
        // The last mount at a path hides earlier ones.
        let enclosing_mount = self
            .0
            .iter()
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count());
        let mount_and_folder = enclosing_mount.and_then(|mount| {
            Some((mount, mount.root.join(path.strip_prefix(&mount.point).ok()?)))
        });
        let mut names: Vec<PathBuf> = mount_and_folder
            .map(|(mount, folder)| self.names(&mount.device, &folder))
            .unwrap_or_default();
        for inner in self.0.iter().filter(|mount| mount.point.starts_with(path)) {
            names.push(inner.point.clone());
            names.extend(self.names(&inner.device, &inner.root));
        }
        names.retain(|name| name != path);
        names.sort();
        names.dedup();
        names
    }

    /// The names of a folder of a file system, by all mounts that show it.
    fn names(&self, device: &str, folder: &Path) -> Vec<PathBuf> {
        let is_of_device = |mount: &&Mount| mount.device == device;
        let name =
            |mount: &Mount| Some(join_path(&mount.point, folder.strip_prefix(&mount.root).ok()?));
        self.0.iter().filter(is_of_device).filter_map(name).collect()
    }
}

/// `folder` joined with `inner`, without a trailing `/` if `inner` is empty.
fn join_path(folder: &Path, inner: &Path) -> PathBuf {
    if inner.as_os_str().is_empty() { folder.to_owned() } else { folder.join(inner) }
}

/// Decodes a field of mountinfo, in which spaces, tabs, newlines and backslashes are octal escapes.
fn unescape(field: &[u8]) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), field);
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r"21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 8:2 / /home rw - ext4 /dev/sda2 rw
23 21 0:5 / /srv/own rw - tmpfs tmpfs rw
24 21 8:2 /ops/.local/state/runbook /srv/data/sub rw - ext4 /dev/sda2 rw
25 21 8:1 /etc /srv/with\040space rw - ext4 /dev/sda1 rw
";

    #[test]
    fn the_other_names_of_a_path_are_those_of_all_mounts_that_show_it_and_of_what_is_mounted_below()
    {
        let mounts = Mounts::parse(LINES.as_bytes());
        let names = |path: &str| -> Vec<String> {
            mounts
                .other_names(Path::new(path))
                .iter()
                .map(|name| name.display().to_string())
                .collect()
        };
        assert_eq!(names("/srv/data"), ["/home/ops/.local/state/runbook", "/srv/data/sub"]);
        assert_eq!(names("/srv/data/sub/x"), ["/home/ops/.local/state/runbook/x"]);
        assert_eq!(names("/home/ops/.local/state/runbook"), ["/srv/data/sub"]);
        assert_eq!(names("/srv/with space/passwd"), ["/etc/passwd"]);
        assert_eq!(names("/srv/own/x"), [""; 0]);
        assert_eq!(names("/opt"), [""; 0]);
    }
}
