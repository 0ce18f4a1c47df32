//! `[[guard]]`: what is watched while a run changes things.

use super::Step;
use std::time::Duration;

/// A probe that is repeated while steps and post-conditions run.
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

/// What a breach leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnBreach {
    /// No step begins; when those that run have ended, the run stops and can be resumed.
    Pause,
    /// What runs is stopped as for a cancel; then what was done is undone, even if `[undo] on` says
    /// otherwise.
    #[default]
    Undo,
    /// What runs is stopped as for a cancel; nothing is undone.
    Abort,
}

impl OnBreach {
    /// All values with their names.
    pub const ALL: &[(Self, &str)] =
        &[(Self::Pause, "pause"), (Self::Undo, "undo"), (Self::Abort, "abort")];
}
