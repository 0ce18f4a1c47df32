//! `sqlite:backup`

use crate::{database, directory};
use runbook_sdk::prelude::*;

/// Where the copy is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Path below the directory. Compressed if it ends in `.zst`. Must not be there yet.
    file: String,
}

/// The copy that was written.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Path below the directory.
    file: String,
    /// Bytes of the file.
    size_bytes: u64,
    /// `sha256:<hex>` of the file.
    digest: String,
}

pub(crate) struct Backup;

/// The state that the host compares: whether the file exists.
fn file_state(file: &str) -> Result<Json> {
    match directory().stat(file) {
        Ok(_) => Ok(json!({ "exists": true })),
        Err(fault) if fault.class == FaultClass::NotFound => Ok(json!({ "exists": false })),
        Err(fault) => Err(fault),
    }
}

impl Step for Backup {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let before = file_state(&input.file)?;
        if before["exists"] == json!(true) {
            return Err(Fault::conflict(
                "sqlite.file-exists",
                format!("`{}` is there already; a backup never replaces a file", input.file),
            ));
        }
        let effect = effect(
            "files.write",
            &input.file,
            format!("write a copy of the database to `{}`", input.file),
        );
        Ok(Proposal::one(effect, before))
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let artifact = database().backup(slot!("directory"), &input.file)?;
        let summary = format!("{} in `{}`", Size(artifact.size_bytes), artifact.path);
        Ok(Completion::changed(
            summary,
            Output {
                file: artifact.path,
                size_bytes: artifact.size_bytes,
                digest: artifact.digest,
            },
        ))
    }

    fn observe(_job: &Job, input: &Input) -> Result<Json> {
        file_state(&input.file)
    }

    fn undo(_job: &Job, input: &Input, before: &Json) -> Result<Completion<Json>> {
        if before["exists"] == json!(true) {
            return Ok(Completion::unchanged("the file was there before", Json::Null));
        }
        match directory().remove(&input.file) {
            Ok(()) => Ok(Completion::changed(format!("removed `{}`", input.file), Json::Null)),
            Err(fault) if fault.class == FaultClass::NotFound => {
                Ok(Completion::unchanged("there is no such file", Json::Null))
            }
            Err(fault) => Err(fault),
        }
    }
}
