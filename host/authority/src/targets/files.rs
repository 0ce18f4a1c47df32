//! A `files` target: one directory.

use super::{Folder, HostPath};
use crate::capability::Verb;
use runbook_document::{ByteSize, Reader, Spanned};
use std::time::Duration;

/// The access that a target gives to the files of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAccess {
    /// Files may only be read; the default.
    Read,
    /// Files may be read, written and removed.
    Write,
}

impl FileAccess {
    /// The verbs that it stands for.
    pub fn verbs(self) -> &'static [Verb] {
        match self {
            Self::Read => &[Verb::FilesRead],
            Self::Write => {
                &[Verb::FilesRead, Verb::FilesWrite, Verb::FilesRename, Verb::FilesRemove]
            }
        }
    }
}

/// One directory, as a `files` target describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesTarget {
    /// The directory that all paths are below.
    pub root: HostPath,
    /// What may be done with the files.
    pub access: FileAccess,
    /// The largest file that a plugin can read at once. Streams (dumps, digests) have no such
    /// limit.
    pub max_bytes: ByteSize,
    /// Patterns of the paths that may be used, below the directory; `*` is any run of characters.
    /// `None` allows every path.
    pub patterns: Option<Vec<String>>,
    /// How many bytes all searches and reads of one call of a plugin may go through, after
    /// decompression.
    pub max_total: ByteSize,
    /// How old a file must be before it may be removed, by the time of its last change.
    pub min_age: Duration,
}

impl FilesTarget {
    /// Whether a path below the directory may be used.
    pub fn allows_path(&self, path: &str) -> bool {
        self.patterns.as_ref().is_none_or(|patterns| {
            patterns.iter().any(|pattern| crate::pattern_matches(pattern, path))
        })
    }
}

/// How many bytes are gone through if the target does not say.
const DEFAULT_MAX_TOTAL: ByteSize = ByteSize(1 << 30);

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<FilesTarget> {
    let root = reader.required::<String>("files").map(|path| folder.locate(&path.value));
    let access = reader.optional::<String>("access").map_or(Some(FileAccess::Read), |text| {
        match text.value.as_str() {
            "read" => Some(FileAccess::Read),
            "write" => Some(FileAccess::Write),
            _ => {
                reader.error(
                    "E0103",
                    text.span,
                    format!("`{}` is not an access", text.value),
                    "`read` or `write`",
                );
                None
            }
        }
    });
    let max_bytes =
        reader.optional::<ByteSize>("max_bytes").map_or(ByteSize(8 << 20), |size| size.value);
    let max_total =
        reader.optional::<ByteSize>("max_total").map_or(DEFAULT_MAX_TOTAL, |size| size.value);
    let min_age = reader.optional::<Duration>("min_age").map_or(Duration::ZERO, |age| age.value);
    let patterns = read_patterns(reader);
    Some(FilesTarget { root: root?, access: access?, max_bytes, patterns, max_total, min_age })
}

fn read_patterns(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let texts = reader.optional::<Vec<Spanned<String>>>("patterns")?;
    let mut patterns = Vec::new();
    for text in texts.value {
        let why = match crate::pattern::relative_file_path(&text.value) {
            Ok("") => "it names the directory itself".to_owned(),
            Ok(_) => {
                patterns.push(text.value);
                continue;
            }
            Err(error) => error.to_string(),
        };
        let message = format!("the pattern `{}` never fits: {why}", text.value.escape_debug());
        let help = "a pattern names paths below the directory, such as `*.log` or `old/*`";
        reader.error_with_help("E0103", text.span, message, "fits no path", help);
    }
    Some(patterns)
}
