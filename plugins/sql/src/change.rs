//! `sql:execute` and `sql:transaction`

use crate::parameter;
use runbook_sdk::assertion::pluralize;
use runbook_sdk::prelude::*;
use runbook_sdk::sql::{Database, Value};

/// One statement with its parameters.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecuteInput {
    /// The statement. Placeholders are `$1` (PostgreSQL) or `?` (MySQL, MariaDB, SQLite).
    statement: String,
    /// Values of the placeholders.
    #[serde(default)]
    parameters: Vec<Json>,
}

/// How many rows the statement touched.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ExecuteOutput {
    /// How many rows were touched or returned.
    rows: u64,
}

pub(crate) struct Execute;

impl Step for Execute {
    type Input = ExecuteInput;
    type Output = ExecuteOutput;

    fn plan(_job: &Job, input: &ExecuteInput) -> Result<Proposal> {
        Ok(Proposal::one(statement_effect("sql.execute", "database", &input.statement), Json::Null))
    }

    fn apply(
        _job: &Job,
        input: &ExecuteInput,
        _proposal: &Proposal,
    ) -> Result<Completion<ExecuteOutput>> {
        let parameters = input.parameters.iter().map(parameter).collect::<Result<Vec<_>>>()?;
        let rows = Database::slot(slot!("db")).execute(&input.statement, &parameters)?;
        Ok(Completion::changed(pluralize(rows, "row"), ExecuteOutput { rows }))
    }
}

/// Statements that run in one transaction.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransactionInput {
    /// The statements, run in this order: all or none.
    statements: Vec<String>,
}

/// How many rows each statement touched.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TransactionOutput {
    /// How many rows each statement touched, in order.
    rows: Vec<u64>,
}

pub(crate) struct Transaction;

impl Step for Transaction {
    type Input = TransactionInput;
    type Output = TransactionOutput;

    fn plan(_job: &Job, input: &TransactionInput) -> Result<Proposal> {
        if input.statements.is_empty() {
            return Err(Fault::invalid("sql.no-statement", "there is no statement to run"));
        }
        let effects: Vec<_> = input
            .statements
            .iter()
            .map(|statement| statement_effect("sql.transaction", "database", statement))
            .collect();
        Ok(Proposal {
            summary: format!("{}, all or none", pluralize(effects.len() as u64, "statement")),
            effects,
            before: Json::Null,
        })
    }

    fn apply(
        _job: &Job,
        input: &TransactionInput,
        _proposal: &Proposal,
    ) -> Result<Completion<TransactionOutput>> {
        let no_parameters: &[Value] = &[];
        let statements: Vec<_> =
            input.statements.iter().map(|statement| (statement.as_str(), no_parameters)).collect();
        let rows = Database::slot(slot!("db")).transaction(&statements)?;
        let total: u64 = rows.iter().sum();
        Ok(Completion::changed(
            format!("{}, {}", pluralize(rows.len() as u64, "statement"), pluralize(total, "row")),
            TransactionOutput { rows },
        ))
    }
}
