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
    /// The same, by the system or another program.
    Terminate,
    /// A stop at once, which can be resumed. Ctrl-\.
    StopNow,
    /// The run goes on without a terminal.
    Detach,
    /// A signal that a run ignores, although by default it would kill the program.
    Nothing,
}

/// Every signal that would end the program by default and that is no crash of it, with what it asks
/// for instead. Signals for real time ask for an end, too. In docs/semantics.md, which a test
/// compares.
pub const SIGNALS: &[(Signal, &str, SignalRequest)] = &[
    (Signal::HUP, "SIGHUP", SignalRequest::Detach),
    (Signal::INT, "SIGINT", SignalRequest::Interrupt),
    (Signal::QUIT, "SIGQUIT", SignalRequest::StopNow),
    (Signal::USR1, "SIGUSR1", SignalRequest::Nothing),
    (Signal::USR2, "SIGUSR2", SignalRequest::Nothing),
    (Signal::ALARM, "SIGALRM", SignalRequest::Terminate),
    (Signal::TERM, "SIGTERM", SignalRequest::Terminate),
    (Signal::STKFLT, "SIGSTKFLT", SignalRequest::Terminate),
    (Signal::XCPU, "SIGXCPU", SignalRequest::Terminate),
    // Writing beyond a limit is an error of the write then.
    (Signal::XFSZ, "SIGXFSZ", SignalRequest::Nothing),
    (Signal::VTALARM, "SIGVTALRM", SignalRequest::Terminate),
    (Signal::PROF, "SIGPROF", SignalRequest::Terminate),
    (Signal::IO, "SIGIO", SignalRequest::Terminate),
    (Signal::POWER, "SIGPWR", SignalRequest::Terminate),
];

/// The numbers of signals for real time that a C library may leave to programs.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// What the program executes, on which the effect of a signal depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalMode {
    /// A run, which is undone as it says.
    Run,
    /// Checks, which change nothing. They end with their terminal.
    Checks,
}

/// What signals ask of a run, and which signal ended it.
#[derive(Debug, Clone)]
pub struct CancelSignals {
    /// What the engine looks at.
    pub cancel: CancelToken,
    terminated: Arc<AtomicBool>,
    /// Whether nothing is under way because a person is asked.
    prompting: Arc<AtomicBool>,
    /// Whether all is done but for what is still to be written to a terminal or pipe, which may
    /// have no reader.
    over: Arc<AtomicBool>,
    hung_up: watch::Sender<bool>,
    /// The run that it stops, as people are shown it.
    run: Arc<OnceLock<String>>,
}

/// How long a pause is cut into: the signals ends it at once.
const SLICE: Duration = Duration::from_millis(100);

impl CancelSignals {
    /// Listens: the first Ctrl-C or SIGTERM asks for an orderly end, the second for a stop now.
    pub fn new() -> Result<Self, Failure> {
        Self::of(SignalMode::Run)
    }

    /// The same, with the words for what is under way.
    pub fn of(under_way: SignalMode) -> Result<Self, Failure> {
        let flag = || Arc::new(AtomicBool::new(false));
        let signals = Self {
            cancel: CancelToken::new(),
            terminated: flag(),
            prompting: flag(),
            over: flag(),
            hung_up: watch::Sender::new(false),
            run: Arc::new(OnceLock::new()),
        };
        let mut demands = demands()?;
        let listener = signals.clone();
        tokio::spawn(async move {
            while let Some(demand) = demands.recv().await {
                listener.hear(demand, under_way);
            }
        });
        Ok(signals)
    }

    fn hear(&self, demand: SignalRequest, under_way: SignalMode) {
        let demand = match (demand, under_way) {
            (SignalRequest::Detach, SignalMode::Checks) => SignalRequest::Terminate,
            (demand, SignalMode::Run | SignalMode::Checks) => demand,
        };
        match demand {
            SignalRequest::Nothing => return,
            SignalRequest::Detach => return self.detach(),
            SignalRequest::Interrupt => self.cancel.cancel(),
            SignalRequest::Terminate => {
                self.terminated.store(true, Ordering::SeqCst);
                self.cancel.cancel();
            }
            SignalRequest::StopNow => self.cancel.stop_now(),
        }
        if self.over.load(Ordering::SeqCst) {
            // What is left to be written is in the journal, too.
            std::process::exit(self.status().map_or(0, ExitStatus::code).into());
        }
        match (under_way, self.cancel.level()) {
            (SignalMode::Checks, _) => {}
            (SignalMode::Run, CancelLevel::None | CancelLevel::Orderly)
                if self.prompting.load(Ordering::SeqCst) =>
            {
                ui::notice("\nleft open; the run waits");
            }
            (SignalMode::Run, CancelLevel::None | CancelLevel::Orderly) => {
                // What that means where the run stands is told when it is written down.
                ui::notice("cancelling: the run ends in order; once more to stop at once");
            }
            (SignalMode::Run, CancelLevel::Now) => {
                ui::notice(&format!(
                    "stopping at once; nothing more is undone; `runbook resume {}` continues the \
                     run",
                    self.named()
                ));
            }
        }
    }

    /// Says which run it stops.
    pub fn is_of(&self, run: &str) {
        // The first name stays: a program executes one run.
        let _ = self.run.set(run.to_owned());
    }

    fn named(&self) -> &str {
        self.run.get().map_or("RUN", String::as_str)
    }

    /// The terminal is gone, but the run continues: its steps are not undone because a laptop was
    /// closed.
    fn detach(&self) {
        self.hung_up.send_replace(true);
        if !self.over.load(Ordering::SeqCst) {
            let run = self.named();
            ui::notice(&format!(
                "the terminal hung up; the run goes on without it: `runbook show {run} --follow` \
                 shows how, `runbook cancel {run}` ends it"
            ));
        }
    }

    /// Waits until the terminal hangs up.
    pub async fn hung_up(&self) {
        // The sender lives as long as `self`.
        let _ = self.hung_up.subscribe().wait_for(|hung_up| *hung_up).await;
    }

    /// Whether there is still a terminal at which a person can be asked.
    pub fn has_terminal(&self) -> bool {
        !*self.hung_up.borrow() && ui::is_read()
    }

    /// Asks a person something while nothing is under way: Ctrl-C leaves the question open then.
    pub async fn while_prompting<T>(&self, question: impl Future<Output = T>) -> T {
        self.prompting.store(true, Ordering::SeqCst);
        let answer = question.await;
        self.prompting.store(false, Ordering::SeqCst);
        answer
    }

    /// Says that nothing is left to do but to write: a signal then ends the program.
    pub fn release(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Whether the end was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.level() != CancelLevel::None
    }

    /// Sleeps as long as `is_wanted` says so. Returns `false` if the end was asked for meanwhile,
    /// or the result is not wanted any more.
    pub async fn sleep_while(&self, pause: Duration, is_wanted: impl Fn() -> bool) -> bool {
        let end = tokio::time::Instant::now() + pause;
        while tokio::time::Instant::now() < end && !self.is_cancelled() && is_wanted() {
            tokio::time::sleep_until(end.min(tokio::time::Instant::now() + SLICE)).await;
        }
        !self.is_cancelled() && is_wanted()
    }

    /// The exit status if a signal cancelled the run.
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

/// All signals, each as what it asks for.
fn demands() -> Result<mpsc::UnboundedReceiver<SignalRequest>, Failure> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let listen = |number: i32, demand: SignalRequest| -> std::io::Result<()> {
        let mut signals = signal(SignalKind::from_raw(number))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && sender.send(demand).is_ok() {}
        });
        Ok(())
    };
    for (signal, _, demand) in SIGNALS {
        listen(signal.as_raw(), *demand)?;
    }
    for number in REAL_TIME {
        // A C library that keeps one of them for itself refuses it.
        let _ = listen(number, SignalRequest::Terminate);
    }
    Ok(receiver)
}
