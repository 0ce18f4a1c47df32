//! Faults on demand, for the crash tests: kills the program as `kill -9` does, at a moment that a test asks for. Not in release builds.

use std::sync::atomic::{AtomicU64, Ordering};

/// Set by the crash tests to `MOMENT:N`: the N-th such moment of the process (a record of the journal: the N-th of its run), from 1.
const VARIABLE: &str = "RUNBOOK_TEST_KILL";

/// Moments at which the program can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// A record of the journal is committed.
    Record,
    /// A host call was let in, and has done nothing yet.
    Entered,
    /// A host call has done what it does, and nobody was told yet.
    Returned,
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Entered => "entered",
            Self::Returned => "returned",
        }
    }
}

/// How many host calls there were.
static ENTERED: AtomicU64 = AtomicU64::new(0);
static RETURNED: AtomicU64 = AtomicU64::new(0);

/// Kills the program, if record `seq` (counted from 0) is the one that a test asked for.
pub fn after_record(seq: u64) {
    kill_if_asked(Moment::Record, seq + 1);
}

/// Kills the program, if the host call that was let in is the one that a test asked for.
pub fn on_entry() {
    kill_if_asked(Moment::Entered, ENTERED.fetch_add(1, Ordering::SeqCst) + 1);
}

/// Kills the program, if the host call that comes back is the one that a test asked for.
pub fn on_return() {
    kill_if_asked(Moment::Returned, RETURNED.fetch_add(1, Ordering::SeqCst) + 1);
}

fn kill_if_asked(moment: Moment, number: u64) {
    if !cfg!(debug_assertions) {
        return;
    }
    let wanted = std::env::var(VARIABLE).ok();
    let wanted = wanted.as_deref().and_then(|text| text.split_once(':'));
    if wanted.is_some_and(|(name, n)| name == moment.name() && n.parse() == Ok(number)) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal may take a moment; nothing more may happen meanwhile.
        loop {
            std::thread::park();
        }
    }
}
