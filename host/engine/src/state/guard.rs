//! What is known of a guard: its last look, and how many in a row were bad.

use crate::event::{Look, LookVerdict, StepListing};
use serde::Serialize;

/// How a run stopped that is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
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
    /// The last look that was written down; `None` before the first, and again when the run is
    /// resumed.
    pub last: Option<Look>,
    /// How many looks in a row, up to the last one, were bad.
    pub in_a_row: u32,
}

impl GuardState {
    pub(crate) fn new(listing: StepListing) -> Self {
        Self { listing, last: None, in_a_row: 0 }
    }

    pub(super) fn look(&mut self, look: &Look) {
        self.in_a_row = match look.verdict {
            LookVerdict::Holds => 0,
            LookVerdict::Breached | LookVerdict::Blind => self.in_a_row.saturating_add(1),
        };
        self.last = Some(look.clone());
    }

    /// Notes that the run goes on. What held a while ago must be looked at again. A streak of bad
    /// looks outlives a crash, and ends with a pause, after which a person has looked.
    pub(super) fn resume(&mut self, after: After) {
        match after {
            After::Crash if self.in_a_row > 0 => {}
            After::Crash | After::Pause => {
                self.last = None;
                self.in_a_row = 0;
            }
        }
    }

    /// Whether no step may begin, because the guard has not looked yet or its last look was bad.
    pub fn holds_back(&self) -> bool {
        self.last.as_ref().is_none_or(|look| look.verdict != LookVerdict::Holds)
    }
}
