//! Replaces files atomically: nobody reads half of a file, and a crash leaves the old one.

use crate::failure::Failure;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Who may read the file afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// The mode of the existing file, which must exist.
    AsBefore,
    /// Only the owner of the file.
    Owner,
    /// Everybody: the file is committed, or collected by a service.
    Everybody,
}

/// Replaces or creates a file. For a symbolic link, the file that it leads to is replaced. A pipe,
/// terminal or device is written to and not replaced.
pub fn replace(path: &Path, text: &str, mode: FileMode) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!("`{}` cannot be written: {error}", path.display()))
    };
    // `/dev/stdout` may lead to a pipe, which has no path: metadata follows the link.
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let mut stream = fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
        return stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).map_err(failed);
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder =
        target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = match mode {
        FileMode::AsBefore => fs::metadata(&target).map_err(failed)?.permissions(),
        FileMode::Owner => Permissions::from_mode(0o600),
        FileMode::Everybody => Permissions::from_mode(0o644),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().set_permissions(permissions).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&target).map(drop).map_err(|error| failed(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt as _, symlink};

    #[test]
    fn a_pipe_is_written_to_and_not_replaced_also_through_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600))
            .expect("a pipe");
        symlink(&pipe, &link).expect("a link");
        for name in [&pipe, &link] {
            for mode in [FileMode::Owner, FileMode::Everybody] {
                let reader = std::thread::spawn({
                    let pipe = pipe.clone();
                    move || fs::read_to_string(pipe)
                });
                assert!(replace(name, "text\n", mode).is_ok());
                assert!(
                    fs::metadata(name).expect("it is there").file_type().is_fifo(),
                    "it is a pipe still"
                );
                assert_eq!(reader.join().expect("it ends").expect("it is read"), "text\n");
            }
        }
        assert!(link.symlink_metadata().expect("it is there").is_symlink());
    }

    #[test]
    fn replacing_a_link_replaces_the_file_that_it_leads_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").expect("it is written");
        symlink(&file, &link).expect("a link");
        assert!(replace(&link, "new", FileMode::Owner).is_ok());
        assert_eq!(fs::read_to_string(&file).expect("it is read"), "new");
        assert!(link.symlink_metadata().expect("it is there").is_symlink());
    }
}
