//! `sqlite:integrity-check`

use crate::constraints::check_expressions;
use crate::database;
use runbook_sdk::prelude::*;

/// The check takes no input.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {}

/// The result of the check.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Each problem, as SQLite words it.
    problems: Vec<String>,
    /// Whether there may be more: SQLite stops at 100, the target at its `max_rows` and
    /// `max_bytes`.
    truncated: bool,
    /// The number of rows whose foreign key refers to no row.
    broken_references: u64,
    /// CHECK constraints that could not be compared with their rows, and why: one that calls a
    /// function of some program, for instance.
    not_compared: Vec<String>,
}

/// SQLite stops after so many problems, and a table-valued pragma takes no other limit.
const MAX_PROBLEMS: usize = 100;

pub(crate) fn check(_job: &Job, _input: Input) -> Result<Report<Output>> {
    let found =
        database().query("select integrity_check as line from pragma_integrity_check", &[])?;
    let lines = found.iter().map(|row| row.get::<String>("line")).collect::<Result<Vec<_>>>()?;
    let references = database().query("select count(*) as n from pragma_foreign_key_check", &[])?;
    let broken = u64::try_from(references.first()?.get::<i64>("n")?).unwrap_or(0);
    let mut problems: Vec<String> = lines.into_iter().filter(|line| line != "ok").collect();
    let constraints = compare_constraints()?;
    let truncated = found.truncated || problems.len() >= MAX_PROBLEMS || constraints.truncated;
    problems.extend(constraints.broken);
    let summary = match (problems.first(), broken) {
        (None, 0) => match constraints.not_compared.first() {
            None => "sound".to_owned(),
            Some(first) => {
                let count = pluralize(constraints.not_compared.len(), "CHECK constraint");
                format!("sound, but not compared: {count}, the first: {first}")
            }
        },
        (None, broken) => {
            let count = pluralize(usize::try_from(broken).unwrap_or(usize::MAX), "reference");
            format!("sound, but of {count} no row is there")
        }
        (Some(first), _) if truncated => {
            format!("{} or more, the first: {first}", pluralize(problems.len(), "problem"))
        }
        (Some(first), _) => format!("{}, the first: {first}", pluralize(problems.len(), "problem")),
    };
    let is_sound = problems.is_empty() && broken == 0;
    let outcome = match (is_sound, constraints.not_compared.is_empty()) {
        (false, _) => Outcome::Fail,
        (true, false) => Outcome::Warn,
        (true, true) => Outcome::Pass,
    };
    let output = Output {
        problems,
        truncated,
        broken_references: broken,
        not_compared: constraints.not_compared,
    };
    Ok(Report::new(outcome, summary, output))
}

/// `1 row`, `2 rows`.
fn pluralize(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The CHECK constraints that do not hold, or could not be compared with the rows of their tables.
#[derive(Default)]
struct Constraints {
    /// Each constraint that does not hold.
    broken: Vec<String>,
    /// Each constraint that could not be compared.
    not_compared: Vec<String>,
    /// Whether there are tables beyond what the target lets through.
    truncated: bool,
}

/// Compares each CHECK constraint with the rows of its table, because `integrity_check` skips them
/// in a file that is open for reading. A constraint whose value is null holds, as in SQL.
fn compare_constraints() -> Result<Constraints> {
    let tables_query =
        "select name, sql from sqlite_schema where type = 'table' and sql like '%check%'";
    let tables = database().query(tables_query, &[])?;
    let mut found = Constraints { truncated: tables.truncated, ..Constraints::default() };
    for table in tables.iter() {
        let (name, statement) = (table.get::<String>("name")?, table.get::<String>("sql")?);
        let quoted = name.replace('"', "\"\"");
        for check in check_expressions(&statement) {
            let count = format!("select count(*) as n from \"{quoted}\" where not ({check})");
            match database().query(&count, &[]).and_then(|rows| rows.first()?.get::<i64>("n")) {
                Ok(0) => {}
                Ok(rows) => found.broken.push(format!(
                    "CHECK ({check}) of `{name}` does not hold for {}",
                    pluralize(usize::try_from(rows).unwrap_or(usize::MAX), "row")
                )),
                Err(fault) => found
                    .not_compared
                    .push(format!("CHECK ({check}) of `{name}`: {}", fault.message)),
            }
        }
    }
    Ok(found)
}
