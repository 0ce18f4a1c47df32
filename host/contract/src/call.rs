//! A call of an operation.

use crate::{Json, Proposal, RunId, StepId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One call of one operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The run that this call belongs to.
    pub run: RunId,
    /// The call site, which determines plugin, operation and bindings.
    pub site: StepId,
    /// The step that calls: the site itself, an item of it (`STEP[KEY]`), or an item's undo
    /// (`STEP[KEY]/undo`).
    pub step: StepId,
    /// What the call is for.
    pub phase: Phase,
    /// The number of the attempt, counted from 1.
    pub attempt: u32,
    /// The input of the operation, with all templates filled in.
    pub input: Json,
    /// Whether the call may have effects. `check` of a probe, `plan` and `observe` are read-only in
    /// either mode.
    pub mode: Mode,
    /// How long the call may take, the wait for its turn included. Written in whole milliseconds.
    #[serde(rename = "timeout_ms", with = "milliseconds")]
    pub timeout: Duration,
    /// For `observe` and `undo`: the time since the last attempt of the step began, if it got no
    /// answer and may still have effects. For `plan`: the same for the step that is being undone,
    /// or for any step of the plugin. Written in whole milliseconds.
    #[serde(
        rename = "unanswered_ms",
        with = "maybe_milliseconds",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub unanswered: Option<Duration>,
}

/// What one call of a plugin is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// A probe or smoke test reads or exercises its target.
    Check,
    /// A step says what it would do.
    Plan,
    /// A step does what it said that it would do.
    Apply {
        /// The last answer of `plan`; in the journal already.
        proposal: Proposal,
        /// Whether an effect that is not in it is allowed.
        drift: DriftPolicy,
    },
    /// A step reports the present state, in the form of `before`.
    Observe,
    /// A step restores the state `before`.
    Undo {
        /// The state that `plan` saw before the first attempt.
        before: Json,
    },
}

impl Phase {
    /// Its name in messages, records and the audit log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Plan => "plan",
            Self::Apply { .. } => "apply",
            Self::Observe => "observe",
            Self::Undo { .. } => "undo",
        }
    }
}

/// Whether an effect that is not in the proposal of a step is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftPolicy {
    /// It is denied, because a person has approved exactly the proposal.
    Deny,
    /// It is allowed if it is granted, and the operator sees a warning.
    Warn,
}

/// Whether a call may have an effect. The host enforces it, whatever the plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Granted effects are allowed.
    Effects,
    /// Plan, observe and dry run: every verb that changes something is denied, whatever is granted.
    ReadOnly,
}

mod milliseconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

mod maybe_milliseconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::milliseconds::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}
