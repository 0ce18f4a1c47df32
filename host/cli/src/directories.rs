//! The default directories of this account for state, cache and configuration, below the XDG base
//! directories.

use crate::failure::Failure;
use std::path::PathBuf;

/// The default directory for state: the journal and the audit log.
pub fn state_directory() -> Result<PathBuf, Failure> {
    directory("XDG_STATE_HOME", ".local/state")
}

/// The default directory for compiled plugins.
pub fn cache_directory() -> Result<PathBuf, Failure> {
    directory("XDG_CACHE_HOME", ".cache")
}

/// The default directory for `config.toml` and keys.
pub fn config_directory() -> Result<PathBuf, Failure> {
    directory("XDG_CONFIG_HOME", ".config")
}

/// `runbook` below an XDG base directory.
fn directory(variable: &str, below_home: &str) -> Result<PathBuf, Failure> {
    let xdg_directory =
        std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    // Empty and relative paths are ignored: they would lead into the working directory, whose files
    // may belong to anybody.
    let home = || {
        std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute())
            .map(|home| home.join(below_home))
    };
    match xdg_directory.or_else(home) {
        Some(base) => Ok(base.join("runbook")),
        None => Err(Failure::usage(format!(
            "neither `{variable}` nor `HOME` is set to an absolute path"
        ))
        .hint(format!("set `{variable}`"))),
    }
}
