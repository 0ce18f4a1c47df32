//! Texts about a run: its state and end, why it is paused or skipped a step, and what the operator
//! does next.

use super::{StepStatus, StepSummary, Summary, remaining};
use crate::phrases::quote_ids;
use runbook_engine::{
    AfterWait, CallPurpose, Cause, Decision, PauseReason, RemainingChanges, RunEnd, Section,
    SkipReason, StepId, WindowVerdict, describe_closed_window,
};
use std::borrow::Cow;
use std::time::Duration;

impl Summary {
    /// The state of the run in one sentence, with which every report begins.
    pub fn status_text(&self) -> String {
        match (self.end, &self.paused) {
            (Some(end), _) => self.end_text(end),
            (None, Some(why)) => format!("Paused: {why}."),
            (None, None) => format!("Not ended: {}.", self.state),
        }
    }

    /// How the run ended. The text says "observed" only of what was observed again, and "changed"
    /// only of what was certainly changed.
    pub fn end_text(&self, end: RunEnd) -> String {
        let text = match end {
            RunEnd::Succeeded => "Succeeded. Everything was done.".to_owned(),
            RunEnd::SucceededWithWarnings => self.warned_text(),
            RunEnd::Dirty => {
                format!(
                    "DIRTY. {}: a person must look now.{}",
                    self.dirty_reason(),
                    self.earlier_text()
                )
            }
            RunEnd::FailedClean | RunEnd::Cancelled | RunEnd::Undone => {
                format!(
                    "{} {}{}",
                    self.opening_sentence,
                    self.undone_text(end),
                    self.earlier_text()
                )
            }
        };
        text + &self.finally_text()
    }

    /// The end of a run with warnings, with the steps that failed.
    fn warned_text(&self) -> String {
        let failed: Vec<StepId> = self
            .steps
            .iter()
            .filter(|step| step.state == StepStatus::Failed)
            .map(|step| StepId::from(step.id.as_str()))
            .collect();
        match failed.as_slice() {
            [] => "Succeeded, with warnings that somebody should look at.".to_owned(),
            failed => format!(
                "Succeeded, with warnings that somebody should look at: {} failed, and the \
                 runbook lets the run go on.",
                quote_ids(failed)
            ),
        }
    }

    /// Why the run is dirty.
    fn dirty_reason(&self) -> String {
        let RemainingChanges { changed, possibly_changed, .. } = self.remaining_changes();
        match (changed.is_empty(), possibly_changed.is_empty()) {
            (true, true) if self.steps.iter().any(|step| step.may_have_left) => {
                "No step left a change, but a smoke test wrote and did not show that it removed \
                 what it made"
                    .to_owned()
            }
            (true, true) => "It is unknown whether everything is as before".to_owned(),
            (false, true) => {
                format!("Something was changed and not put back ({})", join_ids(&changed))
            }
            (true, false) => format!(
                "Something may have been changed, and was not put back ({})",
                join_ids(&possibly_changed)
            ),
            (false, false) => format!(
                "Something was changed and not put back ({}), and something may have been changed \
                 ({})",
                join_ids(&changed),
                join_ids(&possibly_changed)
            ),
        }
    }

    /// What the operator does about a paused run, with the commands to type.
    pub(super) fn action_after_pause(&self, reason: &PauseReason) -> String {
        let run = crate::phrases::short_run_id(&self.run);
        let resume = format!("`runbook resume {run}`");
        let Some(reason) = self.open_pause_reason(reason) else {
            return format!("continue with {resume}");
        };
        match &reason {
            PauseReason::UnknownOutcome { steps } => {
                let step = steps.first().map_or("STEP", StepId::as_str);
                let decide_option = |how: &str| {
                    format!("--decide {}", runbook_text::shell_argument(&format!("{step}={how}")))
                };
                let each_note = if steps.len() > 1 { "; the others likewise" } else { "" };
                // A run that is being undone makes no further attempt.
                let is_possible =
                    |decision: Decision| decision != Decision::Retry || !self.is_undoing;
                let answers: Vec<String> = Decision::ALL
                    .iter()
                    .filter(|(decision, ..)| is_possible(*decision))
                    .enumerate()
                    .map(|(index, (decision, word, meaning))| {
                        let meaning = self.decision_meaning(*decision, steps.first(), meaning);
                        let command = if index == 0 {
                            format!("runbook resume {run} ")
                        } else {
                            String::new()
                        };
                        format!("`{command}{}` ({meaning})", decide_option(word))
                    })
                    .collect();
                let (last, first) =
                    answers.split_last().map_or((String::new(), String::new()), |(last, first)| {
                        (last.clone(), first.join(", "))
                    });
                let rest = if self.is_undoing {
                    "; the other steps are undone in either case"
                } else {
                    ""
                };
                format!(
                    "find out whether it happened, then say so: {first} or {last}{each_note}{rest}"
                )
            }
            PauseReason::Approval { steps } => {
                let step = first_argument(steps);
                format!(
                    "`runbook approve {run} {step}` or `runbook reject {run} {step} --reason WHY`; \
                     then {resume}"
                )
            }
            PauseReason::Manual { steps } => {
                let step = first_argument(steps);
                let options = steps
                    .first()
                    .and_then(|step| self.step(step))
                    .map_or(&[][..], |step| &step.answer_options);
                format!(
                    "when it is done, {}; then {resume}",
                    crate::phrases::answer_command(run, &step, options)
                )
            }
            PauseReason::OutsideWindow { opens_at } => {
                let when = opens_at.map_or("when it opens".to_owned(), |opens_at| {
                    format!("from {} on", opens_at.strftime("%F %H:%M UTC"))
                });
                format!(
                    "{when}: {resume}; now, if you may: `runbook resume {run} --outside-window`; \
                     or end it: `runbook cancel {run}`"
                )
            }
            // The name is in the reason, where untrusted text is escaped; this text has commands.
            PauseReason::LeaseLost { taken_by: Some(_), .. } => {
                format!("ask who took it whether you may go on, then {resume}")
            }
            PauseReason::Guard { .. }
            | PauseReason::LeaseLost { taken_by: None, .. }
            | PauseReason::Interrupted => {
                format!("continue with {resume}")
            }
        }
    }

    /// What a person does about a dirty run, with the commands to type. The text offers an undo
    /// only of steps that can be undone.
    pub(super) fn dirty_next_action(&self) -> String {
        let run = crate::phrases::short_run_id(&self.run);
        let remaining_changes = self.remaining_changes();
        if let Some(first) = remaining_changes.undo_unclear.first() {
            let decide_option = |how: &str| {
                format!("--decide {}", runbook_text::shell_argument(&format!("{first}={how}")))
            };
            let each_note =
                if remaining_changes.undo_unclear.len() > 1 { "; the others likewise" } else { "" };
            return format!(
                "find out whether {} undone, then say so: `runbook undo {run} {}` (it is), `{}` \
                 (it is not; undo it) or `{}` (it is not; leave it){each_note}",
                ids_are(&remaining_changes.undo_unclear),
                decide_option("done"),
                decide_option("retry"),
                decide_option("not-done")
            );
        }
        let (retriable, by_hand): (Vec<_>, Vec<_>) = self
            .steps
            .iter()
            .filter(|step| step.state == StepStatus::UndoFailed && step.section == Section::Step)
            .map(|step| StepId::new(step.id.as_str()))
            .partition(|id| remaining_changes.undoable.contains(id));
        if !retriable.is_empty() {
            return format!(
                "repair what keeps {} from being undone, then `runbook undo {run}` tries it again; \
                 if the runbook's own `undo` is wrong, correct a copy: \
                 `runbook undo {run} --with FILE`; or put it back by hand",
                quote_ids(&retriable)
            );
        }
        if !by_hand.is_empty() {
            return format!("look at what {} left, and put it back by hand", quote_ids(&by_hand));
        }
        let unknown: Vec<StepId> = remaining_changes
            .possibly_changed
            .iter()
            .filter(|step| !remaining_changes.undoable.contains(step))
            .cloned()
            .collect();
        // A run that failed and undid nothing can be retried from the failed step, once somebody
        // has decided what happened.
        let can_retry = self.failed_step().is_some() && !self.has_undone();
        if !unknown.is_empty() && remaining_changes.undoable.is_empty() && !can_retry {
            return format!("look at what {} left, and put it back by hand", quote_ids(&unknown));
        }
        let smoke_tests: Vec<_> = self
            .steps
            .iter()
            .filter(|step| step.may_have_left)
            .map(|step| format!("`{}`", step.id))
            .collect();
        if !smoke_tests.is_empty() {
            return format!(
                "find what smoke test {} made and did not remove, and remove it by hand",
                smoke_tests.join(", ")
            );
        }
        let undo = if remaining_changes.undoable.is_empty() {
            "; no command can undo it".to_owned()
        } else {
            format!(
                "; or `runbook undo {run}` puts back {}",
                quote_ids(&remaining_changes.undoable)
            )
        };
        match self.failed_step() {
            Some(step) => {
                let from = runbook_text::shell_argument(&step.id);
                let decide = remaining::decide_options(&remaining_changes.possibly_changed);
                format!(
                    "what was done stays: fix the cause of the failure, then `runbook retry {run} \
                     --from {from}{decide} does the rest{undo}"
                )
            }
            None => format!("look at `runbook show {run}`{undo}"),
        }
    }

    /// The failed step from which `runbook retry` can begin.
    fn failed_step(&self) -> Option<&StepSummary> {
        let is_failed = |step: &&StepSummary| {
            let has_failed = matches!(step.state, StepStatus::Failed | StepStatus::UnknownOutcome);
            has_failed && step.section == Section::Step
        };
        let causing_step =
            self.causing_step.as_ref().and_then(|step| self.step(step)).filter(is_failed);
        causing_step.or_else(|| self.steps.iter().find(is_failed))
    }

    /// Whether an undo of any step was tried.
    fn has_undone(&self) -> bool {
        let is_undone =
            |step: &StepSummary| matches!(step.state, StepStatus::Undone | StepStatus::UndoFailed);
        self.steps.iter().any(is_undone)
    }
}

/// The first sentence about a run that did not succeed for this reason.
pub(super) fn opening_sentence(cause: &Cause) -> &'static str {
    match cause {
        Cause::Preflight { .. }
        | Cause::Step { .. }
        | Cause::Verify { .. }
        | Cause::Guard { .. }
        | Cause::LockBusy { .. }
        | Cause::Timeout => "Failed.",
        Cause::OutsideWindow { .. } => "Refused.",
        Cause::Cancel => "Cancelled.",
        Cause::Requested => "Undone, as asked.",
    }
}

/// Why a step is skipped, in words.
pub(super) fn skip_reason_text(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Condition => "its `when` is false",
        SkipReason::Dependency => "a step that it needs did not succeed",
        SkipReason::Operator => "the operator says that it is done",
        SkipReason::Assumed => "done in the run that this one tries again",
        SkipReason::TimeIsUp => "its time was over before it could begin",
    }
}

/// The warning about a run outside its window.
pub(super) fn window_text(verdict: &WindowVerdict) -> Option<String> {
    match verdict {
        WindowVerdict::Open => None,
        WindowVerdict::Warned { opens_at } | WindowVerdict::Refused { opens_at } => {
            Some(describe_closed_window(*opens_at))
        }
        WindowVerdict::Overridden { by, opens_at } => {
            Some(format!("{}; overridden by {by}", describe_closed_window(*opens_at)))
        }
    }
}

/// `, on A and B` for the targets of a step; empty if it has none.
pub(crate) fn on_targets(targets: &[String]) -> String {
    if targets.is_empty() { String::new() } else { format!(", on {}", targets.join(" and ")) }
}

/// The text about a call that takes long: `` pausing: waiting for `x`, 40 s of at most 5m ``.
pub(crate) fn waiting_text(
    step: &str,
    call: CallPurpose,
    (waited_ms, at_most_ms): (u64, u64),
    then: AfterWait,
) -> String {
    let duration =
        |ms: u64| runbook_document::format_duration(Duration::from_millis(ms / 1_000 * 1_000));
    // A call is dropped only shortly after its time limit.
    let (waited, at_most) = (duration(waited_ms.min(at_most_ms)), duration(at_most_ms));
    match (then, call) {
        (AfterWait::Pauses, _) => {
            format!("pausing: waiting for `{step}`, {waited} of at most {at_most}")
        }
        (AfterWait::GoesOn, CallPurpose::Plan) => {
            format!("waiting for `{step}` to say what it would do, {waited} of at most {at_most}")
        }
        (AfterWait::GoesOn, CallPurpose::Observe) => {
            format!("waiting for `{step}` to say what is there, {waited} of at most {at_most}")
        }
        (AfterWait::GoesOn, CallPurpose::Attempt | CallPurpose::Undo) => {
            format!("waiting for `{step}`, {waited} of at most {at_most}")
        }
    }
}

/// Why a run is paused, in words.
pub(super) fn pause_text(reason: &PauseReason) -> String {
    match reason {
        PauseReason::UnknownOutcome { steps } => {
            format!("it is unknown whether {} took effect", quote_ids(steps))
        }
        PauseReason::Approval { steps } => format!("it waits for approval of {}", quote_ids(steps)),
        PauseReason::Manual { steps } => {
            format!("it waits for a person to do {}", quote_ids(steps))
        }
        PauseReason::Guard { guard, why } => format!("guard `{guard}`: {why}"),
        PauseReason::LeaseLost { name, taken_by: None } => {
            format!("the lease on lock `{name}` was lost")
        }
        PauseReason::LeaseLost { name, taken_by: Some(taken) } => format!(
            "{} took the lock `{name}` from it at {}: {}",
            taken.by,
            taken.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
            taken.reason
        ),
        PauseReason::OutsideWindow { opens_at } => describe_closed_window(*opens_at),
        PauseReason::Interrupted => "interrupted by the operator".to_owned(),
    }
}

/// A text with the last result of a step, if there is one.
pub(super) fn with_last_result(text: &str, result: &str) -> String {
    if result.is_empty() { text.to_owned() } else { format!("{text}; at last: {result}") }
}

fn join_ids(steps: &[StepId]) -> String {
    steps.iter().map(StepId::as_str).collect::<Vec<_>>().join(", ")
}

fn ids_are(steps: &[StepId]) -> String {
    format!("{} {}", quote_ids(steps), if steps.len() == 1 { "is" } else { "are" })
}

/// The first step, quoted as an argument of a command.
fn first_argument(steps: &[StepId]) -> Cow<'_, str> {
    runbook_text::shell_argument(steps.first().map_or("STEP", StepId::as_str))
}
