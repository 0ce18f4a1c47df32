//! `exec --run-id`: a run with an id from its caller begins once. A second call with the same id
//! reports the state of the run.

use super::show;
use crate::context::Context;
use crate::execution;
use crate::executor::{self, Executor};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output_arguments::OutputArgs;
use crate::ui;
use runbook_engine::{Journal as _, Plan, RunHeader, Stopped, StoredRun};
use runbook_journal::{JournalError, SqlJournal};
use runbook_report::{Format, Summary};

/// How the run stands that was begun under this id; `None` if there is none.
///
/// # Errors
/// It is another run: of another runbook, with another text or with other parameters.
pub async fn tell(
    context: &Context,
    journal: &SqlJournal,
    asked: &RunHeader,
    plan: &Plan,
    output: &OutputArgs,
) -> Result<Option<ExitStatus>, Failure> {
    let run = asked.run;
    let stored = match journal.load(run).await {
        Ok(stored) => stored,
        Err(JournalError::NoRun { .. }) => return Ok(None),
        Err(error) => return Err(Failure::engine(error)),
    };
    refuse_another(&stored, asked, plan)?;
    output.check_destinations(context)?;
    let (stored, executor) = executor::of_begun_run(context, journal, stored).await?;
    let mut summary = Summary::of(&stored.header, &stored.records);
    ui::notice(&format!(
        "run {} was begun before under this id, and is not begun again",
        run.short()
    ));
    show::stand(&executor, journal, run, stored.header.started, &mut summary).await?;
    if !output.has_stdout() {
        ui::report(Format::Text, &summary)?;
    }
    execution::write_reports(&summary, &output.report);
    status(&stored, &executor).map(Some)
}

/// Refuses an id that belongs to a run of something else: the caller must not be told that theirs
/// is done.
fn refuse_another(stored: &StoredRun, asked: &RunHeader, plan: &Plan) -> Result<(), Failure> {
    let before = &stored.header;
    let other = if before.name != asked.name {
        format!("of `{}`, not of `{}`", before.name, asked.name)
    } else if before.environment != asked.environment {
        let named = |environment: &Option<String>| {
            environment
                .as_deref()
                .map_or("no environment".to_owned(), |name| format!("`--env {name}`"))
        };
        format!("with {}, not with {}", named(&before.environment), named(&asked.environment))
    } else if before.params != asked.params {
        let differs = |name: &&String| before.params.get(*name) != asked.params.get(*name);
        let names = before
            .params
            .keys()
            .chain(asked.params.keys().filter(|name| !before.params.contains_key(*name)));
        format!(
            "with another value of {}",
            names.filter(differs).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        )
    } else if before.sources.first().map(|(name, _)| name)
        != plan.sources.first().map(|(name, _)| name)
    {
        let file = |sources: &[(String, String)]| {
            sources.first().map_or_else(String::new, |(name, _)| format!("`{name}`"))
        };
        format!("of {}, not of {}", file(&before.sources), file(&plan.sources))
    } else if before.sources != plan.sources {
        "with another text of the runbook or of a file that it is made of".to_owned()
    } else {
        return Ok(());
    };
    let id = stored.header.run;
    Err(Failure::usage(format!("there is a run {id} already, {other}")).hint(format!(
        "give another `--run-id` to begin another run; `runbook show {id}` shows that one"
    )))
}

fn status(stored: &StoredRun, executor: &Executor) -> Result<ExitStatus, Failure> {
    let state = runbook_engine::fold(&stored.records).map_err(Failure::engine)?;
    let stopped = state.and_then(|state| match (state.ended, state.end, state.paused) {
        (Some(_), Some(end), _) => Some(Stopped::Ended { end, cause: state.cause }),
        (_, _, Some(reason)) => Some(Stopped::Paused { reason }),
        (_, _, None) => None,
    });
    Ok(match (stopped, executor) {
        (Some(Stopped::Ended { end, cause }), _) => {
            execution::status_of(&Stopped::Ended { end, cause }, None)
        }
        (_, Executor::Somebody { .. } | Executor::StandsStill(_) | Executor::Beginning) => {
            ExitStatus::Refused
        }
        (Some(paused @ Stopped::Paused { .. }), Executor::Nobody) => {
            execution::status_of(&paused, None)
        }
        (None, Executor::Nobody) => ExitStatus::Waiting,
    })
}
