//! `runbook locks`: lists the locks that runs hold, or breaks one.

use crate::audit_log;
use crate::context::Context;
use crate::execution;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::question;
use crate::shared_arguments::ListFormat;
use crate::ui;
use clap::{Args as ClapArgs, Subcommand};
use jiff::Timestamp;
use runbook_document::format_duration;
use runbook_journal::{RunLock, SqlJournal};
use serde_json::json;

/// The arguments of `runbook locks`.
#[derive(Debug, ClapArgs)]
pub struct LocksArgs {
    /// What to do with them [default: list them]
    #[command(subcommand)]
    pub command: Option<LocksCommand>,
    /// text, or json: each lock as a line
    #[arg(long, value_enum, default_value = "text")]
    pub format: ListFormat,
}

/// What to do with locks.
#[derive(Debug, Subcommand)]
pub enum LocksCommand {
    /// Take a lock from the run that holds it
    ///
    /// The run begins no further effect, and pauses. What it has begun runs to its end.
    Break {
        /// The lock, as `[locks]` names it
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        name: String,
        /// Why, for those who look at the run later
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// Lists the locks that are held, or breaks one.
pub fn run(context: &Context, args: &LocksArgs) -> Result<ExitStatus, Failure> {
    if !context.has_journal() {
        ui::note("no run has been made yet");
        return Ok(ExitStatus::Success);
    }
    execution::block_on(async {
        let journal = execution::open_journal(context).await?;
        let held = journal.locks(Timestamp::now()).await.map_err(Failure::engine)?;
        match &args.command {
            None => list(context, args.format, &held),
            Some(LocksCommand::Break { name, reason, yes }) => {
                let lock = held
                    .iter()
                    .find(|lock| lock.name == *name)
                    .ok_or_else(|| not_held(name, &held))?;
                break_lock(context, &journal, lock, reason, question::Consent::by_flag(*yes)).await
            }
        }
    })
}

fn list(context: &Context, format: ListFormat, held: &[RunLock]) -> Result<ExitStatus, Failure> {
    match format {
        ListFormat::Json => held.iter().try_for_each(|lock| ui::json(&as_json(lock)))?,
        ListFormat::Text if held.is_empty() => {
            ui::note(&format!("no lock is held in {}", context.journal));
        }
        ListFormat::Text => {
            let headings = ["lock", "run", "process", "host", "ends without a renewal"]
                .map(str::to_owned)
                .to_vec();
            let rows: Vec<_> = ui::stdout_is_terminal()
                .then_some(headings)
                .into_iter()
                .chain(held.iter().map(row))
                .collect();
            ui::text(&runbook_report::table(&rows))?;
        }
    }
    Ok(ExitStatus::Success)
}

fn row(lock: &RunLock) -> Vec<String> {
    let left = if lock.left.is_zero() {
        "it has ended".to_owned()
    } else {
        format!("in {}", format_duration(lock.left))
    };
    vec![
        lock.name.clone(),
        lock.holder.run.short(),
        lock.holder.pid.to_string(),
        lock.holder.host.clone(),
        left,
    ]
}

fn as_json(lock: &RunLock) -> serde_json::Value {
    let left_ms = u64::try_from(lock.left.as_millis()).unwrap_or(u64::MAX);
    json!({
        "name": lock.name, "token": lock.token, "run": lock.holder.run, "pid": lock.holder.pid, "host": lock.holder.host, "left_ms": left_ms
    })
}

fn not_held(name: &str, held: &[RunLock]) -> Failure {
    let near = runbook_document::nearest(name, held.iter().map(|lock| lock.name.as_str()));
    let hint = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`runbook locks` lists those that are held".to_owned(),
    };
    Failure::usage(format!("no run holds the lock `{name}`")).hint(hint)
}

async fn break_lock(
    context: &Context,
    journal: &SqlJournal,
    lock: &RunLock,
    reason: &str,
    consent: question::Consent,
) -> Result<ExitStatus, Failure> {
    let (name, holder, run) = (&lock.name, &lock.holder, lock.holder.run.short());
    ui::print_stderr(&format!("lock `{name}` is held by {holder}"));
    ui::print_stderr(
        "that run begins no effect any more, and pauses; what it has begun goes on to its end",
    );
    let question = format!("take the lock `{name}` from run {run}?");
    if !question::confirm(context, &question, consent)? {
        ui::note("nothing was changed");
        return Ok(ExitStatus::Success);
    }
    audit_log::record_lock_taken(context, lock, reason)?;
    let is_taken = journal
        .break_lock(lock, &context.operator, reason, Timestamp::now())
        .await
        .map_err(Failure::engine)?;
    if !is_taken {
        return Err(Failure::usage(format!("the lock `{name}` is not held by run {run} any more"))
            .hint("look again: `runbook locks`"));
    }
    ui::note(&format!("the lock `{name}` is free; `runbook show {run}` says why it was taken"));
    Ok(ExitStatus::Success)
}
