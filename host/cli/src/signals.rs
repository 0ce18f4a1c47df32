//! Signals and what each requests. Ctrl-C and SIGTERM end a run in order; closing the terminal does
//! not.

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use runbook_engine::{CancelLevel, CancelToken};
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalRequest {
    /// An orderly end; asked for again, a stop at once. Ctrl-C.
    Interrupt,
    /// The same as `Interrupt`, requested by the system or another program.
    Terminate,
    /// A stop at once, which can be resumed. Ctrl-\.
    StopNow,
    /// To continue without a terminal.
    Detach,
    /// Nothing: the signal is ignored, although by default it would kill the program.
    Ignore,
}

/// Every signal that would end the program by default, except those of crashes, with what it
/// requests instead. Real-time signals request `Terminate`. A test compares the table with
/// docs/semantics.md.
pub const SIGNALS: &[(Signal, &str, SignalRequest)] = &[
    (Signal::HUP, "SIGHUP", SignalRequest::Detach),
    (Signal::INT, "SIGINT", SignalRequest::Interrupt),
    (Signal::QUIT, "SIGQUIT", SignalRequest::StopNow),
    (Signal::USR1, "SIGUSR1", SignalRequest::Ignore),
    (Signal::USR2, "SIGUSR2", SignalRequest::Ignore),
    (Signal::ALARM, "SIGALRM", SignalRequest::Terminate),
    (Signal::TERM, "SIGTERM", SignalRequest::Terminate),
    (Signal::STKFLT, "SIGSTKFLT", SignalRequest::Terminate),
    (Signal::XCPU, "SIGXCPU", SignalRequest::Terminate),
    // The write beyond the limit then returns an error.
    (Signal::XFSZ, "SIGXFSZ", SignalRequest::Ignore),
    (Signal::VTALARM, "SIGVTALRM", SignalRequest::Terminate),
    (Signal::PROF, "SIGPROF", SignalRequest::Terminate),
    (Signal::IO, "SIGIO", SignalRequest::Terminate),
    (Signal::POWER, "SIGPWR", SignalRequest::Terminate),
];

/// The numbers of real-time signals that a C library may leave to programs.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// What the program executes. The effect of a signal depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalMode {
    /// A run, which is undone as its runbook says.
    Run,
    /// Checks, which change nothing. They end with their terminal.
    Checks,
}

/// Receives signals and cancels the run that this process executes.
#[derive(Debug, Clone)]
pub struct CancelSignals {
    /// The token by which the engine sees that it is cancelled.
    pub cancel: CancelToken,
    terminated: Arc<AtomicBool>,
    /// Whether the run is paused while the operator is asked.
    prompting: Arc<AtomicBool>,
    /// Whether only output is left to be written. Its reader may be gone, so a signal then ends the
    /// program at once.
    only_output_left: Arc<AtomicBool>,
    hung_up: watch::Sender<bool>,
    /// The short id of the run, for messages.
    run: Arc<OnceLock<String>>,
}

/// How often a sleep checks whether it must end early.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

impl CancelSignals {
    /// Listens for signals during a run. The first Ctrl-C or SIGTERM requests an orderly end, the
    /// second a stop at once.
    pub fn new() -> Result<Self, Failure> {
        Self::with_mode(SignalMode::Run)
    }

    /// Listens for signals in this mode.
    pub fn with_mode(mode: SignalMode) -> Result<Self, Failure> {
        let flag = || Arc::new(AtomicBool::new(false));
        let signals = Self {
            cancel: CancelToken::new(),
            terminated: flag(),
            prompting: flag(),
            only_output_left: flag(),
            hung_up: watch::Sender::new(false),
            run: Arc::new(OnceLock::new()),
        };
        let mut signal_requests = signal_requests()?;
        let listener = signals.clone();
        tokio::spawn(async move {
            while let Some(request) = signal_requests.recv().await {
                listener.handle(request, mode);
            }
        });
        Ok(signals)
    }

    fn handle(&self, request: SignalRequest, mode: SignalMode) {
        let request = match (request, mode) {
            (SignalRequest::Detach, SignalMode::Checks) => SignalRequest::Terminate,
            (request, SignalMode::Run | SignalMode::Checks) => request,
        };
        match request {
            SignalRequest::Ignore => return,
            SignalRequest::Detach => return self.detach(),
            SignalRequest::Interrupt => self.cancel.cancel(),
            SignalRequest::Terminate => {
                self.terminated.store(true, Ordering::SeqCst);
                self.cancel.cancel();
            }
            SignalRequest::StopNow => self.cancel.stop_now(),
        }
        if self.only_output_left.load(Ordering::SeqCst) {
            // What is not written yet is in the journal, too.
            std::process::exit(self.status().map_or(0, ExitStatus::code).into());
        }
        match (mode, self.cancel.level()) {
            (SignalMode::Checks, _) => {}
            (SignalMode::Run, CancelLevel::None | CancelLevel::Orderly)
                if self.prompting.load(Ordering::SeqCst) =>
            {
                ui::print_stderr("\nleft open; the run waits");
            }
            (SignalMode::Run, CancelLevel::None | CancelLevel::Orderly) => {
                // An event says later what the run does now: it depends on its stage.
                ui::print_stderr("cancelling: the run ends in order; once more to stop at once");
            }
            (SignalMode::Run, CancelLevel::Now) => {
                ui::print_stderr(&format!(
                    "stopping at once; nothing more is undone; `runbook resume {}` continues the \
                     run",
                    self.run_name()
                ));
            }
        }
    }

    /// Sets the short id of the run, for messages.
    pub fn set_run(&self, run: &str) {
        // It is set once: a process executes one run.
        let _ = self.run.set(run.to_owned());
    }

    fn run_name(&self) -> &str {
        self.run.get().map_or("RUN", String::as_str)
    }

    /// Continues the run without its terminal.
    fn detach(&self) {
        self.hung_up.send_replace(true);
        if !self.only_output_left.load(Ordering::SeqCst) {
            let run = self.run_name();
            ui::print_stderr(&format!(
                "the terminal hung up; the run goes on without it: `runbook show {run} --follow` \
                 shows how, `runbook cancel {run}` ends it"
            ));
        }
    }

    /// Waits until the terminal hangs up.
    pub async fn hung_up(&self) {
        // It cannot fail, because `self` has the sender.
        let _ = self.hung_up.subscribe().wait_for(|hung_up| *hung_up).await;
    }

    /// Whether there is still a terminal at which the operator can be asked.
    pub fn has_terminal(&self) -> bool {
        !*self.hung_up.borrow() && ui::stderr_has_reader()
    }

    /// Awaits the answer to a question while the run is paused. Ctrl-C then leaves the question
    /// open.
    pub async fn while_prompting<T>(&self, question: impl Future<Output = T>) -> T {
        self.prompting.store(true, Ordering::SeqCst);
        let answer = question.await;
        self.prompting.store(false, Ordering::SeqCst);
        answer
    }

    /// From now on a signal ends the program, because only output is left to be written.
    pub fn end_on_signal(&self) {
        self.only_output_left.store(true, Ordering::SeqCst);
    }

    /// Whether an orderly end or a stop was requested.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.level() != CancelLevel::None
    }

    /// Sleeps for a duration, but only while `is_wanted` returns `true` and nothing is cancelled.
    /// Returns whether it slept to the end.
    pub async fn sleep_while(&self, pause: Duration, is_wanted: impl Fn() -> bool) -> bool {
        let end = tokio::time::Instant::now() + pause;
        while tokio::time::Instant::now() < end && !self.is_cancelled() && is_wanted() {
            tokio::time::sleep_until(end.min(tokio::time::Instant::now() + POLL_INTERVAL)).await;
        }
        !self.is_cancelled() && is_wanted()
    }

    /// The exit status if a signal has cancelled the run.
    pub fn status(&self) -> Option<ExitStatus> {
        match (self.cancel.level(), self.terminated.load(Ordering::SeqCst)) {
            (CancelLevel::None, _) => None,
            // Cancelled through the journal, without a signal.
            (CancelLevel::Orderly, _) if self.cancel.by().is_some() => None,
            (CancelLevel::Orderly | CancelLevel::Now, true) => Some(ExitStatus::Terminated),
            (CancelLevel::Orderly | CancelLevel::Now, false) => Some(ExitStatus::Interrupted),
        }
    }
}

/// A channel that receives a request for each signal.
fn signal_requests() -> Result<mpsc::UnboundedReceiver<SignalRequest>, Failure> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let listen = |number: i32, request: SignalRequest| -> std::io::Result<()> {
        let mut signals = signal(SignalKind::from_raw(number))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && sender.send(request).is_ok() {}
        });
        Ok(())
    };
    for (signal, _, request) in SIGNALS {
        listen(signal.as_raw(), *request)?;
    }
    for number in REAL_TIME {
        // A C library may refuse a signal that it uses itself.
        let _ = listen(number, SignalRequest::Terminate);
    }
    Ok(receiver)
}
