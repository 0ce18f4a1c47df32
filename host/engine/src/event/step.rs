//! The events of a step.

use super::{
    AfterAttempt, AfterWait, ApprovalVerdict, AttemptResult, CallPurpose, Item, Recovery, RunEvent,
    SkipReason, UndoFinding, UndoPlan, UndoResult,
};
use runbook_contract::{Fault, Json, LogLine, Proposal, StepId};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// An event of a step, grouped by what it is about. The group is not serialized: `type` alone
/// identifies the event.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum StepEvent {
    /// The step will not run.
    Skip(SkipEvent),
    /// Something happened to its items, or to the steps of the file that it stands for.
    Items(ItemsEvent),
    /// Something happened to its approval.
    Approval(ApprovalEvent),
    /// A person does the step.
    Manual(ManualEvent),
    /// Something happened to an attempt.
    Attempt(AttemptEvent),
    /// A call of the step takes long.
    Wait(WaitEvent),
    /// Something happened to its undo.
    Undo(UndoEvent),
}

/// A step is skipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum SkipEvent {
    /// The step will not run.
    #[serde(rename = "step-skipped")]
    Skipped {
        /// Why it will not run.
        reason: SkipReason,
    },
}

/// An event about the items of a step, or the steps of its nested file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum ItemsEvent {
    /// The items of a step with `for_each` are known; each is done and journaled as a step
    /// `STEP[KEY]` of its own.
    #[serde(rename = "items-listed")]
    Listed {
        /// The items, in the order in which they are done. May be empty.
        items: Vec<Item>,
    },
    /// The steps of a nested file begin; each is journaled as a step `STEP.ID` of its own.
    GroupBegan {
        /// The `params` of the steps of the file.
        params: serde_json::Map<String, Json>,
        /// The parameters whose value comes from a truncated output, each with the name of that
        /// output.
        #[serde(default, rename = "cut", skip_serializing_if = "BTreeMap::is_empty")]
        truncated_params: BTreeMap<String, String>,
    },
    /// All items of a step, or all steps of its nested file, have ended, or no more will begin.
    #[serde(rename = "items-ended")]
    Ended {
        /// The combined result; its output is a map of the outputs of the items by key.
        result: AttemptResult,
        /// What the run does next with the step.
        then: AfterAttempt,
    },
}

/// What happened to the approval of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum ApprovalEvent {
    /// A step waits until other people approve what it would do.
    #[serde(rename = "approval-asked")]
    Asked {
        /// The digest of what would be done, `sha256:…`; an approval is for exactly this digest.
        digest: String,
        /// The input of the step, with all templates filled in.
        input: Json,
        /// The proposal of the plugin: the effects, and the state before.
        proposal: Proposal,
        /// How many people must approve.
        quorum: u32,
        /// How long an approval is valid, in milliseconds.
        expires_ms: Option<u64>,
        /// The targets that it would act on, each with its address.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        places: Vec<String>,
    },
    /// Somebody has approved or rejected it.
    #[serde(rename = "approval-given")]
    Given {
        /// The digest of what they looked at, `sha256:…`.
        digest: String,
        /// The name of the person.
        by: String,
        /// Whether they approved or rejected it.
        verdict: ApprovalVerdict,
    },
}

/// What happened to a step that a person does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum ManualEvent {
    /// A manual step waits until a person reports that it is done.
    #[serde(rename = "manual-asked")]
    Asked {
        /// What the person is asked to do.
        instructions: String,
        /// The options that `runbook answer` needs, such as `--set rows=INT` and `--choice yes|no`.
        options: Vec<String>,
    },
    /// A person has reported that it is done, with their answers.
    #[serde(rename = "manual-answered")]
    Answered {
        /// The name of the person.
        by: String,
        /// The answers: fields of the form, and `choice`.
        values: Json,
    },
}

/// What happened to an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum AttemptEvent {
    /// Intent: an attempt is about to be made.
    #[serde(rename = "attempt-started")]
    Started {
        /// The number of the attempt, counted from 1.
        attempt: u32,
        /// The input of the attempt, with all templates filled in.
        input: Json,
        /// `sha256:…` of the input's JSON.
        input_digest: String,
        /// The proposal of the plugin: the effects, and the state before; `None` for checks.
        proposal: Option<Proposal>,
        /// What undoes the step; recorded before the effect.
        undo: UndoPlan,
    },
    /// An attempt failed before it could have any effect: its input could not be rendered, or
    /// `plan` failed.
    #[serde(rename = "attempt-refused")]
    Refused {
        /// The number of the attempt, counted from 1.
        attempt: u32,
        /// Why the attempt failed.
        fault: Fault,
        /// What the run does next with the step.
        then: AfterAttempt,
    },
    /// The result of an attempt.
    #[serde(rename = "attempt-ended")]
    Ended {
        /// The attempt that was started.
        attempt: u32,
        /// How the attempt ended, with what it returned.
        result: AttemptResult,
        /// What the run does next with the step.
        then: AfterAttempt,
        /// Time from intent to result by the monotonic clock, in milliseconds.
        duration_ms: u64,
        /// What the plugin logged.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        logs: Vec<LogLine>,
    },
    /// The decision about an attempt that had started and had no result when the run was resumed.
    Recovered {
        /// The attempt that had no result.
        attempt: u32,
        /// What was decided about it.
        decision: Recovery,
    },
}

/// A run waits for a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum WaitEvent {
    /// A call without a record of its own takes long, or a run that is about to pause still waits
    /// for a call.
    StillWaiting {
        /// What the call was made for.
        call: CallPurpose,
        /// How long the call has been under way, by the monotonic clock, in milliseconds.
        waited_ms: u64,
        /// How long the call may take, in milliseconds.
        at_most_ms: u64,
        /// What the run does when the call has ended.
        then: AfterWait,
    },
}

/// What happened to the undo of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum UndoEvent {
    /// Intent: an undo is about to be tried.
    #[serde(rename = "undo-started")]
    Started {
        /// The number of the undo, counted from 1.
        attempt: u32,
    },
    /// The result of an undo.
    #[serde(rename = "undo-ended")]
    Ended {
        /// The number of the undo, counted from 1.
        attempt: u32,
        /// How the undo ended.
        result: UndoResult,
        /// What the run does next with the step.
        then: AfterAttempt,
        /// Time from intent to result, in milliseconds.
        duration_ms: u64,
    },
    /// The step was observed after its undo.
    #[serde(rename = "undo-checked")]
    Checked {
        /// How the observed state compares with the state before the step.
        finding: UndoFinding,
    },
}

/// The `type` of every event of a step.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EventType {
    StepSkipped,
    ItemsListed,
    GroupBegan,
    ItemsEnded,
    ApprovalAsked,
    ApprovalGiven,
    ManualAsked,
    ManualAnswered,
    AttemptStarted,
    AttemptRefused,
    AttemptEnded,
    Recovered,
    StillWaiting,
    UndoStarted,
    UndoEnded,
    UndoChecked,
}

impl<'de> Deserialize<'de> for StepEvent {
    /// Chooses the group by `type`, because the error of an untagged enum would not say what is
    /// wrong.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let event = serde_json::Map::deserialize(deserializer)?;
        let event_type = event.get("type").ok_or_else(|| D::Error::missing_field("type"))?;
        let event_type = EventType::deserialize(event_type).map_err(D::Error::custom)?;
        let event = Json::Object(event);
        let event = match event_type {
            EventType::StepSkipped => SkipEvent::deserialize(event).map(Self::Skip),
            EventType::ItemsListed | EventType::GroupBegan | EventType::ItemsEnded => {
                ItemsEvent::deserialize(event).map(Self::Items)
            }
            EventType::ApprovalAsked | EventType::ApprovalGiven => {
                ApprovalEvent::deserialize(event).map(Self::Approval)
            }
            EventType::ManualAsked | EventType::ManualAnswered => {
                ManualEvent::deserialize(event).map(Self::Manual)
            }
            EventType::AttemptStarted
            | EventType::AttemptRefused
            | EventType::AttemptEnded
            | EventType::Recovered => AttemptEvent::deserialize(event).map(Self::Attempt),
            EventType::StillWaiting => WaitEvent::deserialize(event).map(Self::Wait),
            EventType::UndoStarted | EventType::UndoEnded | EventType::UndoChecked => {
                UndoEvent::deserialize(event).map(Self::Undo)
            }
        };
        event.map_err(D::Error::custom)
    }
}

impl StepEvent {
    /// This event as an event of `step`.
    pub fn of(self, step: StepId) -> RunEvent {
        RunEvent::Step { step, event: self }
    }

    pub(super) fn begins_effect(&self) -> bool {
        match self {
            Self::Attempt(event) => matches!(event, AttemptEvent::Started { .. }),
            Self::Manual(event) => matches!(event, ManualEvent::Asked { .. }),
            Self::Undo(event) => matches!(event, UndoEvent::Started { .. }),
            Self::Skip(_) | Self::Items(_) | Self::Approval(_) | Self::Wait(_) => false,
        }
    }
}

macro_rules! step_events {
    ($($group:ident($event:ident)),* $(,)?) => {$(
        impl From<$event> for StepEvent {
            fn from(event: $event) -> Self {
                Self::$group(event)
            }
        }

        impl $event {
            /// The event of this step.
            pub fn of(self, step: StepId) -> RunEvent {
                StepEvent::from(self).of(step)
            }
        }
    )*};
}

step_events! {
    Skip(SkipEvent),
    Items(ItemsEvent),
    Approval(ApprovalEvent),
    Manual(ManualEvent),
    Attempt(AttemptEvent),
    Wait(WaitEvent),
    Undo(UndoEvent),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_about_an_unreadable_event_says_what_is_wrong_with_it() {
        let error = |event: serde_json::Value| {
            serde_json::from_value::<RunEvent>(event).expect_err("it is wrong").to_string()
        };
        let step_event_error = |mut event: serde_json::Value| {
            event["of"] = Json::from("step");
            event["step"] = Json::from("a");
            error(event)
        };
        let unknown = step_event_error(serde_json::json!({ "type": "step-vanished" }));
        assert!(
            unknown.starts_with("unknown variant `step-vanished`, expected one of "),
            "{unknown}"
        );
        assert!(unknown.contains("`undo-checked`"), "{unknown}");
        assert_eq!(step_event_error(serde_json::json!({ "attempt": 1 })), "missing field `type`");
        let started = serde_json::json!({ "type": "undo-started" });
        assert_eq!(step_event_error(started), "missing field `attempt`");
    }
}
