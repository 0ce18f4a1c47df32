//! `files:rename`

use crate::change::{changed_since, recorded, target};
use crate::{directory, find};
use runbook_sdk::files::ExistingFile;
use runbook_sdk::prelude::*;

/// A file, and its new name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its path below the directory.
    from: String,
    /// Its path afterwards. Nothing may be there.
    to: String,
}

/// The state of one path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    size_bytes: u64,
    modified_ms: u64,
}

/// The state of both paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    from: Option<Entry>,
    to: Option<Entry>,
}

impl State {
    fn read(input: &Input) -> Result<Self> {
        let entry = |path: &str| -> Result<Option<Entry>> {
            let found = find(path)?;
            Ok(found
                .map(|info| Entry { size_bytes: info.size_bytes, modified_ms: info.modified_ms }))
        };
        Ok(Self { from: entry(&input.from)?, to: entry(&input.to)? })
    }

    fn to_json(&self) -> Json {
        json!({ "from": self.from, "to": self.to })
    }
}

/// Where the file is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Its new path.
    path: String,
}

pub(crate) struct Rename;

impl Step for Rename {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let before = State::read(input)?;
        if before.from.is_none() {
            let message = format!("`{}` is not there", input.from);
            return Err(Fault::not_found("files.no-file", message));
        }
        if before.to.is_some() {
            let message = format!("`{}` is there already, and is not replaced", input.to);
            return Err(Fault::conflict("files.exists", message));
        }
        let summary = format!("rename `{}` to `{}`", input.from, input.to);
        let names = [input.from.clone(), input.to.clone()];
        let effect = arguments_effect("files.rename", target(&input.from), &names);
        Ok(Proposal { summary, ..Proposal::one(effect, before.to_json()) })
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        directory().rename(&input.from, &input.to, ExistingFile::Refuse)?;
        let summary = format!("renamed `{}` to `{}`", input.from, input.to);
        Ok(Completion::changed(summary, Output { path: input.to.clone() }))
    }

    fn observe(_job: &Job, input: &Input) -> Result<Json> {
        State::read(input).map(|state| state.to_json())
    }

    fn undo(_job: &Job, input: &Input, before: &Json) -> Result<Completion<Json>> {
        let before: State = recorded(before)?;
        let now = State::read(input)?;
        if now == before {
            let summary = format!("`{}` has its name", input.from);
            return Ok(Completion::unchanged(summary, Json::Null));
        }
        if now.from.is_some() || now.to != before.from {
            return Err(changed_since(&input.to));
        }
        directory().rename(&input.to, &input.from, ExistingFile::Refuse)?;
        Ok(Completion::changed(format!("renamed it to `{}` again", input.from), Json::Null))
    }
}
