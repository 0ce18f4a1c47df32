//! Faults on demand, for the crash tests: kills the program after a record of the journal. Not in release builds.

/// Set by the crash tests to the number of records (counted from 1) after which the program kills itself.
const VARIABLE: &str = "RUNBOOK_TEST_KILL_AFTER_RECORD";

/// Kills the program as `kill -9` does, if record `seq` (counted from 0) is the one that a test asked for.
pub fn after_record(seq: u64) {
    if !cfg!(debug_assertions) {
        return;
    }
    let wanted = std::env::var(VARIABLE).ok().and_then(|text| text.parse::<u64>().ok());
    if wanted == Some(seq + 1) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal may take a moment; nothing more may happen meanwhile.
        loop {
            std::thread::park();
        }
    }
}
