//! Where the files of this account are by default: state, cache and configuration, as the XDG base
//! directories say.

use crate::failure::Failure;
use std::path::PathBuf;

/// Where the state of this account is kept by default: its journal and its audit log.
pub fn state_directory() -> Result<PathBuf, Failure> {
    directory("XDG_STATE_HOME", ".local/state")
}

/// Where compiled plugins of this account are by default.
pub fn cache_directory() -> Result<PathBuf, Failure> {
    directory("XDG_CACHE_HOME", ".cache")
}

/// Where the keys of this account are by default.
pub fn config_directory() -> Result<PathBuf, Failure> {
    directory("XDG_CONFIG_HOME", ".config")
}

/// `runbook` below an XDG base directory.
fn directory(variable: &str, below_home: &str) -> Result<PathBuf, Failure> {
    let set = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    // An empty or relative path would be in the working directory, whose files may belong to
    // anybody.
    let home = || {
        std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute())
            .map(|home| home.join(below_home))
    };
    match set.or_else(home) {
        Some(base) => Ok(base.join("runbook")),
        None => Err(Failure::usage(format!(
            "neither `{variable}` nor `HOME` is set to an absolute path"
        ))
        .hint(format!("set `{variable}`"))),
    }
}
