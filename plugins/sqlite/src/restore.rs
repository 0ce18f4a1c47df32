//! `sqlite:restore`

use crate::{database, directory};
use runbook_sdk::prelude::*;

/// Where the copy lies.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Path below the directory, as `backup` wrote it.
    file: String,
}

/// The copy that was restored.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Path below the directory.
    file: String,
    /// `sha256:<hex>` of the file.
    digest: String,
}

pub(crate) struct Restore;

impl Step for Restore {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let file = directory().stat(&input.file)?;
        let summary =
            format!("replace the database by `{}` ({})", input.file, Size(file.size_bytes));
        Ok(Proposal::one(effect("sql.restore", "database", summary), Json::Null))
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let digest = directory().digest(&input.file)?;
        database().restore(slot!("directory"), &input.file)?;
        Ok(Completion::changed(
            format!("the database is `{}` again", input.file),
            Output { file: input.file.clone(), digest },
        ))
    }
}
