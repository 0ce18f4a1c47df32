//! One database: PostgreSQL, MySQL or MariaDB, or SQLite.
//!
//! Each host call has a connection of its own: nothing that one call did to its session reaches the next. What the parser thinks
//! of a statement is never the wall: reads are read only by the way in which each driver runs them.

mod mysql;
mod postgres;
mod sqlite;

use crate::bindings::runbook::sql::types::{Artifact, Driver, Rows, Statement, Value};
use crate::bindings::runbook::sql::{reader, snapshot, types, writer};
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use runbook_authority::pattern::Dialect;
use runbook_authority::target::SqlTarget;
use runbook_authority::{Operation, Target, TargetKind, Verb};
use runbook_secrets::Secret;
use std::sync::Arc;
use std::time::Duration;

impl types::Host for Host {}

impl reader::Host for Host {
    async fn kind(&mut self, slot: String) -> Result<Driver, Fault> {
        self.enter(&Operation::Sql { slot: &slot, verb: Verb::SqlQuery, statement: None })?;
        Ok(match sql_of(&*self.target(&slot)?).dialect() {
            Dialect::Postgres => Driver::Postgres,
            Dialect::MySql => Driver::Mysql,
            Dialect::Sqlite => Driver::Sqlite,
        })
    }

    async fn query(&mut self, slot: String, statement: String, parameters: Vec<Value>) -> Result<Rows, Fault> {
        let access = self.sql(&slot, Verb::SqlQuery, &[&statement]).await?;
        match access.sql().dialect() {
            Dialect::Postgres => postgres::query(&access, &statement, &parameters).await,
            Dialect::MySql => mysql::query(&access, &statement, &parameters).await,
            Dialect::Sqlite => sqlite::query(access, statement, parameters).await,
        }
    }
}

impl writer::Host for Host {
    async fn execute(&mut self, slot: String, statement: String, parameters: Vec<Value>) -> Result<u64, Fault> {
        let access = self.sql(&slot, Verb::SqlExecute, &[&statement]).await?;
        match access.sql().dialect() {
            Dialect::Postgres => postgres::execute(&access, &statement, &parameters).await,
            Dialect::MySql => mysql::execute(&access, &statement, &parameters).await,
            Dialect::Sqlite => sqlite::execute(access, statement, parameters).await,
        }
    }

    async fn transaction(&mut self, slot: String, statements: Vec<Statement>) -> Result<Vec<u64>, Fault> {
        let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
        let access = self.sql(&slot, Verb::SqlTransaction, &texts).await?;
        match access.sql().dialect() {
            Dialect::Postgres => postgres::transaction(&access, &statements).await,
            Dialect::MySql => mysql::transaction(&access, &statements).await,
            Dialect::Sqlite => sqlite::transaction(access, statements).await,
        }
    }
}

impl snapshot::Host for Host {
    async fn backup(&mut self, slot: String, directory: String, path: String) -> Result<Artifact, Fault> {
        let access = self.sql(&slot, Verb::SqlBackup, &[]).await?;
        let files = self.files(&directory, Verb::FilesWrite, &path)?;
        only_sqlite(access.sql())?;
        sqlite::backup(access, files, path).await
    }

    async fn restore(&mut self, slot: String, directory: String, path: String) -> Result<(), Fault> {
        let access = self.sql(&slot, Verb::SqlRestore, &[]).await?;
        let files = self.files(&directory, Verb::FilesRead, &path)?;
        only_sqlite(access.sql())?;
        sqlite::restore(access, files, path).await
    }
}

fn only_sqlite(target: &SqlTarget) -> Result<(), Fault> {
    if target.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let message = "only a SQLite database is copied this way; others have a program for it, such as `pg_dump`";
    Err(Fault::new(FaultClass::Invalid, "sql.not-sqlite", message))
}

/// A database that the gate has let a statement of, with what a connection to it needs.
pub(super) struct Access {
    target: Arc<Target>,
    password: Option<Secret>,
    /// For connecting and running, enforced by the server too.
    timeout: Duration,
}

impl Access {
    fn sql(&self) -> &SqlTarget {
        sql_of(&self.target)
    }
}

fn sql_of(target: &Target) -> &SqlTarget {
    match &target.kind {
        TargetKind::Sql(sql) => sql,
        TargetKind::Http(_) | TargetKind::Docker(_) | TargetKind::Files(_) | TargetKind::Process(_) | TargetKind::Secret(_) => {
            unreachable!("the gate lets sql operations through on sql targets only")
        }
    }
}

impl Host {
    /// The database of `slot`, if `verb` may be used there with each of these statements.
    async fn sql(&mut self, slot: &str, verb: Verb, statements: &[&str]) -> Result<Access, Fault> {
        if statements.is_empty() {
            self.enter(&Operation::Sql { slot, verb, statement: None })?;
        }
        for statement in statements {
            self.enter(&Operation::Sql { slot, verb, statement: Some(statement) })?;
        }
        let target = self.target(slot)?;
        let password = match &sql_of(&target).password {
            Some(name) => Some(self.secret(name).await?),
            None => None,
        };
        let timeout = self.remaining(sql_of(&target).timeout);
        Ok(Access { target, password, timeout })
    }
}

/// Counts rows and bytes against the target's limits.
struct Budget {
    rows: u32,
    bytes: u64,
}

impl Budget {
    fn new(target: &SqlTarget) -> Self {
        Self { rows: target.max_rows, bytes: target.max_bytes.0 }
    }

    /// Whether a row of `size` bytes still fits.
    fn take(&mut self, size: usize) -> bool {
        let size = size as u64 + 16;
        if self.rows == 0 || self.bytes < size {
            return false;
        }
        self.rows -= 1;
        self.bytes -= size;
        true
    }
}

/// Bytes of a value, roughly.
fn size_of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) => 8,
        Value::Decimal(text)
        | Value::Text(text)
        | Value::Timestamp(text)
        | Value::Date(text)
        | Value::Time(text)
        | Value::Uuid(text)
        | Value::Json(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Sequence(items) => items.len() * 24,
        Value::Other((name, text)) => name.len() + text.len(),
    }
}

/// A parameter that the database's driver cannot take.
fn unsupported(position: usize, expected: &str) -> Fault {
    let message = format!(
        "parameter {position} is a `{expected}`, which is not bound directly; write a cast from text, such as `${position}::text::{}`",
        expected.to_lowercase()
    );
    Fault::new(FaultClass::Invalid, "sql.parameter", message)
}

fn mismatch(position: usize, expected: &str) -> Fault {
    Fault::new(FaultClass::Invalid, "sql.parameter", format!("parameter {position} must be a `{expected}`"))
}

/// What an error of sqlx is, by the SQLSTATE that the server sent.
fn fault_of(error: &sqlx::Error) -> Fault {
    let Some(database) = error.as_database_error() else {
        return match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => {
                Fault::new(FaultClass::Transient, "sql.connect", format!("the database cannot be reached: {error}"))
            }
            sqlx::Error::Protocol(message) => Fault::new(FaultClass::Transient, "sql.protocol", message.clone()),
            other => Fault::new(FaultClass::Invalid, "sql.driver", other.to_string()),
        };
    };
    let state = database.code().unwrap_or_default();
    let (class, code) = match &*state {
        "25006" => (FaultClass::Denied, "sql.read-only"),
        "57014" => (FaultClass::Timeout, "sql.timeout"),
        "55P03" => (FaultClass::Conflict, "sql.locked"),
        "42501" | "42000" => (FaultClass::Denied, "sql.privilege"),
        "42P01" | "3D000" | "42S02" => (FaultClass::NotFound, "sql.no-such-relation"),
        "53300" | "53400" => (FaultClass::Transient, "sql.too-many-connections"),
        state if state.starts_with("08") || state.starts_with("57P") || state.starts_with("40") => {
            (FaultClass::Transient, "sql.unavailable")
        }
        state if state.starts_with("28") => (FaultClass::Denied, "sql.login"),
        state if state.starts_with("23") => (FaultClass::Conflict, "sql.constraint"),
        state if state.starts_with("42") => (FaultClass::Invalid, "sql.syntax"),
        _ => (FaultClass::Invalid, "sql.error"),
    };
    Fault::new(class, code, format!("{} (SQLSTATE {state})", database.message()))
}

fn timed_out(timeout: Duration) -> Fault {
    Fault::new(FaultClass::Timeout, "sql.timeout", format!("the database did not answer within {} ms", timeout.as_millis()))
}

/// Runs with the wall clock; the server has been told the same limit.
async fn within<T>(access: &Access, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    // A little longer than the server's own limit, whose message says more.
    tokio::time::timeout(access.timeout + Duration::from_millis(250), work)
        .await
        .unwrap_or_else(|_| Err(timed_out(access.timeout)))
}
