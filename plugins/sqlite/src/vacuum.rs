//! `sqlite:vacuum`

use crate::database;
use runbook_sdk::prelude::*;

/// The operation takes no input.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {}

/// How much smaller the database has become.
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
        let summary = format!("rewrite the file of {} without its empty pages", shown(size()?));
        Ok(Proposal::one(effect("sql.execute", "database", summary), Json::Null))
    }

    fn apply(_job: &Job, _input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let before_bytes = size()?;
        database().execute("vacuum", &[])?;
        let after_bytes = size()?;
        Ok(Completion::changed(
            format!("{} before, {} after", shown(before_bytes), shown(after_bytes)),
            Output { before_bytes, after_bytes },
        ))
    }
}

/// SQLite counts in signed numbers.
fn shown(bytes: i64) -> Size {
    Size(u64::try_from(bytes).unwrap_or(0))
}
