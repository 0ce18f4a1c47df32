//! How long a run was executed. Pauses do not count, nor does the time after a process died.

use crate::event::{LifecycleEvent, Record, RunEvent};
use jiff::Timestamp;
use serde::Serialize;

/// How long a run was executed, folded from its records. An execution that ended in order records
/// its duration by the monotonic clock. For one that was cut off, the wall clock is used, from its
/// begin to when its process was seen last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Executed {
    /// How long the executions took that are over, in milliseconds.
    before_ms: u64,
    /// When the one that is under way, or was cut off, began.
    since: Option<Timestamp>,
    /// When the last record was written.
    last: Timestamp,
}

impl Executed {
    /// The time of a run that begins at `at`.
    pub fn since(at: Timestamp) -> Self {
        Self { before_ms: 0, since: Some(at), last: at }
    }

    /// Takes in one more record.
    pub fn fold(&mut self, record: &Record) {
        let at = record.at;
        match &record.event {
            RunEvent::Run(LifecycleEvent::Resumed { last_seen, .. }) => self.begin(*last_seen, at),
            RunEvent::Run(LifecycleEvent::UndoRequested { .. }) => self.begin(None, at),
            RunEvent::Run(
                LifecycleEvent::Paused { took_ms, .. } | LifecycleEvent::RunEnded { took_ms, .. },
            ) => {
                self.before_ms = took_ms.unwrap_or_else(|| self.until(at));
                self.since = None;
            }
            RunEvent::Run(_)
            | RunEvent::Step { .. }
            | RunEvent::Guard { .. }
            | RunEvent::Notify { .. } => {}
        }
        self.last = at;
    }

    fn begin(&mut self, last_seen: Option<Timestamp>, at: Timestamp) {
        // No later than it was found dead, whatever another clock says.
        self.before_ms = self.until(last_seen.unwrap_or(self.last).min(at));
        self.since = Some(at);
    }

    /// How long the executions before the one that is under way took, in milliseconds.
    pub fn before_ms(&self) -> u64 {
        self.before_ms
    }

    /// In all, in milliseconds, if the execution that is under way was seen at `seen`; no less than
    /// its last record says.
    pub fn until(&self, seen: Timestamp) -> u64 {
        self.before_ms
            .saturating_add(self.since.map_or(0, |since| between(since, seen.max(self.last))))
    }

    /// The same, as far as its records say.
    pub fn recorded_ms(&self) -> u64 {
        self.until(self.last)
    }
}

fn between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond().saturating_sub(from.as_millisecond())).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::event::PauseReason;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn record(second: i64, event: LifecycleEvent) -> Record {
        Record { seq: 0, at: at(second), event: event.into() }
    }

    fn resumed(second: i64, last_seen: Option<i64>) -> Record {
        record(
            second,
            LifecycleEvent::Resumed {
                by: "ops".to_owned(),
                stage: None,
                last_seen: last_seen.map(at),
            },
        )
    }

    fn paused(second: i64, took_ms: Option<u64>) -> Record {
        record(
            second,
            LifecycleEvent::Paused { reason: PauseReason::Interrupted, took_ms, stage: None },
        )
    }

    fn total(records: &[Record]) -> u64 {
        let mut executed = Executed::since(at(100));
        records.iter().for_each(|record| executed.fold(record));
        executed.recorded_ms()
    }

    #[test]
    fn what_was_cut_off_counts_until_its_process_was_seen_last() {
        let begun = || record(101, LifecycleEvent::VerifyBegan);
        assert_eq!(total(&[begun()]), 1_000);
        assert_eq!(
            total(&[begun(), resumed(500, None)]),
            1_000,
            "nobody saw it after its last record"
        );
        assert_eq!(total(&[begun(), resumed(500, Some(110))]), 10_000, "its last heartbeat");
        assert_eq!(
            total(&[begun(), resumed(500, Some(90))]),
            1_000,
            "never less than its records say"
        );
        assert_eq!(
            total(&[begun(), resumed(500, Some(900))]),
            400_000,
            "never longer than until it was found dead"
        );
        assert_eq!(
            total(&[begun(), resumed(500, Some(110)), record(503, LifecycleEvent::VerifyBegan)]),
            13_000
        );
    }

    #[test]
    fn what_ended_in_order_says_itself_how_long_it_took_in_all() {
        assert_eq!(total(&[paused(400, Some(7_000))]), 7_000);
        assert_eq!(
            total(&[paused(400, Some(7_000)), resumed(900, None), paused(902, Some(9_000))]),
            9_000
        );
        assert_eq!(
            total(&[paused(400, None)]),
            300_000,
            "an older journal has only the clock on the wall"
        );
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_negative() {
        assert_eq!(total(&[resumed(50, Some(110)), paused(40, None)]), 0);
    }
}
