//! The responses of operations.

use crate::Json;
use serde::{Deserialize, Serialize};

/// The answer of an operation. The variant depends on the [`Phase`](crate::Phase) of the call and
/// the [`Kind`](crate::Kind) of the operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// The answer to a probe's `check`.
    Report(Report),
    /// The answer to a smoke test's `run`.
    Cases(Vec<Case>),
    /// The answer to a step's `plan`.
    Proposal(Proposal),
    /// The answer to a step's `observe`, in the shape of [`Proposal::before`].
    Observation(Json),
    /// The answer to a step's `apply` or `undo`.
    Completion(Completion),
}

/// A response with what the host observed during the call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallReturn {
    /// What the operation answered.
    pub response: Response,
    /// The lines that the plugin logged during the call, in order.
    pub logs: Vec<LogLine>,
    /// The verbs by which the call changed something, as capability and verb (`docker.stop`), each
    /// once.
    pub changing_verbs: Vec<String>,
}

/// The outcome of a check. The order is from best to worst.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// As it should be, but a person should look.
    Warn,
    /// Could not be determined. No data is never `pass`.
    Unknown,
    /// The condition does not hold.
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

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The outcome as the plugin judges it, before `expect` is applied.
    pub outcome: Outcome,
    /// One line that tells the operator what was found.
    pub summary: String,
    /// JSON that fits the operation's output schema.
    pub output: Json,
    /// Numbers that the probe measured, such as a latency; may be empty.
    pub measurements: Vec<Measurement>,
}

/// The result of a step that was applied or undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// One line that tells the operator what was done.
    pub summary: String,
    /// JSON that fits the operation's output schema.
    pub output: Json,
    /// Whether the call changed anything.
    pub changed: bool,
    /// Numbers that the step measured; may be empty.
    pub measurements: Vec<Measurement>,
}

/// One thing that a step would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Effect {
    /// Capability and verb: `docker.stop`.
    pub verb: String,
    /// What would be changed, in the words of the plugin, such as `container orders-api`.
    pub target: String,
    /// One line for the operator.
    pub summary: String,
}

/// What a step would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Proposal {
    /// What would be done, one effect for each thing; empty if nothing would change.
    pub effects: Vec<Effect>,
    /// One line for the operator.
    pub summary: String,
    /// What was there before; given to `undo`, and compared with what is observed after it.
    pub before: Json,
}

/// A number with its unit and thresholds, as monitoring plugins write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Measurement {
    /// The name of what is measured, such as `latency`.
    pub label: String,
    /// The measured number, in `unit`.
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
pub struct Case {
    /// The name of the case, as the plugin gives it.
    pub name: String,
    /// The outcome of the case, as the plugin judges it.
    pub outcome: Outcome,
    /// Why, or what was seen.
    pub detail: String,
    /// How long the case took, in milliseconds.
    pub duration_ms: u64,
}

/// One line of a plugin's log; secrets are removed already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LogLine {
    /// How important the line is.
    pub level: LogLevel,
    /// The text of the line.
    pub message: String,
}

/// How important a [`LogLine`] is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// For the author of the plugin.
    Debug,
    /// A line for the operator.
    Info,
    /// A line about something that a person should look at.
    Warn,
    /// A line about something that did not work.
    Error,
}
