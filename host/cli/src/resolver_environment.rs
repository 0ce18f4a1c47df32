//! The environment of whoever starts the program says nothing about where a name leads.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The variables by which the resolver of the C library turns one name into another, or asks
/// elsewhere (`resolv.conf(5)`, `host.conf(5)`, `hostname(7)`).
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

/// Begins the program anew without these variables, if one is set: the C library reads them from
/// its own environment, and a program cannot safely change that while it runs.
///
/// # Errors
/// The program cannot be started again.
pub fn leave() -> io::Result<()> {
    if VARIABLES.iter().all(|name| std::env::var_os(name).is_none()) {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(arguments.next().unwrap_or_else(|| "runbook".into())).args(arguments);
    VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    // It comes back only with an error.
    Err(command.exec())
}
