//! What a person says of a run that waits, as one more record of its journal.

use crate::context::Context;
use crate::failure::Failure;
use crate::ui;
use runbook_engine::{Journal as _, Record, RunEvent, RunId, RunState, next};
use runbook_journal::SqlJournal;

/// Writes the word down, if it may follow what the journal says: a record that may not would end the run for good.
///
/// # Errors
/// The word does not fit the run as it is now, or somebody else has written since it was read; nothing was written.
pub async fn append(journal: &SqlJournal, run: RunId, state: RunState, event: RunEvent) -> Result<(RunState, Record), Failure> {
    let record = Record { seq: state.next_seq, at: jiff::Timestamp::now(), event };
    let state = next(Some(state), &record).map_err(|error| {
        Failure::usage(format!("run {} does not wait for this: {error}", run.short()))
            .hint(format!("see `runbook show {}`", run.short()))
    })?;
    journal.append(run, &record).await.map_err(|error| Failure::engine(error).hint("look again, and say it again"))?;
    Ok((state, record))
}

/// The same, and says how the run goes on.
pub async fn write(context: &Context, journal: &SqlJournal, run: RunId, state: RunState, said: Said) -> Result<(), Failure> {
    let Said { verb, event } = said;
    append(journal, run, state, event).await?;
    ui::said(&format!("{verb} by {}; continue with `runbook resume {}`", context.operator, run.short()));
    Ok(())
}

/// The word itself, and what is said to have happened once it is written.
pub struct Said {
    /// `approved`, `answered`.
    pub verb: &'static str,
    /// The record's event.
    pub event: RunEvent,
}
