//! `objects:upload` and `objects:download`

use crate::{changed_since, find, occupied, state, store};
use runbook_sdk::files::Directory;
use runbook_sdk::objects::{Artifact, Condition, ObjectInfo};
use runbook_sdk::prelude::*;

/// An object, and the file that it is copied from or to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its key, below the prefix of the target.
    key: String,
    /// The file, in the directory of the target.
    path: String,
}

/// What was copied.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Its size in bytes; absent if nothing was copied.
    size_bytes: Option<u64>,
    /// `sha256:` and the digest of its bytes.
    digest: Option<String>,
}

impl Output {
    const NOTHING: Self = Self { size_bytes: None, digest: None };
}

impl From<Artifact> for Output {
    fn from(artifact: Artifact) -> Self {
        Self { size_bytes: Some(artifact.size_bytes), digest: Some(artifact.digest) }
    }
}

fn directory() -> Directory {
    Directory::slot(runbook_sdk::slot!("directory"))
}

/// The digest of the file; `None` if there is none.
fn file_digest(path: &str) -> Result<Option<String>> {
    match directory().digest(path) {
        Ok(digest) => Ok(Some(digest)),
        Err(fault) if fault.class == FaultClass::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

pub(crate) struct Upload;

/// Whether the object says that it holds the bytes of the file.
fn holds_file(info: &ObjectInfo, input: &Input) -> Result<bool> {
    let Some(said) = &info.sha256 else { return Ok(false) };
    Ok(file_digest(&input.path)?.as_ref() == Some(said))
}

impl Step for Upload {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let Input { key, path } = input;
        let size = Size(directory().stat(path)?.size_bytes);
        let found = find(key)?;
        let before = state(found.as_ref());
        match found {
            None => {
                let summary = format!("copy `{path}` ({size}) to `{key}`");
                Ok(Proposal::one(effect("objects.put", key, summary), before))
            }
            Some(info) if holds_file(&info, input)? => {
                Ok(Proposal::nothing(format!("`{key}` holds this file already"), before))
            }
            Some(_) => Err(occupied(key)),
        }
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        if proposal.effects.is_empty() {
            return Ok(Completion::unchanged(proposal.summary.clone(), Output::NOTHING));
        }
        let Input { key, path } = input;
        let slot = runbook_sdk::slot!("directory");
        let copied = store().upload(key, slot, path, &Condition::Absent)?;
        let summary = format!("copied {} to `{key}`", Size(copied.size_bytes));
        Ok(Completion::changed(summary, copied.into()))
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
        match found {
            Some(info) if holds_file(&info, input)? => {
                store().delete(key, &info.etag)?;
                Ok(Completion::changed(format!("deleted `{key}`"), Json::Null))
            }
            Some(_) | None => Err(changed_since(key)),
        }
    }
}

pub(crate) struct Download;

impl Step for Download {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let Input { key, path } = input;
        let info = store().head(key)?;
        let digest = file_digest(path)?;
        let before = json!({ "digest": digest });
        match digest {
            None => {
                let summary = format!("copy `{key}` ({}) to `{path}`", Size(info.size_bytes));
                Ok(Proposal::one(effect("files.write", path, summary), before))
            }
            Some(digest) if info.sha256.as_ref() == Some(&digest) => {
                Ok(Proposal::nothing(format!("`{path}` holds this object already"), before))
            }
            Some(_) => {
                let message = format!("`{path}` is there already, and is not replaced");
                Err(Fault::conflict("objects.file-exists", message))
            }
        }
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        if proposal.effects.is_empty() {
            return Ok(Completion::unchanged(proposal.summary.clone(), Output::NOTHING));
        }
        let Input { key, path } = input;
        let copied = store().download(key, runbook_sdk::slot!("directory"), path)?;
        let summary = format!("copied {} to `{path}`", Size(copied.size_bytes));
        Ok(Completion::changed(summary, copied.into()))
    }

    fn observe(_job: &Job, input: &Input) -> Result<Json> {
        Ok(json!({ "digest": file_digest(&input.path)? }))
    }
}
