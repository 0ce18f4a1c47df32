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
use crate::shared_arguments::ExistingRunArgs;
use crate::value_parsers::decision;
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_engine::{ChangePolicy, RunEnd};
use runbook_report::{RunProgress, Summary};

/// The arguments of `runbook cancel`.
#[derive(Debug, ClapArgs)]
pub struct CancelArgs {
    /// Which run is cancelled.
    #[command(flatten)]
    pub run: ExistingRunArgs,
    /// Decide about a step whose outcome is unknown: `STEP=done` (it happened; its undo runs),
    /// `STEP=not-done` (it did not) or `STEP=fail` (treat it as failed: its undo runs)
    #[arg(long, value_name = "STEP=DECISION", value_parser = decision, add = ArgValueCompleter::new(completion::decisions))]
    pub decide: Vec<(String, String)>,
    /// Do not ask before ending a run that nobody executes any more
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// Cancels a run. A process that executes it is asked to end it; otherwise this process ends it.
/// The completed steps are undone as the runbook says.
pub fn run(context: &Context, args: &CancelArgs) -> Result<ExitStatus, Failure> {
    let decisions = decisions(&args.decide)?;
    let (run, executor, progress) = execution::block_on(async {
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
            return Err(Failure::usage(message).hint(hint_for_ended_run(end, &run.short())));
        }
        Ok((run, executor, summary.progress()))
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
        Executor::Stalled(_) | Executor::Starting | Executor::Nobody => {
            let who = match &executor {
                Executor::Stalled(holder) => {
                    format!(
                        "Process {} on {} stands still, and begins nothing more of run {}",
                        holder.pid,
                        holder.host,
                        run.short()
                    )
                }
                Executor::Somebody { .. } | Executor::Starting | Executor::Nobody => {
                    format!("Nobody executes run {} now", run.short())
                }
            };
            let question = match progress {
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
            if !question::confirm(context, &question, question::Consent::by_flag(args.yes))? {
                return Err(Failure::usage("not cancelled, as you answered"));
            }
            let options = ResumeOptions {
                decisions,
                start_cancelled: true,
                ..ResumeOptions::new(ChangePolicy::Refuse)
            };
            resume::resume_run(context, &args.run, &options)
        }
    }
}

/// The hint for a run that has ended: what can be done instead of cancelling.
fn hint_for_ended_run(end: RunEnd, run: &str) -> String {
    match end {
        RunEnd::Succeeded | RunEnd::SucceededWithWarnings | RunEnd::Dirty => {
            format!("`runbook undo {run}` undoes what it has done")
        }
        RunEnd::FailedClean | RunEnd::Undone | RunEnd::Cancelled => {
            format!("nothing of it is left; `runbook show {run}` tells what happened")
        }
    }
}
