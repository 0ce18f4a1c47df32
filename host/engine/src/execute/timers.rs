//! When a step is due and when a time limit is over, by the monotonic clock. Pure: the caller
//! passes the current time.

use crate::event::{
    AfterAttempt, AttemptEvent, ItemsEvent, LifecycleEvent, NotifyEvent, RunEvent, StepEvent,
    Trigger, UndoEvent,
};
use crate::plan::{Plan, PlannedStep};
use crate::state::{Delay, RunState, Stage};
use jiff::Timestamp;
use runbook_contract::StepId;
use std::collections::BTreeMap;
use std::time::Duration;

/// The least time that an attempt gets, so that the last attempt of a poll can get an answer.
const MIN_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(100);

/// The times of a run. All are of the monotonic clock.
pub(super) struct Timers {
    /// When the run began, or was resumed.
    began: Duration,
    /// When it takes longer than usual.
    slow_at: Option<Duration>,
    /// When its `timeout` is over.
    deadline: Option<Duration>,
    /// Since when the run waits for a notification to be sent. That time does not count towards its
    /// `timeout`.
    notifying_since: Option<Duration>,
    /// How long undo may take, and how long `finally` may take.
    cleanup_timeout: Duration,
    /// When the undo or `finally` that is under way must end.
    cleanup_deadline: Option<Duration>,
    /// When a step may run again.
    due: BTreeMap<StepId, Duration>,
    /// When the first attempt of a step started.
    first_start: BTreeMap<StepId, Duration>,
    /// When the last attempt of a step started.
    last_start: BTreeMap<StepId, Duration>,
}

impl Timers {
    /// The timers of a run that begins now. `usual_duration` is that of runs of its runbook; a
    /// run is slow from twice that on.
    pub(super) fn new(plan: &Plan, usual_duration: Option<Duration>, now: Duration) -> Self {
        Self {
            began: now,
            slow_at: usual_duration.map(|usual_duration| now + 2 * usual_duration),
            deadline: plan.timeout.map(|timeout| now + timeout),
            notifying_since: None,
            cleanup_timeout: plan.limits.cleanup_timeout,
            cleanup_deadline: None,
            due: BTreeMap::new(),
            first_start: BTreeMap::new(),
            last_start: BTreeMap::new(),
        }
    }

    /// Restores the timers of a resumed run: the rest of each delay, and when attempts started. A
    /// wall clock that was set back never makes a delay longer.
    pub(super) fn restore(&mut self, state: &RunState, now: Duration, wall: Timestamp) {
        let elapsed_since =
            |at: Timestamp| Duration::try_from(wall.duration_since(at)).unwrap_or_default();
        for (id, step) in &state.steps {
            if let Some(Delay { since: at, ms }) = step.phase.delay() {
                let left = Duration::from_millis(ms).saturating_sub(elapsed_since(at));
                self.due.insert(id.clone(), now + left);
            }
            if let Some(started) = step.started {
                self.first_start.insert(id.clone(), now.saturating_sub(elapsed_since(started)));
            }
            if let Some(began) = step.unanswered {
                self.last_start.insert(id.clone(), now.saturating_sub(elapsed_since(began)));
            }
        }
        if state.stage >= Stage::Undo {
            self.cleanup_deadline = Some(now + self.cleanup_timeout);
        }
    }

    /// Updates the timers after a record.
    pub(super) fn note(&mut self, event: &RunEvent, now: Duration) {
        match event {
            RunEvent::Step { step, event } => self.note_step(step, event, now),
            RunEvent::Run(LifecycleEvent::UndoBegan { .. }) => {
                self.due.clear();
                self.cleanup_deadline.get_or_insert(now + self.cleanup_timeout);
            }
            // `finally` has a time of its own, even if the undo has used up its time.
            RunEvent::Run(LifecycleEvent::FinallyBegan { .. }) => {
                self.due.clear();
                self.cleanup_deadline = Some(now + self.cleanup_timeout);
            }
            RunEvent::Notify { on: Trigger::Start | Trigger::Waiting, event, .. } => {
                self.note_notification(event, now);
            }
            RunEvent::Run(_) | RunEvent::Guard { .. } | RunEvent::Notify { .. } => {}
        }
    }

    /// Moves the deadline of the run by the time that a notification took: notifications have a
    /// timeout of their own.
    fn note_notification(&mut self, event: &NotifyEvent, now: Duration) {
        match event {
            NotifyEvent::NotifyStarted => self.notifying_since = Some(now),
            NotifyEvent::NotifyEnded { .. } => {
                if let (Some(since), Some(deadline)) =
                    (self.notifying_since.take(), &mut self.deadline)
                {
                    *deadline += now.saturating_sub(since);
                }
            }
        }
    }

    /// When the `timeout` of the run is over; `None` also while a notification is sent.
    fn deadline(&self) -> Option<Duration> {
        self.deadline.filter(|_| self.notifying_since.is_none())
    }

    fn note_step(&mut self, step: &StepId, event: &StepEvent, now: Duration) {
        match event {
            StepEvent::Attempt(AttemptEvent::Started { .. }) => {
                self.due.remove(step);
                self.first_start.entry(step.clone()).or_insert(now);
                self.last_start.insert(step.clone(), now);
            }
            StepEvent::Attempt(
                AttemptEvent::Refused { then, .. } | AttemptEvent::Ended { then, .. },
            )
            | StepEvent::Items(ItemsEvent::Ended { then, .. })
            | StepEvent::Undo(UndoEvent::Ended { then, .. }) => self.note_end(step, *then, now),
            StepEvent::Attempt(AttemptEvent::Recovered { .. })
            | StepEvent::Items(ItemsEvent::Listed { .. } | ItemsEvent::GroupBegan { .. })
            | StepEvent::Undo(UndoEvent::Started { .. } | UndoEvent::Checked { .. })
            | StepEvent::Skip(_)
            | StepEvent::Approval(_)
            | StepEvent::Manual(_)
            | StepEvent::Wait(_) => {}
        }
    }

    fn note_end(&mut self, step: &StepId, then: AfterAttempt, now: Duration) {
        match then {
            AfterAttempt::Retry { delay_ms } | AfterAttempt::Poll { delay_ms } => {
                self.set_due(step, now + Duration::from_millis(delay_ms));
            }
            AfterAttempt::Final | AfterAttempt::Continue => {
                self.due.remove(step);
            }
        }
    }

    /// Notes that the nested file of a step begins.
    pub(super) fn start_group(&mut self, step: &StepId, now: Duration) {
        self.first_start.insert(step.clone(), now);
    }

    /// Sets when a step or a guard is due again.
    pub(super) fn set_due(&mut self, step: &StepId, until: Duration) {
        self.due.insert(step.clone(), until);
    }

    /// Resets the timers for the undo of a run that had ended: no delay is left, and the clean-up
    /// timeout begins anew.
    pub(super) fn begin_undo(&mut self) {
        self.cleanup_deadline = None;
        self.due.clear();
    }

    /// The time since the run began or was resumed.
    pub(super) fn execution_time(&self, now: Duration) -> Duration {
        now.saturating_sub(self.began)
    }

    /// Whether the delay of a step is over.
    pub(super) fn is_due(&self, step: &StepId, now: Duration) -> bool {
        self.due.get(step).is_none_or(|due| *due <= now)
    }

    /// Whether the run takes longer than usual.
    pub(super) fn is_slow(&self, now: Duration) -> bool {
        self.slow_at.is_some_and(|at| at <= now)
    }

    /// Whether the run takes longer than its `timeout`.
    pub(super) fn is_timed_out(&self, now: Duration) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Whether the time for undo or finally is over.
    pub(super) fn is_cleanup_timed_out(&self, now: Duration) -> bool {
        self.cleanup_deadline.is_some_and(|deadline| deadline <= now)
    }

    /// The shorter of a timeout and the time that is left for the clean-up; `None` if no time is
    /// left.
    pub(super) fn limit_to_cleanup(&self, timeout: Duration, now: Duration) -> Option<Duration> {
        match self.cleanup_deadline {
            Some(deadline) if deadline <= now => None,
            Some(deadline) => Some(timeout.min(deadline.saturating_sub(now))),
            None => Some(timeout),
        }
    }

    /// The time since the first attempt of a step; zero if there was none.
    pub(super) fn elapsed(&self, step: &StepId, now: Duration) -> Duration {
        self.first_start.get(step).map_or(Duration::ZERO, |start| now.saturating_sub(*start))
    }

    /// The time since the last attempt of a step; if there was none, since the start of the clock.
    pub(super) fn since_last(&self, step: &StepId, now: Duration) -> Duration {
        now.saturating_sub(self.last_start.get(step).copied().unwrap_or_default())
    }

    /// How long an attempt that begins now may take: the step's timeout, or what is left of
    /// `total_timeout` and `within`.
    pub(super) fn attempt_timeout(&self, step: &PlannedStep, now: Duration) -> Duration {
        let elapsed = self.elapsed(&step.id, now);
        let total = step.total_timeout.map(|total| total.saturating_sub(elapsed));
        let within = step.poll.as_ref().map(|poll| poll.within.saturating_sub(elapsed));
        let shortest =
            [Some(step.timeout), total, within].into_iter().flatten().min().unwrap_or(step.timeout);
        shortest.max(MIN_ATTEMPT_TIMEOUT)
    }

    /// When the time of each nested file that was opened is over.
    fn group_deadlines(&self, plan: &Plan) -> impl Iterator<Item = Duration> {
        plan.groups
            .iter()
            .filter_map(|(id, group)| Some(*self.first_start.get(id)? + group.timeout?))
    }

    /// Every time at which something is due or over, in no order. Some may be in the past.
    pub(super) fn wakeup_times(&self, plan: &Plan) -> impl Iterator<Item = Duration> {
        let deadlines = [self.slow_at, self.deadline(), self.cleanup_deadline];
        self.due
            .values()
            .copied()
            .chain(deadlines.into_iter().flatten())
            .chain(self.group_deadlines(plan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Cause;

    const SECOND: Duration = Duration::from_secs(1);

    fn timers(usual_duration: Option<Duration>) -> Timers {
        Timers {
            began: 100 * SECOND,
            slow_at: usual_duration.map(|usual_duration| 100 * SECOND + 2 * usual_duration),
            deadline: Some(160 * SECOND),
            notifying_since: None,
            cleanup_timeout: 30 * SECOND,
            cleanup_deadline: None,
            due: BTreeMap::new(),
            first_start: BTreeMap::new(),
            last_start: BTreeMap::new(),
        }
    }

    fn refused(then: AfterAttempt) -> RunEvent {
        let fault =
            runbook_contract::Fault::new(runbook_contract::ErrorClass::Transient, "test", "again");
        AttemptEvent::Refused { attempt: 1, fault, then }.of(step())
    }

    fn step() -> StepId {
        StepId::new("a")
    }

    #[test]
    fn a_delay_is_over_when_its_time_has_come_and_the_next_result_ends_it() {
        let mut timers = timers(None);
        timers.note(&refused(AfterAttempt::Retry { delay_ms: 2_000 }), 101 * SECOND);
        assert!(!timers.is_due(&step(), 102 * SECOND));
        assert!(timers.is_due(&step(), 103 * SECOND));
        timers.note(&refused(AfterAttempt::Final), 102 * SECOND);
        assert!(timers.is_due(&step(), 102 * SECOND), "nothing is waited for any more");
    }

    #[test]
    fn undo_and_finally_each_have_the_whole_cleanup_timeout() {
        let mut timers = timers(None);
        assert_eq!(timers.limit_to_cleanup(60 * SECOND, 500 * SECOND), Some(60 * SECOND));
        timers.note(
            &LifecycleEvent::UndoBegan { cause: Cause::Timeout, order: Vec::new() }.into(),
            160 * SECOND,
        );
        assert_eq!(timers.limit_to_cleanup(60 * SECOND, 170 * SECOND), Some(20 * SECOND));
        assert!(
            timers.is_cleanup_timed_out(190 * SECOND)
                && timers.limit_to_cleanup(SECOND, 190 * SECOND).is_none()
        );
        let end = crate::event::RunEnd::Undone;
        timers.note(&LifecycleEvent::FinallyBegan { end, cause: None }.into(), 200 * SECOND);
        assert_eq!(
            timers.limit_to_cleanup(60 * SECOND, 210 * SECOND),
            Some(20 * SECOND),
            "`finally` has its own time"
        );
        timers.begin_undo();
        assert!(
            !timers.is_cleanup_timed_out(1_000 * SECOND),
            "an undo that is asked for begins anew"
        );
    }

    #[test]
    fn a_run_is_slow_after_twice_what_is_usual_and_over_after_its_timeout() {
        let with_usual_duration = timers(Some(20 * SECOND));
        assert!(!with_usual_duration.is_slow(139 * SECOND));
        assert!(with_usual_duration.is_slow(140 * SECOND));
        assert!(!with_usual_duration.is_timed_out(159 * SECOND));
        assert!(with_usual_duration.is_timed_out(160 * SECOND));
        assert!(!timers(None).is_slow(1_000 * SECOND), "nobody knows what is usual");
        assert_eq!(
            with_usual_duration.execution_time(90 * SECOND),
            Duration::ZERO,
            "never negative"
        );
    }
}
