//! From typed operations to the exports of the contract. Used by [`plugin!`](crate::plugin) only.

use crate::bindings::exports::runbook::plugin;
use crate::fault::{Fault, Result};
use crate::operation::{Completion, Job, Proposal, Report, Step, Verdict};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

pub use crate::bindings::runbook::plugin::types::{
    Completion as RawCompletion, Job as RawJob, Proposal as RawProposal, Report as RawReport,
    Verdict as RawVerdict,
};
pub use plugin::info::Guest as Info;
pub use plugin::probe::Guest as Probe;
pub use plugin::smoke_test::Guest as SmokeTest;
pub use plugin::step::Guest as StepExport;

/// The JSON text that `describe` returns.
pub fn describe(operations: Vec<Json>) -> String {
    json!({ "operations": operations }).to_string()
}

/// The entry of a probe in the list that `describe` returns.
pub fn describe_probe<I: JsonSchema, O: JsonSchema>(
    name: &str,
    _check: fn(&Job, I) -> Result<Report<O>>,
) -> Json {
    entry(name, "probe", schema::<I>(), schema::<O>())
}

/// The entry of a smoke test in the list that `describe` returns.
pub fn describe_smoke_test<I: JsonSchema>(
    name: &str,
    _run: fn(&Job, I) -> Result<Vec<Verdict>>,
) -> Json {
    entry(name, "smoke-test", schema::<I>(), json!(true))
}

/// The entry of a step in the list that `describe` returns.
pub fn describe_step<S: Step>(name: &str) -> Json {
    entry(name, "step", schema::<S::Input>(), schema::<S::Output>())
}

fn entry(name: &str, kind: &str, input: Json, output: Json) -> Json {
    json!({ "name": name, "kind": kind, "input": input, "output": output })
}

fn schema<T: JsonSchema>() -> Json {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

/// Calls a probe.
///
/// # Errors
/// `invalid` if the input or the output does not fit its type, otherwise the fault of the probe.
pub fn check<I: DeserializeOwned, O: Serialize>(
    check: fn(&Job, I) -> Result<Report<O>>,
    job: RawJob,
) -> Result<RawReport> {
    let (job, input) = parse_job(job)?;
    let report = check(&job, input)?;
    Ok(RawReport {
        outcome: report.outcome,
        summary: report.summary,
        output: to_json_text(&report.output)?,
        measurements: report.measurements,
    })
}

/// Calls a smoke test.
///
/// # Errors
/// `invalid` if the input does not fit its type, otherwise the fault of the smoke test.
pub fn run<I: DeserializeOwned>(
    run: fn(&Job, I) -> Result<Vec<Verdict>>,
    job: RawJob,
) -> Result<Vec<RawVerdict>> {
    let (job, input) = parse_job(job)?;
    run(&job, input)
}

/// Calls `plan` of a step.
///
/// # Errors
/// `invalid` if the input does not fit its type, otherwise the fault of the step.
pub fn plan<S: Step>(job: RawJob) -> Result<RawProposal> {
    let (job, input) = parse_job(job)?;
    let proposal = S::plan(&job, &input)?;
    Ok(RawProposal {
        effects: proposal.effects,
        summary: proposal.summary,
        before: to_json_text(&proposal.before)?,
    })
}

/// Calls `apply` of a step.
///
/// # Errors
/// `invalid` if the input, the proposal or the output does not fit its type, otherwise the fault of
/// the step.
pub fn apply<S: Step>(job: RawJob, proposal: RawProposal) -> Result<RawCompletion> {
    let (job, input) = parse_job(job)?;
    let proposal = Proposal {
        effects: proposal.effects,
        summary: proposal.summary,
        before: parse_json(&proposal.before)?,
    };
    complete(S::apply(&job, &input, &proposal)?)
}

/// Calls `observe` of a step.
///
/// # Errors
/// `invalid` if the input does not fit its type, otherwise the fault of the step.
pub fn observe<S: Step>(job: RawJob) -> Result<String> {
    let (job, input) = parse_job(job)?;
    to_json_text(&S::observe(&job, &input)?)
}

/// Calls `undo` of a step.
///
/// # Errors
/// `invalid` if the input, `before` or the output does not fit its type, otherwise the fault of the
/// step.
pub fn undo<S: Step>(job: RawJob, before: &str) -> Result<RawCompletion> {
    let (job, input) = parse_job(job)?;
    complete(S::undo(&job, &input, &parse_json(before)?)?)
}

/// The fault for a call of an operation that this plugin does not have.
pub fn unknown_operation(name: &str) -> Fault {
    Fault::invalid(
        "plugin.unknown-operation",
        format!("this plugin has no operation `{name}` of this kind"),
    )
}

/// The completion of a step in the form of the contract.
fn complete<O: Serialize>(completion: Completion<O>) -> Result<RawCompletion> {
    Ok(RawCompletion {
        summary: completion.summary,
        output: to_json_text(&completion.output)?,
        changed: completion.changed,
        measurements: completion.measurements,
    })
}

fn parse_job<I: DeserializeOwned>(job: RawJob) -> Result<(Job, I)> {
    crate::log::catch_panics();
    let RawJob { run_id, step, attempt, input, deadline_ms, dry_run, unanswered_ms } = job;
    let input = serde_json::from_str(&input).map_err(|error| {
        Fault::invalid("plugin.input", format!("the input does not fit: {error}"))
    })?;
    let unanswered = unanswered_ms.map(std::time::Duration::from_millis);
    Ok((Job { run_id, step, attempt, deadline_ms, dry_run, unanswered }, input))
}

fn parse_json(text: &str) -> Result<Json> {
    serde_json::from_str(text).map_err(|error| {
        Fault::invalid("plugin.before", format!("what was kept is not JSON: {error}"))
    })
}

fn to_json_text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        Fault::invalid("plugin.output", format!("the output cannot be written as JSON: {error}"))
    })
}
