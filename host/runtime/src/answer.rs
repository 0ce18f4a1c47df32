//! What goes into a call and what comes out, in plain Rust: nothing of the generated bindings leaves this crate.

use crate::bindings::runbook::plugin::types as wit;
use crate::capabilities::log::LogLine;
use crate::fault::FaultClass;
use crate::host::HostCalls;
use crate::permit::Permit;
use runbook_authority::Mode;
use runbook_authority::gate::Denial;
use serde_json::Value;
use std::time::Duration;

/// One call of one operation.
#[derive(Debug, Clone)]
pub struct CallRequest {
    /// The run's id.
    pub run: String,
    /// The step's id.
    pub step: String,
    /// Counted from 1.
    pub attempt: u32,
    /// What is asked.
    pub phase: Phase,
    /// The operation's input.
    pub input: Value,
    /// Whether effects are allowed. `Check`, `Plan` and `Observe` are read-only whatever stands here.
    pub mode: Mode,
    /// For the whole call, the wait for its turn included.
    pub timeout: Duration,
    /// What it may begin, beside what is granted.
    pub permit: Permit,
}

/// What an operation is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// A probe or a smoke test: how is it? A probe is read-only; a smoke test acts and cleans up.
    Check,
    /// A step: what would you do?
    Plan,
    /// A step: do it.
    Apply {
        /// What it said that it would do.
        proposal: Proposal,
    },
    /// A step: what is there now?
    Observe,
    /// A step: put it back.
    Undo {
        /// What was there before.
        before: Value,
    },
}

impl Phase {
    /// Its name in messages.
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

/// What an operation answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Of a probe.
    Report(Report),
    /// Of a smoke test.
    Verdicts(Vec<Verdict>),
    /// Of `plan`.
    Proposal(Proposal),
    /// Of `observe`.
    Observation(Value),
    /// Of `apply` and `undo`.
    Completion(Completion),
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Somebody should look.
    Warn,
    /// Not as it should be.
    Fail,
    /// Could not be determined.
    Unknown,
}

/// A number with its unit and thresholds.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// What is measured.
    pub label: String,
    /// The number, in `unit`.
    pub value: f64,
    /// `s`, `ms`, `B`, `%`, `c`, or empty.
    pub unit: String,
    /// Range in Nagios syntax outside which it warns.
    pub warn: Option<String>,
    /// Range in Nagios syntax outside which it is critical.
    pub crit: Option<String>,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// How it is.
    pub outcome: Outcome,
    /// One line.
    pub summary: String,
    /// Fits the operation's output schema.
    pub output: Value,
    /// Numbers.
    pub measurements: Vec<Measurement>,
}

/// One case of a smoke test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The case.
    pub name: String,
    /// How it is.
    pub outcome: Outcome,
    /// Why, or what was seen.
    pub detail: String,
    /// How long it took.
    pub duration: Duration,
}

/// One thing that a step would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// `docker.stop`.
    pub verb: String,
    /// `container orders-api`.
    pub target: String,
    /// One line.
    pub summary: String,
}

/// What a step would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Empty: nothing would change.
    pub effects: Vec<Effect>,
    /// One line.
    pub summary: String,
    /// What is there before.
    pub before: Value,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// One line.
    pub summary: String,
    /// Fits the operation's output schema.
    pub output: Value,
    /// Whether anything was changed.
    pub changed: bool,
    /// Numbers.
    pub measurements: Vec<Measurement>,
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFaultClass {
    /// The input, or what was found, makes no sense for the operation.
    Invalid,
    /// The runbook does not grant the call.
    Denied,
    /// What the operation needs does not exist.
    NotFound,
    /// It exists in a state that forbids the operation.
    Conflict,
    /// The other side is away or overloaded.
    Transient,
    /// No answer in time.
    Timeout,
    /// A limit was reached.
    Limit,
    /// The answer is not what was expected.
    Assertion,
    /// The engine stopped the plugin: a bug in the plugin.
    Trap,
    /// The operator stopped the run.
    Cancelled,
    /// It cannot be told whether the effect happened.
    Unknown,
}

/// A call that did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct CallFault {
    /// What to do next depends on this.
    pub class: CallFaultClass,
    /// Stable and specific, such as `sql.syntax`.
    pub code: String,
    /// One line for the operator, without secrets.
    pub message: String,
}

/// All that a call leaves behind.
#[derive(Debug)]
pub struct CallOutcome {
    /// The answer.
    pub result: Result<Answer, CallFault>,
    /// What the plugin logged.
    pub logs: Vec<LogLine>,
    /// What was denied, and by which rule. For the operator, never for the plugin.
    pub denials: Vec<Denial>,
    /// What it used.
    pub host_calls: Vec<HostCalls>,
}

impl CallFault {
    pub(crate) fn new(class: CallFaultClass, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { class, code: code.into(), message: message.into() }
    }
}

impl From<FaultClass> for CallFaultClass {
    fn from(class: FaultClass) -> Self {
        match class {
            FaultClass::Invalid => Self::Invalid,
            FaultClass::Denied => Self::Denied,
            FaultClass::NotFound => Self::NotFound,
            FaultClass::Conflict => Self::Conflict,
            FaultClass::Transient => Self::Transient,
            FaultClass::Timeout => Self::Timeout,
            FaultClass::Limit => Self::Limit,
            FaultClass::Assertion => Self::Assertion,
            FaultClass::Cancelled => Self::Cancelled,
            FaultClass::Unknown => Self::Unknown,
        }
    }
}

impl From<wit::Outcome> for Outcome {
    fn from(outcome: wit::Outcome) -> Self {
        match outcome {
            wit::Outcome::Pass => Self::Pass,
            wit::Outcome::Warn => Self::Warn,
            wit::Outcome::Fail => Self::Fail,
            wit::Outcome::Unknown => Self::Unknown,
        }
    }
}
