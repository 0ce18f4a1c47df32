//! The fold of a step: how each of its events changes its summary.

use super::step::{ApprovalResult, ApprovalSummary};
use super::wording::{skip_reason_text, waiting_text, with_last_result};
use super::{StepStatus, StepSummary};
use jiff::Timestamp;
use runbook_engine::model::person_of;
use runbook_engine::{
    AfterAttempt, ApprovalEvent, ApprovalVerdict, AssumedStep, AttemptEvent, AttemptResult, Change,
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
            remaining_effect: RemainingEffect::Nothing,
            may_have_left: false,
            is_planning: false,
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
            approval_void_reason: None,
            approval: None,
            recovery: None,
            plan_digest: None,
            answers: None,
            repeated: 0,
        }
    }

    pub(super) fn item(&self, parent_id: &StepId, item: &Item) -> Self {
        let (id, title) = (parent_id.item(&item.key), format!("{}: {}", self.title, item.key));
        let (section, uses, digest) = (self.section, self.uses.clone(), self.digest.clone());
        Self::new(&runbook_engine::StepListing { id, title, section, uses, digest })
    }

    /// Marks the step as done by an earlier run.
    pub(super) fn assume(&mut self, assumed: &AssumedStep) {
        self.state = StepStatus::Skipped;
        self.summary = format!("done in run {}", assumed.done_in.short());
        self.output = assumed.output.clone();
    }

    pub(super) fn fold(&mut self, event: &StepEvent, at: Timestamp) {
        self.change.fold(event);
        self.remaining_effect = self.change.remaining();
        match event {
            StepEvent::Skip(SkipEvent::Skipped { reason }) => {
                self.state = StepStatus::Skipped;
                skip_reason_text(*reason).clone_into(&mut self.summary);
            }
            StepEvent::Items(event) => self.fold_items(event),
            StepEvent::Approval(event) => self.fold_approval(event, at),
            StepEvent::Manual(event) => self.fold_manual(event),
            StepEvent::Attempt(event) => self.fold_attempt(event),
            StepEvent::Wait(WaitEvent::StillWaiting { call, waited_ms, at_most_ms, then }) => {
                if self.state == StepStatus::Pending {
                    self.state = StepStatus::Running;
                    self.is_planning = true;
                }
                self.summary = waiting_text(&self.id, *call, (*waited_ms, *at_most_ms), *then);
            }
            StepEvent::Undo(event) => self.fold_undo(event),
        }
    }

    fn fold_items(&mut self, event: &ItemsEvent) {
        match event {
            // `Summary::add_items` adds the items.
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
                self.void_earlier_approval(digest);
                self.approval = Some(ApprovalSummary {
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
                self.fold_approval_answer(by, verdict, at);
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
                // The approval that counted is in `approved_by`.
                self.approval_void_reason = None;
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
            UndoEvent::Checked { finding } => self.fold_undo_finding(finding),
        }
    }

    /// The result of observing the target again after the undo.
    fn fold_undo_finding(&mut self, finding: &UndoFinding) {
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

    pub(super) fn fold_notification(&mut self, on: Trigger, event: &NotifyEvent) {
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

    /// Notes an approval or rejection: how many people have approved by now, and until when the
    /// approval is valid.
    fn fold_approval_answer(&mut self, by: &str, verdict: &ApprovalVerdict, at: Timestamp) {
        let n_people =
            self.approved_by.iter().map(|by| person_of(by)).collect::<BTreeSet<_>>().len();
        let Some(approval) = &mut self.approval else { return };
        let quorum = usize::try_from(approval.quorum).unwrap_or(usize::MAX);
        self.summary = match verdict {
            ApprovalVerdict::Rejected { reason } => {
                approval.verdict = Some(ApprovalResult::Rejected);
                format!("rejected by {by}: {reason}")
            }
            ApprovalVerdict::Approved => {
                if n_people >= quorum {
                    approval.verdict.get_or_insert(ApprovalResult::Approved);
                }
                let end = approval
                    .expires_ms
                    .and_then(|ms| at.checked_add(Duration::from_millis(ms)).ok());
                let until = end
                    .map(|end| format!(", until {}", end.strftime("%F %T UTC")))
                    .unwrap_or_default();
                let count_note =
                    if quorum > 1 { format!(" ({n_people} of {quorum})") } else { String::new() };
                format!(
                    "approved by {}{count_note}{until}; {}",
                    self.approved_by.join(", "),
                    self.summary_of_plan()
                )
            }
        };
    }

    /// The part of the summary that tells what the step would do, without the approvals.
    fn summary_of_plan(&self) -> &str {
        self.summary.rfind("would: ").map_or("", |at| &self.summary[at..])
    }

    /// Notes that approval is asked for again, so that earlier answers are void.
    fn void_earlier_approval(&mut self, digest: &str) {
        let was_same =
            self.plan_digest.replace(digest.to_owned()).is_some_and(|before| before == digest);
        if self.approved_by.is_empty() {
            return;
        }
        let why = if was_same { "is too old" } else { "was for an earlier plan of this step" };
        self.approval_void_reason = Some(format!(
            "the approval by {} {why}, so it is asked for again",
            self.approved_by.join(", ")
        ));
        self.approved_by.clear();
    }

    pub(super) fn fold_observation(&mut self, observation: &GuardObservation) {
        self.state = match observation.verdict {
            GuardVerdict::Holds => StepStatus::Succeeded,
            GuardVerdict::Breached => StepStatus::Failed,
            GuardVerdict::Blind => StepStatus::UnknownOutcome,
        };
        self.summary.clone_from(&observation.summary);
    }

    fn end_attempt(&mut self, result: &AttemptResult, then: AfterAttempt) {
        let text = match result {
            AttemptResult::Succeeded { summary, .. } => summary,
            AttemptResult::Failed { fault, .. } => &fault.message,
        };
        let is_repeated = matches!(then, AfterAttempt::Poll { .. }) && *text == self.summary;
        self.repeated = if is_repeated { self.repeated + 1 } else { 0 };
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

    /// Updates the step after a decision about an attempt whose result was not known.
    fn recover(&mut self, decision: &Recovery) {
        let is_over = !matches!(self.state, StepStatus::Running | StepStatus::UnknownOutcome);
        if is_over {
            // The decision only determines whether the step is undone; its result stays as it is.
            self.recovery = match decision {
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

    /// Notes that the run is paused: an attempt or undo without a result was cut off.
    pub(super) fn end_execution(&mut self) {
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

    /// Notes that the undo of the run has begun: a pending preflight, step or verify will never
    /// run. `finally` steps and notifications still will.
    pub(super) fn skip_if_pending(&mut self) {
        let is_skipped_by_undo =
            matches!(self.section, Section::Preflight | Section::Step | Section::Verify);
        if is_skipped_by_undo && self.state == StepStatus::Pending {
            self.state = StepStatus::Skipped;
            "the run ended before it began".clone_into(&mut self.summary);
        }
    }

    /// Notes that the run has ended: the step neither runs nor waits any more.
    pub(super) fn end_run(&mut self) {
        match self.state {
            StepStatus::Running
                if self.attempts == 0 && self.fault.is_none() && self.summary.is_empty() =>
            {
                self.state = StepStatus::Pending;
            }
            StepStatus::Running => {
                self.state = StepStatus::Failed;
                // The outcome of a poll that was not the last one decides nothing.
                self.outcome = None;
                self.summary = with_last_result("the run ended before it was done", &self.summary);
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
