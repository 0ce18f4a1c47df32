//! `runbook runs`: lists runs, newest first.

use crate::context::Context;
use crate::execution;
use crate::executor::{self, Executor};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::shared_arguments::ListFormat;
use crate::ui;
use crate::value_parsers::duration;
use clap::Args as ClapArgs;
use jiff::Timestamp;
use runbook_document::format_duration;
use runbook_engine::{Journal as _, RunStatus, RunSummary};
use runbook_journal::SqlJournal;
use std::time::Duration;

/// The arguments of `runbook runs`.
#[derive(Debug, ClapArgs)]
pub struct RunsArgs {
    /// Show at most this many runs
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
    /// Only runs in this state, such as `paused`, `dirty` or `interrupted`; may be given several
    /// times
    #[arg(long, value_name = "STATE", value_parser = state)]
    pub state: Vec<&'static str>,
    /// Only runs of the runbook with this `name`
    #[arg(long, value_name = "NAME")]
    pub runbook: Option<String>,
    /// Only runs that were started within this time, such as `24h`
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub since: Option<Duration>,
    /// text, or json: each run as a line
    #[arg(long, value_enum, default_value = "text")]
    pub format: ListFormat,
}

/// How many runs are read first if the list is filtered.
const FIRST_PAGE: usize = 200;

/// The state that a run is listed with if its process died.
const INTERRUPTED: &str = "interrupted";

/// The word for runs whose process is alive but stopped.
const STALLED: &str = "standing-still";

impl RunsArgs {
    fn is_filtered(&self) -> bool {
        !self.state.is_empty() || self.runbook.is_some() || self.since.is_some()
    }

    /// Whether a run matches `--runbook` and `--since`.
    fn matches(&self, run: &RunSummary, now: Timestamp) -> bool {
        let is_named = self.runbook.as_ref().is_none_or(|name| *name == run.name);
        is_named
            && self.since.is_none_or(|since| {
                now.duration_since(run.started).unsigned_abs() <= since || run.started > now
            })
    }

    fn matches_state(&self, run: &RunSummary, liveness: Liveness) -> bool {
        // `--state paused` includes runs that are paused while they are undone.
        let is_paused = run.status == RunStatus::PausedUndoing
            && self.state.contains(&RunStatus::Paused.name());
        self.state.is_empty() || is_paused || self.state.contains(&state_of(run, liveness))
    }
}

fn state_of(run: &RunSummary, liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::AsRecorded => run.status.name(),
        Liveness::Stalled => STALLED,
        Liveness::Interrupted => INTERRUPTED,
    }
}

fn state(text: &str) -> Result<&'static str, String> {
    let statuses = RunStatus::ALL.iter().map(|status| status.name());
    let known: Vec<_> = statuses.chain([INTERRUPTED, STALLED]).collect();
    let found = known.iter().find(|known| **known == text).copied();
    found.ok_or_else(|| format!("no run stands so; known: {}", known.join(", ")))
}

/// Lists runs, newest first.
pub fn run(context: &Context, args: &RunsArgs) -> Result<ExitStatus, Failure> {
    if !context.has_journal() {
        ui::note("no run has been made yet");
        return Ok(ExitStatus::Success);
    }
    let runs = execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let mut listed = Vec::new();
        let (mut n_seen, now) = (0, Timestamp::now());
        // The lists get longer and longer, because mostly new runs are looked for.
        let mut length = if args.is_filtered() { args.limit.max(FIRST_PAGE) } else { args.limit };
        loop {
            let runs = journal.list(length).await.map_err(Failure::engine)?;
            let n_runs = runs.len();
            for run in runs.into_iter().skip(n_seen).filter(|run| args.matches(run, now)) {
                if listed.len() == args.limit {
                    break;
                }
                // For each run that has not ended, this reads the journal and `/proc`.
                let (run, liveness) = with_liveness(context, &journal, run).await?;
                if args.matches_state(&run, liveness) {
                    listed.push((run, liveness));
                }
            }
            if listed.len() == args.limit || n_runs < length {
                return Ok(listed);
            }
            (n_seen, length) = (n_runs, length.saturating_mul(8));
        }
    })?;
    if runs.is_empty() {
        let which = if args.is_filtered() { "such run" } else { "run" };
        ui::note(&format!("there is no {which} in {}", context.journal));
        return Ok(ExitStatus::Success);
    }
    if args.format == ListFormat::Json {
        for (run, liveness) in &runs {
            let mut run = serde_json::to_value(run).expect("a run has string keys only");
            run["interrupted"] = (*liveness == Liveness::Interrupted).into();
            run["stands_still"] = (*liveness == Liveness::Stalled).into();
            ui::json(&run)?;
        }
        return Ok(ExitStatus::Success);
    }
    let headings =
        ["run", "started", "state", "took", "operator", "runbook"].map(str::to_owned).to_vec();
    // Without headings in a pipe, so that each line is a run.
    let rows: Vec<_> = ui::stdout_is_terminal()
        .then_some(headings)
        .into_iter()
        .chain(runs.iter().map(row))
        .collect();
    ui::text(&runbook_report::table(&rows))?;
    for (run, _) in runs.iter().filter(|(_, liveness)| *liveness == Liveness::Interrupted) {
        let id = run.run.short();
        ui::note(&format!(
            "nobody executes run {id} any more: `runbook resume {id}` continues it, \
             `runbook cancel {id}` ends it"
        ));
    }
    for (run, _) in runs.iter().filter(|(_, liveness)| *liveness == Liveness::Stalled) {
        let id = run.run.short();
        ui::note(&format!(
            "the process of run {id} is alive but stands still: `runbook show {id}` says which \
             process, and what to do"
        ));
    }
    Ok(ExitStatus::Success)
}

/// Whether the process of a run is alive, by the lease of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Liveness {
    /// The state is that of the last record.
    AsRecorded,
    /// Its process is alive, but has not renewed its lease in time.
    Stalled,
    /// Its process died.
    Interrupted,
}

/// Adds the liveness to a run. The lease is read only if the run needs an executor.
async fn with_liveness(
    context: &Context,
    journal: &SqlJournal,
    listed: RunSummary,
) -> Result<(RunSummary, Liveness), Failure> {
    if !executor::needs_executor(listed.status) {
        return Ok((listed, Liveness::AsRecorded));
    }
    let (run, executor) = executor::of_listed_run(context, journal, listed).await?;
    let liveness = liveness(run.status, &executor);
    Ok((run, liveness))
}

fn liveness(status: RunStatus, executor: &Executor) -> Liveness {
    match executor {
        Executor::Somebody { .. } | Executor::Starting => Liveness::AsRecorded,
        Executor::Stalled(_) | Executor::Nobody if !executor::needs_executor(status) => {
            Liveness::AsRecorded
        }
        Executor::Stalled(_) => Liveness::Stalled,
        Executor::Nobody => Liveness::Interrupted,
    }
}

fn row((run, liveness): &(RunSummary, Liveness)) -> Vec<String> {
    let took = run.ended.map(|_| run.took_ms);
    vec![
        run.run.short(),
        run.started.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        state_of(run, *liveness).to_owned(),
        took.map(|ms| format_duration(Duration::from_millis(ms))).unwrap_or_default(),
        run.operator.clone(),
        run.name.clone(),
    ]
}
