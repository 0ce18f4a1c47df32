//! `runbook show`

use super::resume::load;
use crate::args::ShowArgs;
use crate::context::Context;
use crate::execution::{self, Executor};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::live::Live;
use crate::ui;
use runbook_engine::{RunId, RunPhase, StoredRun};
use runbook_journal::SqlJournal;
use runbook_report::{Execution, Summary};
use std::time::Duration;

/// How often the journal is looked at while a run is followed.
const LOOK: Duration = Duration::from_millis(200);

/// After so many looks without news it is asked whether anybody executes the run at all.
const QUIET_LOOKS: u32 = 5;

/// Shows a run from its journal.
pub fn run(context: &Context, args: &ShowArgs) -> Result<ExitStatus, Failure> {
    let summary = execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let (run, stored) = load(&journal, &args.run).await?;
        let mut summary = if args.follow {
            follow(context, &journal, run, stored).await?
        } else {
            Summary::of(&stored.header, &stored.records)
        };
        let execution = match execution::executor(context, &journal, run).await? {
            Executor::Somebody { holder, .. } => Execution::By(format!("process {} on {}", holder.pid, holder.host)),
            Executor::Nobody => Execution::Nobody,
        };
        summary.is_executed(execution, jiff::Timestamp::now());
        Ok(summary)
    })?;
    ui::report(args.format, &summary)?;
    Ok(ExitStatus::Success)
}

/// Tells everything from the first record on, until the run ends or pauses, or nobody executes it any more. It only reads: a run
/// does not notice.
async fn follow(context: &Context, journal: &SqlJournal, run: RunId, stored: StoredRun) -> Result<Summary, Failure> {
    let mut live = Live::new(context, &stored.header, &[]);
    let mut news = stored.records;
    let mut next = 0;
    let mut phase = RunPhase::Waiting;
    let mut quiet = 0;
    loop {
        quiet = if news.is_empty() { quiet + 1 } else { 0 };
        for record in &news {
            live.tell(record);
            next = record.seq + 1;
            phase = record.event.phase().unwrap_or(phase);
        }
        match phase {
            RunPhase::Ended(_) | RunPhase::Paused => return Ok(live.summary().clone()),
            RunPhase::Waiting | RunPhase::Running | RunPhase::Undoing => {}
        }
        if quiet >= QUIET_LOOKS {
            quiet = 0;
            match execution::executor(context, journal, run).await? {
                Executor::Somebody { .. } => {}
                Executor::Nobody => {
                    ui::note("nobody executes this run any more");
                    return Ok(live.summary().clone());
                }
            }
        }
        tokio::time::sleep(LOOK).await;
        news = journal.records_from(run, next).await.map_err(Failure::engine)?;
    }
}
