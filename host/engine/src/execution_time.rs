//! How long a run was executed. Pauses, and the time after a process died, do not count.

use crate::event::{LifecycleEvent, Record, RunEvent};
use jiff::Timestamp;
use serde::Serialize;

/// How long a run was executed, folded from its records. An execution that ended in order records
/// its duration by the monotonic clock. For one that crashed, the time is by the wall clock, from
/// its start to when its process was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExecutionTime {
    /// How long the earlier executions took, in milliseconds.
    before_ms: u64,
    /// When the present or crashed execution began; `None` if the last one ended in order.
    started_at: Option<Timestamp>,
    /// When the last record was written.
    last: Timestamp,
}

impl ExecutionTime {
    /// The execution time of a run that starts at `at`.
    pub fn started_at(at: Timestamp) -> Self {
        Self { before_ms: 0, started_at: Some(at), last: at }
    }

    /// Applies one more record.
    pub fn fold(&mut self, record: &Record) {
        let at = record.at;
        match &record.event {
            RunEvent::Run(LifecycleEvent::Resumed { last_seen, .. }) => self.begin(*last_seen, at),
            RunEvent::Run(LifecycleEvent::UndoRequested { .. }) => self.begin(None, at),
            RunEvent::Run(
                LifecycleEvent::Paused { took_ms, .. } | LifecycleEvent::RunEnded { took_ms, .. },
            ) => {
                self.before_ms = took_ms.unwrap_or_else(|| self.total_ms_at(at));
                self.started_at = None;
            }
            RunEvent::Run(_)
            | RunEvent::Step { .. }
            | RunEvent::Guard { .. }
            | RunEvent::Notify { .. } => {}
        }
        self.last = at;
    }

    fn begin(&mut self, last_seen: Option<Timestamp>, at: Timestamp) {
        // The crashed execution cannot have ended after `at`, even if another clock says so.
        self.before_ms = self.total_ms_at(last_seen.unwrap_or(self.last).min(at));
        self.started_at = Some(at);
    }

    /// How long the executions before the present one took, in milliseconds.
    pub fn before_ms(&self) -> u64 {
        self.before_ms
    }

    /// The total time in milliseconds, if the present execution was last seen at `seen`, or at its
    /// last record if that is later.
    pub fn total_ms_at(&self, seen: Timestamp) -> u64 {
        self.before_ms.saturating_add(
            self.started_at.map_or(0, |started_at| between(started_at, seen.max(self.last))),
        )
    }

    /// The total time until the last record, in milliseconds.
    pub fn recorded_ms(&self) -> u64 {
        self.total_ms_at(self.last)
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
        let mut execution_time = ExecutionTime::started_at(at(100));
        records.iter().for_each(|record| execution_time.fold(record));
        execution_time.recorded_ms()
    }

    #[test]
    fn a_crashed_execution_counts_until_its_process_was_last_seen() {
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
    fn an_execution_that_ended_in_order_records_the_total_time() {
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
    fn a_clock_that_was_set_back_gives_no_negative_time() {
        assert_eq!(total(&[resumed(50, Some(110)), paused(40, None)]), 0);
    }
}
