//! What a guest answered, checked before anybody reads it: size, JSON, schema. Its texts are as they came; see
//! [`outgoing`](crate::outgoing).

use crate::answer::{Answer, CallFault, CallFaultClass, Completion, Effect, Measurement, Proposal, Report, Verdict};
use crate::bindings::runbook::plugin::types as wit;
use crate::limits::Limits;
use crate::value::Schema;
use serde_json::Value;
use std::time::Duration;

/// An answer as it came.
pub(crate) enum Received {
    Report(wit::Report),
    Verdicts(Vec<wit::Verdict>),
    Proposal(wit::Proposal),
    Applied(wit::Completion),
    Observation(String),
    Undone(wit::Completion),
}

/// Checks answers of one operation.
pub(crate) struct Receiver<'a> {
    pub(crate) operation: &'a str,
    pub(crate) output: &'a Schema,
    pub(crate) limits: &'a Limits,
}

impl Receiver<'_> {
    pub(crate) fn receive(&self, received: Received) -> Result<Answer, CallFault> {
        let size = size(&received);
        if size > self.limits.result {
            let message = format!("`{}` answered with {size} bytes; at most {} are taken", self.operation, self.limits.result);
            return Err(CallFault::new(CallFaultClass::Limit, "limit.result", message));
        }
        Ok(match received {
            Received::Report(report) => Answer::Report(Report {
                outcome: report.outcome.into(),
                summary: report.summary,
                output: self.output(&report.output)?,
                measurements: measurements(report.measurements),
            }),
            Received::Verdicts(verdicts) => Answer::Verdicts(verdicts.into_iter().map(Verdict::from).collect()),
            Received::Proposal(proposal) => Answer::Proposal(Proposal {
                effects: proposal.effects.into_iter().map(Effect::from).collect(),
                summary: proposal.summary,
                before: self.json("before", &proposal.before)?,
            }),
            Received::Observation(text) => Answer::Observation(self.json("observation", &text)?),
            Received::Applied(completion) => {
                let output = self.output(&completion.output)?;
                Answer::Completion(finish(completion, output))
            }
            // The schema describes what `apply` did; what an undo has to say is the plugin's own affair.
            Received::Undone(completion) => {
                let output = self.json("output", &completion.output)?;
                Answer::Completion(finish(completion, output))
            }
        })
    }

    fn output(&self, text: &str) -> Result<Value, CallFault> {
        let value = self.json("output", text)?;
        self.output.check(&value).map_err(|mismatch| {
            let message = format!("the output of `{}` does not fit its schema: {mismatch}", self.operation);
            CallFault::new(CallFaultClass::Invalid, "output.schema", message)
        })?;
        Ok(value)
    }

    fn json(&self, part: &str, text: &str) -> Result<Value, CallFault> {
        serde_json::from_str(text).map_err(|error| {
            let message = format!("the {part} of `{}` is not JSON: {error}", self.operation);
            CallFault::new(CallFaultClass::Invalid, "output.json", message)
        })
    }
}

fn finish(completion: wit::Completion, output: Value) -> Completion {
    Completion {
        summary: completion.summary,
        output,
        changed: completion.changed,
        measurements: measurements(completion.measurements),
    }
}

fn measurements(measurements: Vec<wit::Measurement>) -> Vec<Measurement> {
    let measurement = |wit::Measurement { label, value, unit, warn, crit }| Measurement { label, value, unit, warn, crit };
    measurements.into_iter().map(measurement).collect()
}

/// Bytes of all strings, and a little for what each item of a list costs.
fn size(received: &Received) -> usize {
    const ITEM: usize = 32;
    let measured = |measurements: &[wit::Measurement]| -> usize {
        let one = |m: &wit::Measurement| {
            let ranges = [&m.warn, &m.crit].into_iter().flatten().map(String::len).sum::<usize>();
            ITEM + m.label.len() + m.unit.len() + ranges
        };
        measurements.iter().map(one).sum()
    };
    match received {
        Received::Report(report) => report.summary.len() + report.output.len() + measured(&report.measurements),
        Received::Verdicts(verdicts) => verdicts.iter().map(|verdict| ITEM + verdict.name.len() + verdict.detail.len()).sum(),
        Received::Proposal(proposal) => {
            let effects = proposal.effects.iter();
            let effects: usize =
                effects.map(|effect| ITEM + effect.verb.len() + effect.target.len() + effect.summary.len()).sum();
            effects + proposal.summary.len() + proposal.before.len()
        }
        Received::Observation(text) => text.len(),
        Received::Applied(completion) | Received::Undone(completion) => {
            completion.summary.len() + completion.output.len() + measured(&completion.measurements)
        }
    }
}

impl From<wit::Verdict> for Verdict {
    fn from(verdict: wit::Verdict) -> Self {
        Self {
            name: verdict.name,
            outcome: verdict.outcome.into(),
            detail: verdict.detail,
            duration: Duration::from_millis(verdict.duration_ms),
        }
    }
}

impl From<wit::Effect> for Effect {
    fn from(effect: wit::Effect) -> Self {
        Self { verb: effect.verb, target: effect.target, summary: effect.summary }
    }
}

impl From<&Proposal> for wit::Proposal {
    fn from(proposal: &Proposal) -> Self {
        let effect = |effect: &Effect| wit::Effect {
            verb: effect.verb.clone(),
            target: effect.target.clone(),
            summary: effect.summary.clone(),
        };
        Self {
            effects: proposal.effects.iter().map(effect).collect(),
            summary: proposal.summary.clone(),
            before: proposal.before.to_string(),
        }
    }
}
