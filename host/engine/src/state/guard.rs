//! The state of a guard: its last observation, and how many consecutive observations were bad.

use crate::event::{GuardObservation, GuardVerdict, StepListing};
use serde::Serialize;

/// How the previous execution of a resumed run stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResumedAfter {
    /// By a crash.
    Crash,
    /// By a pause, whose reason is in the journal.
    Pause,
}

/// The state of a guard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GuardState {
    /// The guard as the run listed it when it started.
    pub listing: StepListing,
    /// The last observation in the journal; `None` before the first, and again when the run is
    /// resumed.
    pub last: Option<GuardObservation>,
    /// How many consecutive observations, up to the last one, were bad.
    pub in_a_row: u32,
}

impl GuardState {
    pub(crate) fn new(listing: StepListing) -> Self {
        Self { listing, last: None, in_a_row: 0 }
    }

    pub(super) fn observe(&mut self, observation: &GuardObservation) {
        self.in_a_row = match observation.verdict {
            GuardVerdict::Holds => 0,
            GuardVerdict::Breached | GuardVerdict::Blind => self.in_a_row.saturating_add(1),
        };
        self.last = Some(observation.clone());
    }

    /// The run is resumed. After a pause, the guard starts anew, because a person has decided to
    /// resume. After a crash, bad observations still count.
    pub(super) fn resume(&mut self, after: ResumedAfter) {
        match after {
            ResumedAfter::Crash if self.in_a_row > 0 => {}
            ResumedAfter::Crash | ResumedAfter::Pause => {
                self.last = None;
                self.in_a_row = 0;
            }
        }
    }

    /// Whether no step may begin, because the guard was not probed yet or its last observation was
    /// bad.
    pub fn blocks_steps(&self) -> bool {
        self.last.as_ref().is_none_or(|last| last.verdict != GuardVerdict::Holds)
    }
}
