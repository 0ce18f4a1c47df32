//! `objects:delete`

use crate::{find, state, store};
use runbook_sdk::prelude::*;

/// The object to delete.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its key, below the prefix of the target.
    key: String,
}

/// What was there.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Whether there was such an object.
    existed: bool,
}

pub(crate) struct Delete;

impl Step for Delete {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let key = &input.key;
        let found = find(key)?;
        let before = state(found.as_ref());
        let Some(info) = found else {
            return Ok(Proposal::nothing(format!("there is no `{key}`"), before));
        };
        let summary = format!("delete `{key}` ({})", Size(info.size_bytes));
        Ok(Proposal::one(effect("objects.delete", key, summary), before))
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        if proposal.effects.is_empty() {
            return Ok(Completion::unchanged(proposal.summary.clone(), Output { existed: false }));
        }
        let etag = proposal.before["etag"].as_str().unwrap_or_default();
        store().delete(&input.key, etag)?;
        Ok(Completion::changed(format!("deleted `{}`", input.key), Output { existed: true }))
    }

    fn observe(_job: &Job, input: &Input) -> Result<Json> {
        Ok(state(find(&input.key)?.as_ref()))
    }
}
