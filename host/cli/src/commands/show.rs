//! `runbook show`: shows a run, or follows it.

use super::resume::load;
use crate::completion;
use crate::context::Context;
use crate::execution;
use crate::executor::{self, Executor};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::live::Live;
use crate::ui;
use crate::value_parsers::one_of;
use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::ArgValueCompleter;
use jiff::Timestamp;
use runbook_engine::{Record, RunId, RunStatus, StoredRun};
use runbook_journal::SqlJournal;
use runbook_report::{ExecutionStatus, Summary};
use std::time::Duration;

/// The arguments of `runbook show`.
#[derive(Debug, ClapArgs)]
pub struct ShowArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// text, json, junit, markdown, html, or jsonl: each event as a line of JSON
    /// (`runbook schema events`)
    #[arg(long, default_value = "text", value_parser = parse_format)]
    pub format: ShowFormat,
    /// Follow the run: print what happens, from the start, until it ends or waits for somebody
    #[arg(long)]
    pub follow: bool,
}

/// What `runbook show` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowFormat {
    /// A report of the run.
    Report(runbook_report::Format),
    /// The events of the run, as JSON lines.
    Events,
}

fn parse_format(text: &str) -> Result<ShowFormat, String> {
    let known: Vec<_> =
        runbook_report::FORMATS.iter().map(|(_, name, ..)| *name).chain(["jsonl"]).collect();
    let found = if text == "jsonl" {
        Some(ShowFormat::Events)
    } else {
        runbook_report::Format::find(text).map(ShowFormat::Report)
    };
    one_of(found, text, &known)
}

/// How often the journal is read while a run is followed.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// After so many polls without new records, `show --follow` checks whether a process executes the
/// run.
const POLLS_BEFORE_EXECUTOR_CHECK: u32 = 5;

/// Shows a run from its journal.
pub fn run(context: &Context, args: &ShowArgs) -> Result<ExitStatus, Failure> {
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let (run, stored) = load(&journal, &args.run).await?;
        let (stored, executor) = executor::of_run(context, &journal, stored).await?;
        let stored_at = stored.header.started;
        let mut printer = match args.format {
            ShowFormat::Events => EventPrinter::Events(run),
            ShowFormat::Report(_) if args.follow => {
                EventPrinter::Live(Box::new(Live::new(context, &stored.header, &[])))
            }
            ShowFormat::Report(_) => {
                EventPrinter::Silent(Box::new(Summary::of(&stored.header, &[])))
            }
        };
        let executor = if args.follow {
            follow(context, &journal, stored, &mut printer).await?
        } else {
            stored.records.iter().try_for_each(|record| printer.print(record))?;
            executor
        };
        let (ShowFormat::Report(format), Some(mut summary)) = (args.format, printer.into_summary())
        else {
            return Ok(());
        };
        add_execution_facts(&executor, &journal, run, stored_at, &mut summary).await?;
        ui::report(format, &summary)
    })?;
    Ok(ExitStatus::Success)
}

/// Adds to a summary what the records do not contain: who executes the run, and which run retries
/// it. Prints who has taken a lock from it.
pub async fn add_execution_facts(
    executor: &Executor,
    journal: &SqlJournal,
    run: RunId,
    started: Timestamp,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let last_seen = executor::last_seen(journal, run, executor).await?.unwrap_or(started);
    let execution = match executor {
        Executor::Somebody { holder, .. } => {
            ExecutionStatus::Somebody(format!("process {} on {}", holder.pid, holder.host))
        }
        Executor::Stalled(holder) => {
            ExecutionStatus::Stalled { pid: holder.pid, host: holder.host.clone() }
        }
        Executor::Starting => ExecutionStatus::Unknown,
        Executor::Nobody => ExecutionStatus::Nobody,
    };
    summary.set_execution(execution, last_seen);
    crate::earlier_runs::add_to_summary(journal, run, summary).await?;
    for lock in journal.locks_taken_from(run).await.map_err(Failure::engine)? {
        let at = lock.at.strftime("%Y-%m-%d %H:%M:%S UTC");
        let message = format!(
            "{} took the lock `{}` from this run at {at}: {}",
            lock.operator, lock.name, lock.reason
        );
        ui::print_stderr(&runbook_text::line(&message));
    }
    Ok(())
}

/// How records are printed.
enum EventPrinter {
    /// As lines for people.
    Live(Box<Live>),
    /// Not at all: only the report is printed at the end.
    Silent(Box<Summary>),
    /// Each as a line of JSON.
    Events(RunId),
}

impl EventPrinter {
    fn print(&mut self, record: &Record) -> Result<(), Failure> {
        match self {
            Self::Live(live) => live.show(record),
            Self::Silent(summary) => summary.fold(record),
            Self::Events(run) => return ui::data(&runbook_report::event_line(*run, record, None)),
        }
        Ok(())
    }

    fn into_summary(self) -> Option<Summary> {
        match self {
            Self::Live(live) => Some(live.into_summary()),
            Self::Silent(summary) => Some(*summary),
            Self::Events(_) => None,
        }
    }
}

/// Prints all records from the first one on, until the run ends, pauses, or has no living process
/// any more. Returns the executor at that time.
async fn follow(
    context: &Context,
    journal: &SqlJournal,
    stored: StoredRun,
    printer: &mut EventPrinter,
) -> Result<Executor, Failure> {
    let run = stored.header.run;
    let mut new_records = stored.records;
    let mut next = 0;
    let mut status = RunStatus::Waiting;
    let mut idle_polls = 0;
    loop {
        idle_polls = if new_records.is_empty() { idle_polls + 1 } else { 0 };
        for record in &new_records {
            printer.print(record)?;
            next = record.seq + 1;
            status = record.event.status().unwrap_or(status);
        }
        if !executor::needs_executor(status) {
            return Ok(Executor::Nobody);
        }
        let missing_executor = if idle_polls < POLLS_BEFORE_EXECUTOR_CHECK {
            None
        } else {
            idle_polls = 0;
            find_missing_executor(context, journal, run).await?
        };
        if missing_executor.is_none() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        new_records = journal.records_from(run, next).await.map_err(Failure::engine)?;
        // Records that were written before the process died are printed first.
        if let (Some(executor), true) = (missing_executor, new_records.is_empty()) {
            print_missing_executor(&executor);
            return Ok(executor);
        }
    }
}

/// [`Executor::Stalled`] or [`Executor::Nobody`] if the run needs an executor and has none.
async fn find_missing_executor(
    context: &Context,
    journal: &SqlJournal,
    run: RunId,
) -> Result<Option<Executor>, Failure> {
    let listed = journal.summary(run).await.map_err(Failure::engine)?;
    let (listed, executor) = executor::of_listed_run(context, journal, listed).await?;
    Ok(match executor {
        Executor::Somebody { .. } | Executor::Starting => None,
        Executor::Stalled(_) | Executor::Nobody => {
            executor::needs_executor(listed.status).then_some(executor)
        }
    })
}

fn print_missing_executor(executor: &Executor) {
    match executor {
        Executor::Stalled(holder) => ui::print_stderr(&format!(
            "process {} on {} stands still; it was stopped, or its machine slept",
            holder.pid, holder.host
        )),
        Executor::Somebody { .. } | Executor::Starting | Executor::Nobody => {
            ui::print_stderr("nobody executes this run any more");
        }
    }
}
