//! Checks the response of a plugin before it is used: size, JSON, schema. Its texts are not yet
//! cleaned; [`sanitizer`](crate::sanitizer) does that.

use crate::bindings::runbook::plugin::types as wit;
use crate::limits::CallLimits;
use crate::value::Schema;
use runbook_contract::{
    Case, Completion, Effect, ErrorClass, Fault, Measurement, Proposal, Report, Response,
};
use serde_json::Value;

/// A response as the guest returned it.
pub(crate) enum RawResponse {
    Report(wit::Report),
    Verdicts(Vec<wit::Verdict>),
    Proposal(wit::Proposal),
    Applied(wit::Completion),
    Observation(String),
    Undone(wit::Completion),
}

/// Checks the responses of one operation.
pub(crate) struct ResponseValidator<'a> {
    pub(crate) operation: &'a str,
    pub(crate) output: &'a Schema,
    pub(crate) limits: &'a CallLimits,
}

impl ResponseValidator<'_> {
    pub(crate) fn validate(&self, raw: RawResponse) -> Result<Response, Fault> {
        let size = size(&raw);
        if size > self.limits.result_bytes {
            let message = format!(
                "`{}` answered with {size} bytes; at most {} are taken",
                self.operation, self.limits.result_bytes
            );
            return Err(Fault::new(ErrorClass::Limit, "limit.result", message));
        }
        Ok(match raw {
            RawResponse::Report(report) => Response::Report(Report {
                outcome: report.outcome.into(),
                summary: report.summary,
                output: self.output(&report.output)?,
                measurements: measurements(report.measurements),
            }),
            RawResponse::Verdicts(verdicts) => {
                Response::Cases(verdicts.into_iter().map(Case::from).collect())
            }
            RawResponse::Proposal(proposal) => Response::Proposal(Proposal {
                effects: proposal.effects.into_iter().map(Effect::from).collect(),
                summary: proposal.summary,
                before: self.json("before", &proposal.before)?,
            }),
            RawResponse::Observation(text) => {
                Response::Observation(self.json("observation", &text)?)
            }
            RawResponse::Applied(completion) => {
                let output = self.output(&completion.output)?;
                Response::Completion(completion_of(completion, output))
            }
            // The output schema is for `apply`; the output of an undo has no schema.
            RawResponse::Undone(completion) => {
                let output = self.json("output", &completion.output)?;
                Response::Completion(completion_of(completion, output))
            }
        })
    }

    fn output(&self, text: &str) -> Result<Value, Fault> {
        let value = self.json("output", text)?;
        self.output.check(&value).map_err(|mismatch| {
            let message =
                format!("the output of `{}` does not fit its schema: {mismatch}", self.operation);
            Fault::new(ErrorClass::Invalid, "output.schema", message)
        })?;
        Ok(value)
    }

    fn json(&self, part: &str, text: &str) -> Result<Value, Fault> {
        serde_json::from_str(text).map_err(|error| {
            let message = format!("the {part} of `{}` is not JSON: {error}", self.operation);
            Fault::new(ErrorClass::Invalid, "output.json", message)
        })
    }
}

fn completion_of(completion: wit::Completion, output: Value) -> Completion {
    Completion {
        summary: completion.summary,
        output,
        changed: completion.changed,
        measurements: measurements(completion.measurements),
    }
}

fn measurements(measurements: Vec<wit::Measurement>) -> Vec<Measurement> {
    let measurement = |wit::Measurement { label, value, unit, warn, crit }| Measurement {
        label,
        value,
        unit,
        warn,
        crit,
    };
    measurements.into_iter().map(measurement).collect()
}

/// Bytes of all strings, and a constant for each item of a list.
fn size(raw: &RawResponse) -> usize {
    const ITEM_OVERHEAD: usize = 32;
    let measurements_size = |measurements: &[wit::Measurement]| -> usize {
        let measurement_size = |m: &wit::Measurement| {
            let ranges = [&m.warn, &m.crit].into_iter().flatten().map(String::len).sum::<usize>();
            ITEM_OVERHEAD + m.label.len() + m.unit.len() + ranges
        };
        measurements.iter().map(measurement_size).sum()
    };
    match raw {
        RawResponse::Report(report) => {
            report.summary.len() + report.output.len() + measurements_size(&report.measurements)
        }
        RawResponse::Verdicts(verdicts) => verdicts
            .iter()
            .map(|verdict| ITEM_OVERHEAD + verdict.name.len() + verdict.detail.len())
            .sum(),
        RawResponse::Proposal(proposal) => {
            let effects = proposal.effects.iter();
            let effects: usize = effects
                .map(|effect| {
                    ITEM_OVERHEAD + effect.verb.len() + effect.target.len() + effect.summary.len()
                })
                .sum();
            effects + proposal.summary.len() + proposal.before.len()
        }
        RawResponse::Observation(text) => text.len(),
        RawResponse::Applied(completion) | RawResponse::Undone(completion) => {
            completion.summary.len()
                + completion.output.len()
                + measurements_size(&completion.measurements)
        }
    }
}
