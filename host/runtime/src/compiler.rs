//! Compiling in a process of its own: bytes of a component in, native code out.
//!
//! The time and memory that a compiler needs can only be bounded, not computed from the code (see
//! [`crate::TooMuchCode`]). So the compiler of a program that serves others is a child of it, with
//! limits that the kernel keeps: processor time, elapsed time, memory, the size of its answer. It
//! can open no file and no connection where the kernel has the means for that. It ends with its
//! parent.

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

/// The first argument by which `runbook` becomes the compiler.
pub const COMPILE_MODE: &str = "__compile";

/// The exit code of a compiler whose time is over.
const TOO_LATE: u8 = 124;

/// Threads of one compiler, at most. Each has memory of its own.
const MOST_THREADS: usize = 8;

/// How many bytes of a compiler's final output are kept.
const SAID: u64 = 16 << 10;

/// Where components are compiled.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// In this process, without limits: for tests and measurements with components of their own.
    Here,
    /// In a child, within limits.
    Child {
        /// An executable that calls [`serve`] when it is given these arguments and one more.
        launcher: Launcher,
        /// What the child may use.
        limits: CompileLimits,
    },
}

impl Compiler {
    /// A child that is the running executable, in its mode [`COMPILE_MODE`], with the usual limits.
    pub fn this_program() -> Self {
        Self::Child {
            launcher: Launcher::this_program_as(COMPILE_MODE),
            limits: CompileLimits::default(),
        }
    }
}

/// What the compilation of one component may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompileLimits {
    /// Seconds of one processor, all threads together.
    pub cpu_s: u64,
    /// How long it may take.
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

/// The order that the child is given.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    parent: i32,
    /// Whether the code is for a pool, whose memories have another size.
    pooled: bool,
    limits: CompileLimits,
}

/// Why there is no code.
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
    Late(u64),
    #[error("it takes more than {} MiB of memory to compile it", .0 >> 20)]
    Memory(u64),
    #[error("its native code has more than {0} bytes")]
    Code(u64),
    #[error("the compiler ended without an answer ({0})")]
    Died(String),
}

/// Has a component compiled by a child process. The code is what the child wrote into its pipe, to
/// which no other process can write.
pub(crate) fn compile(
    launcher: &Launcher,
    limits: CompileLimits,
    pooled: bool,
    component: &[u8],
) -> Result<Vec<u8>, CompilerError> {
    let order = Order { parent: rustix::process::getpid().as_raw_nonzero().get(), pooled, limits };
    let order =
        serde_json::to_string(&order).map_err(|error| CompilerError::Start(error.into()))?;
    let threads =
        std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MOST_THREADS);
    let mut child = Command::new(&launcher.program)
        .args(&launcher.arguments)
        .arg(order)
        .env_clear()
        // It may not read what the system says of its processors.
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(CompilerError::Start)?;
    let (mut stdin, stdout, stderr) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (code, said) = std::thread::scope(|scope| {
        // A child that ends before it has read everything closes the pipe; why it ended is what
        // counts.
        scope.spawn(move || stdin.as_mut().map(|stdin| stdin.write_all(component)));
        let said = scope.spawn(move || {
            let mut said = Vec::new();
            stderr.map(|stderr| stderr.take(SAID).read_to_end(&mut said));
            said
        });
        let mut code = Vec::new();
        let read =
            stdout.map_or(Ok(0), |stdout| stdout.take(limits.code + 1).read_to_end(&mut code));
        (read.map(|_| code), said.join().unwrap_or_default())
    });
    let status = child.wait().map_err(CompilerError::Pipe)?;
    let code = code.map_err(CompilerError::Pipe)?;
    if code.len() as u64 > limits.code {
        return Err(CompilerError::Code(limits.code));
    }
    if status.success() {
        Ok(code)
    } else {
        Err(end(status, limits, &String::from_utf8_lossy(&said)))
    }
}

/// What the end of a child means.
fn end(status: ExitStatus, limits: CompileLimits, said: &str) -> CompilerError {
    let said = said.trim();
    match status.code() {
        Some(1) => CompilerError::Refused(said.to_owned()),
        Some(code) if code == i32::from(TOO_LATE) => CompilerError::Late(limits.deadline_ms),
        _ if status.signal() == Some(Signal::XCPU.as_raw()) => CompilerError::Cpu(limits.cpu_s),
        // What the standard library says when it stops for want of memory; a thread that has no
        // stack says it in its own way.
        _ if said.contains("memory allocation of") || said.contains("Cannot allocate memory") => {
            CompilerError::Memory(limits.memory)
        }
        _ => CompilerError::Died(format!("{status}: {}", said.lines().last().unwrap_or_default())),
    }
}

/// Is the compiler: a component on stdin, code on stdout, a reason on stderr. `order` is what
/// `compile` says.
pub fn serve(order: Option<&OsStr>) -> ExitCode {
    match order
        .and_then(|text| serde_json::from_slice::<Order>(text.as_bytes()).ok())
        .map(|order| answer(&order))
    {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(reason)) => refuse(&reason),
        // Nobody but the program itself calls it, so nobody reads more than this.
        None => refuse("the compiler was called without its limits"),
    }
}

fn refuse(reason: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{reason}");
    ExitCode::FAILURE
}

fn answer(order: &Order) -> Result<(), String> {
    runbook_launch::die_with(order.parent).map_err(|refusal| refusal.to_string())?;
    let limits = order.limits;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component).map_err(|error| error.to_string())?;
    let walls = SandboxLimits { cpu_s: limits.cpu_s, memory: limits.memory };
    sandbox::enclose(&walls).map_err(|missing| missing.to_string())?;
    stop_after(Duration::from_millis(limits.deadline_ms)).map_err(|error| error.to_string())?;
    let config = config::for_compiling(order.pooled);
    let engine = wasmtime::Engine::new(&config).map_err(|error| format!("{error:#}"))?;
    let code = engine.precompile_component(&component).map_err(|error| format!("{error:#}"))?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&code).and_then(|()| stdout.flush()).map_err(|error| error.to_string())
}

/// Ends this process after a while.
fn stop_after(deadline: Duration) -> io::Result<()> {
    let stop = move || {
        std::thread::sleep(deadline);
        std::process::exit(TOO_LATE.into());
    };
    std::thread::Builder::new().name("runbook-deadline".to_owned()).spawn(stop).map(|_| ())
}
