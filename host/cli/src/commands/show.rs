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
use runbook_engine::{Record, RunId, RunPhase, StoredRun};
use runbook_journal::SqlJournal;
use runbook_report::{Execution, Summary};
use std::time::Duration;

/// The arguments of `runbook show`.
#[derive(Debug, ClapArgs)]
pub struct ShowArgs {
    /// The run's id, or as much of it as is unambiguous
    #[arg(value_parser = NonEmptyStringValueParser::new(), add = ArgValueCompleter::new(completion::runs))]
    pub run: String,
    /// text, json, junit, markdown, html, or jsonl: each event as a line of JSON
    /// (`runbook schema events`)
    #[arg(long, default_value = "text", value_parser = shown)]
    pub format: ShowFormat,
    /// Follow the run: print what happens, from the start, until it ends or waits for somebody
    #[arg(long)]
    pub follow: bool,
}

/// What `runbook show` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowFormat {
    /// How the run stands.
    Report(runbook_report::Format),
    /// All that happened in it.
    Events,
}

fn shown(text: &str) -> Result<ShowFormat, String> {
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
const LOOK: Duration = Duration::from_millis(200);

/// After so many looks at the journal without news, `show --follow` asks whether anybody executes
/// the run.
const QUIET_LOOKS: u32 = 5;

/// Shows a run from its journal.
pub fn run(context: &Context, args: &ShowArgs) -> Result<ExitStatus, Failure> {
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let (run, stored) = load(&journal, &args.run).await?;
        let (stored, executor) = executor::of_run(context, &journal, stored).await?;
        let stored_at = stored.header.started;
        let mut teller = match args.format {
            ShowFormat::Events => EventPrinter::Events(run),
            ShowFormat::Report(_) if args.follow => {
                EventPrinter::Live(Box::new(Live::new(context, &stored.header, &[])))
            }
            ShowFormat::Report(_) => {
                EventPrinter::Silent(Box::new(Summary::of(&stored.header, &[])))
            }
        };
        let executor = if args.follow {
            follow(context, &journal, stored, &mut teller).await?
        } else {
            stored.records.iter().try_for_each(|record| teller.tell(record))?;
            executor
        };
        let (ShowFormat::Report(format), Some(mut summary)) = (args.format, teller.into_summary())
        else {
            return Ok(());
        };
        stand(&executor, &journal, run, stored_at, &mut summary).await?;
        ui::report(format, &summary)
    })?;
    Ok(ExitStatus::Success)
}

/// Adds to what the records say what only the journal and this machine know: who executes the run,
/// which run tries it again. Says who took a lock from it.
pub async fn stand(
    executor: &Executor,
    journal: &SqlJournal,
    run: RunId,
    started: Timestamp,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let seen = executor::last_seen(journal, run, executor).await?.unwrap_or(started);
    let execution = match executor {
        Executor::Somebody { holder, .. } => {
            Execution::By(format!("process {} on {}", holder.pid, holder.host))
        }
        Executor::StandsStill(holder) => {
            Execution::StandsStill { pid: holder.pid, host: holder.host.clone() }
        }
        Executor::Beginning => Execution::Unknown,
        Executor::Nobody => Execution::Nobody,
    };
    summary.is_executed(execution, seen);
    crate::earlier_runs::add_to_summary(journal, run, summary).await?;
    for lock in journal.locks_taken_from(run).await.map_err(Failure::engine)? {
        let at = lock.at.strftime("%Y-%m-%d %H:%M:%S UTC");
        let told = format!(
            "{} took the lock `{}` from this run at {at}: {}",
            lock.operator, lock.name, lock.reason
        );
        ui::notice(&runbook_text::line(&told));
    }
    Ok(())
}

/// The reader of each record.
enum EventPrinter {
    /// A person, line by line.
    Live(Box<Live>),
    /// Nobody is told before the report at the end.
    Silent(Box<Summary>),
    /// A program, which is written each event as a line of JSON.
    Events(RunId),
}

impl EventPrinter {
    fn tell(&mut self, record: &Record) -> Result<(), Failure> {
        match self {
            Self::Live(live) => live.tell(record),
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

/// Tells everything from the first record on, until the run ends, pauses, or is executed by nobody
/// any more. It only reads; a run does not notice it. Returns who executes it then.
async fn follow(
    context: &Context,
    journal: &SqlJournal,
    stored: StoredRun,
    teller: &mut EventPrinter,
) -> Result<Executor, Failure> {
    let run = stored.header.run;
    let mut news = stored.records;
    let mut next = 0;
    let mut phase = RunPhase::Waiting;
    let mut quiet = 0;
    loop {
        quiet = if news.is_empty() { quiet + 1 } else { 0 };
        for record in &news {
            teller.tell(record)?;
            next = record.seq + 1;
            phase = record.event.phase().unwrap_or(phase);
        }
        if !executor::is_needed(phase) {
            return Ok(Executor::Nobody);
        }
        let left = if quiet < QUIET_LOOKS {
            None
        } else {
            quiet = 0;
            left_by(context, journal, run).await?
        };
        if left.is_none() {
            tokio::time::sleep(LOOK).await;
        }
        news = journal.records_from(run, next).await.map_err(Failure::engine)?;
        // What was written before it was left is told first.
        if let (Some(executor), true) = (left, news.is_empty()) {
            note_left(&executor);
            return Ok(executor);
        }
    }
}

/// Who does not go on with a run, though it has not ended.
async fn left_by(
    context: &Context,
    journal: &SqlJournal,
    run: RunId,
) -> Result<Option<Executor>, Failure> {
    let listed = journal.summary(run).await.map_err(Failure::engine)?;
    let (listed, executor) = executor::of_listed_run(context, journal, listed).await?;
    Ok(match executor {
        Executor::Somebody { .. } | Executor::Beginning => None,
        Executor::StandsStill(_) | Executor::Nobody => {
            executor::is_needed(listed.phase).then_some(executor)
        }
    })
}

fn note_left(executor: &Executor) {
    match executor {
        Executor::StandsStill(holder) => ui::notice(&format!(
            "process {} on {} stands still; it was stopped, or its machine slept",
            holder.pid, holder.host
        )),
        Executor::Somebody { .. } | Executor::Beginning | Executor::Nobody => {
            ui::notice("nobody executes this run any more");
        }
    }
}
