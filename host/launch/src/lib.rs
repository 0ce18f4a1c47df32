//! The launcher: a small process between the host and a program that sets up its own limits and
//! then becomes the program (`exec`). Otherwise this would need code between `fork` and `exec`,
//! which cannot be written without `unsafe`.
//!
//! It always arranges that the program dies with its host, and gives up what the [`LaunchSpec`]
//! does not grant: see [`confinement`], and [`sandbox`] for a program that can change nothing. If
//! something cannot be set up, the launcher reports it, and the program does not run.

pub mod cgroup;
pub mod confinement;
pub mod files;
mod identity;
pub mod protection;
mod refused;
pub mod sandbox;
mod syscalls;
mod temporary;

use confinement::{Confinement, OwnTemporary};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::process::{Signal, getppid, set_parent_process_death_signal, setsid};
use sandbox::{Allowance, MissingFeature};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The first argument by which `runbook` becomes the launcher.
pub const MODE: &str = "__launch";

/// Stands before the name of each variable of the program's environment, so that none of them
/// (`LD_PRELOAD`, say) has a meaning for the launcher itself.
pub const VARIABLE: &str = "PROGRAM_";

/// The exit code of a launcher that did not become the program. The program may end with it too:
/// only the [`Status`] tells.
const NOT_STARTED: u8 = 125;

/// A file of the launcher's parent that the launcher inherits, by number.
pub type InheritedFd = i32;

/// What is to be started, and how. It holds no secret: the environment goes its own way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchSpec {
    /// The process that starts the launcher. If it is gone already, nothing is started.
    pub parent: i32,
    /// Where a [`LaunchRefusal`] is written.
    pub status: InheritedFd,
    /// The program's path: what is executed, unless `content` is given, and what the program sees
    /// as its own name.
    pub program: PathBuf,
    /// A sealed copy of the program, to be executed instead.
    pub content: Option<InheritedFd>,
    /// What reads the program, if that is a script whose interpreter is pinned too.
    pub interpreter: Option<Interpreter>,
    /// The arguments of the program, without its own name.
    pub arguments: Vec<String>,
    /// The walls around it.
    pub walls: Walls,
    /// The control group that it and all that it starts belong to.
    pub cgroup: Option<PathBuf>,
}

/// The walls around a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Walls {
    /// It can read, and change nothing.
    ReadOnly(Allowance),
    /// It can do what its target grants.
    Confined(Confinement),
}

/// The program that reads a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interpreter {
    /// Its path: what it sees as its own name.
    pub program: PathBuf,
    /// A sealed copy of it.
    pub content: InheritedFd,
    /// The argument that stands behind it in the script's first line.
    pub argument: Option<String>,
}

/// Why a program was not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LaunchRefusal {
    /// The host that wanted the program is gone.
    #[error("the process that wanted it is gone")]
    Orphan,
    /// The sandbox cannot be made here.
    #[error(transparent)]
    Sandbox(#[from] MissingFeature),
    /// A step of the launcher itself.
    #[error("{what}: {}", io::Error::from_raw_os_error(*errno))]
    System {
        /// What the launcher tried to do.
        what: String,
        /// The number of the error.
        errno: i32,
    },
}

/// Where a launcher says why it did not become the program. Empty, if it did.
///
/// A program could write there too, and make its own start look refused, but gains nothing by it.
#[derive(Debug)]
pub struct Status(File);

impl Status {
    /// A new one. It is not inherited until its flag is cleared.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self(rustix::fs::memfd_create("runbook-status", MemfdFlags::CLOEXEC)?.into()))
    }

    /// The file, to be inherited.
    pub fn file(&self) -> &File {
        &self.0
    }

    /// What the launcher said.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(mut self) -> io::Result<Option<LaunchRefusal>> {
        let mut text = Vec::new();
        self.0.rewind()?;
        (&mut self.0).take(64 << 10).read_to_end(&mut text)?;
        if text.is_empty() {
            Ok(None)
        } else {
            serde_json::from_slice(&text).map(Some).map_err(io::Error::from)
        }
    }
}

/// Becomes the program that `spec` describes. It comes back only if that cannot be done.
pub fn run(spec: Option<&OsStr>) -> ExitCode {
    let spec = spec.and_then(|text| serde_json::from_slice::<LaunchSpec>(text.as_bytes()).ok());
    let Some(spec) = spec else {
        // Nobody but the program itself calls it, so nobody reads more than this.
        let _ =
            writeln!(io::stderr(), "runbook: the launcher was called without what it is to start");
        return ExitCode::from(NOT_STARTED);
    };
    let status = inherited(spec.status);
    let refusal = become_program(&spec);
    if let Ok(mut status) = status {
        let text = serde_json::to_vec(&refusal).unwrap_or_default();
        let _ = status.write_all(&text);
    }
    ExitCode::from(NOT_STARTED)
}

fn become_program(spec: &LaunchSpec) -> LaunchRefusal {
    match prepare(spec) {
        // `exec` comes back only with an error.
        Ok(mut command) => system("it cannot be executed", &command.exec()),
        Err(refusal) => refusal,
    }
}

fn prepare(spec: &LaunchSpec) -> Result<Command, LaunchRefusal> {
    leave_the_terminal()?;
    if let Some(cgroup) = &spec.cgroup {
        // 0 is whoever writes it.
        std::fs::write(cgroup.join("cgroup.procs"), "0")
            .map_err(|error| system("its control group cannot be entered", &error))?;
    }
    // First: a process that becomes another user's, or enters a name space, forgets whose end it
    // watches.
    let temporary = match &spec.walls {
        Walls::ReadOnly(_) => {
            sandbox::limit_tasks()?;
            OwnTemporary::None
        }
        Walls::Confined(confinement) => confinement.make_temporary(&[&spec.program])?,
    };
    die_with(spec.parent)?;
    let command = command(spec);
    match &spec.walls {
        Walls::ReadOnly(allowance) => sandbox::enter(allowance)?,
        Walls::Confined(confinement) => confinement.enter(temporary)?,
    }
    Ok(command)
}

/// Begins a session without a terminal, and a process group with it. A program that kept the
/// terminal of the operator could type their answers into it (`TIOCSTI`), write lines among those
/// of the run, and be stopped by it.
fn leave_the_terminal() -> Result<(), LaunchRefusal> {
    setsid()
        .map(drop)
        .map_err(|error| system("the operator's terminal cannot be left", &error.into()))
}

/// Has the kernel kill this process when its parent ends.
///
/// # Errors
/// [`LaunchRefusal`], if that cannot be arranged, or the parent has ended already.
pub fn die_with(parent: i32) -> Result<(), LaunchRefusal> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| system("the end of the host cannot be watched", &error.into()))?;
    // It may have died before that was arranged.
    if getppid().map(|parent| parent.as_raw_nonzero().get()) == Some(parent) {
        Ok(())
    } else {
        Err(LaunchRefusal::Orphan)
    }
}

fn command(spec: &LaunchSpec) -> Command {
    let by_number = |number: InheritedFd| PathBuf::from(format!("/proc/self/fd/{number}"));
    let content = spec.content.map(by_number);
    let mut command = match (&spec.interpreter, content) {
        (Some(interpreter), Some(script)) => {
            let mut command = Command::new(by_number(interpreter.content));
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
        if let Some(name) = name.as_bytes().strip_prefix(VARIABLE.as_bytes()) {
            command.env(std::ffi::OsString::from_vec(name.to_vec()), value);
        }
    }
    command
}

/// An inherited file, opened for writing under a number that the program does not get.
fn inherited(number: InheritedFd) -> io::Result<File> {
    let path = format!("/proc/self/fd/{number}");
    Ok(rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?.into())
}

fn system(what: &str, error: &io::Error) -> LaunchRefusal {
    LaunchRefusal::System { what: what.to_owned(), errno: error.raw_os_error().unwrap_or(0) }
}

/// The number by which a launcher will know a file that it inherits.
pub fn number_of(file: &File) -> InheritedFd {
    file.as_raw_fd()
}
