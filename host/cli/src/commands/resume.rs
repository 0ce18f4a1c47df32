//! `runbook resume`: continues a run that crashed, was interrupted or waits.

use crate::audit_log::Purpose;
use crate::completion;
use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::live::Live;
use crate::plugin_caller::PluginCaller;
use crate::prepare::{self, Scrutiny};
use crate::prepared::Prepared;
use crate::runbook_file::RunbookFile;
use crate::secrets_before;
use crate::session::{Session, SessionParts};
use crate::shared_arguments::RunArgs;
use crate::ui;
use crate::value_parsers::decision;
use clap::Args as ClapArgs;
use clap_complete::ArgValueCompleter;
use runbook_document::Source;
use runbook_engine::{
    Cause, Changes, Decision, Journal as _, LifecycleEvent, OutsideWindow, Params, Plan, Record,
    RunError, RunEvent, RunId, RunOutcome, StepId, Stopped, StoredRun, fold,
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
    pub run: RunArgs,
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
    /// What is decided about steps whose outcome is unknown.
    pub decisions: BTreeMap<StepId, Decision>,
    /// Whether it may go on with another text or other plugins.
    pub changes: Changes,
    /// Whether it may go on outside its window.
    pub outside: OutsideWindow,
    /// Whether it is only ended, in order, and not continued.
    pub start_cancelled: bool,
}

impl ResumeOptions {
    /// With nothing decided, inside the window.
    pub fn new(changes: Changes) -> Self {
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
    let changes = if args.accept_changes { Changes::Accept } else { Changes::Refuse };
    let (decisions, outside) =
        (decisions(&args.decide)?, execution::outside_window(args.outside_window));
    resume_run(
        context,
        &args.run,
        &ResumeOptions { decisions, outside, ..ResumeOptions::new(changes) },
    )
}

/// Continues a run in some way.
pub fn resume_run(
    context: &Context,
    args: &RunArgs,
    asked: &ResumeOptions,
) -> Result<ExitStatus, Failure> {
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let (run, stored) = load(&journal, &args.run).await?;
        let lost_cancel = if asked.start_cancelled {
            None
        } else {
            lost_cancel(&journal, run, &stored.records).await?
        };
        let before = Summary::of(&stored.header, &stored.records);
        let earlier = crate::earlier_runs::of_runs(&journal, before.runs_relied_on()).await?;
        // A run that is only ended, or is being undone already, begins no new step.
        let goes_on = !asked.start_cancelled
            && !stored.records.iter().any(|record| ends_the_run(&record.event));
        let scrutiny = if goes_on { Scrutiny::Refuse } else { Scrutiny::Reach };
        let (prepared, plan) = rebuild(context, &stored, asked.changes, scrutiny)?;
        let caller = PluginCaller::new(context, &prepared, run, Purpose::Run)?;
        let state = fold(&stored.records).map_err(Failure::engine)?;
        match &state {
            Some(state) if asked.start_cancelled => secrets_before::of_undo(&caller, state),
            Some(state) => secrets_before::of_resumed_run(&caller, state)?,
            None => {}
        }
        let (changes, environment, outside) =
            (asked.changes, stored.header.environment.as_deref(), asked.outside);
        let session = Session::open(
            context,
            SessionParts { run, plan: &plan, caller, journal, environment, outside },
        )?;
        let mut live = Live::new(context, &stored.header, &stored.records)
            .with_earlier_runs(&earlier)
            .with_output(context, &args.output)?;
        live.warn_when_resumed(lost_cancel);
        if asked.start_cancelled {
            session.cancel().await?;
        }
        let outcome = session.resume(&asked.decisions, changes, &mut live).await;
        if let (true, Err(RunError::Busy { holder, left, .. })) = (asked.start_cancelled, &outcome)
        {
            return super::cancel_request::send(context, session.journal(), run, holder, *left)
                .await;
        }
        let outcome = session.with_person(outcome, changes, &mut live).await?;
        let is_cancelled = matches!(
            &outcome,
            Ok(RunOutcome { stopped: Stopped::Ended { cause: Some(Cause::Cancel), .. }, .. })
        );
        let status = session.conclude(outcome, &live, &args.output).await?;
        // It ended as requested and not by Ctrl-C. A run that was stopped half-way has not ended.
        let is_as_asked = asked.start_cancelled && is_cancelled && status == ExitStatus::Failed;
        Ok(if is_as_asked { ExitStatus::Success } else { status })
    })
}

/// Tells that the last execution of the run was asked to end it, and died before it could. It is
/// told once the run is taken: a process that lives heeds the request itself.
async fn lost_cancel(
    journal: &SqlJournal,
    run: RunId,
    records: &[Record],
) -> Result<Option<String>, Failure> {
    let Some((operator, at)) = journal.last_cancel_request(run).await.map_err(Failure::engine)?
    else {
        return Ok(None);
    };
    let begins = |record: &&Record| {
        matches!(
            record.event,
            RunEvent::Run(LifecycleEvent::RunStarted { .. } | LifecycleEvent::Resumed { .. })
        )
    };
    let begun = records.iter().rev().find(begins).map(|record| record.at);
    let is_lost = begun.is_none_or(|begun| begun < at) && !was_heeded(records, at);
    Ok(is_lost.then(|| {
        format!(
            "{operator} asked that this run be ended, and nobody has ended it: its process died \
             before; it goes on now, and `runbook cancel {}` ends it",
            run.short()
        )
    }))
}

/// Whether what was asked for was begun: the run has ended since, or is being ended.
fn was_heeded(records: &[Record], asked: jiff::Timestamp) -> bool {
    // A run that had ended or was being undone before it was asked is ended too.
    let ended = records
        .iter()
        .any(|record| matches!(record.event.phase(), Some(runbook_engine::RunPhase::Ended(_))));
    ended || records.iter().any(|record| record.at >= asked && ends_the_run(&record.event))
}

/// Whether no further step is begun after this.
fn ends_the_run(event: &RunEvent) -> bool {
    match event {
        RunEvent::Run(
            LifecycleEvent::Stopping { .. }
            | LifecycleEvent::UndoBegan { .. }
            | LifecycleEvent::FinallyBegan { .. },
        ) => true,
        other => matches!(other.phase(), Some(runbook_engine::RunPhase::Ended(_))),
    }
}

/// The run that an id, or a part of one, names.
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

/// The plan of a run, made again from what the journal kept; with accepted changes, from the files
/// as they are now.
pub fn rebuild(
    context: &Context,
    stored: &StoredRun,
    changes: Changes,
    scrutiny: Scrutiny,
) -> Result<(Prepared, Plan), Failure> {
    let header = &stored.header;
    let corrected = corrected_sources(&stored.records).filter(|_| changes == Changes::Refuse);
    let sources = corrected.unwrap_or(&header.sources);
    let (name, text) = sources
        .first()
        .ok_or_else(|| Failure::engine("the journal kept no text of the runbook"))?;
    let file = RunbookFile::locate(Path::new(name))?;
    let environment = header.environment.as_deref();
    let prepared = match changes {
        Changes::Accept => prepare::as_locked(context, Path::new(name), environment, scrutiny)?,
        Changes::Refuse => {
            let mut load = |wanted: &str| kept(sources, wanted);
            let source = Source::new(name.as_str(), text.as_str());
            prepare::prepare_with(
                (context, scrutiny),
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
    if changes == Changes::Refuse {
        // The digest is over the names as they were typed; the texts are compared themselves.
        let is_same = |(name, text): &(String, String)| {
            sources.iter().any(|kept| kept.0 == *name && kept.1 == *text)
        };
        if plan.sources.len() != sources.len() || !plan.sources.iter().all(is_same) {
            return Err(Failure::engine(
                "the journal holds other files for the run than its runbook names",
            ));
        }
        plan.digest.clone_from(&header.digest);
        crate::lockfile::check_reach(file.real(), environment, &prepared)?;
    }
    Ok((prepared, plan))
}

/// The text by which a run is being undone, if it is not its own: an undo that was cut off goes on
/// as it began.
fn corrected_sources(records: &[Record]) -> Option<&Vec<(String, String)>> {
    let requests = records.iter().rev().filter_map(|record| match &record.event {
        RunEvent::Run(LifecycleEvent::UndoRequested { corrected, .. }) => {
            Some(corrected.as_ref().map(|corrected| &corrected.sources))
        }
        _ => None,
    });
    requests.take(1).find_map(|sources| sources)
}

/// The text that the journal keeps of a file beside the runbook. Names are compared whole: another
/// file may end in the same.
fn kept(sources: &[(String, String)], wanted: &str) -> std::io::Result<std::sync::Arc<Source>> {
    let parts = |name: &str| -> PathBuf {
        Path::new(name).components().filter(|part| *part != Component::CurDir).collect()
    };
    let found = sources.iter().skip(1).find(|(name, _)| parts(name) == parts(wanted));
    found
        .map(|(name, text)| Source::new(name.as_str(), text.as_str()))
        .ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

/// The decisions that `--decide STEP=DECISION` gives, by step.
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
