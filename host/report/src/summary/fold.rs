//! The fold of a run: how each of its records changes its summary.

use super::cancelled::{Cancelled, RunProgress};
use super::wording::{verdict_text, window_text};
use super::{StepStatus, StepSummary, Summary, UnsentNotification};
use jiff::Timestamp;
use runbook_engine::{
    ApprovalEvent, Cause, Fault, GuardEvent, HeldLock, Item, ItemsEvent, LifecycleEvent,
    ManualEvent, NotifyEvent, PauseReason, Record, RetryOf, RunEvent, StepEvent, StepId, Trigger,
    describe_cause,
};

impl Summary {
    /// Takes in one more record.
    pub fn fold(&mut self, record: &Record) {
        if let Some(phase) = record.event.phase() {
            phase.name().clone_into(&mut self.state);
        }
        self.timeline.fold(record);
        self.fold_event(record);
        self.executed.fold(record);
        self.duration_ms = self.executed.recorded_ms();
    }

    fn fold_event(&mut self, record: &Record) {
        match &record.event {
            RunEvent::Run(event) => self.fold_lifecycle(event, record.at),
            RunEvent::Step { step, event: StepEvent::Items(ItemsEvent::Listed { items }) } => {
                self.list_items(step, items);
            }
            RunEvent::Step { step, event } => {
                self.change_step(step, |found| found.fold(event, record.at));
                if matches!(
                    event,
                    StepEvent::Approval(ApprovalEvent::Given { .. })
                        | StepEvent::Manual(ManualEvent::Answered { .. })
                ) {
                    self.tell_answered();
                }
            }
            RunEvent::Guard { guard, event: GuardEvent::GuardObserved { observation } } => {
                self.change_step(guard, |found| found.observe(observation));
            }
            RunEvent::Notify { notify, on, event } => {
                self.change_step(notify, |found| found.notify(*on, event));
                self.note_sent(notify, *on, event);
            }
        }
    }

    /// Notes the locks that the run holds, with their tokens. A token that was skipped was another
    /// run's.
    fn hold(&mut self, locks: &[HeldLock]) {
        self.held_between.clear();
        for HeldLock { name, token, .. } in locks {
            let own = self.tokens.insert(name.clone(), *token);
            let others = own.map_or(0, |own| token.saturating_sub(own + 1));
            self.held_between.extend((others > 0).then(|| (name.clone(), others)));
        }
        self.locks = locks.iter().map(|lock| lock.name.clone()).collect();
    }

    /// Sent at last, it is no more to be told.
    fn note_sent(&mut self, notify: &StepId, on: Trigger, event: &NotifyEvent) {
        let NotifyEvent::NotifyEnded { fault } = event else { return };
        self.not_sent.retain(|not| not.notify != notify.as_str() || not.on != on);
        let not_sent = |fault: &Fault| UnsentNotification {
            notify: notify.to_string(),
            on,
            why: fault.message.clone(),
        };
        self.not_sent.extend(fault.as_ref().map(not_sent));
    }

    fn change_step(&mut self, step: &StepId, change: impl FnOnce(&mut StepSummary)) {
        if let Some(step) = self.place(step).map(|place| &mut self.steps[place]) {
            change(step);
        }
    }

    fn fold_lifecycle(&mut self, event: &LifecycleEvent, at: Timestamp) {
        match event {
            LifecycleEvent::RunStarted { steps, retry_of, .. } => {
                self.steps = steps.iter().map(StepSummary::new).collect();
                self.note_places();
                if let Some(retry) = retry_of {
                    self.retry(retry);
                }
            }
            LifecycleEvent::StepsBegan { locks } | LifecycleEvent::LocksRetaken { locks } => {
                self.hold(locks);
            }
            LifecycleEvent::Resumed { .. } | LifecycleEvent::UndoRequested { .. } => {
                self.not_asked_any_more();
                self.paused = None;
                self.pause = None;
                self.to_continue = None;
                self.ended = None;
                self.end = None;
                if matches!(event, LifecycleEvent::UndoRequested { .. }) {
                    for step in &mut self.steps {
                        step.change.request_undo();
                        step.left = step.change.left();
                    }
                    self.is_undoing = true;
                    self.reached = RunProgress::Undo;
                    self.cancelled = None;
                } else if self.reached == RunProgress::Steps {
                    // It goes on.
                    self.cancelled = None;
                }
            }
            LifecycleEvent::UndoBegan { cause, .. } => {
                self.steps.iter_mut().for_each(StepSummary::never_begins);
                self.is_undoing = true;
                self.reached = RunProgress::Undo;
                self.set_cause(cause);
            }
            LifecycleEvent::CancelRequested { by } => {
                self.cancelled = Some(Cancelled { by: by.clone(), at, while_it: self.reached });
            }
            LifecycleEvent::Stopping { cause } => self.set_cause(cause),
            LifecycleEvent::FinallyBegan { cause, .. } => {
                self.reached = RunProgress::Finally;
                if let Some(cause) = cause {
                    self.set_cause(cause);
                }
            }
            LifecycleEvent::Paused { reason, .. } => {
                self.not_asked_any_more();
                self.steps.iter_mut().for_each(StepSummary::pause);
                self.paused = Some(self.why_paused(reason));
                self.pause = Some(reason.clone());
                self.to_continue = Some(self.next_command(reason));
            }
            LifecycleEvent::RunEnded { end, cause, .. } => {
                self.not_asked_any_more();
                self.steps.iter_mut().for_each(StepSummary::end);
                self.ended = Some(at);
                self.end = Some(*end);
                if let Some(cause) = cause {
                    self.set_cause(cause);
                }
                self.to_continue = self.after(*end);
                self.fold_parts();
            }
            LifecycleEvent::WindowChecked { verdict } => self.window = window_text(verdict),
            LifecycleEvent::LockWaiting { .. } | LifecycleEvent::VerifyBegan => {}
        }
    }

    /// Notes that somebody has answered while the run waits, so that nobody answers again.
    fn tell_answered(&mut self) {
        let Some(reason) = self.pause.clone() else { return };
        let open = self.still_asked(&reason);
        self.paused = Some(match open {
            Some(open) => self.why_paused(&open),
            None => "it was answered, and waits to be resumed".to_owned(),
        });
        self.to_continue = Some(self.next_command(&reason));
    }

    /// What a run that waits for people still waits for; `None` if they all have answered.
    pub(super) fn still_asked(&self, reason: &PauseReason) -> Option<PauseReason> {
        let open = |steps: &[StepId]| -> Vec<StepId> {
            let is_open = |step: &&StepId| !self.step(step).is_some_and(StepSummary::is_answered);
            steps.iter().filter(is_open).cloned().collect()
        };
        match reason {
            PauseReason::Approval { steps } => Some(open(steps))
                .filter(|steps| !steps.is_empty())
                .map(|steps| PauseReason::Approval { steps }),
            PauseReason::Manual { steps } => Some(open(steps))
                .filter(|steps| !steps.is_empty())
                .map(|steps| PauseReason::Manual { steps }),
            PauseReason::UnknownOutcome { .. }
            | PauseReason::Guard { .. }
            | PauseReason::LeaseLost { .. }
            | PauseReason::OutsideWindow { .. }
            | PauseReason::Interrupted => Some(reason.clone()),
        }
    }

    /// Resets steps that were asked what they would do, if their answers are not waited for any
    /// more: they have not begun.
    fn not_asked_any_more(&mut self) {
        for step in
            self.steps.iter_mut().filter(|step| step.asked && step.state == StepStatus::Running)
        {
            step.state = StepStatus::Pending;
            step.asked = false;
            step.summary.clear();
        }
    }

    fn retry(&mut self, retry: &RetryOf) {
        self.retry_of = Some(retry.run.to_string());
        for assumed in &retry.assumed {
            match self.place(&assumed.step).map(|place| &mut self.steps[place]) {
                Some(step) => step.assume(assumed),
                None => drop(self.assumed_items.insert(assumed.step.clone(), assumed.clone())),
            }
        }
        self.assumed.clone_from(&retry.assumed);
        self.note_earlier();
    }

    /// Gives each item a line of its own, after the step that it is an item of.
    fn list_items(&mut self, of: &StepId, items: &[Item]) {
        let Some(position) = self.place(of) else { return };
        let parent = &mut self.steps[position];
        parent.state = StepStatus::Running;
        parent.summary = format!("{} to do", crate::phrases::counted(items.len(), "item"));
        let mut new: Vec<StepSummary> = items.iter().map(|item| parent.item(of, item)).collect();
        for (item, step) in items.iter().zip(&mut new) {
            if let Some(assumed) = self.assumed_items.get(&of.item(&item.key)) {
                step.assume(assumed);
            }
        }
        self.steps.splice(position + 1..=position, new);
        self.note_places();
    }

    fn set_cause(&mut self, cause: &Cause) {
        if let Cause::Step { step } = cause {
            self.stopped_by = Some(step.clone());
        }
        self.note_cancelled(cause);
        self.cause = Some(describe_cause(cause));
        self.verdict = verdict_text(cause);
    }
}
