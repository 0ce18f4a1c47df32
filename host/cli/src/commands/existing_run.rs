//! `exec --run-id`: a run whose caller gives the id begins only once. A second call with the same
//! id reports the state of the run.

use super::show;
use crate::context::Context;
use crate::execution;
use crate::executor::{self, Executor};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output_arguments::OutputArgs;
use crate::ui;
use runbook_engine::{Journal as _, Plan, RunHeader, StopReason, StoredRun};
use runbook_journal::{JournalError, SqlJournal};
use runbook_report::{Format, Summary};

/// Reports the state of the run that has this id, and returns its exit status; `None` if there is
/// none.
///
/// # Errors
/// The existing run is of another runbook, or has another text or other parameters.
pub async fn report(
    context: &Context,
    journal: &SqlJournal,
    requested: &RunHeader,
    plan: &Plan,
    output: &OutputArgs,
) -> Result<Option<ExitStatus>, Failure> {
    let run = requested.run;
    let stored = match journal.load(run).await {
        Ok(stored) => stored,
        Err(JournalError::NoRun { .. }) => return Ok(None),
        Err(error) => return Err(Failure::engine(error)),
    };
    require_same_run(&stored, requested, plan)?;
    output.check_destinations(context)?;
    let (stored, executor) = executor::of_begun_run(context, journal, stored).await?;
    let mut summary = Summary::of(&stored.header, &stored.records);
    ui::print_stderr(&format!(
        "run {} was begun before under this id, and is not begun again",
        run.short()
    ));
    show::add_execution_facts(&executor, journal, run, stored.header.started, &mut summary).await?;
    if !output.writes_to_stdout() {
        ui::report(Format::Text, &summary)?;
    }
    execution::write_reports(&summary, &output.report);
    status(&stored, &executor).map(Some)
}

/// Fails if the existing run differs from the requested one, so that the caller does not take it
/// for theirs.
fn require_same_run(stored: &StoredRun, requested: &RunHeader, plan: &Plan) -> Result<(), Failure> {
    let existing = &stored.header;
    let difference = if existing.name != requested.name {
        format!("of `{}`, not of `{}`", existing.name, requested.name)
    } else if existing.environment != requested.environment {
        let describe = |environment: &Option<String>| {
            environment
                .as_deref()
                .map_or("no environment".to_owned(), |name| format!("`--env {name}`"))
        };
        format!(
            "with {}, not with {}",
            describe(&existing.environment),
            describe(&requested.environment)
        )
    } else if existing.params != requested.params {
        let differs = |name: &&String| existing.params.get(*name) != requested.params.get(*name);
        let names = existing
            .params
            .keys()
            .chain(requested.params.keys().filter(|name| !existing.params.contains_key(*name)));
        format!(
            "with another value of {}",
            names.filter(differs).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        )
    } else if existing.sources.first().map(|(name, _)| name)
        != plan.sources.first().map(|(name, _)| name)
    {
        let file = |sources: &[(String, String)]| {
            sources.first().map_or_else(String::new, |(name, _)| format!("`{name}`"))
        };
        format!("of {}, not of {}", file(&existing.sources), file(&plan.sources))
    } else if existing.sources != plan.sources {
        "with another text of the runbook or of a file that it is made of".to_owned()
    } else {
        return Ok(());
    };
    let id = stored.header.run;
    Err(Failure::usage(format!("there is a run {id} already, {difference}")).hint(format!(
        "give another `--run-id` to begin another run; `runbook show {id}` shows that one"
    )))
}

fn status(stored: &StoredRun, executor: &Executor) -> Result<ExitStatus, Failure> {
    let state = runbook_engine::fold(&stored.records).map_err(Failure::engine)?;
    let stop_reason = state.and_then(|state| match (state.ended, state.end, state.paused) {
        (Some(_), Some(end), _) => Some(StopReason::Ended { end, cause: state.cause }),
        (_, _, Some(reason)) => Some(StopReason::Paused { reason }),
        (_, _, None) => None,
    });
    Ok(match (stop_reason, executor) {
        (Some(StopReason::Ended { end, cause }), _) => {
            execution::status_of(&StopReason::Ended { end, cause }, None)
        }
        (_, Executor::Somebody { .. } | Executor::Stalled(_) | Executor::Starting) => {
            ExitStatus::Refused
        }
        (Some(paused @ StopReason::Paused { .. }), Executor::Nobody) => {
            execution::status_of(&paused, None)
        }
        (None, Executor::Nobody) => ExitStatus::Waiting,
    })
}
