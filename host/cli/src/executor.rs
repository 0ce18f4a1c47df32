//! Reads a run together with its executor. All commands use these functions, because a run can
//! begin or end between the two reads, and would then be reported as interrupted by mistake.

use crate::context::Context;
use crate::execution::{is_dead, lease_ttl};
use crate::failpoints;
use crate::failure::Failure;
use jiff::Timestamp;
use runbook_engine::{Holder, Journal as _, RunId, RunStatus, RunSummary, StoredRun};
use runbook_journal::{LeaseStatus, SqlJournal};
use std::time::Duration;

/// The pause before a run is read again, because it changed between the reads or has just begun.
const REREAD_DELAY: Duration = Duration::from_millis(20);

/// Which process executes a run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executor {
    /// A process that is alive, as far as this machine can tell.
    Somebody {
        /// The holder of its lease.
        holder: Box<Holder>,
        /// The time until the lease expires, unless it is renewed.
        left: Duration,
    },
    /// A process of this machine that is alive but has not renewed its lease in time, because it
    /// was stopped or the machine slept.
    Stalled(Box<Holder>),
    /// The run was created a moment ago, and its process has not taken the lease yet.
    Starting,
    /// No process: the run is paused, or its process died.
    Nobody,
}

/// Whether a run with this status needs a process that executes it.
pub fn needs_executor(status: RunStatus) -> bool {
    match status {
        RunStatus::Paused | RunStatus::PausedUndoing | RunStatus::Ended(_) => false,
        RunStatus::Waiting | RunStatus::Running | RunStatus::Undoing => true,
    }
}

/// A run with its records, and its executor. `stored` is what the caller has read before.
///
/// # Errors
/// The journal does not answer.
pub async fn of_run(
    context: &Context,
    journal: &SqlJournal,
    stored: StoredRun,
) -> Result<(StoredRun, Executor), Failure> {
    let (run, started) = (stored.header.run, stored.header.started);
    read_until_consistent(
        stored,
        async || journal.load(run).await.map_err(Failure::engine),
        async || read_lease(context, journal, run, started).await,
        async || tokio::time::sleep(REREAD_DELAY).await,
    )
    .await
}

/// As [`of_run`], but never [`Executor::Starting`]: waits until the process of a new run has taken
/// its lease, or is known to have died before it could.
///
/// # Errors
/// The journal does not answer.
pub async fn of_begun_run(
    context: &Context,
    journal: &SqlJournal,
    mut stored: StoredRun,
) -> Result<(StoredRun, Executor), Failure> {
    loop {
        let (reread, executor) = of_run(context, journal, stored).await?;
        match executor {
            Executor::Starting => stored = reread,
            Executor::Somebody { .. } | Executor::Stalled(_) | Executor::Nobody => {
                return Ok((reread, executor));
            }
        }
        tokio::time::sleep(REREAD_DELAY).await;
    }
}

/// The summary of a run, and its executor. `listed` is what the caller has read before.
///
/// # Errors
/// The journal does not answer.
pub async fn of_listed_run(
    context: &Context,
    journal: &SqlJournal,
    listed: RunSummary,
) -> Result<(RunSummary, Executor), Failure> {
    let (run, started) = (listed.run, listed.started);
    read_until_consistent(
        listed,
        async || journal.summary(run).await.map_err(Failure::engine),
        async || read_lease(context, journal, run, started).await,
        async || tokio::time::sleep(REREAD_DELAY).await,
    )
    .await
}

/// Reads the lease and then the run again, until both are of the same moment. `before` is the run
/// as it was read first.
async fn read_until_consistent<T: PartialEq>(
    mut before: T,
    read: impl AsyncFn() -> Result<T, Failure>,
    read_lease: impl AsyncFn() -> Result<Executor, Failure>,
    pause: impl AsyncFn(),
) -> Result<(T, Executor), Failure> {
    loop {
        failpoints::after_reading();
        let executor = read_lease().await?;
        let after = read().await?;
        match compare(&before, &executor, &after) {
            ReadConsistency::Consistent => return Ok((after, executor)),
            ReadConsistency::Changed => before = after,
        }
        pause().await;
    }
}

/// Whether a run and its lease, read one after the other, are of the same moment.
#[derive(Debug, PartialEq, Eq)]
enum ReadConsistency {
    /// They are of the same moment.
    Consistent,
    /// The run changed between the reads, and the lease was free. Both must be read again.
    Changed,
}

/// A lease that is held is consistent with the later read. A lease that is free is consistent only
/// if the run is the same before and after.
fn compare<T: PartialEq>(before: &T, executor: &Executor, after: &T) -> ReadConsistency {
    match executor {
        Executor::Somebody { .. } | Executor::Stalled(_) => ReadConsistency::Consistent,
        Executor::Starting | Executor::Nobody if before == after => ReadConsistency::Consistent,
        Executor::Starting | Executor::Nobody => ReadConsistency::Changed,
    }
}

/// The executor of a run, determined from its lease alone.
async fn read_lease(
    context: &Context,
    journal: &SqlJournal,
    run: RunId,
    started: Timestamp,
) -> Result<Executor, Failure> {
    let now = Timestamp::now();
    let status = journal.lease_status(&format!("run:{run}"), now).await.map_err(Failure::engine)?;
    let is_new = now.duration_since(started).unsigned_abs() < lease_ttl();
    let shares_pids = |holder: &Holder| {
        let identities = context.process.as_ref().zip(holder.process.as_ref());
        identities.is_some_and(|(own, other)| own.shares_pids_with(other))
    };
    Ok(match status {
        LeaseStatus::NeverTaken if is_new => Executor::Starting,
        LeaseStatus::Held { holder, left } if !is_dead(context, &holder) => {
            Executor::Somebody { holder: Box::new(holder), left }
        }
        LeaseStatus::Expired { holder } if shares_pids(&holder) && !is_dead(context, &holder) => {
            Executor::Stalled(Box::new(holder))
        }
        LeaseStatus::NeverTaken
        | LeaseStatus::Released
        | LeaseStatus::Held { .. }
        | LeaseStatus::Expired { .. } => Executor::Nobody,
    })
}

/// When the executor of a run was last known to be alive: now, or at the last heartbeat of its
/// lease.
///
/// # Errors
/// The journal does not answer.
pub async fn last_seen(
    journal: &SqlJournal,
    run: RunId,
    executor: &Executor,
) -> Result<Option<Timestamp>, Failure> {
    match executor {
        Executor::Somebody { .. } => Ok(Some(Timestamp::now())),
        Executor::Stalled(_) | Executor::Starting | Executor::Nobody => {
            journal.last_seen(run, lease_ttl()).await.map_err(Failure::engine)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use uuid::Uuid;

    fn holder() -> Box<Holder> {
        let run = RunId(Uuid::from_u128(1));
        let executor = Uuid::from_u128(2);
        Box::new(Holder { run, executor, host: "h".into(), pid: 7, process: None })
    }

    fn somebody() -> Executor {
        Executor::Somebody { holder: holder(), left: Duration::from_secs(9) }
    }

    fn every_executor() -> [Executor; 4] {
        [somebody(), Executor::Stalled(holder()), Executor::Starting, Executor::Nobody]
    }

    /// What is read of a run whose records and lease change over time. Each element is
    /// `(records, executor)` at one read.
    fn read_timeline(timeline: &[(u64, Executor)]) -> (u64, Executor) {
        let rest = RefCell::new(timeline.iter().cloned());
        let last = timeline.last().expect("a run").clone();
        let next = || rest.borrow_mut().next().unwrap_or_else(|| last.clone());
        let (first, _) = next();
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(read_until_consistent(
                first,
                async || Ok(next().0),
                async || Ok(next().1),
                async || (),
            ))
            .unwrap_or_else(|_| panic!("nothing fails here"))
    }

    /// A process writes the records of the run up to `END` and then gives its lease back. Wherever
    /// the reads fall between these writes, the run is not reported as interrupted.
    #[test]
    fn a_run_that_ends_between_the_reads_is_reported_as_ended() {
        const END: u64 = 3;
        for written_before in 0..=END {
            for reads_while_held in 0..6 {
                for reads_before_release in 0..3 {
                    let held = (written_before, somebody());
                    let mut timeline = vec![held; reads_while_held];
                    timeline.extend(vec![(END, somebody()); reads_before_release]);
                    timeline.push((END, Executor::Nobody));
                    let (records, executor) = read_timeline(&timeline);
                    let is_interrupted = executor == Executor::Nobody && records != END;
                    assert!(!is_interrupted, "{written_before} {timeline:?}");
                }
            }
        }
    }

    #[test]
    fn a_run_whose_process_died_has_no_executor() {
        assert_eq!(read_timeline(&[(2, Executor::Nobody)]), (2, Executor::Nobody));
        let died = [(1, somebody()), (2, Executor::Nobody)];
        assert_eq!(read_timeline(&died), (2, Executor::Nobody));
    }

    #[test]
    fn only_a_free_lease_of_a_record_that_changed_is_read_again() {
        for executor in every_executor() {
            let is_free = matches!(executor, Executor::Starting | Executor::Nobody);
            assert_eq!(compare(&1, &executor, &1), ReadConsistency::Consistent);
            assert_eq!(
                compare(&1, &executor, &2) == ReadConsistency::Changed,
                is_free,
                "{executor:?}"
            );
        }
    }
}
