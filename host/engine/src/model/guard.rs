//! `[[guard]]`: a probe that is repeated while a run changes things.

use super::Step;
use std::time::Duration;

/// A probe that is repeated while steps and verifies run.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The probe as a step: id, `uses`, `bind`, `with`, `expect`, `timeout`. Its other fields are
    /// the defaults of a step.
    pub probe: Step,
    /// The time between the end of one probe and the start of the next.
    pub every: Duration,
    /// The number of consecutive probes that must fail before the guard responds, at least 1.
    pub in_a_row: u32,
    /// What a breach leads to.
    pub on_breach: OnBreach,
}

/// The response to a breach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnBreach {
    /// No further step begins. When the running steps have ended, the run pauses.
    Pause,
    /// Running steps are stopped as for a cancel. Then completed steps are undone, even if `[undo]
    /// on` does not say so.
    #[default]
    Undo,
    /// Running steps are stopped as for a cancel, and nothing is undone.
    Abort,
}

impl OnBreach {
    /// All values with their names.
    pub const ALL: &[(Self, &str)] =
        &[(Self::Pause, "pause"), (Self::Undo, "undo"), (Self::Abort, "abort")];
}
