//! `runbook runs`

use crate::args::RunsArgs;
use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use runbook_document::format_duration;
use runbook_engine::{Journal as _, RunSummary};
use std::time::Duration;

/// Lists runs, newest first.
pub fn run(context: &Context, args: &RunsArgs) -> Result<ExitStatus, Failure> {
    if !context.has_journal() {
        ui::note("no run has been made yet");
        return Ok(ExitStatus::Success);
    }
    let runs = execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        journal.list(args.limit).await.map_err(Failure::engine)
    })?;
    if runs.is_empty() {
        ui::note(&format!("there is no run in {}", context.journal));
        return Ok(ExitStatus::Success);
    }
    if args.json {
        for run in &runs {
            ui::data(&serde_json::to_string(run).expect("a run has string keys only"))?;
        }
        return Ok(ExitStatus::Success);
    }
    let rows: Vec<_> = runs.iter().map(row).collect();
    ui::text(&runbook_report::table(&rows))?;
    Ok(ExitStatus::Success)
}

fn row(run: &RunSummary) -> Vec<String> {
    let took = run.ended.map(|ended| u64::try_from(ended.as_millisecond() - run.started.as_millisecond()).unwrap_or(0));
    vec![
        run.run.short(),
        run.started.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        run.phase.name().to_owned(),
        took.map(|ms| format_duration(Duration::from_millis(ms))).unwrap_or_default(),
        run.operator.clone(),
        run.name.clone(),
    ]
}
