//! `runbook resume`: continues a run that crashed, was interrupted or waits.

use crate::audit_log::Purpose;
use crate::completion;
use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::live::Live;
use crate::plugin_caller::PluginCaller;
use crate::prepare::{self, Strictness};
use crate::prepared::PreparedRunbook;
use crate::runbook_file::RunbookFile;
use crate::secret_availability;
use crate::session::{Session, SessionConfig};
use crate::shared_arguments::ExistingRunArgs;
use crate::ui;
use crate::value_parsers::decision;
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_document::Source;
use runbook_engine::{
    Cause, ChangePolicy, Decision, Journal as _, LifecycleEvent, OutsideWindow, Params, Plan,
    Record, RunError, RunEvent, RunId, RunOutcome, StepId, StopReason, StoredRun, fold,
};
use runbook_journal::{JournalError, SqlJournal};
use runbook_report::Summary;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The arguments of `runbook resume`.
#[derive(Debug, ClapArgs)]
pub struct ResumeArgs {
    /// Which run is continued.
    #[command(flatten)]
    pub run: ExistingRunArgs,
    /// Decide about a step whose outcome is unknown: `STEP=done` (it happened), `STEP=retry` (it
    /// did not; do it again), `STEP=not-done` (it did not; fail without undoing it) or `STEP=fail`
    /// (treat it as failed: its undo runs)
    #[arg(long, value_name = "STEP=DECISION", value_parser = decision, add = ArgValueCompleter::new(completion::decisions))]
    pub decide: Vec<(String, String)>,
    /// Continue although the maintenance window is closed; the journal says who did
    #[arg(long)]
    pub outside_window: bool,
    /// Continue although the runbook or a plugin has changed since the run started; the difference
    /// is shown
    #[arg(long)]
    pub accept_changes: bool,
}

/// How a run is continued.
pub struct ResumeOptions {
    /// The decisions about steps whose outcome is unknown.
    pub decisions: BTreeMap<StepId, Decision>,
    /// Whether the run may continue with another text or other plugins.
    pub changes: ChangePolicy,
    /// Whether the run may continue outside its window.
    pub outside: OutsideWindow,
    /// Whether the run is cancelled at once: it is ended in order, and no step begins.
    pub start_cancelled: bool,
}

impl ResumeOptions {
    /// No decisions, only inside the window, and not cancelled.
    pub fn new(changes: ChangePolicy) -> Self {
        Self {
            decisions: BTreeMap::new(),
            changes,
            outside: OutsideWindow::AsWritten,
            start_cancelled: false,
        }
    }
}

/// Continues a run that crashed, was interrupted or waits.
pub fn run(context: &Context, args: &ResumeArgs) -> Result<ExitStatus, Failure> {
    let changes = if args.accept_changes { ChangePolicy::Accept } else { ChangePolicy::Refuse };
    let (decisions, outside) =
        (decisions(&args.decide)?, execution::outside_window(args.outside_window));
    resume_run(
        context,
        &args.run,
        &ResumeOptions { decisions, outside, ..ResumeOptions::new(changes) },
    )
}

/// Continues a run with these options.
pub fn resume_run(
    context: &Context,
    args: &ExistingRunArgs,
    options: &ResumeOptions,
) -> Result<ExitStatus, Failure> {
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let (run, stored) = load(&journal, &args.run).await?;
        let unfulfilled_cancel = if options.start_cancelled {
            None
        } else {
            unfulfilled_cancel(&journal, run, &stored.records).await?
        };
        let summary = Summary::of(&stored.header, &stored.records);
        let earlier = crate::earlier_runs::of_runs(&journal, summary.earlier_run_ids()).await?;
        // A run that is only ended, or is being undone already, begins no new step.
        let begins_new_steps = !options.start_cancelled
            && !stored.records.iter().any(|record| stops_new_steps(&record.event));
        let strictness = if begins_new_steps { Strictness::Full } else { Strictness::BoundaryOnly };
        let (prepared, plan) = rebuild(context, &stored, options.changes, strictness)?;
        let caller = PluginCaller::new(context, &prepared, run, Purpose::Run)?;
        let state = fold(&stored.records).map_err(Failure::engine)?;
        match &state {
            Some(state) if options.start_cancelled => {
                secret_availability::warn_before_undo(&caller, state);
            }
            Some(state) => secret_availability::check_resumed_run(&caller, state)?,
            None => {}
        }
        let (changes, environment, outside) =
            (options.changes, stored.header.environment.as_deref(), options.outside);
        let session = Session::open(
            context,
            SessionConfig { run, plan: &plan, caller, journal, environment, outside },
        )?;
        let mut live = Live::new(context, &stored.header, &stored.records)
            .with_earlier_runs(&earlier)
            .with_output(context, &args.output)?;
        live.warn_when_resumed(unfulfilled_cancel);
        if options.start_cancelled {
            session.cancel().await?;
        }
        let outcome = session.resume(&options.decisions, changes, &mut live).await;
        if let (true, Err(RunError::Busy { holder, left, .. })) =
            (options.start_cancelled, &outcome)
        {
            return super::cancel_request::send(context, session.journal(), run, holder, *left)
                .await;
        }
        let outcome = session.resume_with_operator(outcome, changes, &mut live).await?;
        let is_cancelled = matches!(
            &outcome,
            Ok(RunOutcome { stopped: StopReason::Ended { cause: Some(Cause::Cancel), .. }, .. })
        );
        let status = session.conclude(outcome, &live, &args.output).await?;
        // `runbook cancel` has succeeded if the run was cancelled by its request, not by Ctrl-C.
        let is_as_asked = options.start_cancelled && is_cancelled && status == ExitStatus::Failed;
        Ok(if is_as_asked { ExitStatus::Success } else { status })
    })
}

/// The warning that the last process of the run was asked to cancel it and died before it did. It
/// is shown only after this process has taken the run, because a living process obeys the request.
async fn unfulfilled_cancel(
    journal: &SqlJournal,
    run: RunId,
    records: &[Record],
) -> Result<Option<String>, Failure> {
    let Some((operator, at)) = journal.last_cancel_request(run).await.map_err(Failure::engine)?
    else {
        return Ok(None);
    };
    let is_process_start = |record: &&Record| {
        matches!(
            record.event,
            RunEvent::Run(LifecycleEvent::RunStarted { .. } | LifecycleEvent::Resumed { .. })
        )
    };
    let process_start = records.iter().rev().find(is_process_start).map(|record| record.at);
    let is_lost =
        process_start.is_none_or(|process_start| process_start < at) && !was_fulfilled(records, at);
    Ok(is_lost.then(|| {
        format!(
            "{operator} asked that this run be ended, and nobody has ended it: its process died \
             before; it goes on now, and `runbook cancel {}` ends it",
            run.short()
        )
    }))
}

/// Whether a cancel request was fulfilled: the run has ended, or has begun to end since.
fn was_fulfilled(records: &[Record], requested_at: jiff::Timestamp) -> bool {
    // A run that had ended before the request counts, too.
    let ended = records
        .iter()
        .any(|record| matches!(record.event.status(), Some(runbook_engine::RunStatus::Ended(_))));
    ended
        || records.iter().any(|record| record.at >= requested_at && stops_new_steps(&record.event))
}

/// Whether no further step begins after this event.
fn stops_new_steps(event: &RunEvent) -> bool {
    match event {
        RunEvent::Run(
            LifecycleEvent::Stopping { .. }
            | LifecycleEvent::UndoBegan { .. }
            | LifecycleEvent::FinallyBegan { .. },
        ) => true,
        other => matches!(other.status(), Some(runbook_engine::RunStatus::Ended(_))),
    }
}

/// Finds a run by its id or the beginning of it, and loads it.
pub async fn load(journal: &SqlJournal, id: &str) -> Result<(RunId, StoredRun), Failure> {
    let run = journal.find(id).await.map_err(|error| {
        let is_absent = matches!(error, JournalError::NoRun { .. });
        let failure = Failure::usage(error).hint("see `runbook runs`");
        match ui::has_named_journal() {
            _ if !is_absent => failure,
            false => failure.hint(
                "looked in the journal of this account; a run that was made with another one needs \
                 `--journal`",
            ),
            true => failure.hint(format!("looked in the journal {}", journal.location())),
        }
    })?;
    Ok((run, journal.load(run).await.map_err(Failure::engine)?))
}

/// Builds the plan of a run again: from the texts in the journal, or, if changes are accepted, from
/// the present files.
pub fn rebuild(
    context: &Context,
    stored: &StoredRun,
    changes: ChangePolicy,
    strictness: Strictness,
) -> Result<(PreparedRunbook, Plan), Failure> {
    let header = &stored.header;
    let corrected = corrected_sources(&stored.records).filter(|_| changes == ChangePolicy::Refuse);
    let sources = corrected.unwrap_or(&header.sources);
    let (name, text) = sources
        .first()
        .ok_or_else(|| Failure::engine("the journal kept no text of the runbook"))?;
    let file = RunbookFile::locate(Path::new(name))?;
    let environment = header.environment.as_deref();
    let prepared = match changes {
        ChangePolicy::Accept => {
            prepare::with_lockfile(context, Path::new(name), environment, strictness)?
        }
        ChangePolicy::Refuse => {
            let mut load = |wanted: &str| recorded_source(sources, wanted);
            let source = Source::new(name.as_str(), text.as_str());
            prepare::from_journaled_texts(
                (context, strictness),
                &source,
                file.folder(),
                environment,
                &mut load,
            )?
        }
    };
    let mut plan = Plan::build(
        &prepared.runbook,
        &Params::from_journal(header.params.clone()),
        &prepared.facts,
    )
    .map_err(Failure::findings)?;
    if changes == ChangePolicy::Refuse {
        // The digests may differ, because they include the names as they were typed. So the texts
        // are compared.
        let is_same = |(name, text): &(String, String)| {
            sources
                .iter()
                .any(|recorded_source| recorded_source.0 == *name && recorded_source.1 == *text)
        };
        if plan.sources.len() != sources.len() || !plan.sources.iter().all(is_same) {
            return Err(Failure::engine(
                "the journal holds other files for the run than its runbook names",
            ));
        }
        plan.digest.clone_from(&header.digest);
        crate::lockfile::check_access(file.real(), environment, &prepared)?;
    }
    Ok((prepared, plan))
}

/// The texts of the corrected runbook by which the run is being undone, if there is one. An
/// interrupted undo continues with the same texts.
fn corrected_sources(records: &[Record]) -> Option<&Vec<(String, String)>> {
    let requests = records.iter().rev().filter_map(|record| match &record.event {
        RunEvent::Run(LifecycleEvent::UndoRequested { corrected, .. }) => {
            Some(corrected.as_ref().map(|corrected| &corrected.sources))
        }
        _ => None,
    });
    requests.take(1).find_map(|sources| sources)
}

/// The recorded text of a file that the runbook includes. Whole paths are compared.
fn recorded_source(
    sources: &[(String, String)],
    wanted: &str,
) -> std::io::Result<std::sync::Arc<Source>> {
    let without_current_dir = |name: &str| -> PathBuf {
        Path::new(name).components().filter(|part| *part != Component::CurDir).collect()
    };
    let found = sources
        .iter()
        .skip(1)
        .find(|(name, _)| without_current_dir(name) == without_current_dir(wanted));
    found
        .map(|(name, text)| Source::new(name.as_str(), text.as_str()))
        .ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

/// Parses the values of `--decide STEP=DECISION`.
pub fn decisions(typed: &[(String, String)]) -> Result<BTreeMap<StepId, Decision>, Failure> {
    typed
        .iter()
        .map(|(step, text)| {
            let decided = Decision::named(text).ok_or_else(|| {
                let words: Vec<String> = Decision::ALL
                    .iter()
                    .map(|(_, word, meaning)| format!("`{step}={word}` ({meaning})"))
                    .collect();
                Failure::usage(format!("`{text}` is not a decision"))
                    .hint(format!("write {}", words.join(", ")))
            });
            Ok((StepId::new(step.as_str()), decided?))
        })
        .collect()
}
