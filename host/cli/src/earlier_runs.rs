//! Reads the runs before and after a retry. The later run relies on effects of the earlier one, and
//! only the earlier one can undo them.

use crate::failure::Failure;
use runbook_engine::{Journal as _, RunId, RunState, earlier_run_ids, fold};
use runbook_journal::{JournalError, SqlJournal};
use runbook_report::{LaterRun, Summary};
use std::collections::BTreeMap;

/// The states of the runs whose effects this run relies on. Runs that were pruned are left out.
pub async fn states(
    journal: &SqlJournal,
    state: &RunState,
) -> Result<BTreeMap<RunId, RunState>, Failure> {
    of_runs(journal, earlier_run_ids(state)).await
}

/// The states of these runs. Runs that were pruned are left out.
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

/// The chain of retries after this run: its retry, the retry of that one, and so on.
pub async fn later_runs(journal: &SqlJournal, run: RunId) -> Result<Vec<RunId>, Failure> {
    let mut found = Vec::new();
    let mut last = run;
    while let Some(later) = journal.retried_by(last).await.map_err(Failure::engine)? {
        found.push(later);
        last = later;
    }
    Ok(found)
}

/// Adds to a summary the states of the earlier runs, and whether a later retry still has effects.
pub async fn add_to_summary(
    journal: &SqlJournal,
    run: RunId,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let states = of_runs(journal, summary.earlier_run_ids()).await?;
    summary.set_earlier_run_states(&states);
    let later = later_runs(journal, run).await?;
    let Some(next) = later.first() else { return Ok(()) };
    let mut has_effects = false;
    for run in &later {
        let stored = journal.load(*run).await.map_err(Failure::engine)?;
        let found = Summary::of(&stored.header, &stored.records);
        has_effects |= found.end.is_none() || !found.remaining_changes().is_clean();
    }
    summary
        .set_later_run(*next, if has_effects { LaterRun::HasEffects } else { LaterRun::HasNone });
    Ok(())
}
