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

/// No attempt gets less time than this, so that a last look is a look.
const LEAST_TIMEOUT: Duration = Duration::from_millis(100);

/// The times of a run. All are of the monotonic clock.
pub(super) struct Timers {
    /// When the run began, or was resumed.
    began: Duration,
    /// When it takes longer than usual.
    slow_at: Option<Duration>,
    /// When its `timeout` is over.
    deadline: Option<Duration>,
    /// Since when the run waits until people were told of something. That wait is not counted as
    /// time of the run.
    telling_since: Option<Duration>,
    /// How long undo and finally may take, each.
    cleanup_timeout: Duration,
    /// When the one of them that is under way is over.
    cleanup_deadline: Option<Duration>,
    /// When a step may run again.
    due: BTreeMap<StepId, Duration>,
    /// When the first attempt of a step started.
    first_start: BTreeMap<StepId, Duration>,
    /// When the last one did.
    last_start: BTreeMap<StepId, Duration>,
}

impl Timers {
    /// The timers of a run that begins now. `usual` is how long runs of its runbook take as a rule;
    /// a run that takes twice that is slow.
    pub(super) fn new(plan: &Plan, usual: Option<Duration>, now: Duration) -> Self {
        Self {
            began: now,
            slow_at: usual.map(|usual| now + 2 * usual),
            deadline: plan.timeout.map(|timeout| now + timeout),
            telling_since: None,
            cleanup_timeout: plan.limits.cleanup_timeout,
            cleanup_deadline: None,
            due: BTreeMap::new(),
            first_start: BTreeMap::new(),
            last_start: BTreeMap::new(),
        }
    }

    /// What is left of the delays that a crash interrupted. A wall clock that jumped back never
    /// makes one longer.
    pub(super) fn restore(&mut self, state: &RunState, now: Duration, wall: Timestamp) {
        let since = |at: Timestamp| Duration::try_from(wall.duration_since(at)).unwrap_or_default();
        for (id, step) in &state.steps {
            if let Some(Delay { since: at, ms }) = step.phase.delay() {
                let left = Duration::from_millis(ms).saturating_sub(since(at));
                self.due.insert(id.clone(), now + left);
            }
            if let Some(started) = step.started {
                self.first_start.insert(id.clone(), now.saturating_sub(since(started)));
            }
            if let Some(began) = step.unanswered {
                self.last_start.insert(id.clone(), now.saturating_sub(since(began)));
            }
        }
        if state.stage >= Stage::Undo {
            self.cleanup_deadline = Some(now + self.cleanup_timeout);
        }
    }

    /// Takes in what a record says.
    pub(super) fn note(&mut self, event: &RunEvent, now: Duration) {
        match event {
            RunEvent::Step { step, event } => self.note_step(step, event, now),
            RunEvent::Run(LifecycleEvent::UndoBegan { .. }) => {
                self.due.clear();
                self.cleanup_deadline.get_or_insert(now + self.cleanup_timeout);
            }
            // An undo that used up its time leaves `finally` its own.
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

    /// A message that is waited for has its own time limit, and moves that of the run.
    fn note_notification(&mut self, event: &NotifyEvent, now: Duration) {
        match event {
            NotifyEvent::NotifyStarted => self.telling_since = Some(now),
            NotifyEvent::NotifyEnded { .. } => {
                if let (Some(since), Some(deadline)) =
                    (self.telling_since.take(), &mut self.deadline)
                {
                    *deadline += now.saturating_sub(since);
                }
            }
        }
    }

    /// When the time of the run is over. It stands still while the run waits until people are told.
    fn deadline(&self) -> Option<Duration> {
        self.deadline.filter(|_| self.telling_since.is_none())
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
                self.rest(step, now + Duration::from_millis(delay_ms));
            }
            AfterAttempt::Final | AfterAttempt::Continue => {
                self.due.remove(step);
            }
        }
    }

    /// The nested file that a step stands for is opened.
    pub(super) fn open(&mut self, step: &StepId, now: Duration) {
        self.first_start.insert(step.clone(), now);
    }

    /// A step, or a guard, has nothing to do until then.
    pub(super) fn rest(&mut self, step: &StepId, until: Duration) {
        self.due.insert(step.clone(), until);
    }

    /// A run that had ended is undone: nothing rests, and the time of the clean-up begins anew.
    pub(super) fn begin_undo(&mut self) {
        self.cleanup_deadline = None;
        self.due.clear();
    }

    /// Since the run began, or was resumed.
    pub(super) fn executed(&self, now: Duration) -> Duration {
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
    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Whether the time for undo or finally is over.
    pub(super) fn is_cleanup_over(&self, now: Duration) -> bool {
        self.cleanup_deadline.is_some_and(|deadline| deadline <= now)
    }

    /// How much of `wanted` there is before the clean-up must end; `None` if it is over.
    pub(super) fn cleanup_left(&self, wanted: Duration, now: Duration) -> Option<Duration> {
        match self.cleanup_deadline {
            Some(deadline) if deadline <= now => None,
            Some(deadline) => Some(wanted.min(deadline.saturating_sub(now))),
            None => Some(wanted),
        }
    }

    /// Since the first attempt of a step; nothing if there was none.
    pub(super) fn elapsed(&self, step: &StepId, now: Duration) -> Duration {
        self.first_start.get(step).map_or(Duration::ZERO, |start| now.saturating_sub(*start))
    }

    /// Since the last attempt of a step; if there was none, since the clock began.
    pub(super) fn since_last(&self, step: &StepId, now: Duration) -> Duration {
        now.saturating_sub(self.last_start.get(step).copied().unwrap_or_default())
    }

    /// How long an attempt that begins now may take: the step's timeout, or what is left of
    /// `total_timeout` and `within`.
    pub(super) fn attempt_timeout(&self, step: &PlannedStep, now: Duration) -> Duration {
        let elapsed = self.elapsed(&step.id, now);
        let total = step.total_timeout.map(|total| total.saturating_sub(elapsed));
        let within = step.poll.as_ref().map(|poll| poll.within.saturating_sub(elapsed));
        let least =
            [Some(step.timeout), total, within].into_iter().flatten().min().unwrap_or(step.timeout);
        least.max(LEAST_TIMEOUT)
    }

    /// When the time of each nested file that was opened is over.
    fn group_deadlines(&self, plan: &Plan) -> impl Iterator<Item = Duration> {
        plan.groups
            .iter()
            .filter_map(|(id, group)| Some(*self.first_start.get(id)? + group.timeout?))
    }

    /// Every moment at which something is due or over, in no order. Some may be in the past.
    pub(super) fn moments(&self, plan: &Plan) -> impl Iterator<Item = Duration> {
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

    fn timers(usual: Option<Duration>) -> Timers {
        Timers {
            began: 100 * SECOND,
            slow_at: usual.map(|usual| 100 * SECOND + 2 * usual),
            deadline: Some(160 * SECOND),
            telling_since: None,
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
    fn undo_and_finally_have_their_time_each_and_none_before_they_begin() {
        let mut timers = timers(None);
        assert_eq!(timers.cleanup_left(60 * SECOND, 500 * SECOND), Some(60 * SECOND));
        timers.note(
            &LifecycleEvent::UndoBegan { cause: Cause::Timeout, order: Vec::new() }.into(),
            160 * SECOND,
        );
        assert_eq!(timers.cleanup_left(60 * SECOND, 170 * SECOND), Some(20 * SECOND));
        assert!(
            timers.is_cleanup_over(190 * SECOND)
                && timers.cleanup_left(SECOND, 190 * SECOND).is_none()
        );
        let end = crate::event::RunEnd::Undone;
        timers.note(&LifecycleEvent::FinallyBegan { end, cause: None }.into(), 200 * SECOND);
        assert_eq!(
            timers.cleanup_left(60 * SECOND, 210 * SECOND),
            Some(20 * SECOND),
            "`finally` has its own time"
        );
        timers.begin_undo();
        assert!(!timers.is_cleanup_over(1_000 * SECOND), "an undo that is asked for begins anew");
    }

    #[test]
    fn a_run_is_slow_after_twice_what_is_usual_and_over_after_its_timeout() {
        let usual = timers(Some(20 * SECOND));
        assert!(!usual.is_slow(139 * SECOND) && usual.is_slow(140 * SECOND));
        assert!(!usual.is_over(159 * SECOND) && usual.is_over(160 * SECOND));
        assert!(!timers(None).is_slow(1_000 * SECOND), "nobody knows what is usual");
        assert_eq!(usual.executed(90 * SECOND), Duration::ZERO, "never negative");
    }
}
