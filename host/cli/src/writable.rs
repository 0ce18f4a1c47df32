//! Warns of files that every account of this host can change.

use crate::ui;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The mode bit by which accounts other than the owner and the group may write.
const OTHERS_WRITE: u32 = 0o002;

/// The mode bit by which only the owner of a file in a folder may replace it.
const STICKY: u32 = 0o1000;

/// Warns if every account of this host can change or replace the file. `what` is what the warning
/// calls it, such as `the lockfile`.
pub fn warn_if_world_writable(what: &str, file: &Path) {
    let mode = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.mode());
    let folder =
        file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file_is_open = mode(file) & OTHERS_WRITE != 0;
    let folder_is_open = mode(folder) & OTHERS_WRITE != 0 && mode(folder) & STICKY == 0;
    let (verb, open_path) = match (file_is_open, folder_is_open) {
        (true, _) => ("change", file),
        (false, true) => ("replace", folder),
        (false, false) => return,
    };
    let open_path = open_path.display().to_string();
    let (file, open_path) = (file.display(), runbook_text::file_argument(&open_path));
    ui::print_stderr(&format!(
        "warning: everybody on this host can {verb} {what} `{file}`: `chmod o-w {open_path}`"
    ));
}
