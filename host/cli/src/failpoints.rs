//! Failpoints for the crash tests: kill the program like `kill -9`, or stop it like Ctrl-Z, at a
//! point that a test chooses. They have no effect in release builds.

use rustix::process::{Signal, getpid, kill_process};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The variable that crash tests set to `FAILPOINT:N`: kill at the N-th time that the process
/// reaches this failpoint, counted from 1. For `record`, N is the number of the record in its run.
const KILL: &str = "RUNBOOK_TEST_KILL";
/// As [`KILL`], but the program stops there until it gets SIGCONT.
const STOP: &str = "RUNBOOK_TEST_STOP";
/// The variable for the duration of leases, in milliseconds, so that tests need not wait long.
const LEASE: &str = "RUNBOOK_TEST_LEASE_MS";

/// A point at which the program can be killed or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failpoint {
    /// A record of the journal was committed.
    Record,
    /// A host call was allowed, and has done nothing yet.
    Entered,
    /// A host call has finished, and has not returned to its caller yet.
    Returned,
    /// A run was read, and its lease was not read yet.
    RunRead,
}

impl Failpoint {
    fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Entered => "entered",
            Self::Returned => "returned",
            Self::RunRead => "run-read",
        }
    }
}

/// How many host calls were allowed, and how many have returned.
static ENTERED: AtomicU64 = AtomicU64::new(0);
static RETURNED: AtomicU64 = AtomicU64::new(0);
/// How many times a run was read.
static RUN_READS: AtomicU64 = AtomicU64::new(0);

/// Kills or stops the program if record `seq` (counted from 0) is the one that a test chose.
pub fn after_record(seq: u64) {
    fail_if_chosen(Failpoint::Record, seq + 1);
}

/// Kills or stops the program if this allowed host call is the one that a test chose.
pub fn on_entry() {
    fail_if_chosen(Failpoint::Entered, ENTERED.fetch_add(1, Ordering::SeqCst) + 1);
}

/// Kills or stops the program if this returning host call is the one that a test chose.
pub fn on_return() {
    fail_if_chosen(Failpoint::Returned, RETURNED.fetch_add(1, Ordering::SeqCst) + 1);
}

/// Kills or stops the program if this read of a run is the one that a test chose.
pub fn after_reading() {
    fail_if_chosen(Failpoint::RunRead, RUN_READS.fetch_add(1, Ordering::SeqCst) + 1);
}

/// The duration of leases, if a test sets it.
pub fn lease_ttl() -> Option<Duration> {
    if !cfg!(debug_assertions) {
        return None;
    }
    std::env::var(LEASE).ok()?.parse().ok().map(Duration::from_millis)
}

fn fail_if_chosen(failpoint: Failpoint, number: u64) {
    if !cfg!(debug_assertions) {
        return;
    }
    let is_chosen = |variable: &str| {
        let setting = std::env::var(variable).ok();
        let setting = setting.as_deref().and_then(|text| text.split_once(':'));
        setting.is_some_and(|(name, n)| name == failpoint.name() && n.parse() == Ok(number))
    };
    if is_chosen(KILL) {
        let _ = kill_process(getpid(), Signal::KILL);
        // Nothing more may happen until the signal arrives.
        loop {
            std::thread::park();
        }
    }
    if is_chosen(STOP) {
        let _ = kill_process(getpid(), Signal::STOP);
        // Other threads may be stopped first; this one waits until it is stopped, too.
        std::thread::sleep(Duration::from_millis(50));
    }
}
