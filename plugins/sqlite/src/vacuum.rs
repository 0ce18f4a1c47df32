//! `sqlite:vacuum`

use crate::database;
use runbook_sdk::prelude::*;

/// The operation takes no input.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {}

/// The size of the file before and after.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Bytes of the file before.
    before_bytes: i64,
    /// Bytes of the file after.
    after_bytes: i64,
}

pub(crate) struct Vacuum;

fn size() -> Result<i64> {
    let statement =
        "select page_count * page_size as bytes from pragma_page_count(), pragma_page_size()";
    database().query(statement, &[])?.first()?.get("bytes")
}

impl Step for Vacuum {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, _input: &Input) -> Result<Proposal> {
        let summary = format!("rewrite the file of {} without its empty pages", to_size(size()?));
        Ok(Proposal::one(effect("sql.execute", "database", summary), Json::Null))
    }

    fn apply(_job: &Job, _input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let before_bytes = size()?;
        database().execute("vacuum", &[])?;
        let after_bytes = size()?;
        Ok(Completion::changed(
            format!("{} before, {} after", to_size(before_bytes), to_size(after_bytes)),
            Output { before_bytes, after_bytes },
        ))
    }
}

/// A number of bytes, which SQLite returns as a signed number.
fn to_size(bytes: i64) -> Size {
    Size(u64::try_from(bytes).unwrap_or(0))
}
