//! What executions of runs need: the journal, the clock, the reports, and how the program ends.

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failpoints;
use crate::failure::Failure;
use crate::process;
use crate::ui;
use runbook_engine::{
    Account, Cause, Holder, LEASE_TTL, OutsideWindow, PauseReason, RunEnd, RunError, Section,
    StepId, Stopped, UnrecordedOutcome,
};
use runbook_journal::{JournalError, JournalLocation, ServerEvent, SqlJournal};
use runbook_report::{Format, Summary};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs a future on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::engine)?;
    let result = runtime.block_on(future);
    // A task that a cancelled call left behind (a statement that the server is still ending) must
    // not keep the program from ending.
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

/// Opens the journal that the settings name.
pub async fn open_journal(context: &Context) -> Result<SqlJournal, Failure> {
    SqlJournal::open(&context.journal)
        .await
        .map(|journal| journal.with_server_listener(report_server_event))
        .map_err(Failure::engine)
}

/// Tells those who wait that the server of the journal is away, and since when.
fn report_server_event(journal: &JournalLocation, away: ServerEvent) {
    match away {
        ServerEvent::Gone { since, patience } => ui::warning(&format!(
            "the journal {journal} does not answer since {}; the run waits for it, {} at most, and \
             begins nothing meanwhile",
            (jiff::Timestamp::now() - since).strftime("%H:%M:%S UTC"),
            runbook_document::format_duration(patience)
        )),
        ServerEvent::Back { after } => ui::note(&format!(
            "the journal answers again, after {}",
            runbook_document::format_duration(Duration::from_secs(after.as_secs()))
        )),
    }
}

/// What `--outside-window` means to the engine.
pub fn outside_window(given: bool) -> OutsideWindow {
    if given { OutsideWindow::Override } else { OutsideWindow::AsWritten }
}

/// Whether the process that holds a lease is proven dead.
pub fn is_dead(context: &Context, holder: &Holder) -> bool {
    process::is_dead(context.process.as_ref(), holder)
}

/// Writes the reports that were asked for: each is tried, whatever happens to another.
pub fn write_reports(summary: &Summary, reports: &[(Format, PathBuf)]) {
    for (format, path) in reports {
        let text = ui::render_report(*format, summary);
        if path == Path::new("-") {
            ui::warn_if_unwritten(ui::data(&text), REPORT);
        } else if let Err(error) = std::fs::write(path, text) {
            ui::warning(&format!("report `{}` could not be written: {error}", path.display()));
        }
    }
}

/// A report that could not be written; the run itself is not affected, and the journal has
/// everything.
pub const REPORT: &str = "the report of the run (`runbook show` shows it again)";

/// Where a run goes on whose journal failed.
enum ResumeLocation {
    /// In its journal, when that can be written again.
    There,
    /// In a copy of it.
    Copy(PathBuf),
    /// Nowhere: nothing of the journal could be copied.
    Lost,
}

impl ResumeLocation {
    fn after(error: &JournalError) -> Self {
        let JournalError::Gone { rescued, .. } = error else { return Self::There };
        rescued.clone().map_or(Self::Lost, Self::Copy)
    }

    fn hint(&self, run: &str, decided: &str) -> String {
        match self {
            Self::Copy(copy) => {
                let copy = copy.display().to_string();
                let copy = runbook_text::argument(&copy);
                format!(
                    "its locks are free in the place of the lost file: check with `runbook runs` \
                     that nobody has begun the same; then \
                     `runbook resume {run} --journal {copy}{decided}`"
                )
            }
            Self::Lost => "it cannot be resumed: put back by hand what it changed".to_owned(),
            Self::There => {
                format!("when the journal can be written again: `runbook resume {run}{decided}`")
            }
        }
    }
}

/// The facts that this process knows and the journal does not have, the changes that the journal
/// knows, and the next command.
fn after_the_journal(
    run: &str,
    known: &[(StepId, UnrecordedOutcome)],
    account: &Account,
    onward: &ResumeLocation,
) -> Vec<String> {
    let mut hints = Vec::new();
    let mut decided = String::new();
    for (step, what) in known {
        let say =
            |how: &str| format!(" --decide {}", runbook_text::argument(&format!("{step}={how}")));
        let told = match what {
            UnrecordedOutcome::Done => {
                decided += &say("done");
                "is done"
            }
            UnrecordedOutcome::DidNotHappen => {
                decided += &say("retry");
                "was stopped before anything was made final, so it did not happen"
            }
            UnrecordedOutcome::Unclear => "was stopped, and whether it happened is unknown",
        };
        hints.push(format!("`{step}` {told}; the journal does not have this"));
    }
    let is_known = |step: &&StepId| known.iter().any(|(known, _)| known == *step);
    let changed: Vec<String> = account
        .changed
        .iter()
        .filter(|step| !is_known(step))
        .map(|step| format!("`{step}`"))
        .collect();
    if !changed.is_empty() {
        hints.push(format!("changed so far, and not put back: {}", changed.join(", ")));
    }
    hints.push(onward.hint(run, &decided));
    hints
}

/// Why a run could not be executed, with what to do then.
pub fn run_failure(error: RunError, summary: &Summary) -> Failure {
    match &error {
        RunError::Busy { run, left, .. } => {
            let [look, wait] = busy_hints(*run, *left);
            Failure::refused(error).hint(look).hint(wait)
        }
        RunError::LockBusy { left, .. } => {
            let (run, left) = (runbook_report::short(&summary.run), in_seconds(*left));
            let again = match summary.end {
                Some(_) => format!("`runbook undo {run}`"),
                None => format!("`runbook resume {run}`"),
            };
            Failure::refused(error)
                .hint(format!("when it is free (in {left}, if its holder is dead): {again}"))
        }
        RunError::TakenOver { run } => {
            let hint = format!(
                "`runbook show {} --follow` shows who goes on with it, and how",
                run.short()
            );
            Failure::Error { status: ExitStatus::Waiting, error: error.into(), hints: vec![hint] }
        }
        RunError::Journal { source, .. }
            if let Some(JournalError::TriedAgain { by, .. }) = source.downcast_ref() =>
        {
            let by = by.short();
            Failure::usage(source.to_string())
                .hint(format!("`runbook show {by}` says how it stands"))
                .hint(format!("to go on from there: `runbook retry {by} --from STEP`"))
        }
        RunError::NothingToUndo { run, .. } => {
            let hint = format!("`runbook show {}` says what each step did", run.short());
            Failure::usage(error).hint(hint)
        }
        RunError::UndoUnclear { steps } => {
            let hint = undo_unclear_hint(steps);
            Failure::usage(error).hint(hint)
        }
        RunError::NothingAsked { step, .. } | RunError::NoStep { step, .. } => {
            let run = runbook_report::short(&summary.run);
            let hint =
                format!("leave out `--decide {step}=…`; `runbook show {run}` says what is asked");
            Failure::usage(error).hint(hint)
        }
        RunError::NotAgain { step } => {
            let step = runbook_text::argument(step.as_str()).into_owned();
            Failure::usage(error)
                .hint(format!("if it did not happen, say `--decide {step}=not-done`"))
        }
        RunError::NotAsked { step } => {
            let hint = format!("leave out `--decide {step}=…`");
            Failure::usage(error).hint(hint)
        }
        RunError::Changed { .. } if summary.end.is_some() => {
            Failure::usage(error).hint("give a copy of the runbook that differs only in an `undo`")
        }
        RunError::Changed { .. } => Failure::refused(error)
            .hint("look at the difference, then continue with `--accept-changes`"),
        RunError::Journal { unwritten, source } => {
            let onward = source.downcast_ref().map_or(ResumeLocation::There, ResumeLocation::after);
            let known = unwritten.clone();
            journal_failure(error, &known, &onward, summary)
        }
        RunError::NotEnded { run } => {
            let run = run.short();
            Failure::usage(error).hint(format!(
                "`runbook resume {run}` goes on with it, also with an undo that has begun; \
                 `runbook cancel {run}` ends and undoes it"
            ))
        }
        RunError::AlreadyEnded { .. } | RunError::Empty { .. } => Failure::usage(error),
        RunError::Illegal { .. } | RunError::LockLost { .. } => Failure::engine(error),
    }
}

/// What to do about a run that another process executes.
fn busy_hints(run: runbook_engine::RunId, left: Duration) -> [String; 2] {
    let (id, left) = (run.short(), in_seconds(left));
    [
        format!(
            "`runbook show {id} --follow` shows how it goes, and `runbook cancel {id}` asks to end \
             it"
        ),
        format!("if that process is dead, its lease ends in {left}: then `runbook resume {id}`"),
    ]
}

/// How to say what came of an undo of which only its beginning is known.
fn undo_unclear_hint(steps: &[StepId]) -> String {
    let step = runbook_text::argument(steps.first().map_or("STEP", |step| step.as_str()));
    format!(
        "look, then say so: `--decide {step}=done` (it is undone), `--decide {step}=retry` (it is \
         not; undo it) or `--decide {step}=not-done` (it is not; leave it)"
    )
}

/// The failure of a run whose journal cannot be written any more. An error of the engine says that
/// nothing was changed; this run may be partly done.
fn journal_failure(
    error: RunError,
    known: &[(StepId, UnrecordedOutcome)],
    onward: &ResumeLocation,
    summary: &Summary,
) -> Failure {
    let begun = summary.steps.iter().any(|step| step.section == Section::Step && step.attempts > 0);
    let status = match onward {
        ResumeLocation::There | ResumeLocation::Copy(_) if begun => ExitStatus::Waiting,
        ResumeLocation::Lost if begun => ExitStatus::Dirty,
        ResumeLocation::There | ResumeLocation::Copy(_) | ResumeLocation::Lost => {
            ExitStatus::Engine
        }
    };
    let run = runbook_report::short(&summary.run);
    let hints = after_the_journal(run, known, &summary.account(), onward);
    Failure::Error { status, error: error.into(), hints }
}

/// Whole seconds, never too few.
pub fn in_seconds(left: Duration) -> String {
    format!("{} s", left.as_millis().div_ceil(1000))
}

/// The exit status of an outcome.
pub fn status_of(stopped: &Stopped, by_signal: Option<ExitStatus>) -> ExitStatus {
    match stopped {
        Stopped::Paused { reason: PauseReason::Interrupted } => {
            by_signal.unwrap_or(ExitStatus::Interrupted)
        }
        Stopped::Paused { reason: PauseReason::OutsideWindow { .. } } => ExitStatus::Refused,
        Stopped::Paused {
            reason:
                PauseReason::UnknownOutcome { .. }
                | PauseReason::Approval { .. }
                | PauseReason::Manual { .. }
                | PauseReason::Guard { .. }
                | PauseReason::LeaseLost { .. },
        } => ExitStatus::Waiting,
        Stopped::Ended { end, cause } => match (end, cause) {
            (RunEnd::Dirty, _) => ExitStatus::Dirty,
            (RunEnd::Succeeded | RunEnd::SucceededWithWarnings, _)
            | (RunEnd::Undone, Some(Cause::Requested)) => ExitStatus::Success,
            (RunEnd::FailedClean | RunEnd::Undone | RunEnd::Cancelled, Some(Cause::Timeout)) => {
                ExitStatus::Deadline
            }
            (RunEnd::FailedClean, Some(Cause::LockBusy { .. } | Cause::OutsideWindow { .. })) => {
                ExitStatus::Refused
            }
            (RunEnd::FailedClean, Some(Cause::Preflight { .. } | Cause::Verify { .. })) => {
                ExitStatus::CheckFailed
            }
            // A cancel by a signal gives the exit status of the signal; after `runbook cancel` the
            // run counts as failed.
            (RunEnd::Cancelled | RunEnd::Undone, Some(Cause::Cancel)) => {
                by_signal.unwrap_or(ExitStatus::Failed)
            }
            // A cancel after the failure did not change how the run ended.
            (RunEnd::FailedClean | RunEnd::Undone | RunEnd::Cancelled, _) => ExitStatus::Failed,
        },
    }
}

/// How long a lease lives without a heartbeat.
pub fn lease_ttl() -> Duration {
    failpoints::lease_ttl().unwrap_or(LEASE_TTL)
}
