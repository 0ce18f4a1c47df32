//! Files that the program reads as a text: runbooks and what they include, lockfiles, boundaries, waivers, trust files, settings.
//!
//! One rule for all of them: a regular file of a bounded size. What is not one (a pipe, a device, a folder) is never waited for and
//! never read.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// No text that a person writes or reviews comes near this.
pub const MAX_BYTES: u64 = 16 << 20;

/// The text of a file.
///
/// # Errors
/// Whatever the system says; [`io::ErrorKind::InvalidInput`] for what is no regular file, [`io::ErrorKind::FileTooLarge`] and
/// [`io::ErrorKind::InvalidData`] for what is too large, or no UTF-8.
pub fn read(path: &Path) -> io::Result<String> {
    text_of(open(path, OFlags::empty())?)
}

/// The text of a file that `name` names from `folder`, and that lies below it once links are followed.
///
/// # Errors
/// As [`read`]; [`io::ErrorKind::PermissionDenied`] for what lies elsewhere, of which nothing is read.
pub fn read_below(folder: &Path, name: &str) -> io::Result<String> {
    let elsewhere = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned());
    if Path::new(name).is_absolute() {
        return Err(elsewhere("it is an absolute path, and what a runbook is made of lies in its folder"));
    }
    let real = folder.join(name).canonicalize()?;
    if !real.starts_with(folder.canonicalize()?) {
        return Err(elsewhere("it does not lie in the folder of the runbook"));
    }
    // What became a link since is not followed.
    text_of(open(&real, OFlags::NOFOLLOW)?)
}

/// Where a file lies that was named through a link into another folder; `None` if it lies where its name says.
pub fn elsewhere(path: &Path) -> Option<PathBuf> {
    let named = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (real, named) = (path.canonicalize().ok()?, named.canonicalize().ok()?);
    (!real.starts_with(named)).then_some(real)
}

/// Opens without waiting: a pipe that nobody writes to would be waited for for ever.
fn open(path: &Path, more: OFlags) -> io::Result<File> {
    let not_regular = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    // Before it is opened, because some devices act when they are; and after, because it may be another one then.
    if !path.metadata()?.is_file() {
        return Err(not_regular());
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular()) }
}

fn text_of(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        let message = format!("it has more than {} MiB, which no text of a runbook has", MAX_BYTES >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("good"), "ä\n").expect("written");
        fs::write(at("bytes"), b"\xff").expect("written");
        File::create(at("huge")).and_then(|file| file.set_len(MAX_BYTES + 1)).expect("made");
        File::create(at("largest")).and_then(|file| file.set_len(MAX_BYTES)).expect("made");
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), Mode::from_raw_mode(0o600)).expect("made");
        symlink(at("pipe"), at("link-to-pipe")).expect("made");
        symlink(at("good"), at("link")).expect("made");
        assert_eq!(read(&at("good")).expect("good"), "ä\n");
        assert_eq!(read(&at("link")).expect("good"), "ä\n");
        assert_eq!(read(&at("largest")).expect("good").len() as u64, MAX_BYTES);
        for (path, kind) in [
            (at("pipe"), io::ErrorKind::InvalidInput),
            (at("link-to-pipe"), io::ErrorKind::InvalidInput),
            (PathBuf::from("/dev/zero"), io::ErrorKind::InvalidInput),
            (PathBuf::from("/dev/stdin"), io::ErrorKind::InvalidInput),
            (folder.path().to_owned(), io::ErrorKind::InvalidInput),
            (at("huge"), io::ErrorKind::FileTooLarge),
            (at("bytes"), io::ErrorKind::InvalidData),
            (at("none"), io::ErrorKind::NotFound),
        ] {
            // What the tests' own stdin is depends on who runs them.
            if path == Path::new("/dev/stdin") && path.metadata().map_or(true, |metadata| metadata.is_file()) {
                continue;
            }
            assert_eq!(read(&path).expect_err("refused").kind(), kind, "{}", path.display());
        }
    }

    #[test]
    fn what_lies_elsewhere_is_not_read_by_whatever_name() {
        let top = tempfile::tempdir().expect("a folder");
        let folder = top.path().join("runbooks");
        fs::create_dir_all(folder.join("sub")).expect("made");
        fs::write(top.path().join("secret"), "secret").expect("written");
        fs::write(folder.join("sub/good"), "good").expect("written");
        symlink(top.path().join("secret"), folder.join("link")).expect("made");
        symlink(top.path(), folder.join("sub/up")).expect("made");
        symlink(folder.join("sub/good"), folder.join("inside")).expect("made");
        symlink(&folder, top.path().join("alias")).expect("made");
        for folder in [folder.clone(), top.path().join("alias")] {
            for name in ["sub/good", "./sub/../sub/good", "inside"] {
                assert_eq!(read_below(&folder, name).expect("inside"), "good", "{name}");
            }
            let absolute = folder.join("sub/good").display().to_string();
            for name in ["../secret", "sub/../../secret", "link", "sub/up/secret", "/etc/hostname", &absolute] {
                let error = read_below(&folder, name).expect_err("elsewhere");
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}: {error}");
            }
        }
        assert_eq!(elsewhere(&folder.join("link")), Some(top.path().join("secret").canonicalize().expect("there")));
        assert_eq!(elsewhere(&folder.join("inside")), None);
    }
}
