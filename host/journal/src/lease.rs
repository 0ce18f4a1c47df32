//! Decides about a request for a lease, given the stored lease. Pure functions.

use jiff::Timestamp;
use runbook_engine::{Holder, LeaseRequest};
use std::time::Duration;

/// A lease as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredLease {
    pub(crate) token: u64,
    pub(crate) holder: Holder,
    /// `None` once it is released.
    pub(crate) expires: Option<Timestamp>,
}

impl StoredLease {
    /// When the holder renewed it last, given the time `ttl` of each renewal; `None` if it was
    /// released.
    pub(crate) fn last_seen(&self, ttl: Duration) -> Option<Timestamp> {
        self.expires.and_then(|expires| expires.checked_sub(ttl).ok())
    }
}

/// The decision about a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LeaseDecision {
    /// The lease is given with this token. `from` is the previous holder if it had not released the
    /// lease, with the reason why the lease may be taken.
    Give { token: u64, from: Option<(Holder, TakeoverReason)> },
    /// Another holder has it.
    Busy { holder: Holder, token: u64, left: Duration },
}

/// Why a lease was taken from a holder that had not released it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeoverReason {
    /// The holder had not renewed it in time.
    Expired,
    /// The new holder proved that the previous holder is dead.
    Stolen,
    /// The previous holder is another process that executed the same run before it was resumed.
    SameRun,
}

impl TakeoverReason {
    /// Every reason with its name in the table.
    pub(crate) const ALL: &[(Self, &str)] =
        &[(Self::Expired, "expired"), (Self::Stolen, "stolen"), (Self::SameRun, "same-run")];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(reason, _)| *reason == self)
            .map(|(_, name)| *name)
            .expect("`ALL` has every reason: checked by a test")
    }
}

/// One lease that was taken from a holder that had not released it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    /// The name of the lease, such as `lock:NAME` for a lock or `run:ID` for the right to execute a
    /// run.
    pub name: String,
    /// The fencing token that the new holder got.
    pub token: u64,
    /// When it was taken, by the clock of the journal.
    pub at: Timestamp,
    /// Why it could be taken although it was not released.
    pub reason: TakeoverReason,
    /// The holder that it was taken from.
    pub from: Holder,
}

/// Decides about a request. A lease is given if it is free, if it has expired, if the same executor
/// holds it, or if the request names the token of a dead holder in `steal`. A lock is also given if
/// it is held for the same run; the right to execute a run is not.
pub(crate) fn decide(stored: Option<&StoredLease>, request: &LeaseRequest) -> LeaseDecision {
    let Some(stored) = stored else { return LeaseDecision::Give { token: 1, from: None } };
    let token = stored.token + 1;
    let take = |reason| LeaseDecision::Give { token, from: Some((stored.holder.clone(), reason)) };
    match stored.expires {
        None => LeaseDecision::Give { token, from: None },
        Some(_) if stored.holder.executor == request.holder.executor => {
            LeaseDecision::Give { token, from: None }
        }
        Some(expires) if expires <= request.now => take(TakeoverReason::Expired),
        Some(_) if request.steal == Some(stored.token) => take(TakeoverReason::Stolen),
        Some(_) if stored.holder.run == request.holder.run && !request.name.starts_with("run:") => {
            take(TakeoverReason::SameRun)
        }
        Some(expires) => LeaseDecision::Busy {
            holder: stored.holder.clone(),
            token: stored.token,
            left: left(expires, request.now),
        },
    }
}

/// The state of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseStatus {
    /// Nobody has ever held it.
    NeverTaken,
    /// The last holder has released it.
    Released,
    /// Somebody holds it.
    Held {
        /// The holder.
        holder: Holder,
        /// How long it is valid without a renewal.
        left: Duration,
    },
    /// It has expired: its holder did not release it, and nobody has taken it yet.
    Expired {
        /// The last holder.
        holder: Holder,
    },
}

/// The state of a stored lease at `now`, by the journal's clock.
pub(crate) fn status(stored: Option<StoredLease>, now: Timestamp) -> LeaseStatus {
    let Some(StoredLease { holder, expires, .. }) = stored else { return LeaseStatus::NeverTaken };
    let Some(expires) = expires else { return LeaseStatus::Released };
    match left(expires, now) {
        Duration::ZERO => LeaseStatus::Expired { holder },
        left => LeaseStatus::Held { holder, left },
    }
}

/// How long a lease is valid from `now` on; zero if it has expired.
pub(crate) fn left(expires: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(expires.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_engine::RunId;
    use uuid::Uuid;

    fn holder(run: u128, executor: u128) -> Holder {
        Holder {
            run: RunId(Uuid::from_u128(run)),
            executor: Uuid::from_u128(executor),
            host: "h".into(),
            pid: 7,
            process: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The decision about a request by `requester` at `now`, for a lease that is stored with token
    /// 4, run 1 and executor 1, and is valid until second 100.
    fn check(name: &str, requester: Holder, now: i64, steal: Option<u64>) -> LeaseDecision {
        let stored = StoredLease { token: 4, holder: holder(1, 1), expires: Some(at(100)) };
        let request = LeaseRequest {
            name: name.into(),
            holder: requester,
            now: at(now),
            ttl: Duration::from_secs(30),
            steal,
        };
        decide(Some(&stored), &request)
    }

    fn taken(reason: TakeoverReason) -> LeaseDecision {
        LeaseDecision::Give { token: 5, from: Some((holder(1, 1), reason)) }
    }

    #[test]
    fn a_lease_is_given_only_to_those_who_may_have_it() {
        let busy_for = |seconds| LeaseDecision::Busy {
            holder: holder(1, 1),
            token: 4,
            left: Duration::from_secs(seconds),
        };
        let busy = busy_for(50);
        assert_eq!(check("lock:a", holder(2, 2), 99, None), busy_for(1));
        assert_eq!(check("lock:a", holder(2, 2), 100, None), taken(TakeoverReason::Expired));
        assert_eq!(check("lock:a", holder(2, 2), 50, Some(4)), taken(TakeoverReason::Stolen));
        assert_eq!(
            check("lock:a", holder(2, 2), 50, Some(3)),
            busy,
            "the proof is about another holder"
        );
        assert_eq!(check("lock:a", holder(1, 2), 50, None), taken(TakeoverReason::SameRun));
        assert_eq!(
            check("run:1", holder(1, 2), 50, None),
            busy,
            "two processes never execute one run"
        );
        assert_eq!(
            check("run:1", holder(1, 1), 50, None),
            LeaseDecision::Give { token: 5, from: None }
        );
    }

    #[test]
    fn a_lease_that_was_never_taken_is_not_one_that_was_released() {
        let stored = |expires| Some(StoredLease { token: 4, holder: holder(1, 1), expires });
        let held = LeaseStatus::Held { holder: holder(1, 1), left: Duration::from_secs(1) };
        let expired = LeaseStatus::Expired { holder: holder(1, 1) };
        assert_eq!(status(None, at(100)), LeaseStatus::NeverTaken);
        assert_eq!(status(stored(None), at(100)), LeaseStatus::Released);
        assert_eq!(status(stored(Some(at(101))), at(100)), held);
        assert_eq!(status(stored(Some(at(100))), at(100)), expired);
        assert_eq!(status(stored(Some(at(99))), at(100)), expired);
    }

    #[test]
    fn every_reason_has_a_name() {
        for reason in [TakeoverReason::Expired, TakeoverReason::Stolen, TakeoverReason::SameRun] {
            assert!(!reason.name().is_empty());
        }
    }
}
