//! `runbook show`

use crate::args::ShowArgs;
use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::ui;
use runbook_engine::Journal as _;
use runbook_report::Summary;

/// Shows a run from its journal.
pub fn run(context: &Context, args: &ShowArgs) -> Result<ExitStatus, Failure> {
    let stored = execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let run = journal.find(&args.run).await.map_err(Failure::usage)?;
        journal.load(run).await.map_err(Failure::engine)
    })?;
    let summary = Summary::of(&stored.header, &stored.records);
    ui::data(&runbook_report::render(args.format, &summary))?;
    Ok(ExitStatus::Success)
}
