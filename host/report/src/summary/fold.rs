//! The fold of a run: how each of its records changes its summary.

use super::cancelled::{CancelRequest, RunProgress};
use super::wording::{opening_sentence, window_text};
use super::{StepStatus, StepSummary, Summary, UnsentNotification};
use jiff::Timestamp;
use runbook_engine::{
    ApprovalEvent, Cause, Fault, GuardEvent, HeldLock, Item, ItemsEvent, LifecycleEvent,
    ManualEvent, NotifyEvent, PauseReason, Record, RetryOf, RunEvent, StepEvent, StepId, Trigger,
    describe_cause,
};

impl Summary {
    /// Updates the summary with one more record.
    pub fn fold(&mut self, record: &Record) {
        if let Some(status) = record.event.status() {
            status.name().clone_into(&mut self.state);
        }
        self.timeline.fold(record);
        self.fold_event(record);
        self.execution_time.fold(record);
        self.duration_ms = self.execution_time.recorded_ms();
    }

    fn fold_event(&mut self, record: &Record) {
        match &record.event {
            RunEvent::Run(event) => self.fold_lifecycle(event, record.at),
            RunEvent::Step { step, event: StepEvent::Items(ItemsEvent::Listed { items }) } => {
                self.add_items(step, items);
            }
            RunEvent::Step { step, event } => {
                self.change_step(step, |found| found.fold(event, record.at));
                if matches!(
                    event,
                    StepEvent::Approval(ApprovalEvent::Given { .. })
                        | StepEvent::Manual(ManualEvent::Answered { .. })
                ) {
                    self.note_answer();
                }
            }
            RunEvent::Guard { guard, event: GuardEvent::GuardObserved { observation } } => {
                self.change_step(guard, |found| found.fold_observation(observation));
            }
            RunEvent::Notify { notify, on, event } => {
                self.change_step(notify, |found| found.fold_notification(*on, event));
                self.note_notification(notify, *on, event);
            }
        }
    }

    /// Notes the locks that the run holds, with their tokens. Each acquisition of a lock gets the
    /// next token, so a token between this run's previous one and the present one went to another
    /// run.
    fn note_locks(&mut self, locks: &[HeldLock]) {
        self.held_between.clear();
        for HeldLock { name, token, .. } in locks {
            let previous = self.tokens.insert(name.clone(), *token);
            let n_others = previous.map_or(0, |previous| token.saturating_sub(previous + 1));
            self.held_between.extend((n_others > 0).then(|| (name.clone(), n_others)));
        }
        self.locks = locks.iter().map(|lock| lock.name.clone()).collect();
    }

    /// Adds a notification that could not be sent to the unsent ones, or removes one that was sent
    /// later.
    fn note_notification(&mut self, notify: &StepId, on: Trigger, event: &NotifyEvent) {
        let NotifyEvent::NotifyEnded { fault } = event else { return };
        self.unsent_notifications
            .retain(|unsent| unsent.notify != notify.as_str() || unsent.on != on);
        let unsent = |fault: &Fault| UnsentNotification {
            notify: notify.to_string(),
            on,
            why: fault.message.clone(),
        };
        self.unsent_notifications.extend(fault.as_ref().map(unsent));
    }

    fn change_step(&mut self, step: &StepId, change: impl FnOnce(&mut StepSummary)) {
        if let Some(step) = self.step_index(step).map(|index| &mut self.steps[index]) {
            change(step);
        }
    }

    fn fold_lifecycle(&mut self, event: &LifecycleEvent, at: Timestamp) {
        match event {
            LifecycleEvent::RunStarted { steps, retry_of, .. } => {
                self.steps = steps.iter().map(StepSummary::new).collect();
                self.index_steps();
                if let Some(retry) = retry_of {
                    self.fold_retry(retry);
                }
            }
            LifecycleEvent::StepsBegan { locks } | LifecycleEvent::LocksRetaken { locks } => {
                self.note_locks(locks);
            }
            LifecycleEvent::Resumed { .. } | LifecycleEvent::UndoRequested { .. } => {
                self.reset_unanswered_plans();
                self.paused = None;
                self.pause_reason = None;
                self.next_action = None;
                self.ended = None;
                self.end = None;
                if matches!(event, LifecycleEvent::UndoRequested { .. }) {
                    for step in &mut self.steps {
                        step.change.request_undo();
                        step.remaining_effect = step.change.remaining();
                    }
                    self.is_undoing = true;
                    self.progress = RunProgress::Undo;
                    self.cancelled = None;
                } else if self.progress == RunProgress::Steps {
                    // The cancel was about an earlier execution.
                    self.cancelled = None;
                }
            }
            LifecycleEvent::UndoBegan { cause, .. } => {
                self.steps.iter_mut().for_each(StepSummary::skip_if_pending);
                self.is_undoing = true;
                self.progress = RunProgress::Undo;
                self.set_cause(cause);
            }
            LifecycleEvent::CancelRequested { by } => {
                let progress = self.progress;
                self.cancelled = Some(CancelRequest { by: by.clone(), at, progress });
            }
            LifecycleEvent::Stopping { cause } => self.set_cause(cause),
            LifecycleEvent::FinallyBegan { cause, .. } => {
                self.progress = RunProgress::Finally;
                if let Some(cause) = cause {
                    self.set_cause(cause);
                }
            }
            LifecycleEvent::Paused { reason, .. } => {
                self.reset_unanswered_plans();
                self.steps.iter_mut().for_each(StepSummary::end_execution);
                self.paused = Some(self.why_paused(reason));
                self.pause_reason = Some(reason.clone());
                self.next_action = Some(self.action_after_pause(reason));
            }
            LifecycleEvent::RunEnded { end, cause, .. } => {
                self.reset_unanswered_plans();
                self.steps.iter_mut().for_each(StepSummary::end_run);
                self.ended = Some(at);
                self.end = Some(*end);
                if let Some(cause) = cause {
                    self.set_cause(cause);
                }
                self.next_action = self.action_after(*end);
                self.fold_groups();
            }
            LifecycleEvent::WindowChecked { verdict } => self.window = window_text(verdict),
            LifecycleEvent::LockWaiting { .. } | LifecycleEvent::VerifyBegan => {}
        }
    }

    /// Updates the reason for the pause after an answer or approval, so that nobody answers again.
    fn note_answer(&mut self) {
        let Some(reason) = self.pause_reason.clone() else { return };
        let open_reason = self.open_pause_reason(&reason);
        self.paused = Some(match open_reason {
            Some(open_reason) => self.why_paused(&open_reason),
            None => "it was answered, and waits to be resumed".to_owned(),
        });
        self.next_action = Some(self.action_after_pause(&reason));
    }

    /// The reason for a pause without the steps that people have approved or answered by now;
    /// `None` if none is left.
    pub(super) fn open_pause_reason(&self, reason: &PauseReason) -> Option<PauseReason> {
        let open_steps = |steps: &[StepId]| -> Vec<StepId> {
            let is_open = |step: &&StepId| !self.step(step).is_some_and(StepSummary::is_answered);
            steps.iter().filter(is_open).cloned().collect()
        };
        match reason {
            PauseReason::Approval { steps } => Some(open_steps(steps))
                .filter(|steps| !steps.is_empty())
                .map(|steps| PauseReason::Approval { steps }),
            PauseReason::Manual { steps } => Some(open_steps(steps))
                .filter(|steps| !steps.is_empty())
                .map(|steps| PauseReason::Manual { steps }),
            PauseReason::UnknownOutcome { .. }
            | PauseReason::Guard { .. }
            | PauseReason::LeaseLost { .. }
            | PauseReason::OutsideWindow { .. }
            | PauseReason::Interrupted => Some(reason.clone()),
        }
    }

    /// Sets steps whose call to `plan` got no answer back to pending: they have not begun.
    fn reset_unanswered_plans(&mut self) {
        for step in self
            .steps
            .iter_mut()
            .filter(|step| step.is_planning && step.state == StepStatus::Running)
        {
            step.state = StepStatus::Pending;
            step.is_planning = false;
            step.summary.clear();
        }
    }

    /// Marks the steps and items that earlier runs have done.
    fn fold_retry(&mut self, retry: &RetryOf) {
        self.retry_of = Some(retry.run.to_string());
        for assumed in &retry.assumed {
            match self.step_index(&assumed.step).map(|index| &mut self.steps[index]) {
                Some(step) => step.assume(assumed),
                None => drop(self.assumed_items.insert(assumed.step.clone(), assumed.clone())),
            }
        }
        self.assumed.clone_from(&retry.assumed);
        self.update_earlier_runs();
    }

    /// Adds a step for each item, after the step that it is an item of.
    fn add_items(&mut self, parent_id: &StepId, items: &[Item]) {
        let Some(position) = self.step_index(parent_id) else { return };
        let parent = &mut self.steps[position];
        parent.state = StepStatus::Running;
        parent.summary = format!("{} to do", crate::phrases::pluralize(items.len(), "item"));
        let mut new: Vec<StepSummary> =
            items.iter().map(|item| parent.item(parent_id, item)).collect();
        for (item, step) in items.iter().zip(&mut new) {
            if let Some(assumed) = self.assumed_items.get(&parent_id.item(&item.key)) {
                step.assume(assumed);
            }
        }
        self.steps.splice(position + 1..=position, new);
        self.index_steps();
    }

    fn set_cause(&mut self, cause: &Cause) {
        if let Cause::Step { step } = cause {
            self.causing_step = Some(step.clone());
        }
        self.set_is_ended_by_cancel(cause);
        self.cause = Some(describe_cause(cause));
        self.opening_sentence = opening_sentence(cause);
    }
}
