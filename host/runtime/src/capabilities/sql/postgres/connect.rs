//! Connects to a server, and refuses users with too many privileges.

use super::super::DatabaseAccess;
use super::super::failure::{fault_of, superuser_fault};
use super::relay::RelayHandle;
use super::run;
use crate::fault::{Fault, FaultClass};
use runbook_authority::targets::SqlAddress;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Row as _};

/// Opens a session. The relay connects the driver with the server, and must live as long as the
/// session.
pub(super) async fn connect(access: &DatabaseAccess) -> Result<(PgConnection, RelayHandle), Fault> {
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
    let relay = RelayHandle::open(access, &settings).await?;
    let password = match &access.password {
        Some(password) => password.expose_text().ok_or_else(|| {
            Fault::new(FaultClass::Invalid, "sql.password", "the password is not text")
        })?,
        None => "",
    };
    // Every constructor of the driver reads the environment. Each field that matters for a local
    // socket is set here, and the relay replaces the startup message.
    let options = PgConnectOptions::new_without_pgpass()
        .host("localhost")
        .port(5432)
        .socket(relay.folder())
        .username(user)
        .database(database)
        .password(password)
        .ssl_mode(PgSslMode::Disable);
    let mut connection = options
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|error| relay.end_reason_or(fault_of(&error)))?;
    if !access.sql().superuser {
        refuse_superuser(&mut connection).await?;
    }
    // The server stops a statement whose client is gone. Older servers and other operating systems
    // lack this setting; there the statement timeout stops it.
    let _ = run(&mut connection, "SET client_connection_check_interval = '500ms'").await;
    Ok((connection, relay))
}

/// Finds an attribute that makes the role, or a role that it may take, as good as a superuser. The
/// first column describes it.
const SUPERUSER_ROLE_QUERY: &str = "
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

/// Fails if the role, or a role that it may take, is as good as a superuser: the host cannot keep
/// such a role to read-only transactions.
async fn refuse_superuser(connection: &mut PgConnection) -> Result<(), Fault> {
    let found = sqlx::raw_sql(SUPERUSER_ROLE_QUERY)
        .fetch_optional(connection)
        .await
        .map_err(|error| fault_of(&error))?;
    let Some(row) = found else { return Ok(()) };
    let text = |index: usize| {
        row.try_get_raw(index)
            .ok()
            .and_then(|value| value.as_str().ok().map(str::to_owned))
            .unwrap_or_default()
    };
    Err(superuser_fault(&format!(
        "role `{}`, which the user is or may become, {}",
        text(1),
        text(0)
    )))
}
