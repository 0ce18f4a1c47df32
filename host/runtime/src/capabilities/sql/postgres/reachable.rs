//! What a statement would make the server run or show without naming a relation, asked of the
//! catalog before it runs.
//!
//! A text does not say which functions it calls: `o.told` calls `told(o)`, `LIKE` is an operator
//! that somebody may have made, a value of a domain is checked by any function, `10::int` may be
//! somebody's cast. So no spelling is compared with a catalog where the server resolves something
//! else: a database is refused in which an operator, a cast, a domain, a type or an operator class
//! leads to a function of its own that the role may call. Names are compared for what a name alone
//! leads to, as the server reads them: functions that are called or stand as an attribute, and row
//! types. Text search, collations, conversions, table sampling and the procedures of an access
//! method take functions of C only, which are a superuser's.

use super::super::failure::fault_of;
use crate::fault::{Fault, FaultClass};
use runbook_authority::pattern::{Dialect, functions_of_arguments, names, types_of_catalog_names};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

const REACHABLE: &str = include_str!("reachable.sql");

/// The kind that [`REACHABLE`] gives what may only show the columns of a relation.
const ROW_TYPE: &str = "the row type";

/// Refuses statements that may call a function of the database itself, or show what relations other
/// than `allowed` are made of.
pub(super) async fn refuse(
    connection: &mut PgConnection,
    statements: &[&str],
    allowed: &[i64],
) -> Result<(), Fault> {
    let (mut all, mut called, mut types) = (Vec::new(), Vec::new(), Vec::new());
    for statement in statements {
        let Some(names) = names(Dialect::Postgres, statement) else {
            let message = "the statement is not written so that every reader takes it alike, and the target \
                 names relations";
            return Err(Fault::new(FaultClass::Denied, "sql.relation", message));
        };
        all.extend(names.all);
        called.extend(names.called);
        types.extend(names.types);
    }
    let asked = sqlx::query(REACHABLE)
        .bind(all)
        .bind(called)
        .bind(types)
        .bind(functions_of_arguments(Dialect::Postgres).collect::<Vec<_>>())
        .bind(types_of_catalog_names().collect::<Vec<_>>())
        .bind(allowed);
    let found = asked
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
