//! Functions for commands that execute a run: open the journal, write reports, explain errors, and
//! determine the exit status.

use crate::context::Context;
use crate::exit_status::ExitStatus;
use crate::failpoints;
use crate::failure::Failure;
use crate::process;
use crate::ui;
use runbook_engine::{
    Cause, Holder, LEASE_TTL, OutsideWindow, PauseReason, RemainingChanges, RunEnd, RunError,
    Section, StepId, StopReason, UnrecordedOutcome,
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
    // A cancelled call can leave a task behind, such as one that ends a statement on a server. It
    // must not delay the end of the program for long.
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

/// Prints that the server of the journal does not answer, or that it answers again.
fn report_server_event(journal: &JournalLocation, event: ServerEvent) {
    match event {
        ServerEvent::Unreachable { since, max_wait } => ui::warning(&format!(
            "the journal {journal} does not answer since {}; the run waits for it, {} at most, and \
             begins nothing meanwhile",
            (jiff::Timestamp::now() - since).strftime("%H:%M:%S UTC"),
            runbook_document::format_duration(max_wait)
        )),
        ServerEvent::Reachable { after } => ui::note(&format!(
            "the journal answers again, after {}",
            runbook_document::format_duration(Duration::from_secs(after.as_secs()))
        )),
    }
}

/// The engine's value for the flag `--outside-window`.
pub fn outside_window(given: bool) -> OutsideWindow {
    if given { OutsideWindow::Override } else { OutsideWindow::AsWritten }
}

/// Whether the process that holds a lease is proven dead.
pub fn is_dead(context: &Context, holder: &Holder) -> bool {
    process::is_dead(context.process.as_ref(), holder)
}

/// Writes the requested reports. If one cannot be written, the others still are.
pub fn write_reports(summary: &Summary, reports: &[(Format, PathBuf)]) {
    for (format, path) in reports {
        let text = ui::render_report(*format, summary);
        if path == Path::new("-") {
            ui::warn_if_unwritten(ui::data(&text), REPORT_DESCRIPTION);
        } else if let Err(error) = std::fs::write(path, text) {
            ui::warning(&format!("report `{}` could not be written: {error}", path.display()));
        }
    }
}

/// The words for a report in the warning that it could not be written. The run is not affected, and
/// its events are in the journal.
pub const REPORT_DESCRIPTION: &str = "the report of the run (`runbook show` shows it again)";

/// How a run can be resumed after its journal failed.
enum ResumePoint {
    /// From its journal, once that can be written again.
    SameJournal,
    /// From a copy of the journal.
    Copy(PathBuf),
    /// Not at all: the journal is lost and could not be copied.
    Lost,
}

impl ResumePoint {
    /// How the run can be resumed after this error of its journal.
    fn from_error(error: &JournalError) -> Self {
        let JournalError::FileChanged { rescued, .. } = error else { return Self::SameJournal };
        rescued.clone().map_or(Self::Lost, Self::Copy)
    }

    fn hint(&self, run: &str, decide_options: &str) -> String {
        match self {
            Self::Copy(copy) => {
                let copy = copy.display().to_string();
                let copy = runbook_text::shell_argument(&copy);
                format!(
                    "its locks are free in the place of the lost file: check with `runbook runs` \
                     that nobody has begun the same; then \
                     `runbook resume {run} --journal {copy}{decide_options}`"
                )
            }
            Self::Lost => "it cannot be resumed: put back by hand what it changed".to_owned(),
            Self::SameJournal => {
                format!(
                    "when the journal can be written again: `runbook resume {run}{decide_options}`"
                )
            }
        }
    }
}

/// Hints for a run whose journal failed: the outcomes that are not in the journal, the changes that
/// are, and the next command.
fn journal_failure_hints(
    run: &str,
    unrecorded_outcomes: &[(StepId, UnrecordedOutcome)],
    remaining_changes: &RemainingChanges,
    location: &ResumePoint,
) -> Vec<String> {
    let mut hints = Vec::new();
    let mut decide_options = String::new();
    for (step, what) in unrecorded_outcomes {
        let decide_option = |decision: &str| {
            format!(" --decide {}", runbook_text::shell_argument(&format!("{step}={decision}")))
        };
        let outcome_text = match what {
            UnrecordedOutcome::Done => {
                decide_options += &decide_option("done");
                "is done"
            }
            UnrecordedOutcome::DidNotHappen => {
                decide_options += &decide_option("retry");
                "was stopped before anything was made final, so it did not happen"
            }
            UnrecordedOutcome::Unclear => "was stopped, and whether it happened is unknown",
        };
        hints.push(format!("`{step}` {outcome_text}; the journal does not have this"));
    }
    let is_known = |step: &&StepId| unrecorded_outcomes.iter().any(|(id, _)| id == *step);
    let changed: Vec<String> = remaining_changes
        .changed
        .iter()
        .filter(|step| !is_known(step))
        .map(|step| format!("`{step}`"))
        .collect();
    if !changed.is_empty() {
        hints.push(format!("changed so far, and not put back: {}", changed.join(", ")));
    }
    hints.push(location.hint(run, &decide_options));
    hints
}

/// The failure of a run that could not be executed, with hints what to do.
pub fn run_failure(error: RunError, summary: &Summary) -> Failure {
    match &error {
        RunError::Busy { run, left, .. } => {
            let [look, wait] = busy_hints(*run, *left);
            Failure::refused(error).hint(look).hint(wait)
        }
        RunError::LockBusy { left, .. } => {
            let (run, left) = (runbook_report::short_run_id(&summary.run), in_seconds(*left));
            let command = match summary.end {
                Some(_) => format!("`runbook undo {run}`"),
                None => format!("`runbook resume {run}`"),
            };
            Failure::refused(error)
                .hint(format!("when it is free (in {left}, if its holder is dead): {command}"))
        }
        RunError::TakenOver { run } => {
            let hint = format!(
                "`runbook show {} --follow` shows who goes on with it, and how",
                run.short()
            );
            Failure::Error { status: ExitStatus::Waiting, error: error.into(), hints: vec![hint] }
        }
        RunError::Journal { source, .. }
            if let Some(JournalError::AlreadyRetried { by, .. }) = source.downcast_ref() =>
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
        RunError::NoOpenDecision { step, .. } | RunError::NoStep { step, .. } => {
            let run = runbook_report::short_run_id(&summary.run);
            let hint =
                format!("leave out `--decide {step}=…`; `runbook show {run}` says what is asked");
            Failure::usage(error).hint(hint)
        }
        RunError::RetryWhileUndoing { step } => {
            let step = runbook_text::shell_argument(step.as_str()).into_owned();
            Failure::usage(error)
                .hint(format!("if it did not happen, say `--decide {step}=not-done`"))
        }
        RunError::NoUndoDecisionNeeded { step } => {
            let hint = format!("leave out `--decide {step}=…`");
            Failure::usage(error).hint(hint)
        }
        RunError::Changed { .. } if summary.end.is_some() => {
            Failure::usage(error).hint("give a copy of the runbook that differs only in an `undo`")
        }
        RunError::Changed { .. } => Failure::refused(error)
            .hint("look at the difference, then continue with `--accept-changes`"),
        RunError::Journal { unrecorded, source } => {
            let location =
                source.downcast_ref().map_or(ResumePoint::SameJournal, ResumePoint::from_error);
            let unrecorded_outcomes = unrecorded.clone();
            journal_failure(error, &unrecorded_outcomes, &location, summary)
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

/// How to decide about an undo that was begun and whose outcome is unknown.
fn undo_unclear_hint(steps: &[StepId]) -> String {
    let step = runbook_text::shell_argument(steps.first().map_or("STEP", |step| step.as_str()));
    format!(
        "look, then say so: `--decide {step}=done` (it is undone), `--decide {step}=retry` (it is \
         not; undo it) or `--decide {step}=not-done` (it is not; leave it)"
    )
}

/// The failure of a run whose journal cannot be written any more. Its exit status is that of an
/// engine error only if no step has begun, because that status says that nothing was changed.
fn journal_failure(
    error: RunError,
    unrecorded_outcomes: &[(StepId, UnrecordedOutcome)],
    location: &ResumePoint,
    summary: &Summary,
) -> Failure {
    let has_begun =
        summary.steps.iter().any(|step| step.section == Section::Step && step.attempts > 0);
    let status = match location {
        ResumePoint::SameJournal | ResumePoint::Copy(_) if has_begun => ExitStatus::Waiting,
        ResumePoint::Lost if has_begun => ExitStatus::Dirty,
        ResumePoint::SameJournal | ResumePoint::Copy(_) | ResumePoint::Lost => ExitStatus::Engine,
    };
    let run = runbook_report::short_run_id(&summary.run);
    let hints =
        journal_failure_hints(run, unrecorded_outcomes, &summary.remaining_changes(), location);
    Failure::Error { status, error: error.into(), hints }
}

/// The duration in whole seconds, rounded up, such as `3 s`.
pub fn in_seconds(left: Duration) -> String {
    format!("{} s", left.as_millis().div_ceil(1000))
}

/// The exit status of a run. `by_signal` is the status for the signal that this process got.
pub fn status_of(stopped: &StopReason, by_signal: Option<ExitStatus>) -> ExitStatus {
    match stopped {
        StopReason::Paused { reason: PauseReason::Interrupted } => {
            by_signal.unwrap_or(ExitStatus::Interrupted)
        }
        StopReason::Paused { reason: PauseReason::OutsideWindow { .. } } => ExitStatus::Refused,
        StopReason::Paused {
            reason:
                PauseReason::UnknownOutcome { .. }
                | PauseReason::Approval { .. }
                | PauseReason::Manual { .. }
                | PauseReason::Guard { .. }
                | PauseReason::LeaseLost { .. },
        } => ExitStatus::Waiting,
        StopReason::Ended { end, cause } => match (end, cause) {
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

/// How long a lease is valid without a heartbeat.
pub fn lease_ttl() -> Duration {
    failpoints::lease_ttl().unwrap_or(LEASE_TTL)
}
