//! `runbook runs`

use crate::context::Context;
use crate::execution::{self, Executor};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use clap::Args as ClapArgs;
use runbook_document::format_duration;
use runbook_engine::{Journal as _, RunPhase, RunSummary};
use runbook_journal::SqlJournal;
use std::time::Duration;

/// `runbook runs`
#[derive(Debug, ClapArgs)]
pub struct RunsArgs {
    /// How many
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
    /// As JSON lines
    #[arg(long)]
    pub json: bool,
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
        for run in journal.list(args.limit).await.map_err(Failure::engine)? {
            let standing = standing(context, &journal, &run).await?;
            listed.push((run, standing));
        }
        Ok(listed)
    })?;
    if runs.is_empty() {
        ui::note(&format!("there is no run in {}", context.journal));
        return Ok(ExitStatus::Success);
    }
    if args.json {
        for (run, standing) in &runs {
            let mut run = serde_json::to_value(run).expect("a run has string keys only");
            run["interrupted"] = (*standing == Standing::Interrupted).into();
            run["stands_still"] = (*standing == Standing::StandsStill).into();
            ui::json(&run)?;
        }
        return Ok(ExitStatus::Success);
    }
    let headings = ["run", "started", "state", "took", "operator", "runbook"].map(str::to_owned).to_vec();
    // Where a program reads them, each line is a run.
    let rows: Vec<_> = ui::is_shown().then_some(headings).into_iter().chain(runs.iter().map(row)).collect();
    ui::text(&runbook_report::table(&rows))?;
    for (run, _) in runs.iter().filter(|(_, standing)| *standing == Standing::Interrupted) {
        let id = run.run.short();
        ui::note(&format!(
            "nobody executes run {id} any more: `runbook resume {id}` continues it, `runbook cancel {id}` ends it"
        ));
    }
    for (run, _) in runs.iter().filter(|(_, standing)| *standing == Standing::StandsStill) {
        let id = run.run.short();
        ui::note(&format!("the process of run {id} lives and stands still: `runbook show {id}` says which, and what to do"));
    }
    Ok(ExitStatus::Success)
}

/// Where a run stands, by its journal and its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// As its last record says.
    AsRecorded,
    /// Its process lives, and was stopped for longer than its lease.
    StandsStill,
    /// It would go on, and nobody executes it: its process died.
    Interrupted,
}

async fn standing(context: &Context, journal: &SqlJournal, run: &RunSummary) -> Result<Standing, Failure> {
    match run.phase {
        RunPhase::Paused | RunPhase::Ended(_) => Ok(Standing::AsRecorded),
        RunPhase::Waiting | RunPhase::Running | RunPhase::Undoing => {
            Ok(match execution::executor(context, journal, run.run).await? {
                Executor::Somebody { .. } => Standing::AsRecorded,
                Executor::StandsStill(_) => Standing::StandsStill,
                Executor::Nobody => Standing::Interrupted,
            })
        }
    }
}

fn row((run, standing): &(RunSummary, Standing)) -> Vec<String> {
    let phase = match standing {
        Standing::AsRecorded => run.phase.name(),
        Standing::StandsStill => "standing still",
        Standing::Interrupted => "interrupted",
    };
    let took = run.ended.map(|_| run.took_ms);
    vec![
        run.run.short(),
        run.started.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        phase.to_owned(),
        took.map(|ms| format_duration(Duration::from_millis(ms))).unwrap_or_default(),
        run.operator.clone(),
        run.name.clone(),
    ]
}
