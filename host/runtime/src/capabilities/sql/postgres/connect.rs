//! The connection to a server, and who may not have one.

use super::super::Access;
use super::super::failure::{as_good_as_superuser, fault_of};
use super::run;
use super::wire::Wire;
use crate::fault::{Fault, FaultClass};
use runbook_authority::targets::SqlAddress;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Row as _};

/// A session, and the way to its server, which the driver does not see.
pub(super) async fn connect(access: &Access) -> Result<(PgConnection, Wire), Fault> {
    let SqlAddress::Server { user, database, .. } = &access.sql().address else {
        unreachable!("only PostgreSQL targets come here");
    };
    let timeout = access.timeout.as_millis().max(1).to_string();
    let settings = [
        ("application_name", "runbook"),
        ("client_encoding", "UTF8"),
        ("statement_timeout", timeout.as_str()),
        ("lock_timeout", timeout.as_str()),
        ("idle_in_transaction_session_timeout", timeout.as_str()),
        ("TimeZone", "UTC"),
        ("DateStyle", "ISO, YMD"),
        ("IntervalStyle", "iso_8601"),
        ("bytea_output", "hex"),
        ("extra_float_digits", "1"),
        // Where a string ends must not depend on the server's settings.
        ("standard_conforming_strings", "on"),
    ];
    let wire = Wire::open(access, &settings).await?;
    let password = match &access.password {
        Some(password) => password.expose_text().ok_or_else(|| {
            Fault::new(FaultClass::Invalid, "sql.password", "the password is not text")
        })?,
        None => "",
    };
    // There is no constructor that reads nothing of the environment. Each field that matters at a
    // local socket is set here; what the driver would tell the server, [`Wire`] replaces.
    let options = PgConnectOptions::new_without_pgpass()
        .host("localhost")
        .port(5432)
        .socket(wire.folder())
        .username(user)
        .database(database)
        .password(password)
        .ssl_mode(PgSslMode::Disable);
    let mut connection = options
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|error| wire.reason(fault_of(&error)))?;
    if !access.sql().superuser {
        refuse_superuser(&mut connection).await?;
    }
    // A statement whose call is over (cancelled, cut off) ends on the server too. Older servers and
    // other systems have no such setting; there the statement timeout is the end.
    let _ = run(&mut connection, "SET client_connection_check_interval = '500ms'").await;
    Ok((connection, wire))
}

/// What a role, or one that it may become, can do that makes it as good as a superuser; the first
/// column says it in words.
const POWERS: &str = "
SELECT CASE WHEN r.rolsuper THEN 'is a superuser' WHEN r.rolcreaterole THEN 'may give itself any role (CREATEROLE)'
    WHEN r.rolreplication THEN 'may copy the whole server (REPLICATION)' WHEN r.rolbypassrls THEN 'is held to no row policy (BYPASSRLS)'
    WHEN r.rolname = 'pg_execute_server_program' THEN 'may run programs on the server'
    WHEN r.rolname = 'pg_write_server_files' THEN 'may write files of the server'
    ELSE 'may read files of the server' END, r.rolname
FROM pg_catalog.pg_roles r
WHERE pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
  AND (r.rolsuper OR r.rolcreaterole OR r.rolreplication OR r.rolbypassrls
    OR r.rolname IN ('pg_execute_server_program', 'pg_write_server_files', 'pg_read_server_files'))
ORDER BY r.rolsuper DESC, r.rolname LIMIT 1";

/// Read-only cannot hold against a role that may write files on the server or run programs there,
/// or become one that may.
async fn refuse_superuser(connection: &mut PgConnection) -> Result<(), Fault> {
    let found =
        sqlx::raw_sql(POWERS).fetch_optional(connection).await.map_err(|error| fault_of(&error))?;
    let Some(row) = found else { return Ok(()) };
    let text = |index: usize| {
        row.try_get_raw(index)
            .ok()
            .and_then(|value| value.as_str().ok().map(str::to_owned))
            .unwrap_or_default()
    };
    Err(as_good_as_superuser(&format!(
        "role `{}`, which the user is or may become, {}",
        text(1),
        text(0)
    )))
}
