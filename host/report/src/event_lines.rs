//! Renders each event as one line (or a few) for the operator's live view.

use crate::phrases::{answer_command, pluralize, short_run_id};
use crate::single_line::one_line;
use crate::summary::{StepSummary, Summary};
use runbook_document::format_duration;
use runbook_engine::{
    AfterAttempt, ApprovalEvent, ApprovalVerdict, AttemptEvent, AttemptResult, GuardEvent,
    GuardObservation, GuardVerdict, HeldLock, ItemsEvent, LifecycleEvent, LogLevel, ManualEvent,
    NotifyEvent, Outcome, Proposal, Record, Recovery, RetryOf, RunEvent, RunId, Section, SkipEvent,
    StepEvent, StepId, UndoEvent, UndoFinding, UndoResult, WaitEvent, describe_cause,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// How a line is coloured, where colour is used. The words alone have the whole meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A line like any other, without colour.
    Plain,
    /// A detail that is less important than other lines.
    Dim,
    /// Something did what it should.
    Good,
    /// Something that a person should look at.
    Warning,
    /// Something did not work.
    Bad,
}

/// A line for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How it is coloured.
    pub tone: Tone,
    /// The words of the line, without colour and without a line break.
    pub text: String,
}

fn line(tone: Tone, text: impl Into<String>) -> Line {
    Line { tone, text: one_line(&text.into()) }
}

/// The lines of the live view for a record. `summary` is the summary of the run after this record.
pub fn record_lines(summary: &Summary, record: &Record) -> Vec<Line> {
    match &record.event {
        RunEvent::Run(event) => lifecycle_lines(summary, event),
        RunEvent::Step { step, event } => step_lines(summary, step, event),
        RunEvent::Guard { guard, event: GuardEvent::GuardObserved { observation } } => {
            vec![guard_line(guard, observation)]
        }
        RunEvent::Notify {
            event: NotifyEvent::NotifyStarted | NotifyEvent::NotifyEnded { fault: None },
            ..
        } => Vec::new(),
        RunEvent::Notify {
            notify, event: NotifyEvent::NotifyEnded { fault: Some(fault) }, ..
        } => {
            vec![line(Tone::Warning, format!("  ! {notify}: could not be sent: {}", fault.message))]
        }
    }
}

fn lifecycle_lines(summary: &Summary, event: &LifecycleEvent) -> Vec<Line> {
    match event {
        LifecycleEvent::RunStarted { title, retry_of, .. } => {
            started_lines(summary, title, retry_of.as_ref())
        }
        LifecycleEvent::LockWaiting { name, holder } => {
            vec![line(Tone::Warning, format!("waiting for lock `{name}`, held by {holder}"))]
        }
        LifecycleEvent::WindowChecked { .. } => summary
            .window
            .iter()
            .map(|window| line(Tone::Warning, format!("warning: {window}")))
            .collect(),
        LifecycleEvent::StepsBegan { locks } | LifecycleEvent::LocksRetaken { locks } => {
            locks.iter().map(|lock| lock_line(summary, lock)).collect()
        }
        LifecycleEvent::CancelRequested { .. } => summary
            .cancelled
            .iter()
            .map(|cancelled| line(Tone::Bad, cancelled.line(short_run_id(&summary.run))))
            .collect(),
        LifecycleEvent::Stopping { cause } => {
            vec![line(Tone::Bad, format!("stopping: {}", describe_cause(cause)))]
        }
        LifecycleEvent::UndoBegan { cause, order } => {
            let what = if order.is_empty() {
                "nothing to undo".to_owned()
            } else {
                format!("undoing {}", pluralize(order.len(), "step"))
            };
            vec![line(Tone::Bad, format!("{}; {what}", describe_cause(cause)))]
        }
        LifecycleEvent::VerifyBegan | LifecycleEvent::FinallyBegan { .. } => Vec::new(),
        LifecycleEvent::Paused { .. } => paused_lines(summary),
        LifecycleEvent::Resumed { by, .. } => {
            vec![line(
                Tone::Plain,
                format!("{} · run {} resumed by {by}", summary.title, short_run_id(&summary.run)),
            )]
        }
        LifecycleEvent::UndoRequested { by, corrected } => {
            let text = corrected
                .as_ref()
                .map(|corrected| format!(", by another text ({})", corrected.digest))
                .unwrap_or_default();
            let heading = format!(
                "{} · undo of run {} asked for by {by}{text}",
                summary.title,
                short_run_id(&summary.run)
            );
            vec![line(Tone::Plain, heading)]
        }
        LifecycleEvent::RunEnded { end, .. } => {
            vec![line(
                end_tone(*end),
                format!("{} ({})", summary.end_text(*end), format_duration(summary.duration())),
            )]
        }
    }
}

/// The lines for the start of a run: its heading, and which run it retries.
fn started_lines(summary: &Summary, title: &str, retry_of: Option<&RetryOf>) -> Vec<Line> {
    let environment = summary.environment.as_ref();
    let environment = environment.map(|name| format!(" · environment {name}")).unwrap_or_default();
    let heading = format!("{title} · run {}{environment}", short_run_id(&summary.run));
    let retry_line = retry_of.map(|retry| {
        line(
            Tone::Plain,
            format!("tries run {} again{}", retry.run.short(), assumed_steps_text(retry)),
        )
    });
    std::iter::once(line(Tone::Plain, heading)).chain(retry_line).collect()
}

fn lock_line(summary: &Summary, lock: &HeldLock) -> Line {
    let taken_note = lock.taken_from.as_ref();
    let taken_note = taken_note.map(|from| format!(", taken over from {from}")).unwrap_or_default();
    let between_note = summary.held_between.get(&lock.name);
    let between_note = between_note.map(|times| held_between(&lock.held_between, *times));
    let tone = if between_note.is_some() { Tone::Warning } else { Tone::Dim };
    let HeldLock { name, token, .. } = lock;
    line(
        tone,
        format!(
            "lock `{name}` held (token {token}){taken_note}{}",
            between_note.unwrap_or_default()
        ),
    )
}

/// The lines for a pause: its reason, the locks that others may take, and what the operator does
/// next.
fn paused_lines(summary: &Summary) -> Vec<Line> {
    let why = summary.paused.clone().unwrap_or_default();
    let free_locks_line = (!summary.locks.is_empty()).then(|| {
        let locks: Vec<String> = summary.locks.iter().map(|lock| format!("`{lock}`")).collect();
        let locks = locks.join(", ");
        let text = format!("it holds no lock while it waits: others may take {locks}");
        line(Tone::Plain, text)
    });
    let next = format!("next: {}", summary.next_action.as_deref().unwrap_or_default());
    std::iter::once(line(Tone::Warning, format!("paused: {why}")))
        .chain(free_locks_line)
        .chain([line(Tone::Plain, next)])
        .collect()
}

fn step_lines(summary: &Summary, step: &StepId, event: &StepEvent) -> Vec<Line> {
    match event {
        StepEvent::Skip(SkipEvent::Skipped { .. }) => {
            vec![step_line(summary, step, Tone::Dim, "skipped", None)]
        }
        StepEvent::Items(event) => items_lines(summary, step, event),
        StepEvent::Approval(event) => approval_lines(summary, step, event),
        StepEvent::Manual(ManualEvent::Asked { instructions, options }) => {
            manual_lines(summary, step, instructions, options)
        }
        StepEvent::Manual(ManualEvent::Answered { by, .. }) => {
            vec![line(Tone::Good, format!("  ✓ {step}: answered by {by}"))]
        }
        StepEvent::Attempt(event) => attempt_lines(summary, step, event),
        StepEvent::Wait(WaitEvent::StillWaiting { call, waited_ms, at_most_ms, then }) => {
            let times = (*waited_ms, *at_most_ms);
            let text = crate::summary::waiting_text(step.as_str(), *call, times, *then);
            vec![line(Tone::Plain, text)]
        }
        StepEvent::Undo(event) => undo_lines(step, event),
    }
}

fn items_lines(summary: &Summary, step: &StepId, event: &ItemsEvent) -> Vec<Line> {
    match event {
        ItemsEvent::Listed { items } => {
            vec![line(Tone::Dim, format!("  · {step}: {}", pluralize(items.len(), "item")))]
        }
        ItemsEvent::GroupBegan { .. } => vec![line(Tone::Dim, format!("  · {step}: begins"))],
        ItemsEvent::Ended { result, .. } => items_ended_lines(summary, step, result),
    }
}

fn approval_lines(summary: &Summary, step: &StepId, event: &ApprovalEvent) -> Vec<Line> {
    match event {
        ApprovalEvent::Asked { proposal, places, .. } => {
            approval_asked_lines(summary, step, proposal, places)
        }
        ApprovalEvent::Given { by, verdict: ApprovalVerdict::Approved, .. } => {
            vec![line(Tone::Good, format!("  ✓ {step}: approved by {by}"))]
        }
        ApprovalEvent::Given { by, verdict: ApprovalVerdict::Rejected { reason }, .. } => {
            vec![line(Tone::Bad, format!("  ✗ {step}: rejected by {by}: {reason}"))]
        }
    }
}

fn attempt_lines(summary: &Summary, step: &StepId, event: &AttemptEvent) -> Vec<Line> {
    match event {
        AttemptEvent::Started { .. } => Vec::new(),
        AttemptEvent::Refused { fault, then, .. } => failed_lines(
            summary,
            step,
            &fault.message,
            fault.class.name(),
            *then,
            &fault.logs,
            None,
        ),
        AttemptEvent::Ended { result, then, duration_ms, logs, .. } => {
            attempt_ended_lines(summary, step, result, *then, *duration_ms, logs)
        }
        AttemptEvent::Recovered { decision, attempt } => {
            vec![recovered_line(summary, step, *attempt, decision)]
        }
    }
}

fn undo_lines(step: &StepId, event: &UndoEvent) -> Vec<Line> {
    match event {
        UndoEvent::Started { .. } => Vec::new(),
        UndoEvent::Ended { result, then, duration_ms, .. } => {
            vec![undo_line(step, result, *then, *duration_ms)]
        }
        UndoEvent::Checked { finding } => vec![undo_checked_line(step, finding)],
    }
}

/// The line for what was observed after an undo.
fn undo_checked_line(step: &StepId, finding: &UndoFinding) -> Line {
    match finding {
        UndoFinding::Restored => line(Tone::Good, format!("  ✓ {step}: observed again: as before")),
        UndoFinding::TookEffect { .. } => line(
            Tone::Plain,
            format!(
                "  {step}: it took effect, and stays: the runbook says that it cannot be undone"
            ),
        ),
        UndoFinding::Drifted { before, now } => line(
            Tone::Bad,
            format!("  ✗ {step}: not as before: {}", crate::difference::text(before, now)),
        ),
        UndoFinding::Unknown { fault } => {
            line(Tone::Bad, format!("  ✗ {step}: it is unknown what it left: {}", fault.message))
        }
    }
}

/// The line for an observation of a guard. While the condition of a guard holds, its observations
/// are not journaled.
fn guard_line(guard: &StepId, observation: &GuardObservation) -> Line {
    match observation.verdict {
        GuardVerdict::Holds => {
            line(Tone::Dim, format!("  · guard {guard}: holds: {}", observation.summary))
        }
        GuardVerdict::Breached => {
            line(Tone::Bad, format!("  ✗ guard {guard}: breached: {}", observation.summary))
        }
        GuardVerdict::Blind => {
            line(Tone::Warning, format!("  ? guard {guard}: sees nothing: {}", observation.summary))
        }
    }
}

/// The plan of a step that needs approval, and the commands that approve or reject it.
fn approval_asked_lines(
    summary: &Summary,
    step: &StepId,
    proposal: &Proposal,
    places: &[String],
) -> Vec<Line> {
    let run = short_run_id(&summary.run);
    let void_reason = summary.step(step).and_then(|found| found.approval_void_reason.as_ref());
    let mut lines: Vec<Line> = void_reason
        .map(|why| line(Tone::Warning, format!("  ! {step}: {why}")))
        .into_iter()
        .collect();
    lines.push(line(
        Tone::Warning,
        format!(
            "  ? {step}{}: waits for approval; it would: {}{}",
            title_suffix(summary, step),
            proposal.summary,
            crate::summary::on_targets(places)
        ),
    ));
    lines.extend(
        proposal
            .effects
            .iter()
            .map(|effect| line(Tone::Plain, format!("      {}: {}", effect.verb, effect.summary))),
    );
    let step = runbook_text::shell_argument(step.as_str());
    lines.push(line(
        Tone::Plain,
        format!("      `runbook approve {run} {step}` or `runbook reject {run} {step} --reason …`"),
    ));
    lines
}

/// The instructions of a manual step, and the command that answers it.
fn manual_lines(
    summary: &Summary,
    step: &StepId,
    instructions: &str,
    options: &[String],
) -> Vec<Line> {
    let mut lines = vec![line(
        Tone::Warning,
        format!("  ? {step}: a person must do this{}", title_suffix(summary, step)),
    )];
    lines.extend(instructions.lines().map(|text| line(Tone::Plain, format!("      | {text}"))));
    let step = runbook_text::shell_argument(step.as_str());
    lines.push(line(
        Tone::Plain,
        format!("      then {}", answer_command(short_run_id(&summary.run), &step, options)),
    ));
    lines
}

/// `: Move the address`; empty if the step has no title of its own.
fn title_suffix(summary: &Summary, step: &StepId) -> String {
    summary
        .step(step)
        .filter(|step| step.has_title())
        .map(|step| format!(": {}", step.title))
        .unwrap_or_default()
}

/// The tone of an end.
fn end_tone(end: runbook_engine::RunEnd) -> Tone {
    match end {
        runbook_engine::RunEnd::Succeeded => Tone::Good,
        runbook_engine::RunEnd::SucceededWithWarnings => Tone::Warning,
        runbook_engine::RunEnd::FailedClean
        | runbook_engine::RunEnd::Undone
        | runbook_engine::RunEnd::Dirty
        | runbook_engine::RunEnd::Cancelled => Tone::Bad,
    }
}

/// The steps that a retry does not repeat, by the run that did them:
/// `; done there: a, b; done in run 01…: c`.
fn assumed_steps_text(retry: &RetryOf) -> String {
    let steps_of = |run: RunId| {
        let steps = retry.assumed.iter().filter(move |assumed| assumed.done_in == run);
        steps.map(|assumed| assumed.step.to_string()).collect::<Vec<_>>().join(", ")
    };
    let own_steps = steps_of(retry.run);
    let own_steps = if own_steps.is_empty() { "nothing" } else { own_steps.as_str() };
    let earlier_runs: BTreeSet<RunId> = retry
        .assumed
        .iter()
        .map(|assumed| assumed.done_in)
        .filter(|run| *run != retry.run)
        .collect();
    let earlier_text: String = earlier_runs
        .into_iter()
        .map(|run| format!("; done in run {}: {}", run.short(), steps_of(run)))
        .collect();
    format!("; done there: {own_steps}{earlier_text}")
}

fn attempt_ended_lines(
    summary: &Summary,
    step: &StepId,
    result: &AttemptResult,
    then: AfterAttempt,
    duration_ms: u64,
    logs: &[runbook_engine::LogLine],
) -> Vec<Line> {
    let took = Some(Duration::from_millis(duration_ms));
    match result {
        AttemptResult::Succeeded { outcome, summary: text, cases, .. } => {
            let (tone, word) = match outcome {
                Outcome::Pass => (Tone::Good, "done"),
                Outcome::Warn | Outcome::Unknown | Outcome::Fail => (Tone::Warning, "warning"),
            };
            if let AfterAttempt::Poll { delay_ms } = then {
                return poll_lines(summary, step, text, delay_ms);
            }
            let mut lines = vec![step_line(summary, step, tone, word, took)];
            lines.extend(cases.iter().map(case_line));
            lines
        }
        AttemptResult::Failed { fault, cases, .. } => {
            let logs = if logs.is_empty() { &fault.logs } else { logs };
            let mut lines =
                failed_lines(summary, step, &fault.message, fault.class.name(), then, logs, took);
            let position = lines.len().min(1);
            let cases: Vec<_> = cases.iter().map(case_line).collect();
            lines.splice(position..position, cases);
            lines
        }
    }
}

/// The line for the end of all items. Each item has had its own line, so one is enough.
fn items_ended_lines(summary: &Summary, step: &StepId, result: &AttemptResult) -> Vec<Line> {
    match result {
        AttemptResult::Succeeded { outcome: Outcome::Pass, .. } => {
            vec![step_line(summary, step, Tone::Good, "done", None)]
        }
        AttemptResult::Succeeded { .. } => {
            vec![step_line(summary, step, Tone::Warning, "warning", None)]
        }
        AttemptResult::Failed { fault, .. } => {
            vec![line(Tone::Bad, format!("  ✗ {step}: {}", fault.message))]
        }
    }
}

/// A poll that keeps failing for the same reason is shown only once in this many attempts, so that
/// a wait of an hour does not fill the screen.
const POLLS_PER_LINE: u32 = 20;

fn poll_lines(summary: &Summary, step: &StepId, why: &str, delay_ms: u64) -> Vec<Line> {
    let found = summary.step(step);
    let repeated = found.map_or(0, |found| found.repeated);
    if !repeated.is_multiple_of(POLLS_PER_LINE) {
        return Vec::new();
    }
    let every = format_duration(Duration::from_millis(delay_ms));
    let attempts =
        if repeated == 0 { String::new() } else { format!(" after {} attempts", repeated + 1) };
    vec![line(
        Tone::Dim,
        format!("  · {step}: not yet{attempts}: {why}; tried again every {every}"),
    )]
}

/// The lines for a failed attempt, with its log if no further attempt follows.
fn failed_lines(
    summary: &Summary,
    step: &StepId,
    message: &str,
    class: &str,
    then: AfterAttempt,
    logs: &[runbook_engine::LogLine],
    took: Option<Duration>,
) -> Vec<Line> {
    let delay_text = |delay_ms| format_duration(Duration::from_millis(delay_ms));
    match then {
        AfterAttempt::Poll { delay_ms } => poll_lines(summary, step, message, delay_ms),
        AfterAttempt::Retry { delay_ms } => {
            vec![line(
                Tone::Warning,
                format!(
                    "  ! {step}: {message} ({class}); next attempt in {}",
                    delay_text(delay_ms)
                ),
            )]
        }
        AfterAttempt::Final | AfterAttempt::Continue => {
            let mut lines = vec![step_line(summary, step, Tone::Bad, "failed", took)];
            lines.push(line(Tone::Bad, format!("      {message} ({class})")));
            lines.extend(
                logs.iter()
                    .map(|log| line(log_tone(log.level), format!("      | {}", log.message))),
            );
            lines
        }
    }
}

fn log_tone(level: LogLevel) -> Tone {
    match level {
        LogLevel::Debug | LogLevel::Info => Tone::Dim,
        LogLevel::Warn => Tone::Warning,
        LogLevel::Error => Tone::Bad,
    }
}

fn case_line(case: &runbook_engine::Case) -> Line {
    let (tone, sign) = match case.outcome {
        Outcome::Pass => (Tone::Good, "✓"),
        Outcome::Warn => (Tone::Warning, "!"),
        Outcome::Unknown => (Tone::Warning, "?"),
        Outcome::Fail => (Tone::Bad, "✗"),
    };
    line(
        tone,
        format!(
            "      {sign} {} ({}){}",
            case.name,
            format_duration(Duration::from_millis(case.duration_ms)),
            detail_suffix(&case.detail)
        ),
    )
}

fn detail_suffix(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// `  ✓ backup             done      2.1 s   wrote orders.dump.zst, 12 MiB`
fn step_line(
    summary: &Summary,
    step: &StepId,
    tone: Tone,
    word: &str,
    took: Option<Duration>,
) -> Line {
    let width = summary
        .steps
        .iter()
        .filter(|known| is_shown(known.section))
        .map(|known| known.id.chars().count())
        .max()
        .unwrap_or(0);
    let known = summary.step(step);
    let sign = match tone {
        Tone::Good => "✓",
        Tone::Warning => "!",
        Tone::Bad => "✗",
        Tone::Dim | Tone::Plain => "-",
    };
    let took = took.map(format_duration).unwrap_or_default();
    let text = match tone {
        Tone::Bad => known.map(|step| step.title.clone()),
        Tone::Good | Tone::Warning | Tone::Dim | Tone::Plain => {
            known.map(StepSummary::title_and_result)
        }
    };
    // A wider column would leave no room for the other columns.
    let width = width.min(MAX_ID_WIDTH);
    let text = format!(
        "  {sign} {:width$}  {word:<8} {took:>8}  {}",
        step.as_str(),
        text.unwrap_or_default()
    );
    line(tone, text.trim_end())
}

/// The widest column for ids of steps, in characters.
const MAX_ID_WIDTH: usize = 100;

fn is_shown(section: Section) -> bool {
    match section {
        Section::Preflight
        | Section::Step
        | Section::Verify
        | Section::Finally
        | Section::Guard
        | Section::Check => true,
        Section::Undo | Section::Notify => false,
    }
}

fn undo_line(step: &StepId, result: &UndoResult, then: AfterAttempt, duration_ms: u64) -> Line {
    let took = format_duration(Duration::from_millis(duration_ms));
    match (result, then) {
        (UndoResult::Done { summary }, _) => {
            line(Tone::Good, format!("  ↩ {step}: undone in {took}: {summary}"))
        }
        (
            UndoResult::Failed { fault },
            AfterAttempt::Retry { delay_ms } | AfterAttempt::Poll { delay_ms },
        ) => {
            let delay = format_duration(Duration::from_millis(delay_ms));
            line(
                Tone::Warning,
                format!("  ! {step}: undo failed: {}; again in {delay}", fault.message),
            )
        }
        (UndoResult::Failed { fault }, AfterAttempt::Final | AfterAttempt::Continue) => line(
            Tone::Bad,
            format!("  ✗ {step}: undo failed: {} ({})", fault.message, fault.class.name()),
        ),
    }
}

/// The line for a decision about an attempt that was left without a result.
fn recovered_line(summary: &Summary, step: &StepId, attempt: u32, decision: &Recovery) -> Line {
    let always_runs = summary.step(step).is_some_and(|step| step.section == Section::Finally);
    let text = match decision {
        Recovery::Repeat if always_runs => "runs again, because it is in `finally`".to_owned(),
        Recovery::Repeat => "may be repeated without harm, so it runs again".to_owned(),
        Recovery::DidNotHappen => "was observed to have had no effect".to_owned(),
        Recovery::OperatorRetry => {
            "did not happen, as the operator decided, and runs again".to_owned()
        }
        Recovery::OperatorDone => "happened, as the operator decided".to_owned(),
        Recovery::OperatorNotDone => {
            "did not happen, as the operator decided, and counts as failed".to_owned()
        }
        Recovery::OperatorFail => {
            "counts as failed, as the operator decided, and is undone as if it had happened"
                .to_owned()
        }
        Recovery::AskOperator { known, .. } => format!("has an unknown outcome: {known}"),
    };
    line(
        Tone::Warning,
        format!("  ! {step}: attempt {attempt} was left without a clear result; it {text}"),
    )
}

/// The runs that held a lock since this run released it, or how many there were if the journal
/// does not know them.
fn held_between(runs: &[RunId], times: u64) -> String {
    if runs.is_empty() {
        let times = pluralize(usize::try_from(times).unwrap_or(usize::MAX), "time");
        return format!(
            "; it was taken {times} since this run released it: `runbook runs` lists who held it"
        );
    }
    let commands: Vec<String> =
        runs.iter().map(|run| format!("`runbook show {}`", run.short())).collect();
    let (who, have) = if runs.len() == 1 { ("a run", "has") } else { ("runs", "have") };
    format!(
        "; {who} held it since this run released it, and {have} changed something meanwhile: {}",
        commands.join(", ")
    )
}
