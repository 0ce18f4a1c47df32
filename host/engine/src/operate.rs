//! What the engine asks of a plugin, and what it is answered. The engine knows no wasm: slots, grants and components are
//! hidden behind [`Operate`].

use crate::ids::{RunId, StepId};
use crate::known::Misfit;
use crate::lease_watch::LeaseWatch;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A JSON value.
pub type Json = serde_json::Value;

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Observes and changes nothing.
    Probe,
    /// A scenario of several cases that cleans up after itself.
    SmokeTest,
    /// Acts.
    Step,
}

/// What a check found. The order is from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Somebody should look.
    Warn,
    /// Could not be determined. No data is never `pass`.
    Unknown,
    /// Not as it should be.
    Fail,
}

impl Outcome {
    /// All outcomes, from best to worst.
    pub const ALL: &[Self] = &[Self::Pass, Self::Warn, Self::Unknown, Self::Fail];

    /// The name in runbooks and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        }
    }
}

/// Why something did not work. The list is closed: the class decides what the engine does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorClass {
    /// The input, or what was found, makes no sense for the operation.
    Invalid,
    /// The runbook does not grant the call.
    Denied,
    /// What the operation needs does not exist.
    NotFound,
    /// It exists in a state that forbids the operation, or somebody else changed it.
    Conflict,
    /// The other side is away or overloaded.
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
    /// It cannot be told whether the effect happened.
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

    /// The class with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|class| class.name() == name)
    }
}

/// One line of a plugin's log; secrets are removed already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LogLine {
    /// How important it is.
    pub level: LogLevel,
    /// The line.
    pub message: String,
}

/// How important a [`LogLine`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// For the author of the plugin.
    Debug,
    /// For the operator.
    Info,
    /// Somebody should look.
    Warn,
    /// Something did not work.
    Error,
}

/// A call that did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Fault {
    /// What the engine does next depends on this.
    pub class: ErrorClass,
    /// Stable and specific, such as `sql.syntax`.
    pub code: String,
    /// One line for the operator: lowercase, no final period, never a secret.
    pub message: String,
    /// What the plugin logged in the call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogLine>,
    /// Whether anything may have changed.
    #[serde(default, skip_serializing_if = "FaultEffect::is_possible")]
    pub effect: FaultEffect,
}

/// What a call that did not work may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultEffect {
    /// The class says whether it can be known.
    #[default]
    Possible,
    /// Nothing, whatever the class: the host let no change through, or none that was made final.
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
        Self { class, code: code.into(), message: message.into(), logs: Vec::new(), effect: FaultEffect::Possible }
    }
}

/// The code of a [`Fault`] of a call in which something was denied because its run may not hold its locks any more: the call is as
/// good as cut off, and whether it took effect is found out as after a crash.
pub const LEASE_LOST: &str = "engine.lease-lost";

/// One thing that a step would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Effect {
    /// Capability and verb: `docker.stop`.
    pub verb: String,
    /// What it is done to: `container orders-api`.
    pub target: String,
    /// One line for the operator.
    pub summary: String,
}

/// What a step would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Proposal {
    /// Empty: nothing would change.
    pub effects: Vec<Effect>,
    /// One line for the operator.
    pub summary: String,
    /// What was there before; given to `undo`, and compared with what is observed after it.
    pub before: Json,
}

/// A number with its unit and thresholds, as monitoring plugins write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Measurement {
    /// What is measured.
    pub label: String,
    /// The number, in `unit`.
    pub value: f64,
    /// `s`, `ms`, `B`, `%`, `c` (a counter), or empty for a plain number.
    pub unit: String,
    /// Range in Nagios syntax outside which it warns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn: Option<String>,
    /// Range in Nagios syntax outside which it is critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crit: Option<String>,
}

/// One case of a smoke test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Verdict {
    /// The case.
    pub name: String,
    /// What was found.
    pub outcome: Outcome,
    /// Why, or what was seen.
    pub detail: String,
    /// How long the case took, in milliseconds.
    pub duration_ms: u64,
}

/// What one call of a plugin is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Probe or smoke test: look.
    Check,
    /// Step: what would you do?
    Plan,
    /// Step: do it.
    Apply {
        /// What `plan` answered just before; in the journal already.
        proposal: Proposal,
        /// What happens to an effect that is not in it.
        drift: Drift,
    },
    /// Step: what is there now, in the shape of `before`?
    Observe,
    /// Step: put back what `before` says.
    Undo {
        /// What `plan` saw before the first attempt.
        before: Json,
    },
}

/// What happens to an effect that a step's proposal did not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drift {
    /// It is denied before it happens: a person has approved the proposal.
    Refused,
    /// It happens if it is granted, and the operator is told.
    Told,
}

/// Whether a call may have an effect. The host enforces it, whatever the plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Granted effects happen.
    Effects,
    /// Every effect is refused.
    ReadOnly,
}

/// One call of one operation.
#[derive(Debug, Clone)]
pub struct Call {
    /// The run.
    pub run: RunId,
    /// The call site, which stands for plugin, operation and bindings.
    pub site: StepId,
    /// Who calls: the site, or an item of it (`STEP[KEY]`, `STEP[KEY]/undo`).
    pub step: StepId,
    /// What the call is for.
    pub phase: Phase,
    /// Counted from 1.
    pub attempt: u32,
    /// The rendered input.
    pub input: Json,
    /// Whether effects may happen.
    pub mode: Mode,
    /// How long the call may take. The engine drops the call's future shortly after it.
    pub timeout: Duration,
    /// Until when the call may begin to change something: its run holds its locks no longer.
    pub leases: LeaseWatch,
}

/// What a call was answered; the variant fits the [`Phase`] of the call.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Of a probe's [`Phase::Check`].
    Report {
        /// What was found.
        outcome: Outcome,
        /// One line.
        summary: String,
        /// JSON that fits the operation's output schema.
        output: Json,
        /// Numbers.
        measurements: Vec<Measurement>,
    },
    /// Of a smoke test's [`Phase::Check`].
    Verdicts(Vec<Verdict>),
    /// Of [`Phase::Plan`].
    Proposal(Proposal),
    /// Of [`Phase::Observe`].
    Observation(Json),
    /// Of [`Phase::Apply`] and [`Phase::Undo`].
    Completion {
        /// One line.
        summary: String,
        /// JSON that fits the operation's output schema.
        output: Json,
        /// Whether anything was changed.
        changed: bool,
        /// Numbers.
        measurements: Vec<Measurement>,
    },
}

/// An answer with what the plugin logged.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The answer.
    pub answer: Answer,
    /// The log of the call.
    pub logs: Vec<LogLine>,
    /// What the host let it change, as capability and verb (`docker.stop`), each once.
    pub acted: Vec<String>,
}

/// What the manifest and the verified component say about the operation of one call site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationFacts {
    /// What it is.
    pub kind: Kind,
    /// Running it again after an unknown outcome does no harm.
    pub idempotent: bool,
    /// The plugin can undo it, so that `undo = "auto"` is possible.
    pub undo: bool,
    /// It uses a verb that changes something.
    pub writes: bool,
    /// The component's digest, `sha256:…`; a resumed run must find the same.
    pub digest: String,
}

/// Calls operations. The cli implements it with the runtime; tests with a fake world.
pub trait Operate: Sync {
    /// What is known about the operation at this call site.
    fn facts(&self, step: &StepId) -> &OperationFacts;

    /// What of an input does not fit the operation at this call site. Nothing, where there is no schema to compare it with.
    fn misfits(&self, site: &StepId, input: &Json) -> Vec<Misfit> {
        let (_, _) = (site, input);
        Vec::new()
    }

    /// Calls it. Dropping the future must stop the call.
    fn call(&self, call: Call) -> impl Future<Output = Result<Answered, Fault>> + Send;
}
