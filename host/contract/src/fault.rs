//! Faults: why an operation failed.

use crate::{LogLine, Outcome};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The code of a fault because of a secret that is not read now: its source may change something,
/// and nothing may be changed.
pub const SECRET_WITHHELD: &str = "secrets.withheld";

/// The class of a fault. The class decides what the engine does next, so the list is closed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorClass {
    /// The input, or the state of the target, is not valid for the operation.
    Invalid,
    /// The runbook does not grant the call.
    Denied,
    /// What the operation needs does not exist.
    NotFound,
    /// It exists in a state that forbids the operation, or somebody else changed it.
    Conflict,
    /// The server is not reachable or is overloaded.
    Transient,
    /// No answer in time. A write may or may not have happened.
    Timeout,
    /// A limit was reached.
    Limit,
    /// The answer is not what was expected.
    Assertion,
    /// The plugin was stopped by the engine that runs it: a bug in the plugin.
    Trap,
    /// The operator stopped the run.
    Cancelled,
    /// It is unknown whether the effect happened.
    Unknown,
}

impl ErrorClass {
    /// All classes, as listed in the format.
    pub const ALL: &[Self] = &[
        Self::Invalid,
        Self::Denied,
        Self::NotFound,
        Self::Conflict,
        Self::Transient,
        Self::Timeout,
        Self::Limit,
        Self::Assertion,
        Self::Trap,
        Self::Cancelled,
        Self::Unknown,
    ];

    /// The name in runbooks and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Transient => "transient",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::Assertion => "assertion",
            Self::Trap => "trap",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome of a probe whose call ended with this class: a wrong answer is a failed check.
    /// `None` if the probe got no answer, because nothing listens, a name is not found, or a time
    /// limit is over.
    pub fn verdict(self) -> Option<Outcome> {
        match self {
            Self::Assertion => Some(Outcome::Fail),
            Self::Invalid
            | Self::Denied
            | Self::NotFound
            | Self::Conflict
            | Self::Transient
            | Self::Timeout
            | Self::Limit
            | Self::Trap
            | Self::Cancelled
            | Self::Unknown => None,
        }
    }

    /// The class with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|class| class.name() == name)
    }
}

/// The reason why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Fault {
    /// The class, which decides what the engine does next.
    pub class: ErrorClass,
    /// The stable code, such as `sql.syntax`.
    pub code: String,
    /// One line for the operator: lowercase, no final period, never a secret.
    pub message: String,
    /// What the plugin logged in the call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogLine>,
    /// Whether the call may have changed something.
    #[serde(default, skip_serializing_if = "FaultEffect::is_possible")]
    pub effect: FaultEffect,
}

/// Whether a call that failed may have changed something.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum FaultEffect {
    /// It may have, depending on the class.
    #[default]
    Possible,
    /// It has changed nothing, whatever the class: the host allowed no change, or none was
    /// committed.
    None,
}

impl FaultEffect {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_possible(&self) -> bool {
        *self == Self::Possible
    }
}

impl Fault {
    /// A fault without a log.
    pub fn new(class: ErrorClass, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            class,
            code: code.into(),
            message: message.into(),
            logs: Vec::new(),
            effect: FaultEffect::Possible,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Fault {}
