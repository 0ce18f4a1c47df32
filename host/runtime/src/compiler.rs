//! Compiles components in a child process: it reads the component from stdin and writes native code
//! to stdout.
//!
//! The time and memory that a compiler needs cannot be computed from the code, only bounded (see
//! [`crate::TooMuchCode`]). So components are compiled by a child with limits that the kernel
//! enforces: processor time, elapsed time, memory, and the size of its output. Where the kernel
//! supports it, the child can open no file and no connection. It ends with its parent.

use crate::config;
use crate::launcher::Launcher;
use runbook_launch::sandbox::{self, SandboxLimits};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

/// The first argument that makes `runbook` run as the compiler.
pub const COMPILE_MODE: &str = "__compile";

/// The exit code of a compiler that has reached its deadline.
const EXIT_DEADLINE: u8 = 124;

/// How many threads one compiler has at most. Each uses memory of its own.
const MAX_THREADS: usize = 8;

/// How many bytes of a compiler's stderr are kept.
const MAX_STDERR: u64 = 16 << 10;

/// Where components are compiled.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// In this process, without limits: only for tests and benchmarks.
    InProcess,
    /// In a child process, within limits.
    Child {
        /// An executable that calls [`serve`] when it is given these arguments and one more.
        launcher: Launcher,
        /// The limits of the child.
        limits: CompileLimits,
    },
}

impl Compiler {
    /// A child that runs this executable in its mode [`COMPILE_MODE`], with the default limits.
    pub fn this_program() -> Self {
        Self::Child {
            launcher: Launcher::this_program_as(COMPILE_MODE),
            limits: CompileLimits::default(),
        }
    }
}

/// The limits of the compilation of one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompileLimits {
    /// Processor time in seconds, all threads together.
    pub cpu_s: u64,
    /// Elapsed time in milliseconds.
    pub deadline_ms: u64,
    /// How many bytes of memory it may use.
    pub memory: u64,
    /// How many bytes of native code it may make.
    pub code: u64,
}

impl Default for CompileLimits {
    /// Far more than the largest plugins that toolchains make should need: by an estimate, not a
    /// measurement, the interpreter of a scripting language takes about 15 s and 700 MB.
    fn default() -> Self {
        Self { cpu_s: 300, deadline_ms: 300_000, memory: 4 << 30, code: 1 << 30 }
    }
}

/// The request that the child gets as an argument.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CompileRequest {
    parent: i32,
    /// Whether the code is for a pool, whose memories reserve another size.
    pooled: bool,
    limits: CompileLimits,
}

/// Why a child has compiled no code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompilerError {
    #[error("the compiler cannot be started ({0})")]
    Start(#[source] io::Error),
    #[error("the compiler cannot be spoken to ({0})")]
    Pipe(#[source] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("it takes more than {0} s of a processor to compile it")]
    Cpu(u64),
    #[error("it takes longer than {0} ms to compile it")]
    Deadline(u64),
    #[error("it takes more than {} MiB of memory to compile it", .0 >> 20)]
    Memory(u64),
    #[error("its native code has more than {0} bytes")]
    Code(u64),
    #[error("the compiler ended without an answer ({0})")]
    NoAnswer(String),
}

/// Lets a child process compile a component. Returns the code that the child wrote into its pipe;
/// no other process can write to that pipe.
pub(crate) fn compile(
    launcher: &Launcher,
    limits: CompileLimits,
    pooled: bool,
    component: &[u8],
) -> Result<Vec<u8>, CompilerError> {
    let request =
        CompileRequest { parent: rustix::process::getpid().as_raw_nonzero().get(), pooled, limits };
    let request =
        serde_json::to_string(&request).map_err(|error| CompilerError::Start(error.into()))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MAX_THREADS);
    let mut child = Command::new(&launcher.program)
        .args(&launcher.arguments)
        .arg(request)
        .env_clear()
        // The sandbox keeps rayon from reading the number of processors.
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(CompilerError::Start)?;
    let (mut stdin, stdout, stderr) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (code, stderr_text) = std::thread::scope(|scope| {
        // A child that ends early closes the pipe; its exit status says why it ended.
        scope.spawn(move || stdin.as_mut().map(|stdin| stdin.write_all(component)));
        let stderr_text = scope.spawn(move || {
            let mut stderr_text = Vec::new();
            stderr.map(|stderr| stderr.take(MAX_STDERR).read_to_end(&mut stderr_text));
            stderr_text
        });
        let mut code = Vec::new();
        let read =
            stdout.map_or(Ok(0), |stdout| stdout.take(limits.code + 1).read_to_end(&mut code));
        (read.map(|_| code), stderr_text.join().unwrap_or_default())
    });
    let status = child.wait().map_err(CompilerError::Pipe)?;
    let code = code.map_err(CompilerError::Pipe)?;
    if code.len() as u64 > limits.code {
        return Err(CompilerError::Code(limits.code));
    }
    if status.success() {
        Ok(code)
    } else {
        Err(error_of_exit(status, limits, &String::from_utf8_lossy(&stderr_text)))
    }
}

/// The error for a child that has failed.
fn error_of_exit(status: ExitStatus, limits: CompileLimits, stderr_text: &str) -> CompilerError {
    let stderr_text = stderr_text.trim();
    match status.code() {
        Some(1) => CompilerError::Refused(stderr_text.to_owned()),
        Some(code) if code == i32::from(EXIT_DEADLINE) => {
            CompilerError::Deadline(limits.deadline_ms)
        }
        _ if status.signal() == Some(Signal::XCPU.as_raw()) => CompilerError::Cpu(limits.cpu_s),
        // The messages of the standard library when an allocation fails, and when a thread gets no
        // stack.
        _ if stderr_text.contains("memory allocation of")
            || stderr_text.contains("Cannot allocate memory") =>
        {
            CompilerError::Memory(limits.memory)
        }
        _ => CompilerError::NoAnswer(format!(
            "{status}: {}",
            stderr_text.lines().last().unwrap_or_default()
        )),
    }
}

/// Runs as the compiler: reads a component from stdin, and writes code to stdout, or a reason to
/// stderr. `request` is the argument that `compile` passes.
pub fn serve(request: Option<&OsStr>) -> ExitCode {
    match request
        .and_then(|text| serde_json::from_slice::<CompileRequest>(text.as_bytes()).ok())
        .map(|request| compile_stdin(&request))
    {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(reason)) => exit_with_reason(&reason),
        // Only the program itself starts the compiler, so the message is short.
        None => exit_with_reason("the compiler was called without its limits"),
    }
}

fn exit_with_reason(reason: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{reason}");
    ExitCode::FAILURE
}

fn compile_stdin(request: &CompileRequest) -> Result<(), String> {
    runbook_launch::die_with_parent(request.parent).map_err(|refusal| refusal.to_string())?;
    let limits = request.limits;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component).map_err(|error| error.to_string())?;
    let sandbox_limits = SandboxLimits { cpu_s: limits.cpu_s, memory: limits.memory };
    sandbox::restrict_own_process(&sandbox_limits).map_err(|missing| missing.to_string())?;
    stop_after(Duration::from_millis(limits.deadline_ms)).map_err(|error| error.to_string())?;
    let config = config::for_compiling(request.pooled);
    let engine = wasmtime::Engine::new(&config).map_err(|error| format!("{error:#}"))?;
    let code = engine.precompile_component(&component).map_err(|error| format!("{error:#}"))?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&code).and_then(|()| stdout.flush()).map_err(|error| error.to_string())
}

/// Ends this process after a while.
fn stop_after(deadline: Duration) -> io::Result<()> {
    let stop = move || {
        std::thread::sleep(deadline);
        std::process::exit(EXIT_DEADLINE.into());
    };
    std::thread::Builder::new().name("runbook-deadline".to_owned()).spawn(stop).map(|_| ())
}
