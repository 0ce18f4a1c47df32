//! Starts the small process that becomes a program: which executable, and with what.

use runbook_launch::{LaunchSpec, VARIABLE};
use runbook_secrets::Secret;
use rustix::io::FdFlags;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};

/// What programs are started by: an executable that calls [`runbook_launch::run`] when it is given
/// these arguments and a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    /// The path of the executable.
    pub program: PathBuf,
    /// What stands before the spec.
    pub arguments: Vec<OsString>,
}

impl Launcher {
    /// The running executable in its mode [`runbook_launch::MODE`], even if another file lies at
    /// its path by now.
    pub fn this_program() -> Self {
        Self::this_program_as(runbook_launch::MODE)
    }

    /// The running executable, in another mode of its own.
    pub(crate) fn this_program_as(mode: &str) -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), arguments: vec![mode.into()] }
    }

    /// A command that becomes what `spec` says, with this environment and no other.
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
            command.env(format!("{VARIABLE}{name}"), OsStr::from_bytes(value.expose()));
        }
        Ok(command)
    }
}

/// Files that one child inherits, and no other that is started at the same time.
pub(crate) struct InheritedFiles<'a>(pub(crate) Vec<&'a File>);

impl InheritedFiles<'_> {
    /// Starts a child that finds these files open under the numbers that they have here.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _only = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(FdFlags::empty())?;
        let spawned = command.spawn();
        self.set(FdFlags::CLOEXEC)?;
        spawned
    }

    fn set(&self, flags: FdFlags) -> io::Result<()> {
        self.0
            .iter()
            .try_for_each(|file| rustix::io::fcntl_setfd(file, flags))
            .map_err(io::Error::from)
    }
}
