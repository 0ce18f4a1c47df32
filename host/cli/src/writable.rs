//! Finds who may write to the files that decide what runs.

use crate::ui;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Others than its owner and group may write.
const OTHERS_WRITE: u32 = 0o002;

/// In such a folder only the owner of a file may replace it.
const STICKY: u32 = 0o1000;

/// Warns if every account of this host can change or replace the file, because then every account
/// decides what runs.
pub fn warn(what: &str, file: &Path) {
    let mode = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.mode());
    let folder =
        file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file_is_open = mode(file) & OTHERS_WRITE != 0;
    let folder_is_open = mode(folder) & OTHERS_WRITE != 0 && mode(folder) & STICKY == 0;
    let (can, open) = match (file_is_open, folder_is_open) {
        (true, _) => ("change", file),
        (false, true) => ("replace", folder),
        (false, false) => return,
    };
    let open = open.display().to_string();
    let (file, open) = (file.display(), runbook_text::file(&open));
    ui::notice(&format!(
        "warning: everybody on this host can {can} {what} `{file}`: `chmod o-w {open}`"
    ));
}
