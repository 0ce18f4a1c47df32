//! The fold of a step: how each of its events changes its summary.

use super::step::{ApprovalResult, ApprovalSummary};
use super::wording::{skip_text, waiting_text, with_reason};
use super::{StepStatus, StepSummary};
use jiff::Timestamp;
use runbook_engine::model::person_of;
use runbook_engine::{
    AfterAttempt, ApprovalEvent, ApprovalVerdict, Assumed, AttemptEvent, AttemptResult, Change,
    EffectState, Fault, GuardObservation, GuardVerdict, Item, ItemsEvent, ManualEvent, NotifyEvent,
    Outcome, Recovery, RemainingEffect, Section, SkipEvent, StepEvent, StepId, Trigger, UndoEvent,
    UndoFinding, UndoResult, WaitEvent,
};
use std::collections::BTreeSet;
use std::time::Duration;

impl StepSummary {
    pub(super) fn new(listing: &runbook_engine::StepListing) -> Self {
        Self {
            id: listing.id.to_string(),
            title: listing.title.clone(),
            section: listing.section,
            uses: listing.uses.clone(),
            digest: listing.digest.clone(),
            state: StepStatus::Pending,
            attempts: 0,
            duration_ms: 0,
            summary: String::new(),
            fault: None,
            effects: Vec::new(),
            changed: false,
            left: RemainingEffect::Nothing,
            may_have_left: false,
            asked: false,
            output: serde_json::Value::Null,
            outcome: None,
            measurements: Vec::new(),
            cases: Vec::new(),
            instructions: None,
            answer_options: Vec::new(),
            undo: None,
            logs: Vec::new(),
            change: Change::default(),
            restored: false,
            approved_by: Vec::new(),
            approval_void: None,
            asked_of: None,
            doubt: None,
            asked_digest: None,
            answers: None,
            repeated: 0,
        }
    }

    pub(super) fn item(&self, of: &StepId, item: &Item) -> Self {
        let (id, title) = (of.item(&item.key), format!("{}: {}", self.title, item.key));
        let (section, uses, digest) = (self.section, self.uses.clone(), self.digest.clone());
        Self::new(&runbook_engine::StepListing { id, title, section, uses, digest })
    }

    /// Another run has done it.
    pub(super) fn assume(&mut self, assumed: &Assumed) {
        self.state = StepStatus::Skipped;
        self.summary = format!("done in run {}", assumed.done_in.short());
        self.output = assumed.output.clone();
    }

    pub(super) fn fold(&mut self, event: &StepEvent, at: Timestamp) {
        self.change.fold(event);
        self.left = self.change.left();
        match event {
            StepEvent::Skip(SkipEvent::Skipped { reason }) => {
                self.state = StepStatus::Skipped;
                skip_text(*reason).clone_into(&mut self.summary);
            }
            StepEvent::Items(event) => self.fold_items(event),
            StepEvent::Approval(event) => self.fold_approval(event, at),
            StepEvent::Manual(event) => self.fold_manual(event),
            StepEvent::Attempt(event) => self.fold_attempt(event),
            StepEvent::Wait(WaitEvent::StillWaiting { call, waited_ms, at_most_ms, then }) => {
                if self.state == StepStatus::Pending {
                    self.state = StepStatus::Running;
                    self.asked = true;
                }
                self.summary = waiting_text(&self.id, *call, (*waited_ms, *at_most_ms), *then);
            }
            StepEvent::Undo(event) => self.fold_undo(event),
        }
    }

    fn fold_items(&mut self, event: &ItemsEvent) {
        match event {
            // The items are listed by the run, each in a line of its own.
            ItemsEvent::Listed { .. } => {}
            ItemsEvent::GroupBegan { .. } => {
                self.state = StepStatus::Running;
                "its steps run".clone_into(&mut self.summary);
            }
            ItemsEvent::Ended { result, then } => self.end_attempt(result, *then),
        }
    }

    fn fold_approval(&mut self, event: &ApprovalEvent, at: Timestamp) {
        match event {
            ApprovalEvent::Asked { proposal, digest, quorum, expires_ms, places, .. } => {
                self.void_approval(digest);
                self.asked_of = Some(ApprovalSummary {
                    quorum: *quorum,
                    expires_ms: *expires_ms,
                    verdict: None,
                });
                self.state = StepStatus::WaitingForPerson;
                self.effects.clone_from(&proposal.effects);
                self.summary = format!("would: {}{}", proposal.summary, super::on_targets(places));
            }
            ApprovalEvent::Given { by, verdict, .. } => {
                if *verdict == ApprovalVerdict::Approved && !self.approved_by.contains(by) {
                    self.approved_by.push(by.clone());
                }
                self.answer(by, verdict, at);
            }
        }
    }

    fn fold_manual(&mut self, event: &ManualEvent) {
        match event {
            ManualEvent::Asked { instructions, options } => {
                self.state = StepStatus::WaitingForPerson;
                instructions
                    .lines()
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or_default()
                    .trim()
                    .clone_into(&mut self.summary);
                self.instructions = Some(instructions.clone());
                self.answer_options.clone_from(options);
            }
            ManualEvent::Answered { by, values } => {
                self.approved_by.push(by.clone());
                self.answers = Some(values.clone());
                self.summary = format!("done by {by}; it waits to be resumed");
            }
        }
    }

    fn fold_attempt(&mut self, event: &AttemptEvent) {
        match event {
            AttemptEvent::Started { attempt, proposal, .. } => {
                self.state = StepStatus::Running;
                // Who approved it then is told; that somebody had approved it before is over.
                self.approval_void = None;
                self.attempts = *attempt;
                self.effects =
                    proposal.as_ref().map(|proposal| proposal.effects.clone()).unwrap_or_default();
            }
            AttemptEvent::Refused { attempt, fault, then } => {
                self.attempts = *attempt;
                self.fail(fault, *then);
            }
            AttemptEvent::Ended { result, then, duration_ms, logs, .. } => {
                self.duration_ms += duration_ms;
                self.logs.clone_from(logs);
                self.end_attempt(result, *then);
            }
            AttemptEvent::Recovered { decision, .. } => self.recover(decision),
        }
    }

    fn fold_undo(&mut self, event: &UndoEvent) {
        match event {
            UndoEvent::Started { .. } => self.state = StepStatus::Undoing,
            UndoEvent::Ended { result, duration_ms, .. } => {
                self.duration_ms += duration_ms;
                match result {
                    UndoResult::Done { summary } => {
                        self.state = StepStatus::Undone;
                        self.undo = Some(summary.clone());
                    }
                    UndoResult::Failed { fault } => {
                        self.state = StepStatus::UndoFailed;
                        self.undo = Some(format!("undo failed: {}", fault.message));
                    }
                }
            }
            UndoEvent::Checked { finding } => self.check_undo(finding),
        }
    }

    /// What was seen when it was observed again.
    fn check_undo(&mut self, finding: &UndoFinding) {
        match finding {
            UndoFinding::Restored => self.restored = true,
            UndoFinding::TookEffect { .. } => {
                self.changed = true;
                "it was stopped, took effect, and stays".clone_into(&mut self.summary);
            }
            UndoFinding::Drifted { before, now } => {
                self.state = StepStatus::UndoFailed;
                self.undo = Some(format!(
                    "after the undo it is not as before: {}",
                    crate::difference::text(before, now)
                ));
            }
            UndoFinding::Unknown { fault } if self.state != StepStatus::Undone => {
                self.state = StepStatus::UnknownOutcome;
                self.summary = format!("it is unknown whether it took effect: {}", fault.message);
            }
            UndoFinding::Unknown { fault } => {
                self.state = StepStatus::UndoFailed;
                self.undo =
                    Some(format!("after the undo it could not be observed: {}", fault.message));
            }
        }
    }

    pub(super) fn notify(&mut self, on: Trigger, event: &NotifyEvent) {
        match event {
            NotifyEvent::NotifyStarted => self.state = StepStatus::Running,
            NotifyEvent::NotifyEnded { fault: None } => {
                let on = Trigger::ALL
                    .iter()
                    .find(|(trigger, _)| *trigger == on)
                    .map_or("", |(_, name)| name);
                self.state = StepStatus::Succeeded;
                self.summary = format!("sent ({on})");
            }
            NotifyEvent::NotifyEnded { fault: Some(fault) } => {
                self.fail(fault, AfterAttempt::Final);
            }
        }
    }

    /// Notes what somebody has said about an approval: how many have approved by now, and until
    /// when that is good.
    fn answer(&mut self, by: &str, verdict: &ApprovalVerdict, at: Timestamp) {
        let n_people =
            self.approved_by.iter().map(|by| person_of(by)).collect::<BTreeSet<_>>().len();
        let Some(asked) = &mut self.asked_of else { return };
        let quorum = usize::try_from(asked.quorum).unwrap_or(usize::MAX);
        self.summary = match verdict {
            ApprovalVerdict::Rejected { reason } => {
                asked.verdict = Some(ApprovalResult::Rejected);
                format!("rejected by {by}: {reason}")
            }
            ApprovalVerdict::Approved => {
                if n_people >= quorum {
                    asked.verdict.get_or_insert(ApprovalResult::Approved);
                }
                let end =
                    asked.expires_ms.and_then(|ms| at.checked_add(Duration::from_millis(ms)).ok());
                let until = end
                    .map(|end| format!(", until {}", end.strftime("%F %T UTC")))
                    .unwrap_or_default();
                let of =
                    if quorum > 1 { format!(" ({n_people} of {quorum})") } else { String::new() };
                format!(
                    "approved by {}{of}{until}; {}",
                    self.approved_by.join(", "),
                    self.summary_of_plan()
                )
            }
        };
    }

    /// What it would do, without what was said about it.
    fn summary_of_plan(&self) -> &str {
        self.summary.rfind("would: ").map_or("", |at| &self.summary[at..])
    }

    /// Notes that approval is asked for again, so that earlier answers are void.
    fn void_approval(&mut self, digest: &str) {
        let was_same =
            self.asked_digest.replace(digest.to_owned()).is_some_and(|before| before == digest);
        if self.approved_by.is_empty() {
            return;
        }
        let why = if was_same { "is too old" } else { "was for an earlier plan of this step" };
        self.approval_void = Some(format!(
            "the approval by {} {why}, so it is asked for again",
            self.approved_by.join(", ")
        ));
        self.approved_by.clear();
    }

    pub(super) fn observe(&mut self, observation: &GuardObservation) {
        self.state = match observation.verdict {
            GuardVerdict::Holds => StepStatus::Succeeded,
            GuardVerdict::Breached => StepStatus::Failed,
            GuardVerdict::Blind => StepStatus::UnknownOutcome,
        };
        self.summary.clone_from(&observation.summary);
    }

    fn end_attempt(&mut self, result: &AttemptResult, then: AfterAttempt) {
        let said = match result {
            AttemptResult::Succeeded { summary, .. } => summary,
            AttemptResult::Failed { fault, .. } => &fault.message,
        };
        let again = matches!(then, AfterAttempt::Poll { .. }) && *said == self.summary;
        self.repeated = if again { self.repeated + 1 } else { 0 };
        match result {
            AttemptResult::Succeeded { outcome, summary, output, changed, cases, measurements } => {
                self.outcome = Some(*outcome);
                self.measurements.clone_from(measurements);
                self.state = match (then, outcome) {
                    (AfterAttempt::Poll { .. } | AfterAttempt::Retry { .. }, _) => {
                        StepStatus::Running
                    }
                    (AfterAttempt::Final | AfterAttempt::Continue, Outcome::Pass) => {
                        StepStatus::Succeeded
                    }
                    (
                        AfterAttempt::Final | AfterAttempt::Continue,
                        Outcome::Warn | Outcome::Unknown | Outcome::Fail,
                    ) => StepStatus::Warned,
                };
                self.fault = None;
                self.summary.clone_from(summary);
                self.output = output.clone();
                self.changed |= changed;
                self.cases.clone_from(cases);
            }
            AttemptResult::Failed {
                fault,
                cases,
                output,
                outcome,
                measurements,
                may_have_left,
            } => {
                self.may_have_left |= may_have_left;
                self.outcome = *outcome;
                self.measurements.clone_from(measurements);
                self.cases.clone_from(cases);
                self.output = output.clone().unwrap_or_default();
                self.fail(fault, then);
            }
        }
    }

    fn fail(&mut self, fault: &Fault, then: AfterAttempt) {
        self.state = match then {
            AfterAttempt::Retry { .. } | AfterAttempt::Poll { .. } => StepStatus::Running,
            AfterAttempt::Final | AfterAttempt::Continue => StepStatus::Failed,
        };
        self.summary.clone_from(&fault.message);
        self.fault = Some(fault.clone());
        if !fault.logs.is_empty() {
            self.logs.clone_from(&fault.logs);
        }
    }

    fn recover(&mut self, decision: &Recovery) {
        let is_over = !matches!(self.state, StepStatus::Running | StepStatus::UnknownOutcome);
        if is_over {
            // Only whether it is undone depends on it: what came of it stays as it was told.
            self.doubt = match decision {
                Recovery::AskOperator { .. } => {
                    Some("it is unknown whether it happened".to_owned())
                }
                Recovery::DidNotHappen => Some("it was observed that it did not happen".to_owned()),
                Recovery::OperatorRetry | Recovery::OperatorNotDone => {
                    Some("the operator says that it did not happen".to_owned())
                }
                Recovery::OperatorDone => Some("the operator says that it happened".to_owned()),
                Recovery::OperatorFail => Some(
                    "the operator says that it is to be undone as if it had happened".to_owned(),
                ),
                Recovery::Repeat => None,
            };
            return;
        }
        match decision {
            Recovery::Repeat | Recovery::DidNotHappen | Recovery::OperatorRetry => {
                self.state = StepStatus::Running;
            }
            Recovery::OperatorDone => {
                self.state = StepStatus::Skipped;
                "the operator says that it is done".clone_into(&mut self.summary);
            }
            Recovery::OperatorNotDone => {
                self.state = StepStatus::Failed;
                "the operator says that it did not happen".clone_into(&mut self.summary);
            }
            Recovery::OperatorFail => {
                self.state = StepStatus::Failed;
                "the operator says that it failed".clone_into(&mut self.summary);
            }
            Recovery::AskOperator { known, .. } => {
                self.state = StepStatus::UnknownOutcome;
                self.summary.clone_from(known);
            }
        }
    }

    /// Its run has paused: an attempt that has no result was cut off.
    pub(super) fn pause(&mut self) {
        if self.state == StepStatus::Running
            && self.fault.is_none()
            && self.change.effect() == EffectState::Ambiguous
        {
            self.state = StepStatus::UnknownOutcome;
            let text = if self.section == Section::Finally {
                "it was cut off; `resume` runs it again, because it is in `finally`"
            } else {
                "it was cut off; `resume` observes whether it happened, and asks you if that \
                 cannot be seen"
            };
            text.clone_into(&mut self.summary);
        } else if self.state == StepStatus::Undoing {
            "its undo was cut off, and whether it happened is not known"
                .clone_into(&mut self.summary);
        }
    }

    /// Its run is being undone, or has ended: what has not begun never will. What always runs has
    /// its turn yet.
    pub(super) fn never_begins(&mut self) {
        let is_of_the_way =
            matches!(self.section, Section::Preflight | Section::Step | Section::Verify);
        if is_of_the_way && self.state == StepStatus::Pending {
            self.state = StepStatus::Skipped;
            "the run ended before it began".clone_into(&mut self.summary);
        }
    }

    /// Notes that the run has ended: the step does nothing any more, and waits for nobody.
    pub(super) fn end(&mut self) {
        match self.state {
            StepStatus::Running
                if self.attempts == 0 && self.fault.is_none() && self.summary.is_empty() =>
            {
                self.state = StepStatus::Pending;
            }
            StepStatus::Running => {
                self.state = StepStatus::Failed;
                // What a look saw that was not the last one decides nothing.
                self.outcome = None;
                self.summary = with_reason("the run ended before it was done", &self.summary);
            }
            StepStatus::WaitingForPerson if self.answers.is_some() => {
                self.state = StepStatus::Succeeded;
                let by = self.approved_by.join(", ");
                self.summary = format!(
                    "done by {by}; the run ended before it went on, and does not undo what a \
                     person did"
                );
            }
            StepStatus::WaitingForPerson if !self.approved_by.is_empty() => {
                self.state = StepStatus::Skipped;
                self.summary = format!(
                    "approved by {}, and the run ended before it was done",
                    self.approved_by.join(", ")
                );
            }
            StepStatus::WaitingForPerson => {
                self.state = StepStatus::Skipped;
                "nobody approved it or did it before the run ended".clone_into(&mut self.summary);
            }
            StepStatus::Undoing => {
                self.state = StepStatus::UndoFailed;
                self.undo = Some("the run ended before it was undone".to_owned());
            }
            StepStatus::Pending
            | StepStatus::Skipped
            | StepStatus::Succeeded
            | StepStatus::Warned
            | StepStatus::Failed
            | StepStatus::UnknownOutcome
            | StepStatus::Undone
            | StepStatus::UndoFailed => {}
        }
    }
}
