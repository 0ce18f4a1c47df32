//! The launcher: an executable that is started with a spec and then becomes a program.

use runbook_launch::{LaunchSpec, VARIABLE_PREFIX};
use runbook_secrets::Secret;
use rustix::io::FdFlags;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};

/// The executable that starts programs: it calls [`runbook_launch::run`] when it gets these
/// arguments and a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    /// The path of the executable.
    pub program: PathBuf,
    /// The arguments before the spec.
    pub arguments: Vec<OsString>,
}

impl Launcher {
    /// The running executable in its mode [`runbook_launch::LAUNCH_ARGUMENT`], even if the file at
    /// its path was replaced.
    pub fn this_program() -> Self {
        Self::this_program_as(runbook_launch::LAUNCH_ARGUMENT)
    }

    /// The running executable, in another mode of its own.
    pub(crate) fn this_program_as(mode: &str) -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), arguments: vec![mode.into()] }
    }

    /// The command that starts the program of `spec`, with this environment only.
    pub(crate) fn command(
        &self,
        spec: &LaunchSpec,
        environment: &[(String, Secret)],
    ) -> io::Result<Command> {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .args(&self.arguments)
            .arg(serde_json::to_string(spec).map_err(io::Error::from)?);
        for (name, value) in environment {
            command.env(format!("{VARIABLE_PREFIX}{name}"), OsStr::from_bytes(value.expose()));
        }
        Ok(command)
    }
}

/// Files that one child inherits, but no other child that is started at the same time.
pub(crate) struct InheritedFiles<'a>(pub(crate) Vec<&'a File>);

impl InheritedFiles<'_> {
    /// Starts a child that inherits these files with their descriptor numbers.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        static SPAWN_LOCK: Mutex<()> = Mutex::new(());
        let _guard = SPAWN_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        self.set_fd_flags(FdFlags::empty())?;
        let spawned = command.spawn();
        self.set_fd_flags(FdFlags::CLOEXEC)?;
        spawned
    }

    fn set_fd_flags(&self, flags: FdFlags) -> io::Result<()> {
        self.0
            .iter()
            .try_for_each(|file| rustix::io::fcntl_setfd(file, flags))
            .map_err(io::Error::from)
    }
}
