//! `approval`: who must approve an effect before it happens.

use crate::event::ApprovalVerdict;
use crate::state::{ApprovalRecord, ApprovalState};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// Who must approve what a step says that it would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// How many people must approve.
    pub quorum: u32,
    /// Whether the one who started the run counts.
    pub oneself: SelfApproval,
    /// How long an approval is good.
    pub expires: Option<Duration>,
    /// Who may approve, as `user` or `user@host`; empty is everybody who can write the journal.
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

/// The user in `user@host (as root)`. The same user on two machines, or become root, counts as one
/// person.
pub fn person_of(by: &str) -> &str {
    let account = account_of(by);
    account.rsplit_once('@').map_or(account, |(user, _)| user)
}

/// `user@host`, without what stands beside it.
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
        match self.oneself {
            SelfApproval::Counts => true,
            SelfApproval::DoesNotCount => person_of(by) != person_of(starter),
        }
    }

    /// Whether enough people have approved what has this digest, in a run that `starter` started,
    /// and their word is still good.
    pub fn is_approved(
        &self,
        of: &ApprovalState,
        digest: &str,
        starter: &str,
        now: Timestamp,
    ) -> bool {
        let is_good = |given: &&ApprovalRecord| {
            let age = now.duration_since(given.at).unsigned_abs();
            given.digest == digest
                && given.verdict == ApprovalVerdict::Approved
                && self.may_answer(&given.by)
                && self.counts(&given.by, starter)
                && self.expires.is_none_or(|expires| age <= expires)
        };
        let people: BTreeSet<&str> =
            of.answers.iter().filter(is_good).map(|given| person_of(&given.by)).collect();
        people.len() >= usize::try_from(self.quorum).unwrap_or(usize::MAX)
    }

    /// Whether the approvals or a rejection of what is asked now are enough to go on: enough
    /// approvals, of any age, or one rejection. A step that goes on says again what it would do,
    /// and asks again if that has changed or the approvals are too old.
    pub fn is_answered(&self, of: &ApprovalState) -> bool {
        let is_rejected = of.asked.as_ref().is_none_or(|asked| {
            let about_this = |given: &&ApprovalRecord| {
                given.digest == asked.digest && self.may_answer(&given.by)
            };
            of.answers
                .iter()
                .filter(about_this)
                .any(|given| given.verdict != ApprovalVerdict::Approved)
        });
        is_rejected || self.missing(of) == 0
    }

    /// How many people must still approve what is asked now; approvals of any age count.
    pub fn missing(&self, of: &ApprovalState) -> usize {
        let Some(asked) = &of.asked else { return 0 };
        let approve = |given: &&ApprovalRecord| {
            given.digest == asked.digest
                && self.may_answer(&given.by)
                && given.verdict == ApprovalVerdict::Approved
        };
        let people: BTreeSet<&str> =
            of.answers.iter().filter(approve).map(|given| person_of(&given.by)).collect();
        usize::try_from(self.quorum).unwrap_or(usize::MAX).saturating_sub(people.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_is_one_person_from_every_machine_and_by_every_way() {
        for by in
            ["ada@bastion", "ada@laptop", "ada@bastion (as root)", "ada@corp (login ada)", "ada"]
        {
            assert_eq!(person_of(by), "ada", "{by}");
        }
        // Accounts of a directory have the sign in their names.
        assert_eq!(person_of("ada@corp.example@bastion (as root)"), "ada@corp.example");
        assert_ne!(person_of("bob@bastion"), "ada");
    }
}
