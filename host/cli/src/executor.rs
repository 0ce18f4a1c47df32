//! Reads who executes a run, together with the record of the run. Both are read here and nowhere
//! else, because a run can end or begin between the two reads. It would then be reported as
//! interrupted, although it is not.

use crate::context::Context;
use crate::execution::{is_dead, lease_ttl};
use crate::failpoints;
use crate::failure::Failure;
use jiff::Timestamp;
use runbook_engine::{Holder, Journal as _, RunId, RunPhase, RunSummary, StoredRun};
use runbook_journal::{LeaseStatus, SqlJournal};
use std::time::Duration;

/// The pause before a run is read again: its record changed meanwhile, or it has just begun.
const READ_AGAIN: Duration = Duration::from_millis(20);

/// Which process executes a run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executor {
    /// A process that lives, as far as can be known.
    Somebody {
        /// The holder of its lease.
        holder: Box<Holder>,
        /// The time until the lease expires, unless it is renewed.
        left: Duration,
    },
    /// A process of this machine that lives and stood still for longer than its lease: it was
    /// stopped, or its machine slept.
    StandsStill(Box<Holder>),
    /// The run was created a moment ago, and its process has not taken the lease yet.
    Beginning,
    /// It is paused, or its process died.
    Nobody,
}

/// Whether a run in this phase goes on only if somebody executes it.
pub fn is_needed(phase: RunPhase) -> bool {
    match phase {
        RunPhase::Paused | RunPhase::PausedUndoing | RunPhase::Ended(_) => false,
        RunPhase::Waiting | RunPhase::Running | RunPhase::Undoing => true,
    }
}

/// A run with its records, and who executes it. `stored` is what was read of it a moment before.
///
/// # Errors
/// The journal does not answer.
pub async fn of_run(
    context: &Context,
    journal: &SqlJournal,
    stored: StoredRun,
) -> Result<(StoredRun, Executor), Failure> {
    let (run, started) = (stored.header.run, stored.header.started);
    settled(
        stored,
        async || journal.load(run).await.map_err(Failure::engine),
        async || read_lease(context, journal, run, started).await,
        async || tokio::time::sleep(READ_AGAIN).await,
    )
    .await
}

/// The same, where the caller must know whether a run that was created a moment ago goes on: its
/// process takes its lease at once, or died before it could.
///
/// # Errors
/// The journal does not answer.
pub async fn of_begun_run(
    context: &Context,
    journal: &SqlJournal,
    mut stored: StoredRun,
) -> Result<(StoredRun, Executor), Failure> {
    loop {
        let (now, executor) = of_run(context, journal, stored).await?;
        match executor {
            Executor::Beginning => stored = now,
            Executor::Somebody { .. } | Executor::StandsStill(_) | Executor::Nobody => {
                return Ok((now, executor));
            }
        }
        tokio::time::sleep(READ_AGAIN).await;
    }
}

/// A run as it is listed, and who executes it. `listed` is what was read of it a moment before.
///
/// # Errors
/// The journal does not answer.
pub async fn of_listed_run(
    context: &Context,
    journal: &SqlJournal,
    listed: RunSummary,
) -> Result<(RunSummary, Executor), Failure> {
    let (run, started) = (listed.run, listed.started);
    settled(
        listed,
        async || journal.summary(run).await.map_err(Failure::engine),
        async || read_lease(context, journal, run, started).await,
        async || tokio::time::sleep(READ_AGAIN).await,
    )
    .await
}

/// Record, lease, record again: until they belong together.
async fn settled<T: PartialEq>(
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
            ReadConsistency::Settled => return Ok((after, executor)),
            ReadConsistency::Changed => before = after,
        }
        pause().await;
    }
}

/// Whether a record and a lease, read one after the other, tell of the same moment.
#[derive(Debug, PartialEq, Eq)]
enum ReadConsistency {
    /// They do.
    Settled,
    /// The record changed between the reads, and the lease was free: both are read again.
    Changed,
}

/// A lease that is held belongs to the later record. A lease that is free says something only if
/// the record is the same before and after.
fn compare<T: PartialEq>(before: &T, executor: &Executor, after: &T) -> ReadConsistency {
    match executor {
        Executor::Somebody { .. } | Executor::StandsStill(_) => ReadConsistency::Settled,
        Executor::Beginning | Executor::Nobody if before == after => ReadConsistency::Settled,
        Executor::Beginning | Executor::Nobody => ReadConsistency::Changed,
    }
}

/// Who executes a run now, as its lease alone says.
async fn read_lease(
    context: &Context,
    journal: &SqlJournal,
    run: RunId,
    started: Timestamp,
) -> Result<Executor, Failure> {
    let now = Timestamp::now();
    let status = journal.lease_status(&format!("run:{run}"), now).await.map_err(Failure::engine)?;
    let is_new = now.duration_since(started).unsigned_abs() < lease_ttl();
    let is_seen = |holder: &Holder| {
        let both = context.process.as_ref().zip(holder.process.as_ref());
        both.is_some_and(|(own, other)| own.sees(other))
    };
    Ok(match status {
        LeaseStatus::NeverTaken if is_new => Executor::Beginning,
        LeaseStatus::Held { holder, left } if !is_dead(context, &holder) => {
            Executor::Somebody { holder: Box::new(holder), left }
        }
        LeaseStatus::Overdue { holder } if is_seen(&holder) && !is_dead(context, &holder) => {
            Executor::StandsStill(Box::new(holder))
        }
        LeaseStatus::NeverTaken
        | LeaseStatus::GivenBack
        | LeaseStatus::Held { .. }
        | LeaseStatus::Overdue { .. } => Executor::Nobody,
    })
}

/// When the process that executes a run was seen last: now, or at the last heartbeat of its lease.
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
        Executor::StandsStill(_) | Executor::Beginning | Executor::Nobody => {
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

    fn each() -> [Executor; 4] {
        [somebody(), Executor::StandsStill(holder()), Executor::Beginning, Executor::Nobody]
    }

    /// A run whose record and lease change at these reads: `(records, executor)` at each.
    fn told(timeline: &[(u64, Executor)]) -> (u64, Executor) {
        let rest = RefCell::new(timeline.iter().cloned());
        let last = timeline.last().expect("a run").clone();
        let next = || rest.borrow_mut().next().unwrap_or_else(|| last.clone());
        let (first, _) = next();
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(settled(first, async || Ok(next().0), async || Ok(next().1), async || ()))
            .unwrap_or_else(|_| panic!("nothing fails here"))
    }

    /// One process executes the run until record `end`; it writes its records, then it gives its
    /// lease back. Whenever that is between the reads, the run is not told as one that nobody
    /// executes and that has not ended.
    #[test]
    fn a_run_that_ends_between_the_reads_is_told_as_ended() {
        const END: u64 = 3;
        // What is done between two reads: so many records are written, and the lease given back.
        for written_before in 0..=END {
            for reads_while_held in 0..6 {
                for reads_before_release in 0..3 {
                    let held = (written_before, somebody());
                    let mut timeline = vec![held; reads_while_held];
                    timeline.extend(vec![(END, somebody()); reads_before_release]);
                    timeline.push((END, Executor::Nobody));
                    let (records, executor) = told(&timeline);
                    let is_interrupted = executor == Executor::Nobody && records != END;
                    assert!(!is_interrupted, "{written_before} {timeline:?}");
                }
            }
        }
    }

    #[test]
    fn a_run_whose_process_died_is_told_as_that() {
        assert_eq!(told(&[(2, Executor::Nobody)]), (2, Executor::Nobody));
        let died = [(1, somebody()), (2, Executor::Nobody)];
        assert_eq!(told(&died), (2, Executor::Nobody));
    }

    #[test]
    fn only_a_free_lease_of_a_record_that_changed_is_read_again() {
        for executor in each() {
            let is_free = matches!(executor, Executor::Beginning | Executor::Nobody);
            assert_eq!(compare(&1, &executor, &1), ReadConsistency::Settled);
            assert_eq!(
                compare(&1, &executor, &2) == ReadConsistency::Changed,
                is_free,
                "{executor:?}"
            );
        }
    }
}
