//! `runbook undo`

use super::resume::{load, rebuild};
use crate::args::UndoArgs;
use crate::context::Context;
use crate::execution::{self, Brake, SystemClock};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::live::Live;
use crate::operate::Operator;
use crate::ui::{self, Agreed};
use runbook_engine::{Changes, Holder, OutsideWindow};

/// Undoes a finished run, last step first.
pub fn run(context: &Context, args: &UndoArgs) -> Result<ExitStatus, Failure> {
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let (run, stored) = load(&journal, &args.run.run).await?;
        let (prepared, plan) = rebuild(context, &stored, Changes::Refuse)?;
        let question = format!("Undo run {} of `{}`?", run.short(), plan.title);
        if !ui::confirm(context, &question, Agreed::by_flag(args.yes))? {
            return Err(Failure::usage("not undone, as you answered"));
        }
        let operator = Operator::new(context, &prepared, run)?;
        let brake = Brake::new()?;
        let dead = |holder: &Holder| execution::is_dead(context, holder);
        let environment = stored.header.environment.as_deref();
        let options = execution::options(context, run, environment, &brake, OutsideWindow::AsWritten, &dead);
        execution::heed_cancel(&journal, &options, &brake);
        let mut live = Live::new(context, &stored.header, &stored.records).telling(&args.run.told)?;
        let clock = SystemClock::new();
        let outcome = runbook_engine::undo_run(&plan, &operator, &journal, &clock, &mut live, &options, Changes::Refuse).await;
        execution::conclude(outcome, &live, &brake, &args.run.told).await
    })
}
