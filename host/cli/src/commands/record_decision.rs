//! Records the decision of an operator about a waiting run in its journal.

use crate::context::Context;
use crate::failure::Failure;
use crate::ui;
use runbook_engine::{
    ApprovalEvent, ApprovalVerdict, Journal as _, ManualAnswer, ManualEvent, PauseReason, Plan,
    Record, RunEvent, RunId, RunState, StepEvent, StepId, fold, next,
};
use runbook_journal::{JournalError, SqlJournal};

/// Appends the event of a decision to the journal, if it is possible in the present state. An
/// impossible record would make the run unreadable.
///
/// # Errors
/// The decision is not possible, or somebody else has made it impossible meanwhile. Nothing was
/// written.
pub async fn append(
    journal: &SqlJournal,
    run: RunId,
    mut state: RunState,
    event: RunEvent,
) -> Result<(RunState, Record), Failure> {
    loop {
        let record =
            Record { seq: state.next_seq, at: jiff::Timestamp::now(), event: event.clone() };
        let new_state = next(Some(state.clone()), &record).map_err(|error| {
            Failure::usage(format!("run {} does not wait for this: {error}", run.short()))
                .hint(format!("see `runbook show {}`", run.short()))
        })?;
        match journal.append(run, &record).await {
            Ok(()) => return Ok((new_state, record)),
            Err(JournalError::RecordExists { .. }) => {
                state = reread(journal, run, &state, &event).await?;
            }
            Err(error) => return Err(Failure::engine(error)),
        }
    }
}

/// Reads the run again after somebody else has appended a record. Fails if the decision is not
/// needed any more.
async fn reread(
    journal: &SqlJournal,
    run: RunId,
    before: &RunState,
    event: &RunEvent,
) -> Result<RunState, Failure> {
    let stored = journal.load(run).await.map_err(Failure::engine)?;
    let now = fold(&stored.records)
        .map_err(Failure::engine)?
        .ok_or_else(|| Failure::engine("the run has no record"))?;
    match concurrent_decision(before, &now, event) {
        ConcurrentDecision::Unrelated => Ok(now),
        ConcurrentDecision::Same(who) => {
            ui::note(&format!("{who} said so too, a moment ago"));
            Ok(now)
        }
        ConcurrentDecision::Superseding(why) => {
            Err(Failure::usage(format!("{why}; nothing was written"))
                .hint(format!("see `runbook show {}`", run.short())))
        }
    }
}

/// How a decision that somebody else has recorded at the same time affects this one.
#[derive(Debug, PartialEq, Eq)]
enum ConcurrentDecision {
    /// It is about something else.
    Unrelated,
    /// Somebody else has made the same decision.
    Same(String),
    /// It is not needed any more.
    Superseding(String),
}

fn concurrent_decision(before: &RunState, now: &RunState, event: &RunEvent) -> ConcurrentDecision {
    if now.paused.is_none() {
        return ConcurrentDecision::Superseding(
            "the run does not wait any more: somebody has resumed or ended it a moment ago"
                .to_owned(),
        );
    }
    let RunEvent::Step { step, event } = event else { return ConcurrentDecision::Unrelated };
    let (old_state, new_state) = (before.step(step), now.step(step));
    if let (StepEvent::Manual(ManualEvent::Answered { .. }), Some(ManualAnswer { by, .. })) =
        (event, new_state.manual_answer())
    {
        return ConcurrentDecision::Superseding(format!(
            "step `{step}` was answered by {by} a moment ago"
        ));
    }
    let StepEvent::Approval(ApprovalEvent::Given { digest, verdict, .. }) = event else {
        return ConcurrentDecision::Unrelated;
    };
    let (old_state, new_state) = (&old_state.approval, &new_state.approval);
    if new_state.asked.as_ref().is_none_or(|asked| asked.digest != *digest) {
        return ConcurrentDecision::Superseding(format!(
            "step `{step}` would do something else by now"
        ));
    }
    let Some(other) = new_state.answers.get(old_state.answers.len()..).and_then(<[_]>::last) else {
        return ConcurrentDecision::Unrelated;
    };
    match (verdict, &other.verdict) {
        (ApprovalVerdict::Approved, ApprovalVerdict::Rejected { reason }) => {
            ConcurrentDecision::Superseding(format!(
                "step `{step}` was rejected by {} a moment ago: {reason}",
                other.by
            ))
        }
        (ApprovalVerdict::Approved, ApprovalVerdict::Approved)
        | (ApprovalVerdict::Rejected { .. }, ApprovalVerdict::Rejected { .. }) => {
            ConcurrentDecision::Same(other.by.clone())
        }
        // A rejection counts even if others approve.
        (ApprovalVerdict::Rejected { .. }, ApprovalVerdict::Approved) => {
            ConcurrentDecision::Unrelated
        }
    }
}

/// Records a decision and prints how the run continues.
pub async fn write(
    context: &Context,
    journal: &SqlJournal,
    plan: &Plan,
    (run, state): (RunId, RunState),
    decision: OperatorDecision,
) -> Result<(), Failure> {
    let OperatorDecision { verb, event } = decision;
    let (state, _) = append(journal, run, state, event).await?;
    ui::report_done(&format!(
        "{verb} by {}; {}",
        context.operator,
        how_to_continue(plan, run, &state)
    ));
    Ok(())
}

/// How a waiting run continues: by further decisions, or by `resume` if all were made.
pub fn how_to_continue(plan: &Plan, run: RunId, state: &RunState) -> String {
    let run = run.short();
    let asked: &[StepId] = match &state.paused {
        Some(PauseReason::Approval { steps } | PauseReason::Manual { steps }) => steps,
        Some(
            PauseReason::UnknownOutcome { .. }
            | PauseReason::Guard { .. }
            | PauseReason::LeaseLost { .. }
            | PauseReason::OutsideWindow { .. }
            | PauseReason::Interrupted,
        )
        | None => &[],
    };
    let open_questions: Vec<String> =
        asked.iter().filter_map(|step| open_question(plan, &run, state, step)).collect();
    match open_questions.len() {
        0 => format!("continue with `runbook resume {run}`"),
        count if count == asked.len() => {
            format!("the run waits for {}", open_questions.join(", and for "))
        }
        _ => format!(
            "`runbook resume {run}` goes on with it; the run also waits for {}",
            open_questions.join(", and for ")
        ),
    }
}

/// The decision that is still needed about a step, and the command for it.
fn open_question(plan: &Plan, run: &str, state: &RunState, step: &StepId) -> Option<String> {
    let (step_state, name) = (state.step(step), runbook_text::shell_argument(step.as_str()));
    let Some(approval) = plan.approval(step) else {
        return step_state
            .manual_answer()
            .is_none()
            .then(|| format!("an answer: `runbook answer {run} {name}`"));
    };
    let missing = approval.missing(&step_state.approval);
    (!approval.is_answered(&step_state.approval)).then(|| {
        let people = if missing == 1 { "1 more person" } else { &format!("{missing} more people") };
        let given = usize::try_from(approval.quorum).unwrap_or(usize::MAX).saturating_sub(missing);
        format!(
            "{people} to approve `{step}` ({given} of {}): `runbook approve {run} {name}`",
            approval.quorum
        )
    })
}

/// A decision of the operator.
pub struct OperatorDecision {
    /// The participle for messages: `approved`, `rejected` or `answered`.
    pub verb: &'static str,
    /// The event to record.
    pub event: RunEvent,
}
