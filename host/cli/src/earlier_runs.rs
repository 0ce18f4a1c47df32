//! Runs that were retried: a later run relies on effects of an earlier one, and only the earlier
//! one undoes them.

use crate::failure::Failure;
use runbook_engine::{Journal as _, RunId, RunState, fold, runs_stood_on};
use runbook_journal::{JournalError, SqlJournal};
use runbook_report::{LaterRun, Summary};
use std::collections::BTreeMap;

/// The states of the runs whose effects this one takes as done. One that was pruned has nothing
/// left to say.
pub async fn states(
    journal: &SqlJournal,
    state: &RunState,
) -> Result<BTreeMap<RunId, RunState>, Failure> {
    of_runs(journal, runs_stood_on(state)).await
}

/// The states of these runs, as far as the journal still has them.
pub async fn of_runs(
    journal: &SqlJournal,
    runs: impl IntoIterator<Item = RunId>,
) -> Result<BTreeMap<RunId, RunState>, Failure> {
    let mut states = BTreeMap::new();
    for run in runs {
        let stored = match journal.load(run).await {
            Err(JournalError::NoRun { .. }) => continue,
            stored => stored.map_err(Failure::engine)?,
        };
        states.extend(fold(&stored.records).map_err(Failure::engine)?.map(|state| (run, state)));
    }
    Ok(states)
}

/// The runs that tried this one again, and one another: the next one first.
pub async fn later(journal: &SqlJournal, run: RunId) -> Result<Vec<RunId>, Failure> {
    let mut found = Vec::new();
    let mut last = run;
    while let Some(later) = journal.tried_again_by(last).await.map_err(Failure::engine)? {
        found.push(later);
        last = later;
    }
    Ok(found)
}

/// Tells a report what stands in the runs before it, and what became of those after it.
pub async fn tell(journal: &SqlJournal, run: RunId, summary: &mut Summary) -> Result<(), Failure> {
    let states = of_runs(journal, summary.runs_stood_on()).await?;
    summary.stands_on(&states);
    let later = later(journal, run).await?;
    let Some(next) = later.first() else { return Ok(()) };
    let mut is_left = false;
    for run in &later {
        let stored = journal.load(*run).await.map_err(Failure::engine)?;
        let found = Summary::of(&stored.header, &stored.records);
        is_left |= found.end.is_none() || !found.account().is_clean();
    }
    summary.is_tried_again(*next, if is_left { LaterRun::Stands } else { LaterRun::IsUndone });
    Ok(())
}
