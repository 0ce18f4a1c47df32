//! `approval`: who must say that an effect may happen, before it does.

use crate::event::ApprovalVerdict;
use crate::state::{Given, StepState};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// Who must say that a step may do what it says it would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// How many people.
    pub quorum: u32,
    /// Whether the one who started the run counts.
    pub oneself: Oneself,
    /// How long an approval is good.
    pub expires: Option<Duration>,
    /// Who may approve, as `user` or `user@host`; empty is everybody who can write the journal.
    pub approvers: Vec<String>,
}

/// Whether the one who started the run counts as an approver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oneself {
    /// They do.
    Counts,
    /// Somebody else must look.
    DoesNotCount,
}

impl Approval {
    /// Whether this person (`user@host`) may approve or reject.
    pub fn may_answer(&self, by: &str) -> bool {
        let user = by.split('@').next().unwrap_or_default();
        self.approvers.is_empty() || self.approvers.iter().any(|name| name == by || name == user)
    }

    /// Whether enough people have approved what has this digest, and their word is still good.
    pub fn is_approved(&self, step: &StepState, digest: &str, now: Timestamp) -> bool {
        let is_good = |given: &&Given| {
            let age = now.duration_since(given.at).unsigned_abs();
            given.digest == digest
                && given.verdict == ApprovalVerdict::Approved
                && self.may_answer(&given.by)
                && self.expires.is_none_or(|expires| age <= expires)
        };
        let people: BTreeSet<&str> = step.answers.iter().filter(is_good).map(|given| given.by.as_str()).collect();
        people.len() >= usize::try_from(self.quorum).unwrap_or(usize::MAX)
    }

    /// Whether what was said about what is asked now is enough to go on: enough approvals, whatever their age, or a rejection.
    /// A step that goes on says again what it would do, and asks again if that, or the time, has changed.
    pub fn is_answered(&self, step: &StepState) -> bool {
        let Some(asked) = &step.asked else { return true };
        let about_this = || step.answers.iter().filter(|given| given.digest == asked.digest && self.may_answer(&given.by));
        let people: BTreeSet<&str> =
            about_this().filter(|given| given.verdict == ApprovalVerdict::Approved).map(|given| given.by.as_str()).collect();
        let is_rejected = about_this().any(|given| given.verdict != ApprovalVerdict::Approved);
        is_rejected || people.len() >= usize::try_from(self.quorum).unwrap_or(usize::MAX)
    }
}
