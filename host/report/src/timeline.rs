//! The timeline: the spans of a run, folded from its events. The HTML report draws them, and
//! [`trace`](crate::trace) exports them.

use jiff::Timestamp;
use runbook_engine::{
    AfterAttempt, ApprovalEvent, ApprovalVerdict, AttemptEvent, AttemptResult, ItemsEvent,
    LifecycleEvent, ManualEvent, NotifyEvent, Outcome, PauseReason, Record, RunEvent, StepEvent,
    StepId, UndoEvent, UndoFinding, UndoResult,
};
use serde::Serialize;

/// An activity of a run or step, with its begin and end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct TimelineSpan {
    /// The step; `None` for the run itself.
    pub step: Option<String>,
    /// What the run or step did in this time.
    pub activity: Activity,
    /// When it began.
    pub from: Timestamp,
    /// When it ended; `None` while it continues, or if the end is not known.
    pub to: Option<Timestamp>,
    /// How the activity ended.
    pub end: SpanEnd,
    /// One line: the result of the activity.
    pub summary: String,
}

/// What the run or step did during a `TimelineSpan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type", content = "number")]
pub enum Activity {
    /// An attempt, counted from 1.
    Attempt(u32),
    /// The steps of a nested file, or the items of `for_each`.
    Group,
    /// The step waited for approval.
    Approval,
    /// A manual step waited for a person.
    Person,
    /// An undo, counted from 1.
    Undo(u32),
    /// A notification was sent.
    Notification,
    /// The run was paused.
    Pause,
    /// No process executed the run: the last one had died.
    Dead,
}

/// How the activity of a `TimelineSpan` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SpanEnd {
    /// It has not ended.
    Open,
    /// It succeeded.
    Good,
    /// It ended with a warning, or its poll condition does not hold yet.
    Warned,
    /// It failed.
    Failed,
    /// It was cut off: its process died, or its plan has changed.
    CutOff,
}

impl SpanEnd {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "goes on",
            Self::Good => "done",
            Self::Warned => "not as it should be",
            Self::Failed => "failed",
            Self::CutOff => "cut off",
        }
    }
}

impl Activity {
    /// The activity in a few words.
    pub fn text(self) -> String {
        match self {
            Self::Attempt(number) => format!("attempt {number}"),
            Self::Group => "its steps".to_owned(),
            Self::Approval => "waits for approval".to_owned(),
            Self::Person => "waits for a person".to_owned(),
            Self::Undo(number) => format!("undo {number}"),
            Self::Notification => "notification".to_owned(),
            Self::Pause => "paused".to_owned(),
            Self::Dead => "nobody executed the run".to_owned(),
        }
    }
}

/// The spans of a run, in the order in which they began.
#[derive(Debug, Clone, Default, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Timeline {
    spans: Vec<TimelineSpan>,
    /// When the last record was written.
    #[serde(skip)]
    last: Option<Timestamp>,
}

impl Timeline {
    /// The spans of a run.
    pub fn of(records: &[Record]) -> Self {
        let mut timeline = Self::default();
        for record in records {
            timeline.fold(record);
        }
        timeline
    }

    /// The spans, in the order in which they began.
    pub fn spans(&self) -> &[TimelineSpan] {
        &self.spans
    }

    /// Updates the timeline with one more record.
    pub fn fold(&mut self, record: &Record) {
        let at = record.at;
        match &record.event {
            RunEvent::Run(event) => self.fold_lifecycle(event, at),
            RunEvent::Step { step, event } => self.fold_step(step, event, at),
            RunEvent::Notify { notify, event, .. } => match event {
                NotifyEvent::NotifyStarted => {
                    self.begin_span(Some(notify), Activity::Notification, at);
                }
                NotifyEvent::NotifyEnded { fault: None } => {
                    self.end_span(Some(notify), at, SpanEnd::Good, "sent");
                }
                NotifyEvent::NotifyEnded { fault: Some(fault) } => {
                    self.end_span(Some(notify), at, SpanEnd::Failed, &fault.message);
                }
            },
            RunEvent::Guard { .. } => {}
        }
        self.last = Some(at);
    }

    fn fold_lifecycle(&mut self, event: &LifecycleEvent, at: Timestamp) {
        match event {
            LifecycleEvent::Paused { reason, .. } => {
                self.begin_span(None, Activity::Pause, at);
                if let Some(span) = self.spans.last_mut() {
                    pause_summary(reason).clone_into(&mut span.summary);
                }
            }
            LifecycleEvent::Resumed { by, .. } => self.fold_resumed(by, at),
            LifecycleEvent::UndoRequested { by, .. } => {
                let summary = format!("it had ended; undo asked for by {by}");
                let from = self.last.unwrap_or(at);
                self.spans.push(TimelineSpan {
                    step: None,
                    activity: Activity::Pause,
                    from,
                    to: Some(at),
                    end: SpanEnd::Good,
                    summary,
                });
            }
            LifecycleEvent::RunEnded { .. } => self.end_span(None, at, SpanEnd::Good, ""),
            LifecycleEvent::RunStarted { .. }
            | LifecycleEvent::LockWaiting { .. }
            | LifecycleEvent::WindowChecked { .. }
            | LifecycleEvent::StepsBegan { .. }
            | LifecycleEvent::LocksRetaken { .. }
            | LifecycleEvent::CancelRequested { .. }
            | LifecycleEvent::Stopping { .. }
            | LifecycleEvent::VerifyBegan
            | LifecycleEvent::UndoBegan { .. }
            | LifecycleEvent::FinallyBegan { .. } => {}
        }
    }

    fn fold_step(&mut self, step: &StepId, event: &StepEvent, at: Timestamp) {
        match event {
            StepEvent::Items(ItemsEvent::Listed { .. } | ItemsEvent::GroupBegan { .. }) => {
                self.begin_span(Some(step), Activity::Group, at);
            }
            StepEvent::Items(ItemsEvent::Ended { result, then }) => {
                self.end_attempt(step, result, *then, at);
            }
            StepEvent::Approval(event) => self.fold_approval(step, event, at),
            StepEvent::Manual(ManualEvent::Asked { instructions, .. }) => {
                self.begin_span(Some(step), Activity::Person, at);
                self.set_summary(step, instructions.lines().next().unwrap_or_default());
            }
            StepEvent::Manual(ManualEvent::Answered { by, .. }) => {
                self.end_span(Some(step), at, SpanEnd::Good, &format!("answered by {by}"));
            }
            StepEvent::Attempt(event) => self.fold_attempt(step, event, at),
            StepEvent::Undo(event) => self.fold_undo(step, event, at),
            StepEvent::Skip(_) | StepEvent::Wait(_) => {}
        }
    }

    fn fold_approval(&mut self, step: &StepId, event: &ApprovalEvent, at: Timestamp) {
        match event {
            ApprovalEvent::Asked { proposal, .. } => {
                // Asked again, because what it would do has changed.
                self.end_span(Some(step), at, SpanEnd::CutOff, "its plan changed");
                self.begin_span(Some(step), Activity::Approval, at);
                self.set_summary(step, &format!("would: {}", proposal.summary));
            }
            ApprovalEvent::Given { by, verdict: ApprovalVerdict::Approved, .. } => {
                self.end_span(Some(step), at, SpanEnd::Good, &format!("approved by {by}"));
            }
            ApprovalEvent::Given { by, verdict: ApprovalVerdict::Rejected { reason }, .. } => {
                let summary = format!("rejected by {by}: {reason}");
                self.end_span(Some(step), at, SpanEnd::Failed, &summary);
            }
        }
    }

    fn fold_attempt(&mut self, step: &StepId, event: &AttemptEvent, at: Timestamp) {
        match event {
            AttemptEvent::Started { attempt, .. } => {
                self.begin_span(Some(step), Activity::Attempt(*attempt), at);
            }
            AttemptEvent::Refused { attempt, fault, .. } => {
                self.begin_span(Some(step), Activity::Attempt(*attempt), at);
                self.end_span(Some(step), at, SpanEnd::Failed, &fault.message);
            }
            AttemptEvent::Ended { result, then, .. } => self.end_attempt(step, result, *then, at),
            AttemptEvent::Recovered { .. } => {}
        }
    }

    fn end_attempt(
        &mut self,
        step: &StepId,
        result: &AttemptResult,
        then: AfterAttempt,
        at: Timestamp,
    ) {
        let (end, summary) = attempt_end(result);
        // A poll whose condition does not hold yet has not failed.
        let end = if matches!(then, AfterAttempt::Poll { .. }) { SpanEnd::Warned } else { end };
        self.end_span(Some(step), at, end, summary);
    }

    fn fold_undo(&mut self, step: &StepId, event: &UndoEvent, at: Timestamp) {
        match event {
            UndoEvent::Started { attempt } => {
                self.begin_span(Some(step), Activity::Undo(*attempt), at);
            }
            UndoEvent::Ended { result: UndoResult::Done { summary }, .. } => {
                self.end_span(Some(step), at, SpanEnd::Good, summary);
            }
            UndoEvent::Ended { result: UndoResult::Failed { fault }, .. } => {
                self.end_span(Some(step), at, SpanEnd::Failed, &fault.message);
            }
            UndoEvent::Checked { finding } => match finding {
                UndoFinding::Restored | UndoFinding::TookEffect { .. } => {}
                UndoFinding::Drifted { .. } => {
                    self.mark_failed(step, "after it, it was not as before");
                }
                UndoFinding::Unknown { fault } => self.mark_failed(step, &fault.message),
            },
        }
    }

    fn begin_span(&mut self, step: Option<&StepId>, activity: Activity, from: Timestamp) {
        let step = step.map(ToString::to_string);
        self.spans.push(TimelineSpan {
            step,
            activity,
            from,
            to: None,
            end: SpanEnd::Open,
            summary: String::new(),
        });
    }

    fn open_span(&mut self, step: Option<&StepId>) -> Option<&mut TimelineSpan> {
        let is_of_step = |span: &&mut TimelineSpan| {
            span.step.as_deref() == step.map(StepId::as_str) && span.end == SpanEnd::Open
        };
        self.spans.iter_mut().rev().find(is_of_step)
    }

    fn set_summary(&mut self, step: &StepId, summary: &str) {
        if let Some(span) = self.open_span(Some(step)) {
            summary.clone_into(&mut span.summary);
        }
    }

    fn end_span(&mut self, step: Option<&StepId>, at: Timestamp, end: SpanEnd, summary: &str) {
        if let Some(span) = self.open_span(step) {
            (span.to, span.end) = (Some(at), end);
            if !summary.is_empty() {
                summary.clone_into(&mut span.summary);
            }
        }
    }

    /// Marks the last span of a step as failed, because of something observed after its end.
    fn mark_failed(&mut self, step: &StepId, why: &str) {
        if let Some(span) =
            self.spans.iter_mut().rev().find(|span| span.step.as_deref() == Some(step.as_str()))
        {
            span.end = SpanEnd::Failed;
            why.clone_into(&mut span.summary);
        }
    }

    /// Notes that the run was resumed. An attempt that was under way when its process died was cut
    /// off; an approval or answer is still awaited.
    fn fold_resumed(&mut self, by: &str, at: Timestamp) {
        let last = self.last;
        let paused = self.open_span(None).is_some();
        for span in self.spans.iter_mut().filter(|span| span.end == SpanEnd::Open) {
            match span.activity {
                Activity::Attempt(_) | Activity::Undo(_) | Activity::Notification => {
                    (span.to, span.end) = (last, SpanEnd::CutOff);
                }
                Activity::Pause | Activity::Dead => (span.to, span.end) = (Some(at), SpanEnd::Good),
                Activity::Group | Activity::Approval | Activity::Person => {}
            }
        }
        if let Some(last) = last.filter(|_| !paused) {
            let summary = format!("resumed by {by}");
            self.spans.push(TimelineSpan {
                step: None,
                activity: Activity::Dead,
                from: last,
                to: Some(at),
                end: SpanEnd::CutOff,
                summary,
            });
        }
    }
}

fn attempt_end(result: &AttemptResult) -> (SpanEnd, &str) {
    match result {
        AttemptResult::Succeeded { outcome: Outcome::Pass, summary, .. } => {
            (SpanEnd::Good, summary)
        }
        AttemptResult::Succeeded {
            outcome: Outcome::Warn | Outcome::Unknown | Outcome::Fail,
            summary,
            ..
        } => (SpanEnd::Warned, summary),
        AttemptResult::Failed { fault, .. } => (SpanEnd::Failed, &fault.message),
    }
}

fn pause_summary(reason: &PauseReason) -> &'static str {
    match reason {
        PauseReason::UnknownOutcome { .. } => "an outcome is unknown",
        PauseReason::Approval { .. } => "waits for approval",
        PauseReason::Manual { .. } => "waits for a person",
        PauseReason::Guard { .. } => "a guard paused it",
        PauseReason::LeaseLost { taken_by: None, .. } => "a lock was lost",
        PauseReason::LeaseLost { taken_by: Some(_), .. } => "somebody took a lock from it",
        PauseReason::OutsideWindow { .. } => "the window closed",
        PauseReason::Interrupted => "interrupted",
    }
}
