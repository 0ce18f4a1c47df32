//! `runbook undo`: undoes a run that has ended.

use super::resume::{decisions, load, rebuild};
use crate::audit_log::Purpose;
use crate::completion;
use crate::context::Context;
use crate::earlier_runs;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::live::Live;
use crate::plugin_caller::PluginCaller;
use crate::prepare::{self, Strictness};
use crate::prepared::PreparedRunbook;
use crate::question::{self, Consent};
use crate::secret_availability;
use crate::session::{Session, SessionConfig};
use crate::shared_arguments::ExistingRunArgs;
use crate::ui;
use crate::value_parsers::decision;
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_engine::{
    ChangePolicy, Journal as _, OutsideWindow, Params, Plan, RunEnd, RunId, StoredRun, UndoText,
    fold,
};
use runbook_journal::SqlJournal;
use runbook_report::Summary;
use std::path::Path;
use std::path::PathBuf;

/// The arguments of `runbook undo`.
#[derive(Debug, ClapArgs)]
pub struct UndoArgs {
    /// Which run is undone.
    #[command(flatten)]
    pub run: ExistingRunArgs,
    /// Decide about a step whose undo may have happened: `STEP=done` (it is undone), `STEP=retry`
    /// (it is not; undo it) or `STEP=not-done` (it is not; leave it as it is)
    #[arg(long, value_name = "STEP=DECISION", value_parser = decision, add = ArgValueCompleter::new(completion::decisions))]
    pub decide: Vec<(String, String)>,
    /// Do not ask before undoing
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Take each `undo` from this runbook, which must have the steps of the run; the journal keeps
    /// its text and its digest
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub with: Option<PathBuf>,
}

/// Undoes a finished run, last step first.
pub fn run(context: &Context, args: &UndoArgs) -> Result<ExitStatus, Failure> {
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let (run, stored) = load(&journal, &args.run.run).await?;
        let mut summary = Summary::of(&stored.header, &stored.records);
        let earlier = earlier_runs::of_runs(&journal, summary.earlier_run_ids()).await?;
        if let Some(RunEnd::Undone) = summary.end {
            // Not an error: there is nothing left to undo.
            ui::note(&format!(
                "run {} is undone already; nothing of it is left to undo",
                run.short()
            ));
            summary.set_earlier_run_states(&earlier);
            if let Some(next) = &summary.next_action {
                ui::note(&format!("next: {next}"));
            }
            return Ok(ExitStatus::Success);
        }
        refuse_if_later_run_relies_on(&journal, run).await?;
        let decisions = decisions(&args.decide)?;
        let (prepared, plan, text) = match &args.with {
            Some(file) => {
                let (prepared, plan) = prepare_corrected(context, &stored, file)?;
                (prepared, plan, UndoText::Corrected)
            }
            None => {
                let (prepared, plan) =
                    rebuild(context, &stored, ChangePolicy::Refuse, Strictness::BoundaryOnly)?;
                (prepared, plan, UndoText::Recorded)
            }
        };
        let caller = PluginCaller::new(context, &prepared, run, Purpose::Run)?;
        if let Some(state) = fold(&stored.records).map_err(Failure::engine)? {
            secret_availability::warn_before_undo(&caller, &state);
        }
        let question = format!("Undo run {} of `{}`?", run.short(), plan.title);
        if !question::confirm(context, &question, Consent::by_flag(args.yes))? {
            return Err(Failure::usage("not undone, as you answered"));
        }
        let (header, output) = (&stored.header, &args.run.output);
        let (environment, outside) = (header.environment.as_deref(), OutsideWindow::AsWritten);
        let session = Session::open(
            context,
            SessionConfig { run, plan: &plan, caller, journal, environment, outside },
        )?;
        let mut live = Live::new(context, header, &stored.records)
            .with_earlier_runs(&earlier)
            .with_output(context, output)?;
        let outcome = session.undo(text, &decisions, &mut live).await;
        session.conclude(outcome, &live, output).await
    })
}

/// Fails if a later run that retried this one, directly or through another retry, still has
/// effects. It relies on the effects of this run, so it must be undone first.
async fn refuse_if_later_run_relies_on(journal: &SqlJournal, run: RunId) -> Result<(), Failure> {
    for later in earlier_runs::later_runs(journal, run).await?.into_iter().rev() {
        let stored = journal.load(later).await.map_err(Failure::engine)?;
        let summary = Summary::of(&stored.header, &stored.records);
        let (run, later) = (run.short(), later.short());
        if summary.end.is_none() {
            let message = format!(
                "run {later}, which tries run {run} again, has not ended, and relies on what that \
                 one did"
            );
            return Err(
                Failure::usage(message).hint(format!("end it first: `runbook cancel {later}`"))
            );
        }
        let undoable = summary.remaining_changes().undoable;
        if !undoable.is_empty() {
            let names: Vec<String> = undoable.iter().map(|step| format!("`{step}`")).collect();
            let message = format!(
                "run {later} tried run {run} again and relies on what that one did: {} of it stays \
                 done",
                names.join(", ")
            );
            return Err(Failure::usage(message).hint(format!(
                "undo it first: `runbook undo {later}`; then `runbook undo {run}`"
            )));
        }
    }
    Ok(())
}

/// The plan of a corrected runbook, with the parameters of the run. Its grants, lockfile entry and
/// boundary are checked as for a new run.
fn prepare_corrected(
    context: &Context,
    stored: &StoredRun,
    file: &Path,
) -> Result<(PreparedRunbook, Plan), Failure> {
    let prepared = prepare::with_lockfile(
        context,
        file,
        stored.header.environment.as_deref(),
        Strictness::BoundaryOnly,
    )?;
    let plan = super::exec::plan(
        context,
        &prepared,
        &Params::from_journal(stored.header.params.clone()),
        file,
    )?;
    if plan.name != stored.header.name {
        let message = format!(
            "`{}` is runbook `{}`, and the run is of `{}`",
            file.display(),
            plan.name,
            stored.header.name
        );
        return Err(
            Failure::usage(message).hint("give a copy of that runbook with a corrected undo")
        );
    }
    Ok((prepared, plan))
}
