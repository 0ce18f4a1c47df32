//! Removes the environment variables that change how host names are resolved, so that whoever
//! starts the program cannot redirect a name to another address.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The variables that change how the C library resolves names (`resolv.conf(5)`, `host.conf(5)`,
/// `hostname(7)`).
const VARIABLES: &[&str] = &[
    "HOSTALIASES",
    "LOCALDOMAIN",
    "RES_OPTIONS",
    "RESOLV_ADD_TRIM_DOMAINS",
    "RESOLV_HOST_CONF",
    "RESOLV_MULTI",
    "RESOLV_OVERRIDE_TRIM_DOMAINS",
    "RESOLV_REORDER",
    "RESOLV_SPOOF_CHECK",
];

/// Executes the program again without these variables, if one is set. A running program cannot
/// safely remove them, because the C library reads its own environment.
///
/// # Errors
/// The program cannot be started again.
pub fn restart_without_variables() -> io::Result<()> {
    if VARIABLES.iter().all(|name| std::env::var_os(name).is_none()) {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(arguments.next().unwrap_or_else(|| "runbook".into())).args(arguments);
    VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    // `exec` returns only with an error.
    Err(command.exec())
}
