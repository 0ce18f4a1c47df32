//! The launcher: a process that the host starts in order to start a program. It limits itself and
//! then becomes the program (`exec`). Without it, the host would need code between `fork` and
//! `exec`, which cannot be written without `unsafe`.
//!
//! The launcher always arranges that the program dies with its host, and drops the rights that the
//! [`LaunchSpec`] does not grant: see [`confinement`], and [`sandbox`] for a program that may
//! change nothing. If something cannot be set up, the launcher reports it, and the program does not
//! run.

pub mod cgroup;
pub mod confinement;
mod file_commands;
pub mod files;
mod identity;
mod missing_feature;
pub mod network;
mod other_processes;
pub mod protection;
mod refused;
mod rules;
pub mod sandbox;
mod status;
mod syscalls;
mod temporary;

use confinement::Confinement;
pub use missing_feature::MissingFeature;
use rustix::process::{Signal, getppid, set_parent_process_death_signal, setsid};
use sandbox::ReadOnlyLimits;
use serde::{Deserialize, Serialize};
use status::LauncherStatus;
pub use status::Status;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use temporary::OwnTemporary;

/// The first argument by which `runbook` becomes the launcher.
pub const LAUNCH_ARGUMENT: &str = "__launch";

/// The prefix of the names of the program's environment variables in the environment of the
/// launcher, so that none of them (such as `LD_PRELOAD`) affects the launcher itself.
pub const VARIABLE_PREFIX: &str = "PROGRAM_";

/// The exit code of a launcher that did not become the program. The program may end with the same
/// code; only the [`Status`] distinguishes them.
const NOT_STARTED: u8 = 125;

/// The number of a file descriptor that the launcher inherits from its parent.
pub type InheritedFd = i32;

/// The program to start, and how. It contains no secrets: the environment is passed separately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchSpec {
    /// The process that starts the launcher. If it has ended already, nothing is started.
    pub parent: i32,
    /// The path of the program. It is executed unless `content` is given, and is the program's own
    /// name (`argv[0]`).
    pub program: PathBuf,
    /// A sealed copy of the program, which is executed instead of the file at `program`.
    pub content: Option<InheritedFd>,
    /// The interpreter, if the program is a script and its interpreter is pinned too.
    pub interpreter: Option<Interpreter>,
    /// The arguments of the program, without its own name.
    pub arguments: Vec<String>,
    /// What confines the program.
    pub sandbox: ProgramSandbox,
    /// The control group of the program and of everything that it starts.
    pub cgroup: Option<PathBuf>,
}

/// What confines a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramSandbox {
    /// The program can read, and change nothing.
    ReadOnly(ReadOnlyLimits),
    /// The program can do what its target grants.
    Confined(Confinement),
}

/// The interpreter of a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interpreter {
    /// Its path, which is its own name (`argv[0]`).
    pub program: PathBuf,
    /// A sealed copy of it.
    pub content: InheritedFd,
    /// The argument after it in the script's first line.
    pub argument: Option<String>,
}

/// Why a program was not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LaunchRefusal {
    /// The host that started the launcher has ended.
    #[error("the process that wanted it is gone")]
    Orphan,
    /// The sandbox cannot be made here.
    #[error(transparent)]
    Sandbox(#[from] MissingFeature),
    /// A system call of the launcher failed.
    #[error("{what}: {}", io::Error::from_raw_os_error(*errno))]
    System {
        /// What failed, as a clause for the message.
        what: String,
        /// The number of the error.
        errno: i32,
    },
}

/// Becomes the program that `spec` describes. The standard input is the channel of a [`Status`].
/// Returns only if that fails.
pub fn run(spec: Option<&OsStr>) -> ExitCode {
    let spec = spec.and_then(|text| serde_json::from_slice::<LaunchSpec>(text.as_bytes()).ok());
    let (Some(spec), Ok(status)) = (spec, LauncherStatus::take_from_stdin()) else {
        // Only the host calls the launcher, so this message needs no detail.
        let _ =
            writeln!(io::stderr(), "runbook: the launcher was called without what it is to start");
        return ExitCode::from(NOT_STARTED);
    };
    status.tell(&become_program(&spec));
    ExitCode::from(NOT_STARTED)
}

fn become_program(spec: &LaunchSpec) -> LaunchRefusal {
    match prepare(spec) {
        // `exec` returns only with an error.
        Ok(mut command) => system_error("it cannot be executed", &command.exec()),
        Err(refusal) => refusal,
    }
}

fn prepare(spec: &LaunchSpec) -> Result<Command, LaunchRefusal> {
    leave_terminal()?;
    if let Some(cgroup) = &spec.cgroup {
        // 0 stands for the process that writes it.
        std::fs::write(cgroup.join("cgroup.procs"), "0")
            .map_err(|error| system_error("its control group cannot be entered", &error))?;
    }
    // Done first: when a process changes its user or enters a namespace, the kernel clears its
    // parent death signal.
    let temporary = match &spec.sandbox {
        ProgramSandbox::ReadOnly(_) => {
            sandbox::limit_tasks()?;
            OwnTemporary::None
        }
        ProgramSandbox::Confined(confinement) => confinement.make_temporary(&[&spec.program])?,
    };
    die_with_parent(spec.parent)?;
    let command = command(spec);
    match &spec.sandbox {
        ProgramSandbox::ReadOnly(limits) => sandbox::make_read_only(limits)?,
        ProgramSandbox::Confined(confinement) => confinement.enter(temporary)?,
    }
    Ok(command)
}

/// Begins a session, and thus a process group, without a terminal. With the terminal of the
/// operator, a program could type answers into it (`TIOCSTI`), write lines among those of the run,
/// and be stopped by it.
fn leave_terminal() -> Result<(), LaunchRefusal> {
    setsid()
        .map(drop)
        .map_err(|error| system_error("the operator's terminal cannot be left", &error.into()))
}

/// Has the kernel kill this process when its parent ends.
///
/// # Errors
/// [`LaunchRefusal`], if that cannot be arranged, or the parent has ended already.
pub fn die_with_parent(parent: i32) -> Result<(), LaunchRefusal> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| system_error("the end of the host cannot be watched", &error.into()))?;
    // The parent may have ended before the signal was set.
    if getppid().map(|parent| parent.as_raw_nonzero().get()) == Some(parent) {
        Ok(())
    } else {
        Err(LaunchRefusal::Orphan)
    }
}

fn command(spec: &LaunchSpec) -> Command {
    let fd_path = |number: InheritedFd| PathBuf::from(format!("/proc/self/fd/{number}"));
    let content = spec.content.map(fd_path);
    let mut command = match (&spec.interpreter, content) {
        (Some(interpreter), Some(script)) => {
            let mut command = Command::new(fd_path(interpreter.content));
            command.arg0(&interpreter.program).args(&interpreter.argument).arg(script);
            command
        }
        (_, Some(content)) => {
            let mut command = Command::new(content);
            command.arg0(&spec.program);
            command
        }
        (_, None) => Command::new(&spec.program),
    };
    command.args(&spec.arguments).env_clear();
    for (name, value) in std::env::vars_os() {
        if let Some(name) = name.as_bytes().strip_prefix(VARIABLE_PREFIX.as_bytes()) {
            command.env(std::ffi::OsString::from_vec(name.to_vec()), value);
        }
    }
    command
}

fn system_error(what: &str, error: &io::Error) -> LaunchRefusal {
    LaunchRefusal::System { what: what.to_owned(), errno: error.raw_os_error().unwrap_or(0) }
}

/// The number of a file, as the launcher that inherits it uses it.
pub fn inherited_fd(file: &File) -> InheritedFd {
    file.as_raw_fd()
}
