//! `sqlite:integrity-check`

use crate::database;
use runbook_sdk::prelude::*;

/// Nothing to say.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {}

/// What SQLite says.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Each problem, as SQLite words it.
    problems: Vec<String>,
    /// Whether there may be more: SQLite stops at 100, the target at its `max_rows` and `max_bytes`.
    truncated: bool,
    /// Rows whose foreign key leads nowhere.
    broken_references: u64,
}

/// SQLite itself stops here, and a table-valued pragma cannot be told another number.
const STOPS_AT: usize = 100;

pub(crate) fn check(_job: &Job, _input: Input) -> Result<Report<Output>> {
    let found = database().query("select integrity_check as line from pragma_integrity_check", &[])?;
    let lines = found.iter().map(|row| row.get::<String>("line")).collect::<Result<Vec<_>>>()?;
    let references = database().query("select count(*) as n from pragma_foreign_key_check", &[])?;
    let broken = u64::try_from(references.first()?.get::<i64>("n")?).unwrap_or(0);
    let problems: Vec<String> = lines.into_iter().filter(|line| line != "ok").collect();
    let truncated = found.truncated || problems.len() >= STOPS_AT;
    let summary = match (problems.first(), broken) {
        (None, 0) => "sound".to_owned(),
        (None, broken) => format!("sound, but {broken} references lead nowhere"),
        (Some(first), _) if truncated => format!("{} problems or more, the first: {first}", problems.len()),
        (Some(first), _) => format!("{} problems, the first: {first}", problems.len()),
    };
    let holds = problems.is_empty() && broken == 0;
    Ok(Report::pass_if(holds, summary, Output { problems, truncated, broken_references: broken }))
}
