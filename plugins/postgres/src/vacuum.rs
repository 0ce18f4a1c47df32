//! `postgres:vacuum`

use crate::database;
use runbook_sdk::prelude::*;

/// Which tables are vacuumed, and how.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// One table, as `name` or `schema.name`; all that the role owns if absent.
    table: Option<String>,
    /// Whether statistics are gathered too; yes if absent.
    #[serde(default = "yes")]
    analyze: bool,
}

fn yes() -> bool {
    true
}

/// How long it took.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The statement that ran.
    statement: String,
    /// How long the statement took, in milliseconds.
    duration_ms: u64,
}

/// The statement, with the table's name quoted so that it can be nothing else.
fn statement(input: &Input) -> Result<String> {
    let mut statement =
        if input.analyze { "VACUUM (ANALYZE)".to_owned() } else { "VACUUM".to_owned() };
    if let Some(table) = &input.table {
        let parts: Vec<_> = table.split('.').collect();
        if parts.len() > 2 || parts.iter().any(|part| part.is_empty() || part.contains('\0')) {
            return Err(Fault::invalid(
                "postgres.table",
                format!("`{table}` is not `name` or `schema.name`"),
            ));
        }
        let quoted: Vec<_> =
            parts.iter().map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
        statement = format!("{statement} {}", quoted.join("."));
    }
    Ok(statement)
}

pub(crate) struct Vacuum;

impl Step for Vacuum {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let what = input.table.clone().unwrap_or_else(|| "all tables of the role".to_owned());
        Ok(Proposal::one(statement_effect("sql.execute", what, &statement(input)?), Json::Null))
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let statement = statement(input)?;
        let start = clock::monotonic();
        database().execute(&statement, &[])?;
        let duration_ms = clock::ms_since(start);
        Ok(Completion::changed(
            format!("{statement} took {duration_ms} ms"),
            Output { statement, duration_ms },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement_for(table: Option<&str>, analyze: bool) -> Option<String> {
        statement(&Input { table: table.map(str::to_owned), analyze }).ok()
    }

    #[test]
    fn a_table_is_always_a_quoted_name() {
        assert_eq!(statement_for(None, true).as_deref(), Some("VACUUM (ANALYZE)"));
        assert_eq!(
            statement_for(Some("public.orders"), false).as_deref(),
            Some("VACUUM \"public\".\"orders\"")
        );
        assert_eq!(
            statement_for(Some("a\"; drop table x; --"), false).as_deref(),
            Some("VACUUM \"a\"\"; drop table x; --\"")
        );
        assert_eq!(statement_for(Some("a.b.c"), false), None);
        assert_eq!(statement_for(Some(""), false), None);
    }
}
