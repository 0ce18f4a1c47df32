//! `redis:remove`

use crate::{database, number};
use runbook_sdk::assertion::pluralize;
use runbook_sdk::prelude::*;
use runbook_sdk::redis::command_effect;

/// The keys to remove.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Their names; at least one.
    keys: Vec<String>,
}

/// How many there were.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// How many keys were removed.
    removed: i64,
}

pub(crate) struct Remove;

fn command(input: &Input) -> Vec<&str> {
    std::iter::once("unlink").chain(input.keys.iter().map(String::as_str)).collect()
}

/// How many of the keys exist.
fn existing(input: &Input) -> Result<i64> {
    if input.keys.is_empty() {
        return Err(Fault::invalid("redis.no-key", "there is no key to remove"));
    }
    let question = std::iter::once("exists").chain(input.keys.iter().map(String::as_str));
    number(&database().read(question)?)
}

impl Step for Remove {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let existing = existing(input)?;
        let before = json!({ "existing": existing });
        if existing == 0 {
            return Ok(Proposal::nothing("there are no such keys", before));
        }
        let effect = command_effect("keys", &command(input));
        let summary = format!("remove {}", pluralize(existing.cast_unsigned(), "key"));
        Ok(Proposal { summary, ..Proposal::one(effect, before) })
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        if proposal.effects.is_empty() {
            return Ok(Completion::unchanged(proposal.summary.clone(), Output { removed: 0 }));
        }
        let removed = number(&database().write(command(input))?)?;
        let summary = format!("removed {}", pluralize(removed.cast_unsigned(), "key"));
        Ok(Completion::changed(summary, Output { removed }))
    }

    fn observe(_job: &Job, input: &Input) -> Result<Json> {
        Ok(json!({ "existing": existing(input)? }))
    }
}
