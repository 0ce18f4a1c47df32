//! Faults on demand, for the crash tests: kills the program as `kill -9` does, or stops it as
//! Ctrl-Z would, at a moment that a test asks for. Not in release builds.

use rustix::process::{Signal, getpid, kill_process};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Set by the crash tests to `MOMENT:N`: the N-th such moment of the process (a record of the
/// journal: the N-th of its run), from 1.
const KILL: &str = "RUNBOOK_TEST_KILL";
/// The same, but the program stops there until it is sent SIGCONT.
const STOP: &str = "RUNBOOK_TEST_STOP";
/// How long leases live, in milliseconds: a test that waits for the end of one need not wait for
/// long.
const LEASE: &str = "RUNBOOK_TEST_LEASE_MS";

/// Moments at which the program can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failpoint {
    /// A record of the journal is committed.
    Record,
    /// A host call was let in, and has done nothing yet.
    Entered,
    /// A host call has done its work, and its caller was not told yet.
    Returned,
    /// The record of a run was read, and its lease was not yet.
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

/// How many host calls there were.
static ENTERED: AtomicU64 = AtomicU64::new(0);
static RETURNED: AtomicU64 = AtomicU64::new(0);
/// How many times a run was read.
static RUN_READS: AtomicU64 = AtomicU64::new(0);

/// Kills or stops the program, if record `seq` (counted from 0) is the one that a test asked for.
pub fn after_record(seq: u64) {
    fail_if_asked(Failpoint::Record, seq + 1);
}

/// Kills or stops the program, if the host call that was let in is the one that a test asked for.
pub fn on_entry() {
    fail_if_asked(Failpoint::Entered, ENTERED.fetch_add(1, Ordering::SeqCst) + 1);
}

/// Kills or stops the program, if the host call that comes back is the one that a test asked for.
pub fn on_return() {
    fail_if_asked(Failpoint::Returned, RETURNED.fetch_add(1, Ordering::SeqCst) + 1);
}

/// Kills or stops the program, if this read of a run is the one that a test chose.
pub fn after_reading() {
    fail_if_asked(Failpoint::RunRead, RUN_READS.fetch_add(1, Ordering::SeqCst) + 1);
}

/// How long leases live, if a test says so.
pub fn lease_ttl() -> Option<Duration> {
    if !cfg!(debug_assertions) {
        return None;
    }
    std::env::var(LEASE).ok()?.parse().ok().map(Duration::from_millis)
}

fn fail_if_asked(moment: Failpoint, number: u64) {
    if !cfg!(debug_assertions) {
        return;
    }
    let is_wanted = |variable: &str| {
        let wanted = std::env::var(variable).ok();
        let wanted = wanted.as_deref().and_then(|text| text.split_once(':'));
        wanted.is_some_and(|(name, n)| name == moment.name() && n.parse() == Ok(number))
    };
    if is_wanted(KILL) {
        let _ = kill_process(getpid(), Signal::KILL);
        // The signal may take a moment; nothing more may happen meanwhile.
        loop {
            std::thread::park();
        }
    }
    if is_wanted(STOP) {
        let _ = kill_process(getpid(), Signal::STOP);
        // Other threads may be stopped first; this one does nothing until it is, too.
        std::thread::sleep(Duration::from_millis(50));
    }
}
