//! `runbook prune`: removes old runs from the journal.

use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::question;
use crate::ui;
use crate::value_parsers::duration;
use clap::Args as ClapArgs;
use jiff::Timestamp;
use runbook_journal::{DirtyRuns, Pruning, SqlJournal};
use std::time::Duration;

/// The arguments of `runbook prune`.
#[derive(Debug, ClapArgs)]
pub struct PruneArgs {
    /// Remove runs that ended longer ago than this, such as `90d`
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub older_than: Duration,
    /// Remove dirty runs too: those that left something changed for a person to look at
    #[arg(long)]
    pub dirty: bool,
    /// Only print how many runs would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// Removes runs that ended long ago from the journal.
pub fn run(context: &Context, args: &PruneArgs) -> Result<ExitStatus, Failure> {
    if !context.has_journal() {
        ui::note("no run has been made yet");
        return Ok(ExitStatus::Success);
    }
    let pruning = pruning(args, Timestamp::now())?;
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        prune(context, args, &journal, &pruning).await
    })
}

async fn prune(
    context: &Context,
    args: &PruneArgs,
    journal: &SqlJournal,
    pruning: &Pruning,
) -> Result<ExitStatus, Failure> {
    let n_prunable = journal.count_prunable(pruning).await.map_err(Failure::engine)?;
    let kept = kept_dirty(journal, pruning, n_prunable).await?;
    let before = pruning.ended_before.strftime("%Y-%m-%d %H:%M UTC");
    let runs = ui::pluralize(usize::try_from(n_prunable).unwrap_or(usize::MAX), "run");
    if kept > 0 {
        let kept = ui::pluralize(usize::try_from(kept).unwrap_or(usize::MAX), "dirty run");
        ui::note(&format!(
            "{kept} from before then stay, for a person to look at; `--dirty` takes them too"
        ));
    }
    if n_prunable == 0 {
        ui::note(&format!(
            "nothing to remove: no run of {} ended before {before}",
            context.journal
        ));
        return Ok(ExitStatus::Success);
    }
    if args.dry_run {
        ui::note(&format!(
            "{runs} of {} that ended before {before} would be removed; this is a dry run, and \
             nothing was",
            context.journal
        ));
        return Ok(ExitStatus::Success);
    }
    let question = format!(
        "remove {runs} that ended before {before} from {}, with all that they logged?",
        context.journal
    );
    if !question::confirm(context, &question, question::Consent::by_flag(args.yes))? {
        ui::note("nothing was removed");
        return Ok(ExitStatus::Success);
    }
    let removed = journal.prune(pruning).await.map_err(Failure::engine)?;
    ui::note(&format!(
        "removed {}",
        ui::pluralize(usize::try_from(removed).unwrap_or(usize::MAX), "run")
    ));
    Ok(ExitStatus::Success)
}

/// The runs to remove, as the arguments describe them.
fn pruning(args: &PruneArgs, now: Timestamp) -> Result<Pruning, Failure> {
    let ended_before = now.checked_sub(args.older_than).map_err(|_| {
        Failure::usage("`--older-than` reaches back before the beginning of time")
            .hint("give a shorter time, such as `90d`")
    })?;
    Ok(Pruning {
        ended_before,
        dirty: if args.dirty { DirtyRuns::Remove } else { DirtyRuns::Keep },
        now,
    })
}

/// How many runs are kept only because they are dirty.
async fn kept_dirty(
    journal: &SqlJournal,
    pruning: &Pruning,
    n_prunable: u64,
) -> Result<u64, Failure> {
    match pruning.dirty {
        DirtyRuns::Remove => Ok(0),
        DirtyRuns::Keep => {
            let with_dirty = Pruning { dirty: DirtyRuns::Remove, ..pruning.clone() };
            Ok(journal
                .count_prunable(&with_dirty)
                .await
                .map_err(Failure::engine)?
                .saturating_sub(n_prunable))
        }
    }
}
