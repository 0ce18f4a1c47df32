//! Judges paths below the directory of a `files` target, and how old a file is that is removed.

use super::{Judgment, Rule};
use crate::pattern::relative_file_path;
use crate::targets::FilesTarget;
use std::time::Duration;

/// Judges the path of a file.
pub(super) fn judge_path(target: &FilesTarget, path: &str) -> Judgment {
    judge_folder(path)?;
    if target.allows_path(path) {
        return Ok(());
    }
    let patterns: Vec<_> =
        target.patterns.iter().flatten().map(|pattern| format!("`{pattern}`")).collect();
    let reason = if patterns.is_empty() {
        "no path is allowed".to_owned()
    } else {
        format!("`{}` fits none of {}", path.escape_debug(), patterns.join(", "))
    };
    Err((Rule::FilePattern, reason))
}

/// Judges the path of a folder that is listed. What fits no pattern is left out of the list.
pub(super) fn judge_folder(path: &str) -> Judgment {
    relative_file_path(path)
        .map(drop)
        .map_err(|error| (Rule::File, format!("`{}`: {error}", path.escape_debug())))
}

/// Judges a removal by the age of the file.
pub(super) fn judge_removal(target: &FilesTarget, path: &str, age: Duration) -> Judgment {
    judge_path(target, path)?;
    if age >= target.min_age {
        return Ok(());
    }
    let reason = format!(
        "`{}` was changed {} s ago, and only files older than {} s may be removed",
        path.escape_debug(),
        age.as_secs(),
        target.min_age.as_secs_f64()
    );
    Err((Rule::FileAge, reason))
}
