//! The timeline: the spans of a run, folded from its events. The HTML report draws them, a
//! trace sends them.

use jiff::Timestamp;
use runbook_engine::{
    AfterAttempt, ApprovalEvent, ApprovalVerdict, AttemptEvent, AttemptResult, ItemsEvent,
    LifecycleEvent, ManualEvent, NotifyEvent, Outcome, PauseReason, Record, RunEvent, StepEvent,
    StepId, UndoEvent, UndoFinding, UndoResult,
};
use serde::Serialize;

/// What went on between two moments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct TimelineSpan {
    /// The step; `None` for the run itself.
    pub step: Option<String>,
    /// What went on in this time.
    pub activity: Activity,
    /// When it began.
    pub from: Timestamp,
    /// When it ended; `None` while it goes on, or if the end is not known.
    pub to: Option<Timestamp>,
    /// How the activity ended.
    pub end: SpanEnd,
    /// One line: what came of it.
    pub summary: String,
}

/// What went on during a `TimelineSpan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type", content = "number")]
pub enum Activity {
    /// An attempt, counted from 1.
    Attempt(u32),
    /// A nested file, or the items of a list.
    Group,
    /// The step waited for approval.
    Approval,
    /// It was a person's to do.
    Person,
    /// An undo, counted from 1.
    Undo(u32),
    /// A notification was sent.
    Notification,
    /// The run was paused.
    Pause,
    /// Nobody executed the run: its process had died.
    Dead,
}

/// How the activity of a `TimelineSpan` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SpanEnd {
    /// It has not ended.
    Open,
    /// It ended well.
    Good,
    /// With a warning, or not yet as it should be.
    Warned,
    /// It ended with a failure.
    Failed,
    /// It was cut off: its process died, or what it was about has changed.
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

    /// In the order in which they began.
    pub fn spans(&self) -> &[TimelineSpan] {
        &self.spans
    }

    /// Takes in one more record.
    pub fn fold(&mut self, record: &Record) {
        let at = record.at;
        match &record.event {
            RunEvent::Run(event) => self.fold_lifecycle(event, at),
            RunEvent::Step { step, event } => self.fold_step(step, event, at),
            RunEvent::Notify { notify, event, .. } => match event {
                NotifyEvent::NotifyStarted => self.begin(Some(notify), Activity::Notification, at),
                NotifyEvent::NotifyEnded { fault: None } => {
                    self.end(Some(notify), at, SpanEnd::Good, "sent");
                }
                NotifyEvent::NotifyEnded { fault: Some(fault) } => {
                    self.end(Some(notify), at, SpanEnd::Failed, &fault.message);
                }
            },
            RunEvent::Guard { .. } => {}
        }
        self.last = Some(at);
    }

    fn fold_lifecycle(&mut self, event: &LifecycleEvent, at: Timestamp) {
        match event {
            LifecycleEvent::Paused { reason, .. } => {
                self.begin(None, Activity::Pause, at);
                if let Some(span) = self.spans.last_mut() {
                    pause(reason).clone_into(&mut span.summary);
                }
            }
            LifecycleEvent::Resumed { by, .. } => self.resume(by, at),
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
            LifecycleEvent::RunEnded { .. } => self.end(None, at, SpanEnd::Good, ""),
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
                self.begin(Some(step), Activity::Group, at);
            }
            StepEvent::Items(ItemsEvent::Ended { result, then }) => {
                self.end_attempt(step, result, *then, at);
            }
            StepEvent::Approval(event) => self.fold_approval(step, event, at),
            StepEvent::Manual(ManualEvent::Asked { instructions, .. }) => {
                self.begin(Some(step), Activity::Person, at);
                self.say(step, instructions.lines().next().unwrap_or_default());
            }
            StepEvent::Manual(ManualEvent::Answered { by, .. }) => {
                self.end(Some(step), at, SpanEnd::Good, &format!("answered by {by}"));
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
                self.end(Some(step), at, SpanEnd::CutOff, "its plan changed");
                self.begin(Some(step), Activity::Approval, at);
                self.say(step, &format!("would: {}", proposal.summary));
            }
            ApprovalEvent::Given { by, verdict: ApprovalVerdict::Approved, .. } => {
                self.end(Some(step), at, SpanEnd::Good, &format!("approved by {by}"));
            }
            ApprovalEvent::Given { by, verdict: ApprovalVerdict::Rejected { reason }, .. } => {
                let summary = format!("rejected by {by}: {reason}");
                self.end(Some(step), at, SpanEnd::Failed, &summary);
            }
        }
    }

    fn fold_attempt(&mut self, step: &StepId, event: &AttemptEvent, at: Timestamp) {
        match event {
            AttemptEvent::Started { attempt, .. } => {
                self.begin(Some(step), Activity::Attempt(*attempt), at);
            }
            AttemptEvent::Refused { attempt, fault, .. } => {
                self.begin(Some(step), Activity::Attempt(*attempt), at);
                self.end(Some(step), at, SpanEnd::Failed, &fault.message);
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
        let (end, summary) = outcome(result);
        // Not yet as it should be is no failure.
        let end = if matches!(then, AfterAttempt::Poll { .. }) { SpanEnd::Warned } else { end };
        self.end(Some(step), at, end, summary);
    }

    fn fold_undo(&mut self, step: &StepId, event: &UndoEvent, at: Timestamp) {
        match event {
            UndoEvent::Started { attempt } => {
                self.begin(Some(step), Activity::Undo(*attempt), at);
            }
            UndoEvent::Ended { result: UndoResult::Done { summary }, .. } => {
                self.end(Some(step), at, SpanEnd::Good, summary);
            }
            UndoEvent::Ended { result: UndoResult::Failed { fault }, .. } => {
                self.end(Some(step), at, SpanEnd::Failed, &fault.message);
            }
            UndoEvent::Checked { finding } => match finding {
                UndoFinding::Restored | UndoFinding::TookEffect { .. } => {}
                UndoFinding::Drifted { .. } => self.blame(step, "after it, it was not as before"),
                UndoFinding::Unknown { fault } => self.blame(step, &fault.message),
            },
        }
    }

    fn begin(&mut self, step: Option<&StepId>, activity: Activity, from: Timestamp) {
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

    fn open(&mut self, step: Option<&StepId>) -> Option<&mut TimelineSpan> {
        let of_step = |span: &&mut TimelineSpan| {
            span.step.as_deref() == step.map(StepId::as_str) && span.end == SpanEnd::Open
        };
        self.spans.iter_mut().rev().find(of_step)
    }

    fn say(&mut self, step: &StepId, summary: &str) {
        if let Some(span) = self.open(Some(step)) {
            summary.clone_into(&mut span.summary);
        }
    }

    fn end(&mut self, step: Option<&StepId>, at: Timestamp, end: SpanEnd, summary: &str) {
        if let Some(span) = self.open(step) {
            (span.to, span.end) = (Some(at), end);
            if !summary.is_empty() {
                summary.clone_into(&mut span.summary);
            }
        }
    }

    /// The last span of a step must be shown as failed after all.
    fn blame(&mut self, step: &StepId, why: &str) {
        if let Some(span) =
            self.spans.iter_mut().rev().find(|span| span.step.as_deref() == Some(step.as_str()))
        {
            span.end = SpanEnd::Failed;
            why.clone_into(&mut span.summary);
        }
    }

    /// Notes that the run was resumed. What was under way when its process died has no known end; a
    /// person's answer is still awaited.
    fn resume(&mut self, by: &str, at: Timestamp) {
        let last = self.last;
        let paused = self.open(None).is_some();
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

fn outcome(result: &AttemptResult) -> (SpanEnd, &str) {
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

fn pause(reason: &PauseReason) -> &'static str {
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
