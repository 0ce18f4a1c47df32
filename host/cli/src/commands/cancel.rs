//! `runbook cancel`

use super::resume::{self, BrakeBefore, Way, load};
use crate::args::RunArgs;
use crate::context::Context;
use crate::execution::{self, Executor};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use runbook_engine::Changes;
use runbook_report::Summary;
use rustix::process::{Signal, kill_process};

/// Cancels a run: whoever executes it is asked to end it in order; if nobody does, it is ended from here. Either way what was done is
/// undone as the runbook says.
pub fn run(context: &Context, args: &RunArgs) -> Result<ExitStatus, Failure> {
    let (run, executor) = execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let (run, stored) = load(&journal, &args.run).await?;
        if let Some(end) = Summary::of(&stored.header, &stored.records).end {
            return Err(Failure::usage(format!("run {} has ended: {}", run.short(), end.name()))
                .hint("`runbook undo` undoes a finished run"));
        }
        Ok((run, execution::executor(context, &journal, run).await?))
    })?;
    match executor {
        Executor::Here(pid) => {
            kill_process(pid, Signal::INT).map_err(|error| Failure::engine(std::io::Error::from(error)))?;
            let (pid, run) = (pid.as_raw_nonzero(), run.short());
            ui::note(&format!(
                "process {pid} was asked to end run {run} in order; `runbook show {run} --follow` tells how it goes"
            ));
            Ok(ExitStatus::Success)
        }
        Executor::Elsewhere(holder) => {
            Err(Failure::refused(format!("{holder} executes it")).hint(format!("cancel it on {}", holder.host)))
        }
        Executor::Nobody => {
            let question = format!("Nobody executes run {} now. End it, and undo what it did as its runbook says?", run.short());
            if !args.yes && context.interactive && !ui::confirm(context, &question)? {
                return Err(Failure::usage("not cancelled, as you answered"));
            }
            let way = Way { brake: BrakeBefore::Pulled, ..Way::new(Changes::Refuse) };
            // It ended as was asked for here, by nobody's Ctrl-C.
            resume::go_on(context, args, &way)
                .map(|status| if status == ExitStatus::Interrupted { ExitStatus::Success } else { status })
        }
    }
}
