//! Checks the files that an operator names for plans, reports and events: they must not overwrite a
//! file that this program reads.

use crate::context::Context;
use crate::failure::Failure;
use crate::protected_paths;
use runbook_authority::lockfile;
use runbook_regular_file::{Links, open};
use runbook_runtime::resolve_symlinks;
use std::io::Read as _;
use std::path::Path;

/// The extensions of files that this program reads, and what those files are. Reports and events
/// have other extensions.
const EXTENSIONS: &[(&str, &str)] = &[
    ("toml", "a text that runbooks are made of"),
    ("wasm", "a plugin"),
    ("sig", "a signature"),
    ("age", "a store of secrets"),
    ("recipients", "a list of recipients"),
];

/// The first bytes of files that this program reads, and what those files are.
const MAGIC_BYTES: &[(&[u8], &str)] = &[
    (b"SQLite format 3\0", "a database"),
    (b"\0asm", "a plugin"),
    (b"age-encryption.org/", "a store of secrets"),
    (b"-----BEGIN ", "a key or a certificate"),
];

/// Fails if the path is a file that this program reads, such as a runbook, a plugin, a database or
/// a file of the host. Other existing files may be overwritten.
///
/// # Errors
/// The path is such a file.
pub fn refuse_overwriting_input(context: &Context, path: &Path) -> Result<(), Failure> {
    let Some(what) = protected_path_at(context, path).or_else(|| input_kind_of_existing(path))
    else {
        return Ok(());
    };
    let message = format!("`{}` is {what}, and would be lost", path.display());
    Err(Failure::usage(message).hint("name another file to be written"))
}

/// What the host keeps at a path, if it is one of the protected paths of the host.
fn protected_path_at(context: &Context, path: &Path) -> Option<&'static str> {
    let real = resolve_symlinks(&std::path::absolute(path).ok()?);
    protected_paths::paths(context, &[])
        .into_iter()
        .find(|protected| real.starts_with(&protected.path))
        .map(|protected| protected.what)
}

/// What an existing file is, if it is of a kind that this program reads.
fn input_kind_of_existing(path: &Path) -> Option<&'static str> {
    // A pipe or a terminal has no content that could be lost.
    let mut beginning = Vec::new();
    open(path, Links::Follow).ok()?.take(64).read_to_end(&mut beginning).ok()?;
    if beginning.is_empty() {
        return None;
    }
    let real = path.canonicalize().ok()?;
    if real.file_name().is_some_and(|name| name == lockfile::FILE_NAME) {
        return Some("a lockfile");
    }
    let by_name = real
        .extension()
        .and_then(|ending| Some(EXTENSIONS.iter().find(|(known, _)| ending == *known)?.1));
    by_name.or_else(|| {
        MAGIC_BYTES.iter().find(|(known, _)| beginning.starts_with(known)).map(|(_, what)| *what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_files_are_recognized_by_extension_or_first_bytes_also_through_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("it is written");
            path
        };
        for (ending, what) in EXTENSIONS {
            let path = file(&format!("a.{ending}"), b"text");
            let link = folder.path().join(format!("{ending}.json"));
            std::os::unix::fs::symlink(&path, &link).expect("a link");
            assert_eq!(
                (input_kind_of_existing(&path), input_kind_of_existing(&link)),
                (Some(*what), Some(*what))
            );
            assert_eq!(
                input_kind_of_existing(&file(&format!("empty.{ending}"), b"")),
                None,
                "an empty file may be overwritten"
            );
        }
        for (beginning, what) in MAGIC_BYTES {
            assert_eq!(
                input_kind_of_existing(&file(
                    "report.json",
                    &[beginning, &b" and more"[..]].concat()
                )),
                Some(*what)
            );
        }
        assert_eq!(
            input_kind_of_existing(&file(lockfile::FILE_NAME, b"format = 2\n")),
            Some("a lockfile")
        );
        assert_eq!(input_kind_of_existing(&file("report.json", b"{\"format\": 1}")), None);
        assert_eq!(input_kind_of_existing(&folder.path().join("not-there.toml")), None);
        assert_eq!(input_kind_of_existing(folder.path()), None);
    }
}
