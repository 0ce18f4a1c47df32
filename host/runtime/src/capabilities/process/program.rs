//! The file of a program, and the check that it has the pinned digest.

use super::failure::Failure;
use runbook_authority::Digest;
use runbook_authority::targets::ProcessTarget;
use runbook_launch::{Interpreter, LaunchSpec, ProgramSandbox, inherited_fd};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The program of a target.
pub(super) struct Program {
    /// The path by which it is started.
    path: PathBuf,
    /// The resolved path, from when the target was read.
    real: PathBuf,
    sha256: Option<Digest>,
    interpreter_sha256: Option<Digest>,
}

/// The file that is executed. A pinned program is executed from a sealed copy in memory that was
/// made while the file was hashed, so a later change of the file has no effect.
pub(super) struct ExecutableImage {
    path: PathBuf,
    content: Option<File>,
    interpreter: Option<PinnedInterpreter>,
}

struct PinnedInterpreter {
    path: PathBuf,
    content: File,
    argument: Option<String>,
}

/// How many bytes the kernel reads of the first line of a script.
const MAX_SHEBANG: usize = 256;

impl Program {
    pub(super) fn new(process: &ProcessTarget) -> Self {
        Self {
            path: process.program.unresolved().to_owned(),
            real: process.program.real().to_owned(),
            sha256: process.sha256.clone(),
            interpreter_sha256: process.interpreter_sha256.clone(),
        }
    }

    /// Copies the program and checks its digest, if it is pinned. Otherwise only checks that it can
    /// be executed.
    pub(super) fn image(&self) -> Result<ExecutableImage, Failure> {
        if crate::resolve_symlinks(&self.path) != self.real {
            return Err(Failure::Start(Errno::LOOP.into()));
        }
        let path = self.path.clone();
        let file = open(&self.real)?;
        let Some(expected) = &self.sha256 else {
            return Ok(ExecutableImage { path, content: None, interpreter: None });
        };
        let content = sealed_copy(file, expected).map_err(|unusable| unusable.of(&path))?;
        let interpreter = match &self.interpreter_sha256 {
            Some(expected) => Some(pinned_interpreter(&content, expected)?),
            None => None,
        };
        Ok(ExecutableImage { path, content: Some(content), interpreter })
    }
}

impl ExecutableImage {
    /// The spec with which the launcher starts the program.
    pub(super) fn spec(&self, arguments: Vec<String>, sandbox: ProgramSandbox) -> LaunchSpec {
        let interpreter = self.interpreter.as_ref().map(|interpreter| Interpreter {
            program: interpreter.path.clone(),
            content: inherited_fd(&interpreter.content),
            argument: interpreter.argument.clone(),
        });
        LaunchSpec {
            parent: rustix::process::getpid().as_raw_nonzero().get(),
            program: self.path.clone(),
            content: self.content.as_ref().map(inherited_fd),
            interpreter,
            arguments,
            sandbox,
            cgroup: None,
        }
    }

    /// The files that the launcher must find open.
    pub(super) fn files(&self) -> impl Iterator<Item = &File> {
        self.content.iter().chain(self.interpreter.as_ref().map(|interpreter| &interpreter.content))
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
    {
        Ok(file) => {
            let stat = rustix::fs::fstat(&file).map_err(|error| Failure::Start(error.into()))?;
            let is_executable = crate::capabilities::files::directory::file_type(&stat)
                == rustix::fs::FileType::RegularFile
                && stat.st_mode & 0o111 != 0;
            if is_executable {
                Ok(File::from(file))
            } else {
                Err(Failure::Start(Errno::ACCESS.into()))
            }
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Err(Failure::NotFound),
        Err(error) => Err(Failure::Start(error.into())),
    }
}

/// Why a pinned file cannot be executed.
enum PinError {
    Digest(Digest),
    Io(io::Error),
}

impl PinError {
    fn of(self, path: &Path) -> Failure {
        match self {
            Self::Digest(found) => Failure::Digest { path: path.to_owned(), found },
            Self::Io(error) => Failure::Start(error),
        }
    }
}

impl From<io::Error> for PinError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Copies a file into sealed memory, if it has this digest. The bytes are hashed while they are
/// copied, and the copy is sealed before the digests are compared.
fn sealed_copy(mut file: File, expected: &Digest) -> Result<File, PinError> {
    let mut copy = executable_memory()?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        let length = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        hash.update(&chunk[..length]);
        copy.write_all(&chunk[..length])?;
    }
    copy.rewind()?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).map_err(io::Error::from)?;
    // A file that is open for writing cannot be executed, even if it is sealed.
    let copy = reopen_read_only(&copy)?;
    let actual = Digest::from_sha256(hash.finalize().into());
    if actual == *expected { Ok(copy) } else { Err(PinError::Digest(actual)) }
}

/// A memory file that can be executed, also if the system forbids that by default
/// (`vm.memfd_noexec`).
fn executable_memory() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create("runbook-program", flags | MemfdFlags::EXEC) {
        // Linux before 6.3 does not know the flag, and does not need it.
        Err(Errno::INVAL) => Ok(rustix::fs::memfd_create("runbook-program", flags)?.into()),
        made => Ok(made?.into()),
    }
}

fn reopen_read_only(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", inherited_fd(file));
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// The interpreter that the first line of a pinned script names, if it has the pinned digest.
fn pinned_interpreter(script: &File, expected: &Digest) -> Result<PinnedInterpreter, Failure> {
    let mut head = [0; MAX_SHEBANG];
    let length = script.read_at(&mut head, 0).map_err(Failure::Start)?;
    let invalid_script = |what: &str| Failure::Interpreter(what.to_owned());
    let line = head[..length]
        .strip_prefix(b"#!")
        .ok_or_else(|| invalid_script("it is no script, so it has no interpreter"))?;
    let end = line
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(|| invalid_script("its first line is too long"))?;
    let line = std::str::from_utf8(&line[..end])
        .map_err(|_| invalid_script("its first line is not text"))?
        .trim();
    let (path, argument) = line
        .split_once([' ', '\t'])
        .map_or((line, None), |(path, rest)| (path, Some(rest.trim().to_owned())));
    let path = PathBuf::from(path);
    if !path.is_absolute() || path.file_name().is_some_and(|name| name == "env") {
        return Err(invalid_script(
            "its first line does not name its interpreter by an absolute path",
        ));
    }
    let content =
        sealed_copy(open(&path)?, expected).map_err(|invalid_script| invalid_script.of(&path))?;
    Ok(PinnedInterpreter { path, content, argument })
}
