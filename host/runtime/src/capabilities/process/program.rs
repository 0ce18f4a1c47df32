//! Which file is executed, and that it is the one that the grant pins.

use super::child::Failure;
use runbook_authority::Digest;
use runbook_authority::target::ProcessTarget;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sets the signal that a program gets when this process dies, then becomes the program. Doing the same here needs code between
/// `fork` and `exec`, which cannot be written without `unsafe`.
const SETPRIV: &str = "/usr/bin/setpriv";

/// The program of a target.
pub(super) struct Program {
    /// The name by which it is started.
    path: PathBuf,
    /// Where that led when the target was judged.
    real: PathBuf,
    sha256: Option<Digest>,
}

/// A command, with the file that must stay open until it is started.
pub(super) struct Ready {
    pub(super) command: Command,
    pub(super) pinned: Option<File>,
}

impl Program {
    pub(super) fn new(process: &ProcessTarget) -> Self {
        Self { path: process.program.named().to_owned(), real: process.program.real().to_owned(), sha256: process.sha256.clone() }
    }

    /// The command that runs the program. A pinned program is read, and then the same open file is executed: what lies at its
    /// path by then does not matter.
    pub(super) fn command(&self) -> Result<Ready, Failure> {
        if crate::follow_links(&self.path) != self.real {
            return Err(Failure::Start(Errno::LOOP.into()));
        }
        let (path, pinned) = match &self.sha256 {
            Some(wanted) => {
                let file = open(&self.real)?;
                check(&file, wanted)?;
                // The program must find it open after `exec`. It is the program itself, which it can read anyway.
                rustix::io::fcntl_setfd(&file, FdFlags::empty()).map_err(|error| Failure::Start(error.into()))?;
                (PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())), Some(file))
            }
            None => {
                // So that "not found" is said of the program, not of what starts it.
                open(&self.path)?;
                (self.path.clone(), None)
            }
        };
        let mut command = if Path::new(SETPRIV).exists() {
            let mut command = Command::new(SETPRIV);
            command.args(["--pdeathsig", "KILL", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.env_clear();
        Ok(Ready { command, pinned })
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()) {
        Ok(file) => {
            let stat = rustix::fs::fstat(&file).map_err(|error| Failure::Start(error.into()))?;
            let runs = crate::capabilities::files::directory::file_type(&stat) == rustix::fs::FileType::RegularFile
                && stat.st_mode & 0o111 != 0;
            if runs { Ok(File::from(file)) } else { Err(Failure::Start(Errno::ACCESS.into())) }
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Err(Failure::NotFound),
        Err(error) => Err(Failure::Start(error.into())),
    }
}

fn check(mut file: &File, wanted: &Digest) -> Result<(), Failure> {
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(Failure::Start)?;
    let found = Digest::from_sha256(hash.finalize().into());
    if found == *wanted { Ok(()) } else { Err(Failure::Digest { found }) }
}
