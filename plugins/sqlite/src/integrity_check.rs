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
    /// Each problem, as SQLite words it; at most 100.
    problems: Vec<String>,
    /// Rows whose foreign key leads nowhere.
    broken_references: u64,
}

pub(crate) fn check(_job: &Job, _input: Input) -> Result<Report<Output>> {
    let found = database().query("select integrity_check as line from pragma_integrity_check", &[])?;
    let lines = found.iter().map(|row| row.get::<String>("line")).collect::<Result<Vec<_>>>()?;
    let references = database().query("select count(*) as n from pragma_foreign_key_check", &[])?;
    let broken = u64::try_from(references.first()?.get::<i64>("n")?).unwrap_or(0);
    let problems: Vec<String> = lines.into_iter().filter(|line| line != "ok").collect();
    let summary = match (problems.first(), broken) {
        (None, 0) => "sound".to_owned(),
        (None, broken) => format!("sound, but {broken} references lead nowhere"),
        (Some(first), _) => format!("{} problems, the first: {first}", problems.len()),
    };
    let holds = problems.is_empty() && broken == 0;
    Ok(Report::pass_if(holds, summary, Output { problems, broken_references: broken }))
}
