//! One run of a program, from its start until its whole process group has ended. It blocks one
//! thread: the kernel kills the program when the thread that started it ends, so that thread must
//! wait.

use super::failure::Failure;
use super::group::ProcessGroup;
use super::program::Program;
use crate::blocking::StopFlag;
use crate::capabilities::files::FilesSlot;
use crate::capabilities::files::stream::IfExists;
use crate::capabilities::files::stream::{Compression, FileWriter, WrittenFile};
use crate::host::Commit;
use crate::launcher::{InheritedFiles, Launcher};
use runbook_launch::cgroup::Cgroup;
use runbook_launch::{LaunchSpec, ProgramSandbox, Status};
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

/// How often the waiting threads check whether the call has ended. (The call kills the group at
/// once.)
const POLL_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// How long to wait for output after the group was killed. Only a process that has left the group
/// can still hold the pipe open.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The pipe size in bytes. It lets a dump continue while a piece of it is compressed.
const PIPE_SIZE: usize = 1 << 20;

/// The source of the standard input of a program.
pub(super) enum StdinSource {
    Nothing,
    Bytes(Vec<u8>),
    File(FilesSlot, String),
}

/// The destination of the output of a program.
pub(super) enum StdoutSink {
    /// The output is captured, at most this many bytes.
    Capture(u64),
    /// The output is written to a new file.
    File(FilesSlot, String),
}

/// A program that is about to run.
pub(super) struct Child {
    pub(super) launcher: Launcher,
    pub(super) program: Program,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, Secret)>,
    pub(super) directory: Option<PathBuf>,
    pub(super) source: StdinSource,
    pub(super) sink: StdoutSink,
    /// What confines the program.
    pub(super) sandbox: ProgramSandbox,
    /// The control group of the program and everything that it starts, if this host allows one.
    pub(super) cgroup: Option<Cgroup>,
    pub(super) max_output: u64,
    pub(super) timeout: Duration,
    /// Marked as sent before the program is started.
    pub(super) commit: Commit,
}

/// The output that was read from one stream.
#[derive(Default)]
pub(super) struct CapturedStream {
    pub(super) captured_bytes: Vec<u8>,
    pub(super) produced: u64,
    pub(super) truncated: bool,
}

/// The result of a program that has ended by itself.
pub(super) struct CompletedProgram {
    pub(super) exit_code: i32,
    pub(super) stdout: CapturedStream,
    pub(super) stderr: CapturedStream,
    pub(super) file: Option<WrittenFile>,
}

impl Child {
    pub(super) fn run(
        self,
        group: &ProcessGroup,
        stop: &StopFlag,
    ) -> Result<CompletedProgram, Failure> {
        let deadline = Instant::now() + self.timeout;
        // Held open until the program is started, so that it starts in exactly this directory.
        let directory =
            crate::symlinks::open_directory(self.directory.as_deref().unwrap_or("/".as_ref()))
                .map_err(Failure::Start)?;
        let working_directory = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let image = self.program.image()?;
        let cgroup = self.cgroup.as_ref().map(|cgroup| cgroup.path().to_owned());
        let spec = LaunchSpec { cgroup, ..image.spec(self.arguments, self.sandbox) };
        let mut command =
            self.launcher.command(&spec, &self.environment).map_err(Failure::Start)?;
        command.current_dir(working_directory);
        let (capture_limit, writer, slot) = match self.sink {
            StdoutSink::Capture(cap) => (cap, None, None),
            StdoutSink::File(slot, path) => {
                let directory = slot.open().map_err(Failure::Sink)?;
                let writer = directory.create(&path, IfExists::Refuse).map_err(Failure::Sink)?;
                (0, Some(writer), Some(slot))
            }
        };
        let ProgramStdin { read_end, feed } = ProgramStdin::of(self.source)?;
        let (status, launcher_end) = Status::new(&read_end).map_err(Failure::Start)?;
        drop(read_end);
        command.stdin(launcher_end);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawn = || {
            let files = image.files().collect();
            let child = InheritedFiles(files).spawn(&mut command)?;
            let pid = Pid::from_child(&child);
            Ok((child, pid))
        };
        self.commit.mark_sent().map_err(|_| Failure::Stopped)?;
        let not_started = |failure| {
            self.commit.mark_rolled_back();
            failure
        };
        let killer = self.cgroup.as_ref().map(Cgroup::killer);
        let started = group.start(killer, spawn).ok_or(Failure::Stopped).map_err(not_started)?;
        let mut child = started.map_err(Failure::Start).map_err(not_started)?;
        // With the command, the host closes the ends of the program.
        drop((image, directory, command));
        // Kills the group on every path below.
        let _guard = group.guard();
        let streams = Streams { feed, capture_limit, writer, max_output: self.max_output };
        let ChildResult { exit_status, stdout, stderr, writer } =
            streams.run_until_exit(&mut child, deadline, group, stop)?;
        if let Some(refusal) = status.read().map_err(Failure::Io)? {
            self.commit.mark_rolled_back();
            return Err(Failure::Refused(refusal));
        }
        // As in a shell: 128 plus the number of the signal.
        let exit_code = exit_status
            .code()
            .or_else(|| exit_status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1);
        let file = match (writer, &slot) {
            (Some(writer), Some(slot)) if exit_code == 0 => {
                Some(slot.complete(writer).map_err(Failure::Sink)?)
            }
            (Some(_) | None, Some(_) | None) => None,
        };
        Ok(CompletedProgram { exit_code, stdout, stderr, file })
    }
}

/// The streams of a running program.
struct Streams {
    /// What is written to its standard input, if that is a pipe.
    feed: Option<StdinFeed>,
    /// How many bytes of its output are captured.
    capture_limit: u64,
    /// Writes its output to a file, if it is not captured.
    writer: Option<FileWriter>,
    /// How many bytes of its standard error are captured.
    max_output: u64,
}

/// The exit status of a program, and the output of its streams.
struct ChildResult {
    exit_status: ExitStatus,
    stdout: CapturedStream,
    stderr: CapturedStream,
    writer: Option<FileWriter>,
}

impl Streams {
    /// Serves the streams until the program has ended, and kills the rest of its group.
    fn run_until_exit(
        self,
        child: &mut process::Child,
        deadline: Instant,
        group: &ProcessGroup,
        stop: &StopFlag,
    ) -> Result<ChildResult, Failure> {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr) =
            (stdout.expect("it was asked for"), stderr.expect("it was asked for"));
        let (stop_reading, output_failed) = (AtomicBool::new(false), AtomicBool::new(false));
        let is_abandoned = || stop_reading.load(Ordering::Relaxed);
        let Self { feed, capture_limit, writer, max_output } = self;
        std::thread::scope(|scope| {
            if let Some(StdinFeed { mut source, write_end }) = feed {
                // This ends with the program, because writing to its pipe then fails.
                scope.spawn(move || write_stdin(source.as_mut(), write_end, &is_abandoned));
            }
            let write_failed = &output_failed;
            let stdout_thread = scope.spawn(move || {
                let drained = drain(OwnedFd::from(stdout), capture_limit, writer, &is_abandoned);
                write_failed.store(drained.is_err(), Ordering::Relaxed);
                drained
            });
            let stderr_thread =
                scope.spawn(move || drain(OwnedFd::from(stderr), max_output, None, &is_abandoned));
            let wait_result = wait_for_exit(child, deadline, stop, &output_failed);
            group.kill();
            let exit_status = child.wait().map_err(Failure::Io);
            let drained = Instant::now() + DRAIN_TIMEOUT;
            while !(stdout_thread.is_finished() && stderr_thread.is_finished())
                && Instant::now() < drained
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            stop_reading.store(true, Ordering::Relaxed);
            let stdout_thread = join(stdout_thread);
            let (stderr, _) = join(stderr_thread).map_err(Failure::Io)?;
            wait_result?;
            let (stdout, writer) = stdout_thread.map_err(Failure::Sink)?;
            Ok(ChildResult { exit_status: exit_status?, stdout, stderr, writer })
        })
    }
}

type DrainResult = io::Result<(CapturedStream, Option<FileWriter>)>;

fn join(thread: ScopedJoinHandle<'_, DrainResult>) -> DrainResult {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Waits until the program ends, its time is up, the call is stopped, or its output cannot be
/// written (`broken`).
fn wait_for_exit(
    child: &std::process::Child,
    deadline: Instant,
    stop: &StopFlag,
    output_failed: &AtomicBool,
) -> Result<(), Failure> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
        .map_err(|error| Failure::Io(error.into()))?;
    loop {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&POLL_INTERVAL)) {
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
        if output_failed.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

/// The standard input of a program.
struct ProgramStdin {
    /// What the program reads: nothing, a file, or a pipe.
    read_end: OwnedFd,
    feed: Option<StdinFeed>,
}

/// What is written to the pipe that a program reads.
struct StdinFeed {
    source: Box<dyn Read + Send>,
    write_end: OwnedFd,
}

impl ProgramStdin {
    fn of(source: StdinSource) -> Result<Self, Failure> {
        match source {
            StdinSource::Nothing => {
                let nothing = File::open("/dev/null").map_err(Failure::Start)?;
                Ok(Self { read_end: nothing.into(), feed: None })
            }
            StdinSource::Bytes(bytes) => Self::piped(Box::new(io::Cursor::new(bytes))),
            StdinSource::File(slot, path) => {
                let file = slot.open().and_then(|directory| match Compression::of(&path) {
                    Compression::None => directory.file(&path).map(FileInput::Direct),
                    Compression::Zstd => directory.reader(&path).map(FileInput::Unpacked),
                });
                match file.map_err(|error| Failure::Input(slot, path, error))? {
                    FileInput::Direct(file) => Ok(Self { read_end: file.into(), feed: None }),
                    FileInput::Unpacked(reader) => Self::piped(reader),
                }
            }
        }
    }

    fn piped(source: Box<dyn Read + Send>) -> Result<Self, Failure> {
        let (reader, writer) = io::pipe().map_err(Failure::Start)?;
        let feed = Some(StdinFeed { source, write_end: writer.into() });
        Ok(Self { read_end: reader.into(), feed })
    }
}

/// How a program reads a file.
enum FileInput {
    /// It reads the file itself.
    Direct(File),
    /// The host unpacks it.
    Unpacked(Box<dyn Read + Send>),
}

/// Writes the standard input of a program. It is no error if the program does not read all of it
/// (as `head` does). A read error of the source ends the input.
fn write_stdin(source: &mut (dyn Read + Send), stdin: OwnedFd, is_abandoned: &dyn Fn() -> bool) {
    let mut chunk = vec![0; 256 << 10];
    // Non-blocking, because the program may never read.
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
                    if is_abandoned() || poll_ready(&stdin, PollFlags::OUT).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// Reads a stream to its end. Output over the limit is counted and dropped, so that the program
/// never blocks on a full pipe.
fn drain(
    stream: OwnedFd,
    capture_limit: u64,
    mut writer: Option<FileWriter>,
    is_abandoned: &dyn Fn() -> bool,
) -> DrainResult {
    // An error is ignored: a smaller pipe works too.
    let _ = rustix::pipe::fcntl_setpipe_size(&stream, PIPE_SIZE);
    let mut stream = File::from(stream);
    let mut captured = CapturedStream::default();
    let mut chunk = vec![0; 256 << 10];
    loop {
        if !poll_ready(&stream, PollFlags::IN)? {
            if is_abandoned() {
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
            None => captured.push(bytes, capture_limit),
        }
    }
}

impl CapturedStream {
    fn push(&mut self, bytes: &[u8], cap: u64) {
        let left =
            usize::try_from(cap).unwrap_or(usize::MAX).saturating_sub(self.captured_bytes.len());
        self.captured_bytes.extend_from_slice(&bytes[..bytes.len().min(left)]);
        self.truncated |= bytes.len() > left;
    }
}

/// Waits for at most one poll interval until a pipe is ready. Returns true if it is.
fn poll_ready(stream: &impl AsFd, condition: PollFlags) -> io::Result<bool> {
    let mut fds = [PollFd::new(stream, condition)];
    match poll(&mut fds, Some(&POLL_INTERVAL)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
