//! `objects:put`

use crate::{changed_since, find, occupied, state, store};
use runbook_sdk::objects::{Condition, ObjectInfo};
use runbook_sdk::prelude::*;

/// The object to write.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its key, below the prefix of the target.
    key: String,
    /// What it holds.
    content: String,
}

/// What was written.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The tag that the store gave it.
    etag: Option<String>,
}

pub(crate) struct Put;

/// The object, if it holds the content of the input.
fn same(input: &Input, found: Option<ObjectInfo>) -> Result<Option<ObjectInfo>> {
    match found {
        Some(info) if info.size_bytes == input.content.len() as u64 => {
            let object = store().get(&input.key)?;
            Ok((object.content == input.content.as_bytes()).then_some(object.info))
        }
        Some(_) | None => Ok(None),
    }
}

impl Step for Put {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let key = &input.key;
        let found = find(key)?;
        let before = state(found.as_ref());
        if found.is_none() {
            let summary = format!("write `{key}`");
            return Ok(Proposal::one(effect("objects.put", key, summary), before));
        }
        match same(input, found)? {
            Some(_) => Ok(Proposal::nothing(format!("`{key}` is there already"), before)),
            None => Err(occupied(key)),
        }
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        if proposal.effects.is_empty() {
            let etag = proposal.before["etag"].as_str().map(str::to_owned);
            return Ok(Completion::unchanged(proposal.summary.clone(), Output { etag }));
        }
        let put = store().put(&input.key, input.content.as_bytes(), &Condition::Absent)?;
        let summary = format!("wrote `{}`", input.key);
        Ok(Completion::changed(summary, Output { etag: Some(put.etag) }))
    }

    fn observe(_job: &Job, input: &Input) -> Result<Json> {
        Ok(state(find(&input.key)?.as_ref()))
    }

    fn undo(_job: &Job, input: &Input, before: &Json) -> Result<Completion<Json>> {
        let key = &input.key;
        let found = find(key)?;
        if state(found.as_ref()) == *before {
            return Ok(Completion::unchanged(format!("`{key}` is as it was"), Json::Null));
        }
        let Some(info) = same(input, found)? else { return Err(changed_since(key)) };
        store().delete(key, &info.etag)?;
        Ok(Completion::changed(format!("deleted `{key}`"), Json::Null))
    }
}
