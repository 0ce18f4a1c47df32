//! One run of a program, from its start until nothing is left of it. All of this blocks, on one
//! thread: the program is told of the death of the thread that started it, so that thread must stay
//! until the program has ended.

use super::failure::Failure;
use super::group::Group;
use super::program::Program;
use crate::blocking::StopFlag;
use crate::capabilities::files::FilesSlot;
use crate::capabilities::files::stream::IfExists;
use crate::capabilities::files::stream::{Compression, FileWriter, WrittenFile};
use crate::host::Commit;
use crate::launcher::{InheritedFiles, Launcher};
use runbook_launch::cgroup::Cgroup;
use runbook_launch::{LaunchSpec, Status, Walls};
use runbook_secrets::Secret;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{self, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// How often it is looked whether the call is over. The call itself kills the group at once; this
/// is for what waits here.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// How long output may still come after the group is dead: only a program that left its group can
/// hold the pipe open.
const DRAIN: Duration = Duration::from_secs(1);

/// A pipe of this size lets a dump go on while a piece of it is compressed.
const PIPE: usize = 1 << 20;

/// What a program reads from standard input.
pub(super) enum Source {
    Nothing,
    Bytes(Vec<u8>),
    File(FilesSlot, String),
}

/// Where the output of a program goes.
pub(super) enum Target {
    /// Kept, at most so many bytes.
    Capture(u64),
    /// It goes to a new file.
    File(FilesSlot, String),
}

/// A program that is about to run.
pub(super) struct Child {
    pub(super) launcher: Launcher,
    pub(super) program: Program,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, Secret)>,
    pub(super) directory: Option<PathBuf>,
    pub(super) source: Source,
    pub(super) sink: Target,
    /// The walls around it.
    pub(super) walls: Walls,
    /// The control group of it and of all that it starts, where there can be one.
    pub(super) cgroup: Option<Cgroup>,
    pub(super) max_output: u64,
    pub(super) timeout: Duration,
    /// It is sent before the program is started.
    pub(super) commit: Commit,
}

/// What was read of one stream.
#[derive(Default)]
pub(super) struct Captured {
    pub(super) kept: Vec<u8>,
    pub(super) produced: u64,
    pub(super) truncated: bool,
}

/// A program that has ended by itself.
pub(super) struct Ended {
    pub(super) exit_code: i32,
    pub(super) stdout: Captured,
    pub(super) stderr: Captured,
    pub(super) file: Option<WrittenFile>,
}

impl Child {
    pub(super) fn run(self, group: &Group, stop: &StopFlag) -> Result<Ended, Failure> {
        let deadline = Instant::now() + self.timeout;
        // Open until the program is started, so that it begins in the directory that was judged.
        let directory =
            crate::links::open_directory(self.directory.as_deref().unwrap_or("/".as_ref()))
                .map_err(Failure::Start)?;
        let working_directory = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let image = self.program.image()?;
        let status = Status::new().map_err(Failure::Start)?;
        let cgroup = self.cgroup.as_ref().map(|cgroup| cgroup.path().to_owned());
        let spec = LaunchSpec { cgroup, ..image.spec(&status, self.arguments, self.walls) };
        let mut command =
            self.launcher.command(&spec, &self.environment).map_err(Failure::Start)?;
        command.current_dir(working_directory);
        let (keep, writer, slot) = match self.sink {
            Target::Capture(cap) => (cap, None, None),
            Target::File(slot, path) => {
                let directory = slot.open().map_err(Failure::Sink)?;
                let writer = directory.create(&path, IfExists::Refuse).map_err(Failure::Sink)?;
                (0, Some(writer), Some(slot))
            }
        };
        let feed = feed(self.source)?;
        command.stdin(match &feed {
            ChildInput::Nothing => Stdio::null(),
            ChildInput::Direct(file) => Stdio::from(file.try_clone().map_err(Failure::Io)?),
            ChildInput::Stream(_) => Stdio::piped(),
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawn = || {
            let files = image.files().chain([status.file()]).collect();
            let child = InheritedFiles(files).spawn(&mut command)?;
            let pid = Pid::from_child(&child);
            Ok((child, pid))
        };
        self.commit.send().map_err(|_| Failure::Stopped)?;
        let not_started = |failure| {
            self.commit.void();
            failure
        };
        let killer = self.cgroup.as_ref().map(Cgroup::killer);
        let started = group.start(killer, spawn).ok_or(Failure::Stopped).map_err(not_started)?;
        let mut child = started.map_err(Failure::Start).map_err(not_started)?;
        drop((image, directory));
        // Whatever happens below, nothing of the group is left behind.
        let _guard = group.guard();
        let streams = Streams { feed, keep, writer, max_output: self.max_output };
        let ChildResult { ended, stdout, stderr, writer } =
            streams.carry(&mut child, deadline, group, stop)?;
        if let Some(refusal) = status.read().map_err(Failure::Io)? {
            self.commit.void();
            return Err(Failure::Refused(refusal));
        }
        // As a shell reports it: 128 plus the number of the signal.
        let exit_code =
            ended.code().or_else(|| ended.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        let file = match (writer, &slot) {
            (Some(writer), Some(slot)) if exit_code == 0 => {
                Some(slot.complete(writer).map_err(Failure::Sink)?)
            }
            (Some(_) | None, Some(_) | None) => None,
        };
        Ok(Ended { exit_code, stdout, stderr, file })
    }
}

/// What a program reads and writes while it runs.
struct Streams {
    feed: ChildInput,
    /// How many bytes of its output are kept.
    keep: u64,
    /// Where its output is written, if it is not kept.
    writer: Option<FileWriter>,
    /// How many bytes of what it says on standard error are kept.
    max_output: u64,
}

/// What came of a program that has ended, and of its streams.
struct ChildResult {
    ended: ExitStatus,
    stdout: Captured,
    stderr: Captured,
    writer: Option<FileWriter>,
}

impl Streams {
    /// Carries the streams until the program has ended; then nothing of its group is left.
    fn carry(
        self,
        child: &mut process::Child,
        deadline: Instant,
        group: &Group,
        stop: &StopFlag,
    ) -> Result<ChildResult, Failure> {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (stdout, stderr) =
            (stdout.expect("it was asked for"), stderr.expect("it was asked for"));
        let (abandoned, broken) = (AtomicBool::new(false), AtomicBool::new(false));
        let given_up = || abandoned.load(Ordering::Relaxed);
        let Self { feed, keep, writer, max_output } = self;
        std::thread::scope(|scope| {
            if let (Some(stdin), ChildInput::Stream(mut source)) = (stdin, feed) {
                // The end of the program ends this too: writing to its pipe fails then.
                scope.spawn(move || copy_in(source.as_mut(), OwnedFd::from(stdin), &given_up));
            }
            let broken_out = &broken;
            let out = scope.spawn(move || {
                let drained = drain(OwnedFd::from(stdout), keep, writer, &given_up);
                broken_out.store(drained.is_err(), Ordering::Relaxed);
                drained
            });
            let err =
                scope.spawn(move || drain(OwnedFd::from(stderr), max_output, None, &given_up));
            let waited = wait(child, deadline, stop, &broken);
            group.end();
            let ended = child.wait().map_err(Failure::Io);
            let drained = Instant::now() + DRAIN;
            while !(out.is_finished() && err.is_finished()) && Instant::now() < drained {
                std::thread::sleep(Duration::from_millis(1));
            }
            abandoned.store(true, Ordering::Relaxed);
            let out = join(out);
            let (stderr, _) = join(err).map_err(Failure::Io)?;
            waited?;
            let (stdout, writer) = out.map_err(Failure::Sink)?;
            Ok(ChildResult { ended: ended?, stdout, stderr, writer })
        })
    }
}

type Drained = io::Result<(Captured, Option<FileWriter>)>;

fn join(thread: ScopedJoinHandle<'_, Drained>) -> Drained {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Waits until the program ends, its time is up, the call is stopped, or its output cannot be
/// written (`broken`).
fn wait(
    child: &std::process::Child,
    deadline: Instant,
    stop: &StopFlag,
    broken: &AtomicBool,
) -> Result<(), Failure> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
        .map_err(|error| Failure::Io(error.into()))?;
    loop {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&LOOK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(Failure::Io(error.into())),
        }
        if stop.is_set() {
            return Err(Failure::Stopped);
        }
        if Instant::now() >= deadline {
            return Err(Failure::Timeout);
        }
        if broken.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

/// How a program is fed.
enum ChildInput {
    Nothing,
    /// The program reads the file itself.
    Direct(File),
    Stream(Box<dyn Read + Send>),
}

fn feed(source: Source) -> Result<ChildInput, Failure> {
    match source {
        Source::Nothing => Ok(ChildInput::Nothing),
        Source::Bytes(bytes) => Ok(ChildInput::Stream(Box::new(io::Cursor::new(bytes)))),
        Source::File(slot, path) => {
            let opened = slot.open().and_then(|directory| match Compression::of(&path) {
                Compression::None => directory.file(&path).map(ChildInput::Direct),
                Compression::Zstd => directory.reader(&path).map(ChildInput::Stream),
            });
            opened.map_err(|error| Failure::Input(slot, path, error))
        }
    }
}

/// Feeds a program. One that does not read to the end is no error: `head` does that. A source that
/// breaks ends the input.
fn copy_in(source: &mut (dyn Read + Send), stdin: OwnedFd, given_up: &dyn Fn() -> bool) {
    let mut chunk = vec![0; 256 << 10];
    // Never blocked by a pipe that nobody reads.
    if rustix::io::ioctl_fionbio(&stdin, true).is_err() {
        return;
    }
    let mut stdin = File::from(stdin);
    while let Ok(length @ 1..) = source.read(&mut chunk) {
        let mut rest = &chunk[..length];
        while !rest.is_empty() {
            match stdin.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if given_up() || ready(&stdin, PollFlags::OUT).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// Reads a stream to its end. What is not kept is counted and dropped, so that the program never
/// waits for a reader.
fn drain(
    stream: OwnedFd,
    keep: u64,
    mut writer: Option<FileWriter>,
    given_up: &dyn Fn() -> bool,
) -> Drained {
    // A smaller pipe works too.
    let _ = rustix::pipe::fcntl_setpipe_size(&stream, PIPE);
    let mut stream = File::from(stream);
    let mut captured = Captured::default();
    let mut chunk = vec![0; 256 << 10];
    loop {
        if !ready(&stream, PollFlags::IN)? {
            if given_up() {
                return Ok((captured, writer));
            }
            continue;
        }
        let length = match stream.read(&mut chunk) {
            Ok(0) => return Ok((captured, writer)),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = &chunk[..length];
        captured.produced += length as u64;
        match &mut writer {
            Some(writer) => writer.write_all(bytes)?,
            None => captured.keep(bytes, keep),
        }
    }
}

impl Captured {
    fn keep(&mut self, bytes: &[u8], cap: u64) {
        let left = usize::try_from(cap).unwrap_or(usize::MAX).saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(left)]);
        self.truncated |= bytes.len() > left;
    }
}

/// Whether something can be done with a pipe, after at most a moment.
fn ready(stream: &impl AsFd, what: PollFlags) -> io::Result<bool> {
    let mut fds = [PollFd::new(stream, what)];
    match poll(&mut fds, Some(&LOOK)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
