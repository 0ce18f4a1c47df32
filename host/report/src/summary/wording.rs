//! The words about a run: its state and end, why it paused or did not begin something, and what the
//! operator does next.

use super::{StepStatus, StepSummary, Summary, left};
use crate::phrases::quoted;
use runbook_engine::{
    Account, AfterWait, CallPurpose, Cause, Decision, PauseReason, RunEnd, Section, SkipReason,
    StepId, WindowVerdict, describe_closed,
};
use std::borrow::Cow;
use std::time::Duration;

impl Summary {
    /// How it stands, in one sentence: every report begins with it.
    pub fn standing_text(&self) -> String {
        match (self.end, &self.paused) {
            (Some(end), _) => self.end_text(end),
            (None, Some(why)) => format!("Paused: {why}."),
            (None, None) => format!("Not ended: {}.", self.state),
        }
    }

    /// How the run ended, in one sentence. It says "verified" only of what was observed again, and
    /// "changed" only of what certainly was.
    pub fn end_text(&self, end: RunEnd) -> String {
        let text = match end {
            RunEnd::Succeeded => "Succeeded. Everything was done.".to_owned(),
            RunEnd::SucceededWithWarnings => {
                "Succeeded, with warnings that somebody should look at.".to_owned()
            }
            RunEnd::Dirty => {
                format!("DIRTY. {}: a person must look now.{}", self.dirt(), self.earlier_text())
            }
            RunEnd::FailedClean | RunEnd::Cancelled | RunEnd::Undone => {
                format!("{} {}{}", self.verdict, self.undone_text(end), self.earlier_text())
            }
        };
        text + &self.beside_text()
    }

    /// What makes a run dirty.
    fn dirt(&self) -> String {
        let Account { changed, perhaps, .. } = self.account();
        match (changed.is_empty(), perhaps.is_empty()) {
            (true, true) if self.steps.iter().any(|step| step.may_have_left) => {
                "No step left a change, but a smoke test wrote and did not show that it removed \
                 what it made"
                    .to_owned()
            }
            (true, true) => "It is unknown whether everything is as before".to_owned(),
            (false, true) => {
                format!("Something was changed and not put back ({})", listed(&changed))
            }
            (true, false) => format!(
                "Something may have been changed, and was not put back ({})",
                listed(&perhaps)
            ),
            (false, false) => format!(
                "Something was changed and not put back ({}), and something may have been changed \
                 ({})",
                listed(&changed),
                listed(&perhaps)
            ),
        }
    }

    /// What the operator does about it, with the commands to type.
    pub(super) fn next_command(&self, reason: &PauseReason) -> String {
        let run = crate::phrases::short(&self.run);
        let resume = format!("`runbook resume {run}`");
        let Some(reason) = self.still_asked(reason) else {
            return format!("continue with {resume}");
        };
        match &reason {
            PauseReason::UnknownOutcome { steps } => {
                let step = steps.first().map_or("STEP", StepId::as_str);
                let decided = |how: &str| {
                    format!("--decide {}", runbook_text::argument(&format!("{step}={how}")))
                };
                let each = if steps.len() > 1 { "; the others likewise" } else { "" };
                // A run that is being undone does nothing again.
                let can_be_said =
                    |decision: Decision| decision != Decision::Retry || !self.is_undoing;
                let answers: Vec<String> = Decision::ALL
                    .iter()
                    .filter(|(decision, ..)| can_be_said(*decision))
                    .enumerate()
                    .map(|(place, (decision, word, meaning))| {
                        let meaning = self.meaning(*decision, steps.first(), meaning);
                        let command = if place == 0 {
                            format!("runbook resume {run} ")
                        } else {
                            String::new()
                        };
                        format!("`{command}{}` ({meaning})", decided(word))
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
                format!("find out whether it happened, then say so: {first} or {last}{each}{rest}")
            }
            PauseReason::Approval { steps } => {
                let step = first_of(steps);
                format!(
                    "`runbook approve {run} {step}` or `runbook reject {run} {step} --reason WHY`; \
                     then {resume}"
                )
            }
            PauseReason::Manual { steps } => {
                let step = first_of(steps);
                let options = steps
                    .first()
                    .and_then(|step| self.step(step))
                    .map_or(&[][..], |step| &step.answer_options);
                format!(
                    "when it is done, {}; then {resume}",
                    crate::phrases::answer(run, &step, options)
                )
            }
            PauseReason::OutsideWindow { opens } => {
                let when = opens.map_or("when it opens".to_owned(), |opens| {
                    format!("from {} on", opens.strftime("%F %H:%M UTC"))
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

    /// What a person does about a dirty run, with the commands to type. It promises no undo that
    /// the account does not list.
    pub(super) fn way_out(&self) -> String {
        let run = crate::phrases::short(&self.run);
        let account = self.account();
        if let Some(first) = account.unclear.first() {
            let decided = |how: &str| {
                format!("--decide {}", runbook_text::argument(&format!("{first}={how}")))
            };
            let each = if account.unclear.len() > 1 { "; the others likewise" } else { "" };
            return format!(
                "find out whether {} undone, then say so: `runbook undo {run} {}` (it is), `{}` \
                 (it is not; undo it) or `{}` (it is not; leave it){each}",
                are(&account.unclear),
                decided("done"),
                decided("retry"),
                decided("not-done")
            );
        }
        let (again, by_hand): (Vec<_>, Vec<_>) = self
            .steps
            .iter()
            .filter(|step| step.state == StepStatus::UndoFailed && step.section == Section::Step)
            .map(|step| StepId::new(step.id.as_str()))
            .partition(|id| account.undoable.contains(id));
        if !again.is_empty() {
            return format!(
                "repair what keeps {} from being undone, then `runbook undo {run}` tries it again; \
                 if the runbook's own `undo` is wrong, correct a copy: \
                 `runbook undo {run} --with FILE`; or put it back by hand",
                quoted(&again)
            );
        }
        if !by_hand.is_empty() {
            return format!("look at what {} left, and put it back by hand", quoted(&by_hand));
        }
        let unknown: Vec<StepId> = account
            .perhaps
            .iter()
            .filter(|step| !account.undoable.contains(step))
            .cloned()
            .collect();
        // One that was stopped as it was may go on from there, once somebody has said what
        // happened.
        let is_stopped_as_it_was = self.stopping_step().is_some() && !self.has_undone();
        if !unknown.is_empty() && account.undoable.is_empty() && !is_stopped_as_it_was {
            return format!("look at what {} left, and put it back by hand", quoted(&unknown));
        }
        let left: Vec<_> = self
            .steps
            .iter()
            .filter(|step| step.may_have_left)
            .map(|step| format!("`{}`", step.id))
            .collect();
        if !left.is_empty() {
            return format!(
                "find what smoke test {} made and did not remove, and remove it by hand",
                left.join(", ")
            );
        }
        let undo = if account.undoable.is_empty() {
            "; no command can undo it".to_owned()
        } else {
            format!("; or `runbook undo {run}` puts back {}", quoted(&account.undoable))
        };
        match self.stopping_step() {
            Some(step) => {
                let from = runbook_text::argument(&step.id);
                let said = left::to_decide(&account.perhaps);
                format!(
                    "what was done stays: fix the cause of the failure, then `runbook retry {run} \
                     --from {from}{said} does the rest{undo}"
                )
            }
            None => format!("look at `runbook show {run}`{undo}"),
        }
    }

    /// The step whose failure left the run as it was.
    fn stopping_step(&self) -> Option<&StepSummary> {
        let is_failed = |step: &&StepSummary| {
            let has_failed = matches!(step.state, StepStatus::Failed | StepStatus::UnknownOutcome);
            has_failed && step.section == Section::Step
        };
        let stopped = self.stopped_by.as_ref().and_then(|step| self.step(step)).filter(is_failed);
        stopped.or_else(|| self.steps.iter().find(is_failed))
    }

    /// Whether anything of it was undone, or was tried to be.
    fn has_undone(&self) -> bool {
        let is_undone =
            |step: &StepSummary| matches!(step.state, StepStatus::Undone | StepStatus::UndoFailed);
        self.steps.iter().any(is_undone)
    }
}

/// What a report says first of a run that did not succeed for this reason.
pub(super) fn verdict_text(cause: &Cause) -> &'static str {
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

/// Why a step does not run.
pub(super) fn skip_text(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Condition => "its `when` is false",
        SkipReason::Dependency => "a step that it needs did not succeed",
        SkipReason::Operator => "the operator says that it is done",
        SkipReason::Assumed => "done in the run that this one tries again",
        SkipReason::TimeIsUp => "its time was over before it could begin",
    }
}

/// What is said of a run outside its window.
pub(super) fn window_text(verdict: &WindowVerdict) -> Option<String> {
    match verdict {
        WindowVerdict::Open => None,
        WindowVerdict::Warned { opens } | WindowVerdict::Refused { opens } => {
            Some(describe_closed(*opens))
        }
        WindowVerdict::Overridden { by, opens } => {
            Some(format!("{}; overridden by {by}", describe_closed(*opens)))
        }
    }
}

/// Where something would be done; nothing if it needs no target.
pub(crate) fn on_targets(places: &[String]) -> String {
    if places.is_empty() { String::new() } else { format!(", on {}", places.join(" and ")) }
}

/// What a run waits for: `pausing: waiting for `x`, 40 s of at most 5m`.
pub(crate) fn waiting_text(
    step: &str,
    call: CallPurpose,
    (waited_ms, at_most_ms): (u64, u64),
    then: AfterWait,
) -> String {
    let duration =
        |ms: u64| runbook_document::format_duration(Duration::from_millis(ms / 1_000 * 1_000));
    // The call is dropped shortly after its time.
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

/// Why a run stopped without an end.
pub(super) fn pause_text(reason: &PauseReason) -> String {
    match reason {
        PauseReason::UnknownOutcome { steps } => {
            format!("it is unknown whether {} took effect", quoted(steps))
        }
        PauseReason::Approval { steps } => format!("it waits for approval of {}", quoted(steps)),
        PauseReason::Manual { steps } => format!("it waits for a person to do {}", quoted(steps)),
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
        PauseReason::OutsideWindow { opens } => describe_closed(*opens),
        PauseReason::Interrupted => "interrupted by the operator".to_owned(),
    }
}

/// A text, with what was said before if there is any.
pub(super) fn with_reason(text: &str, before: &str) -> String {
    if before.is_empty() { text.to_owned() } else { format!("{text}; at last: {before}") }
}

fn listed(steps: &[StepId]) -> String {
    steps.iter().map(StepId::as_str).collect::<Vec<_>>().join(", ")
}

fn are(steps: &[StepId]) -> String {
    format!("{} {}", quoted(steps), if steps.len() == 1 { "is" } else { "are" })
}

/// The first of the steps, as an argument of a command.
fn first_of(steps: &[StepId]) -> Cow<'_, str> {
    runbook_text::argument(steps.first().map_or("STEP", StepId::as_str))
}
