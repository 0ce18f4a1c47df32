//! Sends the request to end a run to the process that executes it.

use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use runbook_engine::{Holder, Journal as _, RunId};
use runbook_journal::SqlJournal;
use runbook_report::{RunProgress, Summary};
use std::time::Duration;

/// Asks through the journal, where the process that executes the run looks, on whatever machine it
/// is. Other runs are not touched.
pub async fn send(
    context: &Context,
    journal: &SqlJournal,
    run: RunId,
    holder: &Holder,
    left: Duration,
) -> Result<ExitStatus, Failure> {
    let (id, Holder { pid, host, .. }) = (run.short(), holder);
    if let Some(operator) =
        journal.cancel_request(run, holder.executor).await.map_err(Failure::engine)?
    {
        ui::note(&format!(
            "run {id} is being cancelled already: {operator} asked for it, and process {pid} on \
             {host} ends it in order; `runbook show {id} --follow` shows how it goes"
        ));
        return Ok(ExitStatus::Success);
    }
    let asked = journal
        .request_cancel(run, holder.executor, &context.operator, jiff::Timestamp::now())
        .await;
    asked.map_err(Failure::engine)?;
    let stored = journal.load(run).await.map_err(Failure::engine)?;
    let summary = Summary::of(&stored.header, &stored.records);
    let say = match summary.reached() {
        RunProgress::Steps | RunProgress::Undo => ui::note,
        // What was asked for does not happen.
        RunProgress::Finally => ui::notice,
    };
    say(&format!(
        "process {pid} on {host} was asked to end run {id} in order{}; \
         `runbook show {id} --follow` shows how it goes",
        match summary.reached() {
            RunProgress::Steps => "",
            RunProgress::Undo => ", and undoes what it did already",
            RunProgress::Finally =>
                ", and it is too late: its steps are over, and nothing of them is undone so",
        }
    ));
    if summary.reached() == RunProgress::Finally && !summary.account().undoable.is_empty() {
        say(&format!("to put back what it did: `runbook undo {id}`, when it has ended"));
    }
    let left = execution::in_seconds(left);
    ui::note(&format!(
        "if that process is dead, its lease ends in {left}; then `runbook cancel {id}` ends the \
         run from here"
    ));
    Ok(ExitStatus::Success)
}
