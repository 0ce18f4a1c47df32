//! PostgreSQL.
//!
//! A read: `BEGIN READ ONLY`; `SELECT 1`, after which the mode cannot be changed; a cursor declared over the guest's text by the
//! extended protocol, which takes exactly one statement, and of a kind that a cursor can read; `FETCH` by the simple protocol, so
//! that every type arrives as text with its name; `ROLLBACK`. Tried against the corpus in `tests/`.

mod bind;
mod value;

use super::failure::{ends_transaction, fault_of, fault_of_write, not_a_read, within};
use super::{Access, Budget, words};
use crate::bindings::runbook::sql::types::{Column, Rows, Statement, Value};
use crate::fault::{Fault, FaultClass};
use futures_util::TryStreamExt as _;
use runbook_authority::pattern::Dialect;
use runbook_authority::target::{SqlAddress, TlsMode};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow, PgSslMode};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions, Connection as _, Executor as _, Row as _, SqlSafeStr as _, Statement as _,
    TypeInfo as _,
};

/// Rows of one FETCH.
const BATCH: u32 = 500;

/// Functions that act although the transaction only reads: on other sessions, the server, its files, another database, or the
/// limits of this session; and those that run SQL given as text, in which none of these words would be seen. A function that a
/// database's owner made to do the same is not known here: it needs a role that may not call it.
const ACTING: &[&str] = &[
    "connectby",
    "cursor_to_xml",
    "lo_export",
    "lo_import",
    "normal_rand",
    "pg_backup_start",
    "pg_backup_stop",
    "pg_cancel_backend",
    "pg_create_restore_point",
    "pg_import_system_collations",
    "pg_log_backend_memory_contexts",
    "pg_logical_emit_message",
    "pg_notify",
    "pg_prewarm",
    "pg_promote",
    "pg_reload_conf",
    "pg_start_backup",
    "pg_stop_backup",
    "pg_switch_wal",
    "pg_terminate_backend",
    "set_config",
    "ts_rewrite",
    "ts_stat",
    "xpath_table",
];

/// Beginnings of the names of such functions.
const ACTING_FAMILIES: &[&str] = &[
    "binary_upgrade_",
    "crosstab",
    "dblink",
    "pg_copy_logical_",
    "pg_copy_physical_",
    "pg_create_logical_",
    "pg_create_physical_",
    "pg_drop_replication_",
    "pg_file_",
    "pg_logical_slot_",
    "pg_replication_",
    "pg_rotate_logfile",
    "pg_stat_reset",
    "pg_stat_statements_reset",
    "pg_wal_replay_",
    "query_to_xml",
];

/// Words with which a statement would begin or end a transaction.
const TRANSACTION: &[&str] = &["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE", "SAVEPOINT", "RELEASE"];

pub(super) async fn query(access: &Access, statement: &str, parameters: &[Value]) -> Result<Rows, Fault> {
    refuse_acting(statement)?;
    within(access, async {
        let mut connection = connect(access).await?;
        run(&mut connection, "BEGIN READ ONLY").await?;
        run(&mut connection, "SELECT 1").await?;
        let rows = read(&mut connection, access, statement, parameters).await;
        // After a cut result the rest is still on its way: dropping the connection ends it, reading on to its end would not.
        if !rows.as_ref().is_ok_and(|rows| rows.truncated) {
            let _ = run(&mut connection, "ROLLBACK").await;
            let _ = connection.close().await;
        }
        rows
    })
    .await
}

fn refuse_acting(statement: &str) -> Result<(), Fault> {
    let acts = |word: &String| ACTING.contains(&word.as_str()) || ACTING_FAMILIES.iter().any(|family| word.starts_with(family));
    if let Some(word) = words::all(statement).find(acts) {
        let reason = format!("`{word}` does more than read, or hides what it does, so it is for `execute`, not for `query`");
        return Err(not_a_read(&reason));
    }
    // Such a name is spelt with escapes, which would hide it.
    if statement.to_ascii_lowercase().contains("u&\"") {
        return Err(not_a_read("a name with Unicode escapes (`U&\"…\"`) cannot be queried; write it plainly"));
    }
    Ok(())
}

async fn read(connection: &mut PgConnection, access: &Access, statement: &str, parameters: &[Value]) -> Result<Rows, Fault> {
    let prepared =
        connection.prepare(AssertSqlSafe(statement.to_owned()).into_sql_str()).await.map_err(|error| fault_of(&error))?;
    let columns = prepared
        .columns()
        .iter()
        .map(|column| Column { name: column.name().to_owned(), type_name: column.type_info().name().to_owned() })
        .collect();
    let arguments = bind::arguments(&prepared, parameters)?;
    let declare = format!("DECLARE runbook_cursor NO SCROLL CURSOR FOR {statement}");
    sqlx::query_with(AssertSqlSafe(declare), arguments)
        .persistent(false)
        .execute(&mut *connection)
        .await
        .map_err(|error| not_readable(&error))?;
    let mut budget = Budget::new(access.sql());
    let mut rows = Rows { columns, rows: Vec::new(), truncated: false };
    loop {
        // One more than may be kept, to see whether there are more.
        let count = BATCH.min(budget.rows.saturating_add(1));
        let fetch = format!("FETCH {count} FROM runbook_cursor");
        let mut found = sqlx::raw_sql(AssertSqlSafe(fetch)).fetch(&mut *connection);
        let mut received = 0;
        while let Some(row) = found.try_next().await.map_err(|error| fault_of(&error))? {
            received += 1;
            if !budget.take(sizes(&row)) {
                rows.truncated = true;
                return Ok(rows);
            }
            rows.rows.push(value::values(&row)?);
        }
        if received < count {
            return Ok(rows);
        }
    }
}

fn sizes(row: &PgRow) -> impl Iterator<Item = usize> + '_ {
    (0..row.len()).map(|index| row.try_get_raw(index).ok().and_then(|raw| raw.as_bytes().ok()).map_or(0, <[u8]>::len))
}

/// A cursor takes SELECT, VALUES and TABLE only, so a statement that could be prepared and not declared is no read.
fn not_readable(error: &sqlx::Error) -> Fault {
    let fault = fault_of(error);
    if fault.code == "sql.syntax" || fault.code == "sql.error" {
        let reason = format!("only a statement that returns rows and changes nothing can be queried: {}", fault.message);
        return not_a_read(&reason);
    }
    fault
}

pub(super) async fn execute(access: &Access, statement: &str, parameters: &[Value]) -> Result<u64, Fault> {
    within(access, async {
        let mut connection = connect(access).await?;
        let count = change(&mut connection, statement, parameters).await;
        let _ = connection.close().await;
        count.map_err(Failed::for_good)
    })
    .await
}

pub(super) async fn transaction(access: &Access, statements: &[Statement]) -> Result<Vec<u64>, Fault> {
    for Statement { text, .. } in statements {
        let word = words::first(Dialect::Postgres, text);
        if TRANSACTION.contains(&word.as_str()) {
            return Err(ends_transaction(&word));
        }
    }
    within(access, async {
        let mut connection = connect(access).await?;
        run(&mut connection, "BEGIN").await?;
        let counts = all(&mut connection, statements).await;
        if counts.is_err() {
            let _ = run(&mut connection, "ROLLBACK").await;
        }
        let _ = connection.close().await;
        counts
    })
    .await
}

async fn all(connection: &mut PgConnection, statements: &[Statement]) -> Result<Vec<u64>, Fault> {
    let mut counts = Vec::new();
    for Statement { text, parameters } in statements {
        // Whatever happened to the connection: nothing was committed.
        counts.push(change(connection, text, parameters).await.map_err(Failed::undone)?);
    }
    sqlx::raw_sql("COMMIT").execute(connection).await.map_err(|error| fault_of_write(&error))?;
    Ok(counts)
}

/// Why a statement did not change anything, or may not have.
enum Failed {
    /// It was not sent.
    Before(Fault),
    Sent(sqlx::Error),
}

impl Failed {
    fn for_good(self) -> Fault {
        match self {
            Self::Before(fault) => fault,
            Self::Sent(error) => fault_of_write(&error),
        }
    }

    fn undone(self) -> Fault {
        match self {
            Self::Before(fault) => fault,
            Self::Sent(error) => fault_of(&error),
        }
    }
}

/// One statement by the extended protocol, which takes no more than one.
async fn change(connection: &mut PgConnection, statement: &str, parameters: &[Value]) -> Result<u64, Failed> {
    let text = || AssertSqlSafe(statement.to_owned());
    let arguments = if parameters.is_empty() {
        PgArguments::default()
    } else {
        let prepared = connection.prepare(text().into_sql_str()).await.map_err(|error| Failed::Before(fault_of(&error)))?;
        bind::arguments(&prepared, parameters).map_err(Failed::Before)?
    };
    let done = sqlx::query_with(text(), arguments).persistent(false).execute(&mut *connection).await;
    done.map(|done| done.rows_affected()).map_err(Failed::Sent)
}

async fn run(connection: &mut PgConnection, statement: &'static str) -> Result<(), Fault> {
    sqlx::raw_sql(statement).execute(connection).await.map(|_| ()).map_err(|error| fault_of(&error))
}

async fn connect(access: &Access) -> Result<PgConnection, Fault> {
    let SqlAddress::Server { host, port, user, database, tls, .. } = &access.sql().address else {
        unreachable!("only PostgreSQL targets come here");
    };
    let tls = match tls {
        TlsMode::Prefer => PgSslMode::Prefer,
        TlsMode::Disable => PgSslMode::Disable,
        TlsMode::Require => PgSslMode::Require,
        TlsMode::VerifyFull => PgSslMode::VerifyFull,
    };
    let timeout = access.timeout.as_millis().max(1).to_string();
    let mut options = PgConnectOptions::new_without_pgpass()
        .port(*port)
        .username(user)
        .database(database)
        .ssl_mode(tls)
        .application_name("runbook")
        .options([
            ("statement_timeout", timeout.as_str()),
            ("lock_timeout", timeout.as_str()),
            ("idle_in_transaction_session_timeout", timeout.as_str()),
            ("TimeZone", "UTC"),
            ("DateStyle", "ISO, YMD"),
            ("IntervalStyle", "iso_8601"),
            ("bytea_output", "hex"),
            ("extra_float_digits", "1"),
        ]);
    options = if host.starts_with('/') { options.socket(host) } else { options.host(host) };
    if let Some(password) = &access.password {
        let text =
            password.expose_text().ok_or_else(|| Fault::new(FaultClass::Invalid, "sql.password", "the password is not text"))?;
        options = options.password(text);
    }
    let mut connection = options.disable_statement_logging().connect().await.map_err(|error| fault_of(&error))?;
    if !access.sql().superuser {
        refuse_superuser(&mut connection).await?;
    }
    // A statement whose call is over (cancelled, cut off) ends on the server too. Older servers and other systems have no such
    // setting; there the statement timeout is the end.
    let _ = run(&mut connection, "SET client_connection_check_interval = '500ms'").await;
    Ok(connection)
}

/// Read-only cannot hold against a role that may write files on the server, or become one that may.
async fn refuse_superuser(connection: &mut PgConnection) -> Result<(), Fault> {
    let question =
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolsuper AND pg_catalog.pg_has_role(session_user, oid, 'MEMBER'))";
    let row = sqlx::raw_sql(question).fetch_one(connection).await.map_err(|error| fault_of(&error))?;
    let is_superuser = row.try_get_raw(0).ok().and_then(|value| value.as_str().ok().map(|text| text == "t"));
    if is_superuser == Some(false) {
        return Ok(());
    }
    let message = "the role is a superuser or may become one, against whom nothing is read only; use a role of its own, or write `superuser = true` into the target";
    Err(Fault::new(FaultClass::Denied, "sql.superuser", message))
}
