//! For how long a run was executed.

use jiff::Timestamp;

/// How long a run was executed: the sum of what each execution says by its monotonic clock. One that was cut off says nothing,
/// so of that one the clock on the wall must do.
#[derive(Debug, Clone)]
pub(super) struct Executed {
    before_ms: u64,
    since: Option<Timestamp>,
    /// When the last record was made.
    pub(super) last: Timestamp,
}

impl Executed {
    pub(super) fn since(at: Timestamp) -> Self {
        Self { before_ms: 0, since: Some(at), last: at }
    }

    pub(super) fn begin(&mut self, at: Timestamp) {
        let cut_off = self.since.map_or(0, |since| between(since, self.last));
        self.before_ms += cut_off;
        self.since = Some(at);
    }

    pub(super) fn end(&mut self, took_ms: Option<u64>, at: Timestamp) {
        let by_the_wall = || self.since.map_or(0, |since| between(since, at));
        self.before_ms += took_ms.unwrap_or_else(by_the_wall);
        self.since = None;
    }

    pub(super) fn total_ms(&self, at: Timestamp) -> u64 {
        self.before_ms + self.since.map_or(0, |since| between(since, at))
    }
}

fn between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond().saturating_sub(from.as_millisecond())).unwrap_or(0)
}
