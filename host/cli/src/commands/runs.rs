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
use runbook_engine::{Journal as _, RunPhase, RunSummary};
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

/// How many runs are read first where not all of them are wanted.
const FIRST_LIST: usize = 200;

/// The state that a run is listed with if its process died.
const INTERRUPTED: &str = "interrupted";

/// The word for runs whose process is alive but stopped.
const STANDING_STILL: &str = "standing-still";

impl RunsArgs {
    fn is_filtered(&self) -> bool {
        !self.state.is_empty() || self.runbook.is_some() || self.since.is_some()
    }

    /// What the list alone can tell of a run.
    fn wants(&self, run: &RunSummary, now: Timestamp) -> bool {
        let is_named = self.runbook.as_ref().is_none_or(|name| *name == run.name);
        is_named
            && self.since.is_none_or(|since| {
                now.duration_since(run.started).unsigned_abs() <= since || run.started > now
            })
    }

    fn wants_state(&self, run: &RunSummary, liveness: Liveness) -> bool {
        // Who looks for what waits wants all that waits.
        let is_paused =
            run.phase == RunPhase::PausedUndoing && self.state.contains(&RunPhase::Paused.name());
        self.state.is_empty() || is_paused || self.state.contains(&state_of(run, liveness))
    }
}

fn state_of(run: &RunSummary, liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::AsRecorded => run.phase.name(),
        Liveness::StandsStill => STANDING_STILL,
        Liveness::Interrupted => INTERRUPTED,
    }
}

fn state(text: &str) -> Result<&'static str, String> {
    let phases = RunPhase::ALL.iter().map(|phase| phase.name());
    let known: Vec<_> = phases.chain([INTERRUPTED, STANDING_STILL]).collect();
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
        let (mut known, now) = (0, Timestamp::now());
        // From the newest on, in longer and longer lists: what is looked for is mostly new.
        let mut length = if args.is_filtered() { args.limit.max(FIRST_LIST) } else { args.limit };
        loop {
            let runs = journal.list(length).await.map_err(Failure::engine)?;
            let n_runs = runs.len();
            for run in runs.into_iter().skip(known).filter(|run| args.wants(run, now)) {
                if listed.len() == args.limit {
                    break;
                }
                // Who executes it is asked of the journal and the system, for each run that has not
                // ended.
                let (run, liveness) = with_liveness(context, &journal, run).await?;
                if args.wants_state(&run, liveness) {
                    listed.push((run, liveness));
                }
            }
            if listed.len() == args.limit || n_runs < length {
                return Ok(listed);
            }
            (known, length) = (n_runs, length.saturating_mul(8));
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
            run["stands_still"] = (*liveness == Liveness::StandsStill).into();
            ui::json(&run)?;
        }
        return Ok(ExitStatus::Success);
    }
    let headings =
        ["run", "started", "state", "took", "operator", "runbook"].map(str::to_owned).to_vec();
    // Where a program reads them, each line is a run.
    let rows: Vec<_> =
        ui::is_shown().then_some(headings).into_iter().chain(runs.iter().map(row)).collect();
    ui::text(&runbook_report::table(&rows))?;
    for (run, _) in runs.iter().filter(|(_, liveness)| *liveness == Liveness::Interrupted) {
        let id = run.run.short();
        ui::note(&format!(
            "nobody executes run {id} any more: `runbook resume {id}` continues it, \
             `runbook cancel {id}` ends it"
        ));
    }
    for (run, _) in runs.iter().filter(|(_, liveness)| *liveness == Liveness::StandsStill) {
        let id = run.run.short();
        ui::note(&format!(
            "the process of run {id} is alive but stands still: `runbook show {id}` says which \
             process, and what to do"
        ));
    }
    Ok(ExitStatus::Success)
}

/// Where a run stands, by its journal and its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Liveness {
    /// As its last record says.
    AsRecorded,
    /// Its process lives, and was stopped for longer than its lease.
    StandsStill,
    /// It would go on, and nobody executes it: its process died.
    Interrupted,
}

/// The run as it stands, by its record and its lease. Only one that would go on needs somebody who
/// executes it.
async fn with_liveness(
    context: &Context,
    journal: &SqlJournal,
    listed: RunSummary,
) -> Result<(RunSummary, Liveness), Failure> {
    if !executor::is_needed(listed.phase) {
        return Ok((listed, Liveness::AsRecorded));
    }
    let (run, executor) = executor::of_listed_run(context, journal, listed).await?;
    let liveness = liveness(run.phase, &executor);
    Ok((run, liveness))
}

fn liveness(phase: RunPhase, executor: &Executor) -> Liveness {
    match executor {
        Executor::Somebody { .. } | Executor::Beginning => Liveness::AsRecorded,
        Executor::StandsStill(_) | Executor::Nobody if !executor::is_needed(phase) => {
            Liveness::AsRecorded
        }
        Executor::StandsStill(_) => Liveness::StandsStill,
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
