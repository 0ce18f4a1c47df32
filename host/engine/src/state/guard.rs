//! The state of a guard: its last observation, and how many consecutive ones were bad.

use crate::event::{GuardObservation, GuardVerdict, StepListing};
use serde::Serialize;

/// How a run stopped that is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResumedAfter {
    /// In the middle of something.
    Crash,
    /// In order, and the journal says why.
    Pause,
}

/// What is known of a guard.
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

    /// The run is resumed: the guard must be probed again. The count of bad observations is kept
    /// after a crash. It ends with a pause, because a person has decided to resume.
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
    pub fn holds_back(&self) -> bool {
        self.last.as_ref().is_none_or(|last| last.verdict != GuardVerdict::Holds)
    }
}
