//! Files that the program reads as a text: runbooks and what they include, lockfiles, boundaries,
//! waivers, trust files, settings.
//!
//! One rule for all of them: a regular file of a bounded size. What is not one (a pipe, a device, a
//! folder) is never waited for and never read.

use runbook_document::Source;
use runbook_regular_file::{Links, open, read_all};
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// No text that a person writes or reviews comes near this.
pub const MAX_BYTES: u64 = 16 << 20;

/// The text of a file.
///
/// # Errors
/// Whatever the system says; [`io::ErrorKind::InvalidInput`] for what is no regular file,
/// [`io::ErrorKind::FileTooLarge`] and [`io::ErrorKind::InvalidData`] for what is too large, or no
/// UTF-8.
pub fn read(path: &Path) -> io::Result<String> {
    text_of(open(path, Links::Follow)?)
}

/// A file with the name that findings show.
///
/// # Errors
/// As [`read`].
pub fn source(path: &Path) -> io::Result<Arc<Source>> {
    Ok(named(path, path.display().to_string(), read(path)?))
}

/// A text that was read from a file, and the name that findings call it by. If the file lies
/// elsewhere than its path says, its lines are not quoted: a checkout may have a link to a key that
/// the user of this program can read.
pub fn named(path: &Path, name: String, text: String) -> Arc<Source> {
    if elsewhere(path).is_some() { Source::unquoted(name, text) } else { Source::new(name, text) }
}

/// The text of the file that `name` names from `folder`, and that lies below it once links are
/// followed. Its name ends in `.toml` or `.sql`, and no part of its path is hidden.
///
/// # Errors
/// As [`read`]; [`io::ErrorKind::PermissionDenied`] for a file that lies elsewhere, of which
/// nothing is read.
pub fn read_below(folder: &Path, name: &str) -> io::Result<String> {
    // What became a link since is not followed.
    text_of(open(&locate_below(folder, name)?, Links::Refuse)?)
}

/// Where the file lies that [`read_below`] would read.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] for what lies elsewhere, and what the system says.
pub fn locate_below(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let elsewhere = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned());
    if Path::new(name).is_absolute() {
        return Err(elsewhere(
            "it is an absolute path, and what a file of a checkout names lies in its folder",
        ));
    }
    let real = folder.join(name).canonicalize()?;
    let root = folder.canonicalize()?;
    let Ok(inside) = real.strip_prefix(&root) else {
        return Err(elsewhere("it does not lie in the folder of the file that names it"));
    };
    let is_of_same_kind = Path::new(name).extension() == inside.extension();
    if !is_named_as_text(Path::new(name)) || !is_named_as_text(inside) || !is_of_same_kind {
        return Err(elsewhere(
            "what such a file names ends in `.toml` or `.sql`, and no part of its path begins with \
             a dot",
        ));
    }
    Ok(real)
}

/// Where a file lies that was named through a link into another folder, or to what is hidden or no
/// `….toml` or `….sql`; `None` if it lies where its name says.
pub fn elsewhere(path: &Path) -> Option<PathBuf> {
    let named =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (real, named) = (path.canonicalize().ok()?, named.canonicalize().ok()?);
    let is_as_named = match real.strip_prefix(named) {
        Ok(inside) => {
            path.file_name().is_some_and(|name| inside == Path::new(name))
                || is_named_as_text(inside)
        }
        Err(_) => false,
    };
    (!is_as_named).then_some(real)
}

fn text_of(file: File) -> io::Result<String> {
    let bytes = read_all(file, MAX_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            let message =
                format!("it has more than {} MiB, which no text of a runbook has", MAX_BYTES >> 20);
            io::Error::new(io::ErrorKind::FileTooLarge, message)
        }
        _ => error,
    })?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Whether no part of a path is hidden, and it is called what a text of a runbook is called. A
/// checkout holds files that its authors cannot read, such as `.git/config` with the token of a CI
/// service, and what is wrong with a text is quoted.
fn is_named_as_text(path: &Path) -> bool {
    let is_hidden = |part: Component<'_>| match part {
        Component::Normal(name) => name.as_encoded_bytes().starts_with(b"."),
        Component::CurDir | Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
            false
        }
    };
    path.extension().is_some_and(|extension| extension == "toml" || extension == "sql")
        && !path.components().any(is_hidden)
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
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::from_raw_mode(0o600))
            .expect("made");
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
            if path == Path::new("/dev/stdin")
                && path.metadata().map_or(true, |metadata| metadata.is_file())
            {
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
        fs::write(top.path().join("secret.toml"), "secret").expect("written");
        fs::write(folder.join("sub/good.toml"), "good").expect("written");
        symlink(top.path().join("secret.toml"), folder.join("link.toml")).expect("made");
        symlink(top.path(), folder.join("sub/up")).expect("made");
        symlink(folder.join("sub/good.toml"), folder.join("inside.toml")).expect("made");
        for hidden in [".git", ".hidden"] {
            fs::create_dir_all(folder.join(hidden)).expect("made");
        }
        for (file, text) in [
            (".git/config", "token"),
            (".hidden.toml", "a"),
            (".hidden/a.toml", "a"),
            ("sub/plain", "a"),
        ] {
            fs::write(folder.join(file), text).expect("written");
        }
        symlink(folder.join(".git/config"), folder.join("to-hidden.toml")).expect("made");
        symlink(folder.join("sub/good.toml"), folder.join("to-another-kind.sql")).expect("made");
        symlink(&folder, top.path().join("alias")).expect("made");
        for folder in [folder.clone(), top.path().join("alias")] {
            for name in ["sub/good.toml", "./sub/../sub/good.toml", "inside.toml"] {
                assert_eq!(read_below(&folder, name).expect("inside.toml"), "good", "{name}");
            }
            let absolute = folder.join("sub/good.toml").display().to_string();
            for name in [
                ".git/config",
                ".hidden.toml",
                ".hidden/a.toml",
                "sub/plain",
                "to-hidden.toml",
                "to-another-kind.sql",
                "../secret.toml",
                "sub/../../secret.toml",
                "link.toml",
                "sub/up/secret.toml",
                "/etc/hostname",
                &absolute,
            ] {
                let error = read_below(&folder, name).expect_err("elsewhere");
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}: {error}");
            }
        }
        assert_eq!(
            elsewhere(&folder.join("link.toml")),
            Some(top.path().join("secret.toml").canonicalize().expect("there"))
        );
        assert_eq!(elsewhere(&folder.join("inside.toml")), None);
    }
}
