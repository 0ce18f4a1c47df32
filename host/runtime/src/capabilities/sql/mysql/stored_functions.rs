//! Refuses statements that may call a stored function with the name of a built-in one.
//!
//! The built-in functions differ between servers (MariaDB has no `uuid_to_bin`), so the server is
//! asked for the stored functions that the user may call.

use super::super::failure::fault_of;
use crate::fault::{Fault, FaultClass};
use runbook_authority::pattern::{Dialect, statement_names};
use runbook_authority::targets::SqlTarget;
use sqlx::mysql::MySqlConnection;
use sqlx::{QueryBuilder, Row as _};
use std::collections::BTreeSet;

/// Refuses statements that call a name that is also the name of a stored function, if the target
/// lists relations.
pub(super) async fn refuse(
    connection: &mut MySqlConnection,
    target: &SqlTarget,
    statements: &[&str],
) -> Result<(), Fault> {
    if target.relations.is_none() {
        return Ok(());
    }
    let mut function_names = BTreeSet::new();
    for statement in statements {
        let Some(names) = statement_names(Dialect::MySql, statement) else {
            let message = "the statement is not written so that every reader takes it alike, and the target \
                 names relations";
            return Err(Fault::new(FaultClass::Denied, "sql.relation", message));
        };
        function_names.extend(names.function_names);
    }
    if function_names.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::new(
        "SELECT CONVERT(CONCAT(routine_schema, '.', routine_name) USING utf8mb4) FROM \
         information_schema.routines WHERE routine_type = 'FUNCTION' AND routine_schema NOT IN \
         ('mysql', 'sys') AND LOWER(routine_name) IN (",
    );
    let mut name_list = query.separated(", ");
    for name in function_names {
        name_list.push_bind(name.to_lowercase());
    }
    query.push(") LIMIT 1");
    let found = query
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
