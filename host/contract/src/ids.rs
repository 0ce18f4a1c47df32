//! The ids of runs and steps.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// The id of one run: a `UUIDv7`, so that ids sort by the time at which their runs started.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl RunId {
    /// A new id, with the present time.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads the full form, such as `0193ab12-…`.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// The first 13 characters, which are shown to people. They hold the time to the millisecond.
    pub fn short(&self) -> String {
        self.0.to_string().chars().take(13).collect()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of one call site in a runbook.
///
/// A preflight, step, verify or `finally` step has the `id` in its file. An explicit undo is
/// `STEP/undo`; a notification is `notify/N`, counted from 1; an item of `for_each` is `STEP[KEY]`;
/// a step of a nested file is `STEP.ID`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct StepId(String);

impl StepId {
    /// The id with this text. The text is not checked.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The explicit undo of this step.
    #[must_use]
    pub fn undo(&self) -> Self {
        Self(format!("{}/undo", self.0))
    }

    /// The step that this explicit undo belongs to; `None` if it is no explicit undo.
    pub fn undone_step(&self) -> Option<Self> {
        self.0.strip_suffix("/undo").map(Self::new)
    }

    /// The item of this step with this key.
    #[must_use]
    pub fn item(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The id as it is written in the runbook: for an item, the step that it is an item of. Ids
    /// have no brackets, but keys may.
    #[must_use]
    pub fn as_written(&self) -> Self {
        Self(self.0.split('[').next().unwrap_or_default().to_owned())
    }

    /// A step of the nested file that this step uses.
    #[must_use]
    pub fn inner(&self, id: &Self) -> Self {
        Self(format!("{}.{}", self.0, id.0))
    }

    /// Whether it is a step, at any depth, of the nested file that `group` uses.
    pub fn is_inside(&self, group: &Self) -> bool {
        self.0.strip_prefix(group.as_str()).is_some_and(|rest| rest.starts_with('.'))
    }

    /// The notification with this number, counted from 1.
    pub fn notify(number: usize) -> Self {
        Self(format!("notify/{number}"))
    }

    /// The id as text, such as `backup`, `backup/undo` or `copy[eu-1]`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for StepId {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}
