//! Whether a statement may call a stored function by the name of one that is built in.
//!
//! What is built in differs from server to server (`uuid_to_bin` is a free name on MariaDB), so the
//! server is asked. It tells of the functions that the user may call, and no other matters.

use super::super::failure::fault_of;
use crate::fault::{Fault, FaultClass};
use runbook_authority::pattern::{Dialect, names};
use runbook_authority::targets::SqlTarget;
use sqlx::mysql::MySqlConnection;
use sqlx::{QueryBuilder, Row as _};
use std::collections::BTreeSet;

/// Refuses statements with a name that is a stored function's too, where the target names
/// relations.
pub(super) async fn refuse(
    connection: &mut MySqlConnection,
    target: &SqlTarget,
    statements: &[&str],
) -> Result<(), Fault> {
    if target.relations.is_none() {
        return Ok(());
    }
    let mut called = BTreeSet::new();
    for statement in statements {
        let Some(names) = names(Dialect::MySql, statement) else {
            let message = "the statement is not written so that every reader takes it alike, and the target \
                 names relations";
            return Err(Fault::new(FaultClass::Denied, "sql.relation", message));
        };
        called.extend(names.called);
    }
    if called.is_empty() {
        return Ok(());
    }
    let mut question = QueryBuilder::new(
        "SELECT CONVERT(CONCAT(routine_schema, '.', routine_name) USING utf8mb4) FROM \
         information_schema.routines WHERE routine_type = 'FUNCTION' AND routine_schema NOT IN \
         ('mysql', 'sys') AND LOWER(routine_name) IN (",
    );
    let mut listed = question.separated(", ");
    for name in called {
        listed.push_bind(name.to_lowercase());
    }
    question.push(") LIMIT 1");
    let found = question
        .build()
        .persistent(false)
        .fetch_optional(connection)
        .await
        .map_err(|error| fault_of(&error))?;
    let Some(row) = found else { return Ok(()) };
    let name: String = row.try_get_unchecked(0).map_err(|error| fault_of(&error))?;
    let message = format!(
        "the statement may call the stored function `{name}`, which may read any relation, \
                 and the target names relations: revoke EXECUTE on it from this user, ask for what \
                 it does by a view that the target names, or leave `relations` out and give the \
                 step a user who may see no more"
    );
    Err(Fault::new(FaultClass::Denied, "sql.relation", message))
}
