//! `runbook cancel`: ends a run in order.

use super::cancel_request;
use super::resume::{self, ResumeOptions, decisions, load};
use crate::completion;
use crate::context::Context;
use crate::execution;
use crate::executor::{self, Executor};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::question;
use crate::shared_arguments::RunArgs;
use crate::value_parsers::decision;
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_engine::{Changes, RunEnd};
use runbook_report::{RunProgress, Summary};

/// The arguments of `runbook cancel`.
#[derive(Debug, ClapArgs)]
pub struct CancelArgs {
    /// Which run is cancelled.
    #[command(flatten)]
    pub run: RunArgs,
    /// Decide about a step whose outcome is unknown: `STEP=done` (it happened; its undo runs),
    /// `STEP=not-done` (it did not) or `STEP=fail` (treat it as failed: its undo runs)
    #[arg(long, value_name = "STEP=DECISION", value_parser = decision, add = ArgValueCompleter::new(completion::decisions))]
    pub decide: Vec<(String, String)>,
    /// Do not ask before ending a run that nobody executes any more
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// Cancels a run. If a process executes it, that one is asked to end it in order; else it is ended
/// from here. Either way what was done is undone as the runbook says.
pub fn run(context: &Context, args: &CancelArgs) -> Result<ExitStatus, Failure> {
    let decisions = decisions(&args.decide)?;
    let (run, executor, reached) = execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let (run, stored) = load(&journal, &args.run.run).await?;
        let (stored, executor) = executor::of_begun_run(context, &journal, stored).await?;
        let summary = Summary::of(&stored.header, &stored.records);
        if let Some(end) = summary.end {
            let message = format!(
                "run {} has ended, so there is nothing to cancel: it is {}",
                run.short(),
                end.name()
            );
            return Err(Failure::usage(message).hint(instead(end, &run.short())));
        }
        Ok((run, executor, summary.reached()))
    })?;
    match &executor {
        Executor::Somebody { .. } if !decisions.is_empty() => {
            Err(Failure::usage("nothing is asked while somebody executes the run")
                .hint("leave out `--decide`"))
        }
        Executor::Somebody { holder, left } => execution::block_on(async {
            let journal = execution::open_journal(context).await?;
            cancel_request::send(context, &journal, run, holder, *left).await
        }),
        Executor::StandsStill(_) | Executor::Beginning | Executor::Nobody => {
            let who = match &executor {
                Executor::StandsStill(holder) => {
                    format!(
                        "Process {} on {} stands still, and begins nothing more of run {}",
                        holder.pid,
                        holder.host,
                        run.short()
                    )
                }
                Executor::Somebody { .. } | Executor::Beginning | Executor::Nobody => {
                    format!("Nobody executes run {} now", run.short())
                }
            };
            let question = match reached {
                RunProgress::Steps => {
                    format!("{who}. End it, and undo what it did as its runbook says?")
                }
                RunProgress::Undo => {
                    format!("{who}; it is being undone. Go on with that to its end?")
                }
                RunProgress::Finally => {
                    format!(
                        "{who}; its steps are over, so this cannot undo them. Let `finally` run to \
                         its end?"
                    )
                }
            };
            if !question::confirm(context, &question, question::Agreed::by_flag(args.yes))? {
                return Err(Failure::usage("not cancelled, as you answered"));
            }
            let ended_in_order = ResumeOptions {
                decisions,
                start_cancelled: true,
                ..ResumeOptions::new(Changes::Refuse)
            };
            resume::resume_run(context, &args.run, &ended_in_order)
        }
    }
}

/// What can be done about a run that has ended.
fn instead(end: RunEnd, run: &str) -> String {
    match end {
        RunEnd::Succeeded | RunEnd::SucceededWithWarnings | RunEnd::Dirty => {
            format!("`runbook undo {run}` undoes what it has done")
        }
        RunEnd::FailedClean | RunEnd::Undone | RunEnd::Cancelled => {
            format!("nothing of it is left; `runbook show {run}` tells what happened")
        }
    }
}
