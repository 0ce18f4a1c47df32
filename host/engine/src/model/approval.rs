//! `approval`: who must approve an effect before it happens.

use crate::event::ApprovalVerdict;
use crate::state::{ApprovalRecord, ApprovalState};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// Who must approve what a step would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// How many people must approve.
    pub quorum: u32,
    /// Whether the one who started the run counts.
    pub self_approval: SelfApproval,
    /// How long an approval is valid; `None` is for ever.
    pub expires: Option<Duration>,
    /// Who may approve, as `user` or `user@host`; empty means everybody who can write the journal.
    pub approvers: Vec<String>,
}

/// Whether the one who started the run counts as an approver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfApproval {
    /// They may approve their own run.
    Counts,
    /// They may not; somebody else must approve.
    DoesNotCount,
}

/// The user in `user@host (as root)`. The same user on two machines, or with another effective
/// user, counts as one person.
pub fn person_of(by: &str) -> &str {
    let account = account_of(by);
    account.rsplit_once('@').map_or(account, |(user, _)| user)
}

/// The part `user@host` of `user@host (as root)`.
fn account_of(by: &str) -> &str {
    by.split(" (").next().unwrap_or_default()
}

impl Approval {
    /// Whether this person (`user@host`) may approve or reject.
    pub fn may_answer(&self, by: &str) -> bool {
        self.approvers.is_empty()
            || self.approvers.iter().any(|name| name == account_of(by) || name == person_of(by))
    }

    /// Whether this person counts in a run that `starter` started.
    pub fn counts(&self, by: &str, starter: &str) -> bool {
        match self.self_approval {
            SelfApproval::Counts => true,
            SelfApproval::DoesNotCount => person_of(by) != person_of(starter),
        }
    }

    /// Whether enough people have approved the request with this digest in a run that `starter`
    /// started. Expired approvals do not count.
    pub fn is_approved(
        &self,
        approval_state: &ApprovalState,
        digest: &str,
        starter: &str,
        now: Timestamp,
    ) -> bool {
        let is_valid = |answer: &&ApprovalRecord| {
            let age = now.duration_since(answer.at).unsigned_abs();
            answer.digest == digest
                && answer.verdict == ApprovalVerdict::Approved
                && self.may_answer(&answer.by)
                && self.counts(&answer.by, starter)
                && self.expires.is_none_or(|expires| age <= expires)
        };
        let people: BTreeSet<&str> = approval_state
            .answers
            .iter()
            .filter(is_valid)
            .map(|answer| person_of(&answer.by))
            .collect();
        people.len() >= usize::try_from(self.quorum).unwrap_or(usize::MAX)
    }

    /// Whether the present request is answered: by enough approvals of any age, or by one
    /// rejection. The step then plans again, and asks again if its plan has changed or approvals
    /// have expired.
    pub fn is_answered(&self, approval_state: &ApprovalState) -> bool {
        let is_rejected = approval_state.asked.as_ref().is_none_or(|asked| {
            let answers_request = |answer: &&ApprovalRecord| {
                answer.digest == asked.digest && self.may_answer(&answer.by)
            };
            approval_state
                .answers
                .iter()
                .filter(answers_request)
                .any(|answer| answer.verdict != ApprovalVerdict::Approved)
        });
        is_rejected || self.missing(approval_state) == 0
    }

    /// How many more people must approve the present request; approvals of any age count.
    pub fn missing(&self, approval_state: &ApprovalState) -> usize {
        let Some(asked) = &approval_state.asked else { return 0 };
        let approve = |answer: &&ApprovalRecord| {
            answer.digest == asked.digest
                && self.may_answer(&answer.by)
                && answer.verdict == ApprovalVerdict::Approved
        };
        let people: BTreeSet<&str> = approval_state
            .answers
            .iter()
            .filter(approve)
            .map(|answer| person_of(&answer.by))
            .collect();
        usize::try_from(self.quorum).unwrap_or(usize::MAX).saturating_sub(people.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_one_person_on_every_machine_and_with_every_effective_user() {
        for by in
            ["ada@bastion", "ada@laptop", "ada@bastion (as root)", "ada@corp (login ada)", "ada"]
        {
            assert_eq!(person_of(by), "ada", "{by}");
        }
        // Names of directory accounts contain `@`.
        assert_eq!(person_of("ada@corp.example@bastion (as root)"), "ada@corp.example");
        assert_ne!(person_of("bob@bastion"), "ada");
    }
}
