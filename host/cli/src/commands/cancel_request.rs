//! Requests the cancellation of a run from the process that executes it.

use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use runbook_engine::{Holder, Journal as _, RunId};
use runbook_journal::SqlJournal;
use runbook_report::{RunProgress, Summary};
use std::time::Duration;

/// Writes the request into the journal. The process that executes the run polls it there, also on
/// another machine.
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
    let request = journal
        .request_cancel(run, holder.executor, &context.operator, jiff::Timestamp::now())
        .await;
    request.map_err(Failure::engine)?;
    let stored = journal.load(run).await.map_err(Failure::engine)?;
    let summary = Summary::of(&stored.header, &stored.records);
    let print = match summary.progress() {
        RunProgress::Steps | RunProgress::Undo => ui::note,
        // Printed even with `-q`, because the request has no effect.
        RunProgress::Finally => ui::print_stderr,
    };
    print(&format!(
        "process {pid} on {host} was asked to end run {id} in order{}; \
         `runbook show {id} --follow` shows how it goes",
        match summary.progress() {
            RunProgress::Steps => "",
            RunProgress::Undo => ", and undoes what it did already",
            RunProgress::Finally =>
                ", and it is too late: its steps are over, and nothing of them is undone so",
        }
    ));
    if summary.progress() == RunProgress::Finally
        && !summary.remaining_changes().undoable.is_empty()
    {
        print(&format!("to put back what it did: `runbook undo {id}`, when it has ended"));
    }
    let left = execution::in_seconds(left);
    ui::note(&format!(
        "if that process is dead, its lease ends in {left}; then `runbook cancel {id}` ends the \
         run from here"
    ));
    Ok(ExitStatus::Success)
}
