//! Which bytes are executed, and that they are those that the grant pins.

use super::failure::Failure;
use runbook_authority::Digest;
use runbook_authority::targets::ProcessTarget;
use runbook_launch::{Interpreter, LaunchSpec, Status, Walls, number_of};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The program of a target.
pub(super) struct Program {
    /// The name by which it is started.
    path: PathBuf,
    /// Where that led when the target was judged.
    real: PathBuf,
    sha256: Option<Digest>,
    interpreter_sha256: Option<Digest>,
}

/// The file that is executed. A pinned program is executed from a sealed copy that was made while
/// it was hashed, so a later change of its file has no effect.
pub(super) struct Image {
    path: PathBuf,
    content: Option<File>,
    interpreter: Option<PinnedInterpreter>,
}

struct PinnedInterpreter {
    path: PathBuf,
    content: File,
    argument: Option<String>,
}

/// The kernel reads no more of the first line of a script.
const SHEBANG: usize = 256;

impl Program {
    pub(super) fn new(process: &ProcessTarget) -> Self {
        Self {
            path: process.program.named().to_owned(),
            real: process.program.real().to_owned(),
            sha256: process.sha256.clone(),
            interpreter_sha256: process.interpreter_sha256.clone(),
        }
    }

    /// Reads what is to be executed, if it is pinned; else only looks whether there is something.
    pub(super) fn image(&self) -> Result<Image, Failure> {
        if crate::follow_links(&self.path) != self.real {
            return Err(Failure::Start(Errno::LOOP.into()));
        }
        let path = self.path.clone();
        let file = open(&self.real)?;
        let Some(wanted) = &self.sha256 else {
            return Ok(Image { path, content: None, interpreter: None });
        };
        let content = sealed_copy(file, wanted).map_err(|unusable| unusable.of(&path))?;
        let interpreter = match &self.interpreter_sha256 {
            Some(wanted) => Some(pinned_interpreter(&content, wanted)?),
            None => None,
        };
        Ok(Image { path, content: Some(content), interpreter })
    }
}

impl Image {
    /// What the launcher is given to start the program.
    pub(super) fn spec(&self, status: &Status, arguments: Vec<String>, walls: Walls) -> LaunchSpec {
        let interpreter = self.interpreter.as_ref().map(|interpreter| Interpreter {
            program: interpreter.path.clone(),
            content: number_of(&interpreter.content),
            argument: interpreter.argument.clone(),
        });
        LaunchSpec {
            parent: rustix::process::getpid().as_raw_nonzero().get(),
            status: number_of(status.file()),
            program: self.path.clone(),
            content: self.content.as_ref().map(number_of),
            interpreter,
            arguments,
            walls,
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
            let runs = crate::capabilities::files::directory::file_type(&stat)
                == rustix::fs::FileType::RegularFile
                && stat.st_mode & 0o111 != 0;
            if runs { Ok(File::from(file)) } else { Err(Failure::Start(Errno::ACCESS.into())) }
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Err(Failure::NotFound),
        Err(error) => Err(Failure::Start(error.into())),
    }
}

/// Why a file cannot be executed as it was pinned.
enum Unusable {
    Digest(Digest),
    Io(io::Error),
}

impl Unusable {
    fn of(self, path: &Path) -> Failure {
        match self {
            Self::Digest(found) => Failure::Digest { path: path.to_owned(), found },
            Self::Io(error) => Failure::Start(error),
        }
    }
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A copy of a file in memory, if it has this digest: each byte is hashed on its way into the copy,
/// and the copy is sealed before the digest is compared.
fn sealed_copy(mut file: File, wanted: &Digest) -> Result<File, Unusable> {
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
    // A file that is open for writing cannot be executed, whatever its seals say.
    let copy = reopened(&copy)?;
    let found = Digest::from_sha256(hash.finalize().into());
    if found == *wanted { Ok(copy) } else { Err(Unusable::Digest(found)) }
}

/// Memory that can be executed, also where the system makes that the exception (`vm.memfd_noexec`).
fn executable_memory() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create("runbook-program", flags | MemfdFlags::EXEC) {
        // Linux before 6.3 does not know the flag, and does not need it.
        Err(Errno::INVAL) => Ok(rustix::fs::memfd_create("runbook-program", flags)?.into()),
        made => Ok(made?.into()),
    }
}

fn reopened(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", number_of(file));
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// What the first line of a pinned script names, if it is what was pinned.
fn pinned_interpreter(script: &File, wanted: &Digest) -> Result<PinnedInterpreter, Failure> {
    let mut head = [0; SHEBANG];
    let length = script.read_at(&mut head, 0).map_err(Failure::Start)?;
    let unusable = |what: &str| Failure::Interpreter(what.to_owned());
    let line = head[..length]
        .strip_prefix(b"#!")
        .ok_or_else(|| unusable("it is no script, so it has no interpreter"))?;
    let end = line
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(|| unusable("its first line is too long"))?;
    let line = std::str::from_utf8(&line[..end])
        .map_err(|_| unusable("its first line is not text"))?
        .trim();
    let (path, argument) = line
        .split_once([' ', '\t'])
        .map_or((line, None), |(path, rest)| (path, Some(rest.trim().to_owned())));
    let path = PathBuf::from(path);
    if !path.is_absolute() || path.file_name().is_some_and(|name| name == "env") {
        return Err(unusable("its first line does not name its interpreter by an absolute path"));
    }
    let content = sealed_copy(open(&path)?, wanted).map_err(|unusable| unusable.of(&path))?;
    Ok(PinnedInterpreter { path, content, argument })
}
