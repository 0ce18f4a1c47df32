//! Asks the catalog, before a statement runs, which functions of the database it may call, and
//! which row types it may show.
//!
//! The text of a statement does not show which functions it calls: `o.told` calls `told(o)`, `LIKE`
//! and `10::int` may be a user-defined operator and cast, and a domain may check its values with
//! any function. So a database is refused if one of its operators, casts, domains, types or
//! operator classes uses a function of its own that the role may call. Names in the statement are
//! compared with functions (called, or written as an attribute) and with row types, as the server
//! resolves them. Text search, collations, conversions, table sampling and access methods use only
//! functions in C, which only a superuser can create.

use super::super::failure::fault_of;
use crate::fault::{Fault, FaultClass};
use runbook_authority::pattern::{
    Dialect, catalog_reference_types, pure_functions, statement_names,
};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

const REACHABLE_QUERY: &str = include_str!("reachable.sql");

/// The kind that [`REACHABLE_QUERY`] returns for a row type, which shows the columns of a relation.
const ROW_TYPE: &str = "the row type";

/// Refuses statements that may call a function of the database, or that show the columns of
/// relations other than `allowed`.
pub(super) async fn refuse(
    connection: &mut PgConnection,
    statements: &[&str],
    allowed: &[i64],
) -> Result<(), Fault> {
    let (mut all, mut function_names, mut types) = (Vec::new(), Vec::new(), Vec::new());
    for statement in statements {
        let Some(names) = statement_names(Dialect::Postgres, statement) else {
            let message = "the statement is not written so that every reader takes it alike, and the target \
                 names relations";
            return Err(Fault::new(FaultClass::Denied, "sql.relation", message));
        };
        all.extend(names.all);
        function_names.extend(names.function_names);
        types.extend(names.types);
    }
    let query = sqlx::query(REACHABLE_QUERY)
        .bind(all)
        .bind(function_names)
        .bind(types)
        .bind(pure_functions(Dialect::Postgres).collect::<Vec<_>>())
        .bind(catalog_reference_types().collect::<Vec<_>>())
        .bind(allowed);
    let found = query
        .persistent(false)
        .fetch_optional(connection)
        .await
        .map_err(|error| fault_of(&error))?;
    let Some(row) = found else { return Ok(()) };
    let (Ok(kind), Ok(name)) = (row.try_get::<String, _>(0), row.try_get::<String, _>(1)) else {
        let message = "the server does not say what the statement may call, which a target with `relations` \
             needs";
        return Err(Fault::new(FaultClass::Denied, "sql.relation", message));
    };
    let message = if kind == ROW_TYPE {
        format!(
            "the statement names {kind} `{name}`, which shows what that relation is made of, \
                 and `relations` of the target do not name it"
        )
    } else {
        format!(
            "the statement may use {kind} `{name}` of this database, which can read any \
                 relation or show what it is called, and the target names relations: ask for what \
                 it does by a view that the target names, revoke EXECUTE on its function from \
                 PUBLIC and from this role, or leave `relations` out and give the step a role that \
                 may see no more"
        )
    };
    Err(Fault::new(FaultClass::Denied, "sql.relation", message))
}
