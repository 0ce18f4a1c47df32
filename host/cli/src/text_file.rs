//! Reads text files: runbooks and the files that they include, lockfiles, boundaries, waivers,
//! trust files, settings.
//!
//! All of them must be regular files of a bounded size. Pipes, devices and folders are never opened
//! for reading, because that could block.

use runbook_document::Source;
use runbook_regular_file::{Links, open, read_all};
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The largest text file, in bytes. Files that people write or review are much smaller.
pub const MAX_BYTES: u64 = 16 << 20;

/// The text of a file.
///
/// # Errors
/// Errors of the system; [`io::ErrorKind::InvalidInput`] if it is not a regular file,
/// [`io::ErrorKind::FileTooLarge`] if it is too large, and [`io::ErrorKind::InvalidData`] if it is
/// not UTF-8.
pub fn read(path: &Path) -> io::Result<String> {
    decode(open(path, Links::Follow)?)
}

/// Reads a file as the source of diagnostics.
///
/// # Errors
/// As [`read`].
pub fn source(path: &Path) -> io::Result<Arc<Source>> {
    Ok(named_source(path, path.display().to_string(), read(path)?))
}

/// A text that was read from `path`, as the source of diagnostics with this name. If the path is a
/// link to elsewhere, diagnostics do not quote its lines: a checkout may have a link to a key that
/// the user of this program can read.
pub fn named_source(path: &Path, name: String, text: String) -> Arc<Source> {
    if real_path_if_elsewhere(path).is_some() {
        Source::unquoted(name, text)
    } else {
        Source::new(name, text)
    }
}

/// The text of the file with the path `name` in `folder`. With links resolved, it must still be
/// below the folder. Its name must end in `.toml` or `.sql`, and no part of its path may be hidden.
///
/// # Errors
/// As [`read`]; [`io::ErrorKind::PermissionDenied`] for another file, which is not read.
pub fn read_below(folder: &Path, name: &str) -> io::Result<String> {
    // If the path has become a link since, it is not followed.
    decode(open(&locate_below(folder, name)?, Links::Refuse)?)
}

/// The real path of the file that [`read_below`] would read.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] for a file that may not be read, and errors of the system.
pub fn locate_below(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let denial = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned());
    if Path::new(name).is_absolute() {
        return Err(denial(
            "it is an absolute path, and what a file of a checkout names lies in its folder",
        ));
    }
    let real = folder.join(name).canonicalize()?;
    let root = folder.canonicalize()?;
    let Ok(inside) = real.strip_prefix(&root) else {
        return Err(denial("it does not lie in the folder of the file that names it"));
    };
    let is_of_same_kind = Path::new(name).extension() == inside.extension();
    if !is_named_as_text(Path::new(name)) || !is_named_as_text(inside) || !is_of_same_kind {
        return Err(denial(
            "what such a file names ends in `.toml` or `.sql`, and no part of its path begins with \
             a dot",
        ));
    }
    Ok(real)
}

/// The real path of a file, if `path` is a link into another folder, to a hidden file, or to a file
/// that is not `….toml` or `….sql`; otherwise `None`.
pub fn real_path_if_elsewhere(path: &Path) -> Option<PathBuf> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (real, folder) = (path.canonicalize().ok()?, folder.canonicalize().ok()?);
    let is_as_named = match real.strip_prefix(folder) {
        Ok(inside) => {
            path.file_name().is_some_and(|name| inside == Path::new(name))
                || is_named_as_text(inside)
        }
        Err(_) => false,
    };
    (!is_as_named).then_some(real)
}

fn decode(file: File) -> io::Result<String> {
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

/// Whether a path ends in `.toml` or `.sql` and no part of it is hidden. Other files must not be
/// read, because diagnostics quote them: a checkout may contain `.git/config` with the token of a
/// CI service, which the authors of a runbook may not read.
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
        let in_folder = |name: &str| folder.path().join(name);
        fs::write(in_folder("good"), "ä\n").expect("written");
        fs::write(in_folder("bytes"), b"\xff").expect("written");
        File::create(in_folder("huge")).and_then(|file| file.set_len(MAX_BYTES + 1)).expect("made");
        File::create(in_folder("largest")).and_then(|file| file.set_len(MAX_BYTES)).expect("made");
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            in_folder("pipe"),
            rustix::fs::Mode::from_raw_mode(0o600),
        )
        .expect("made");
        symlink(in_folder("pipe"), in_folder("link-to-pipe")).expect("made");
        symlink(in_folder("good"), in_folder("link")).expect("made");
        assert_eq!(read(&in_folder("good")).expect("good"), "ä\n");
        assert_eq!(read(&in_folder("link")).expect("good"), "ä\n");
        assert_eq!(read(&in_folder("largest")).expect("good").len() as u64, MAX_BYTES);
        for (path, kind) in [
            (in_folder("pipe"), io::ErrorKind::InvalidInput),
            (in_folder("link-to-pipe"), io::ErrorKind::InvalidInput),
            (PathBuf::from("/dev/zero"), io::ErrorKind::InvalidInput),
            (PathBuf::from("/dev/stdin"), io::ErrorKind::InvalidInput),
            (folder.path().to_owned(), io::ErrorKind::InvalidInput),
            (in_folder("huge"), io::ErrorKind::FileTooLarge),
            (in_folder("bytes"), io::ErrorKind::InvalidData),
            (in_folder("none"), io::ErrorKind::NotFound),
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
    fn a_file_outside_of_the_folder_is_not_read_by_any_name() {
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
            real_path_if_elsewhere(&folder.join("link.toml")),
            Some(top.path().join("secret.toml").canonicalize().expect("there"))
        );
        assert_eq!(real_path_if_elsewhere(&folder.join("inside.toml")), None);
    }
}
