//! The types that operations take and return.

use crate::fault::{Fault, Result};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use std::time::Duration;

pub use crate::bindings::runbook::plugin::types::{Effect, Measurement, Outcome, Verdict};

/// The context of a call: its run, its step and its limits.
#[derive(Debug, Clone)]
pub struct Job {
    /// The id of the run, the same in all its calls.
    pub run_id: String,
    /// The id of the step.
    pub step: String,
    /// The number of the attempt, counted from 1.
    pub attempt: u32,
    /// When the host will stop the call, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// Whether effects are denied. A plugin need not check this, because the host denies them.
    pub dry_run: bool,
    /// For `observe` and `undo`: how long ago the last attempt began, if it got no answer. Its
    /// effect may still be in progress, so both must wait until it cannot happen any more before
    /// they answer. For `plan`: the same for the step that is being undone, or for any step of the
    /// plugin.
    pub unanswered: Option<Duration>,
}

/// What a probe found.
#[derive(Debug, Clone)]
pub struct Report<O> {
    /// The outcome that the operation reports.
    pub outcome: Outcome,
    /// One line that tells the operator what was found.
    pub summary: String,
    /// The output, which later steps can refer to.
    pub output: O,
    /// Numbers with units and thresholds.
    pub measurements: Vec<Measurement>,
}

impl<O> Report<O> {
    /// A report with the outcome `pass`: what was probed is as it should be.
    pub fn pass(summary: impl Into<String>, output: O) -> Self {
        Self::new(Outcome::Pass, summary, output)
    }

    /// A report with the outcome `warn`: a person should look.
    pub fn warn(summary: impl Into<String>, output: O) -> Self {
        Self::new(Outcome::Warn, summary, output)
    }

    /// A report with the outcome `fail`: what was probed is not as it should be.
    pub fn fail(summary: impl Into<String>, output: O) -> Self {
        Self::new(Outcome::Fail, summary, output)
    }

    /// A report with the outcome `unknown`: the state could not be determined. Missing data is
    /// never a pass.
    pub fn unknown(summary: impl Into<String>, output: O) -> Self {
        Self::new(Outcome::Unknown, summary, output)
    }

    /// A report with the outcome `pass` if `holds` is true, and `fail` if not.
    pub fn pass_if(holds: bool, summary: impl Into<String>, output: O) -> Self {
        Self::new(if holds { Outcome::Pass } else { Outcome::Fail }, summary, output)
    }

    /// A report with this outcome.
    pub fn new(outcome: Outcome, summary: impl Into<String>, output: O) -> Self {
        Self { outcome, summary: summary.into(), output, measurements: Vec::new() }
    }

    /// The same report with another output.
    pub fn map<P>(self, convert: impl FnOnce(O) -> P) -> Report<P> {
        let Self { outcome, summary, output, measurements } = self;
        Report { outcome, summary, output: convert(output), measurements }
    }

    /// Adds a number that was measured.
    #[must_use]
    pub fn measure(mut self, measurement: Measurement) -> Self {
        self.measurements.push(measurement);
        self
    }
}

/// A number with its unit: `s`, `ms`, `B`, `%`, `c` (a counter), or empty.
pub fn measurement(label: impl Into<String>, value: f64, unit: impl Into<String>) -> Measurement {
    Measurement { label: label.into(), value, unit: unit.into(), warn: None, crit: None }
}

impl Measurement {
    /// Sets the range outside of which the number is a warning. A range in Nagios syntax: `"100"`
    /// is 0 to 100, `"10:"` is 10 or more.
    #[must_use]
    pub fn warn(mut self, range: impl ToString) -> Self {
        self.warn = Some(range.to_string());
        self
    }

    /// Sets the range outside of which the number is a failure. A range in Nagios syntax, as for
    /// [`warn`](Self::warn).
    #[must_use]
    pub fn crit(mut self, range: impl ToString) -> Self {
        self.crit = Some(range.to_string());
        self
    }
}

/// One thing that a step would do: its verb (`docker.stop`), what it is done to, in words
/// (`container orders-api`), and one line for the operator.
pub fn effect(
    verb: impl Into<String>,
    target: impl Into<String>,
    summary: impl Into<String>,
) -> Effect {
    Effect { verb: verb.into(), target: target.into(), summary: summary.into() }
}

/// One statement that a step would run, shown word for word. If a person approves it, the host lets
/// exactly this statement through, once for each time that it is shown. The approval of an
/// [`effect`] covers only the verb and what it is done to.
pub fn statement_effect(
    verb: impl Into<String>,
    target: impl Into<String>,
    statement: &str,
) -> Effect {
    let mut quoted_statement = String::from("`");
    for c in statement.chars() {
        if c == '\\' || c.is_control() {
            quoted_statement.extend(c.escape_default());
        } else {
            quoted_statement.push(c);
        }
    }
    quoted_statement.push('`');
    effect(verb, target, quoted_statement)
}

/// One start of a program, its arguments shown word for word. If a person approves it, the host
/// lets exactly these arguments through, as for [`statement_effect`].
pub fn arguments_effect(
    verb: impl Into<String>,
    target: impl Into<String>,
    arguments: &[String],
) -> Effect {
    effect(verb, target, format!("`{}`", Json::from(arguments.to_vec())))
}

/// What a step would do.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// What would be done, one effect for each thing; empty if nothing would change.
    pub effects: Vec<Effect>,
    /// One line that tells the operator what would be done.
    pub summary: String,
    /// The state before the step. `undo` gets it, and the host compares it with the observed state
    /// after a crash or an undo. It must change when `apply` takes effect; [`Json::Null`] says that
    /// the effect cannot be observed.
    pub before: Json,
}

impl Proposal {
    /// A proposal without effects: nothing would change, because the state is as wanted already.
    pub fn nothing(summary: impl Into<String>, before: Json) -> Self {
        Self { effects: Vec::new(), summary: summary.into(), before }
    }

    /// A proposal with one effect. Both have the same summary.
    pub fn one(effect: Effect, before: Json) -> Self {
        Self { summary: effect.summary.clone(), effects: vec![effect], before }
    }
}

/// What a step did.
#[derive(Debug, Clone)]
pub struct Completion<O> {
    /// One line that tells the operator what was done.
    pub summary: String,
    /// The output, which later steps can refer to.
    pub output: O,
    /// Whether the step changed anything.
    pub changed: bool,
    /// Numbers that the step measured; may be empty.
    pub measurements: Vec<Measurement>,
}

impl<O> Completion<O> {
    /// A completion that says that something was changed.
    pub fn changed(summary: impl Into<String>, output: O) -> Self {
        Self { summary: summary.into(), output, changed: true, measurements: Vec::new() }
    }

    /// A completion that says that nothing had to be changed.
    pub fn unchanged(summary: impl Into<String>, output: O) -> Self {
        Self { changed: false, ..Self::changed(summary, output) }
    }
}

/// An operation that changes something.
///
/// The host calls `plan` before each `apply`, and journals its proposal first. In `plan` and
/// `observe` the host denies every host function that changes something. An operation that
/// `plugin.toml` marks with `undo = true` implements `observe` and `undo`.
pub trait Step {
    /// The input, which the runbook writes under `with`.
    type Input: DeserializeOwned + JsonSchema;
    /// The output, which later steps can refer to.
    type Output: Serialize + JsonSchema;

    /// Says what `apply` would do now, without doing it.
    ///
    /// # Errors
    /// A [`Fault`] if it is not known what `apply` would do, such as `not-found` for an object that
    /// does not exist. Then `apply` is not called.
    fn plan(job: &Job, input: &Self::Input) -> Result<Proposal>;

    /// Performs the step. `proposal` is what `plan` has just returned.
    ///
    /// # Errors
    /// A [`Fault`] if the step was not done. Its class decides whether the host tries again; use
    /// `unknown` if the step may or may not have been done.
    fn apply(
        job: &Job,
        input: &Self::Input,
        proposal: &Proposal,
    ) -> Result<Completion<Self::Output>>;

    /// Returns the present state, in the shape of [`Proposal::before`].
    ///
    /// # Errors
    /// A [`Fault`] if the state cannot be observed.
    fn observe(job: &Job, input: &Self::Input) -> Result<Json> {
        Self::plan(job, input).map(|proposal| proposal.before)
    }

    /// Restores the state `before`, from any intermediate state; a second call must do no harm.
    /// Returns one line, and whether anything had to be changed.
    ///
    /// # Errors
    /// A [`Fault`] if the state was not restored; by default `invalid`, because the operation has
    /// no undo.
    fn undo(_job: &Job, _input: &Self::Input, _before: &Json) -> Result<Completion<Json>> {
        Err(Fault::invalid("plugin.no-undo", "this operation has no undo"))
    }
}
