//! Files that an operator names to be written: plans, reports, events. None of them takes the place
//! of what this program reads.

use crate::context::Context;
use crate::failure::Failure;
use crate::host_places;
use runbook_authority::lockfile;
use runbook_regular_file::{Links, open};
use runbook_runtime::follow_links;
use std::io::Read as _;
use std::path::Path;

/// Endings of files that this program reads, and what those files are. Reports and events have
/// other endings.
const ENDINGS: &[(&str, &str)] = &[
    ("toml", "a text that runbooks are made of"),
    ("wasm", "a plugin"),
    ("sig", "a signature"),
    ("age", "a store of secrets"),
    ("recipients", "a list of recipients"),
];

/// How files begin that this program reads, by whatever name, and what those files are.
const BEGINNINGS: &[(&[u8], &str)] = &[
    (b"SQLite format 3\0", "a database"),
    (b"\0asm", "a plugin"),
    (b"age-encryption.org/", "a store of secrets"),
    (b"-----BEGIN ", "a key or a certificate"),
];

/// Refuses to write to what this program reads, before anything is done: a runbook or what lies
/// beside it, a plugin, a database, a place of this host. A file of another kind is replaced, as
/// every program does that writes reports.
///
/// # Errors
/// The file is one of these, with what it is.
pub fn refuse_loss(context: &Context, path: &Path) -> Result<(), Failure> {
    let Some(what) = of_this_host(context, path).or_else(|| read_here(path)) else { return Ok(()) };
    let message = format!("`{}` is {what}, and would be lost", path.display());
    Err(Failure::usage(message).hint("name another file to be written"))
}

/// What a path is to this host, if it lies in a place that it believes.
fn of_this_host(context: &Context, path: &Path) -> Option<&'static str> {
    let real = follow_links(&std::path::absolute(path).ok()?);
    host_places::places(context, &[])
        .into_iter()
        .find(|place| real.starts_with(&place.path))
        .map(|place| place.what)
}

/// What a file is that is there already, if commands read such files.
fn read_here(path: &Path) -> Option<&'static str> {
    // A pipe or a terminal is written to, and nothing of it is lost.
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
        .and_then(|ending| Some(ENDINGS.iter().find(|(known, _)| ending == *known)?.1));
    by_name.or_else(|| {
        BEGINNINGS.iter().find(|(known, _)| beginning.starts_with(known)).map(|(_, what)| *what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_program_reads_is_known_by_its_name_or_its_beginning_through_a_link_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("it is written");
            path
        };
        for (ending, what) in ENDINGS {
            let path = file(&format!("a.{ending}"), b"text");
            let link = folder.path().join(format!("{ending}.json"));
            std::os::unix::fs::symlink(&path, &link).expect("a link");
            assert_eq!((read_here(&path), read_here(&link)), (Some(*what), Some(*what)));
            assert_eq!(
                read_here(&file(&format!("empty.{ending}"), b"")),
                None,
                "of nothing nothing is lost"
            );
        }
        for (beginning, what) in BEGINNINGS {
            assert_eq!(
                read_here(&file("report.json", &[beginning, &b" and more"[..]].concat())),
                Some(*what)
            );
        }
        assert_eq!(read_here(&file(lockfile::FILE_NAME, b"format = 2\n")), Some("a lockfile"));
        assert_eq!(read_here(&file("report.json", b"{\"format\": 1}")), None);
        assert_eq!(read_here(&folder.path().join("not-there.toml")), None);
        assert_eq!(read_here(folder.path()), None);
    }
}
