//! SQLite, by rusqlite on a blocking thread.
//!
//! A read has a read-only handle whose authorizer lets nothing through but SELECT, reading, functions and pragmas that only look
//! (`read_only(true)` and `query_only` are not enough: `VACUUM INTO` writes a file and `ATTACH` opens one).

use super::failure::mismatch;
use super::{Access, Budget};
use crate::bindings::runbook::sql::types::{Artifact, Column, Rows, Statement, Value};
use crate::blocking::{self, Stop};
use crate::capabilities::files::FilesSlot;
use crate::capabilities::files::directory::Existing;
use crate::fault::{Fault, FaultClass};
use runbook_authority::target::{SqlAddress, SqlTarget};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, Value as Bound, ValueRef};
use rusqlite::{Batch, Connection, ErrorCode, OpenFlags, TransactionBehavior, params_from_iter};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a statement waits for another writer.
const BUSY: Duration = Duration::from_secs(5);

/// Pragmas that only look, whatever their argument.
const LOOKING: &[&str] = &[
    "integrity_check",
    "quick_check",
    "foreign_key_check",
    "foreign_key_list",
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "database_list",
    "collation_list",
    "function_list",
    "compile_options",
];

/// Pragmas that look when they have no argument and set something when they have one.
const LOOKING_WITHOUT_VALUE: &[&str] = &[
    "page_count",
    "page_size",
    "freelist_count",
    "user_version",
    "schema_version",
    "application_id",
    "journal_mode",
    "encoding",
    "auto_vacuum",
];

pub(super) async fn query(access: Access, statement: String, parameters: Vec<Value>) -> Result<Rows, Fault> {
    blocking::run(move |stop| {
        let connection = open(&access, Handle::Read, stop)?;
        let mut prepared = single(&connection, &statement)?;
        if !prepared.readonly() {
            return Err(denied("the statement would write"));
        }
        let columns: Vec<Column> = prepared
            .columns()
            .iter()
            .map(|column| Column { name: column.name().to_owned(), type_name: column.decl_type().unwrap_or_default().to_owned() })
            .collect();
        let mut budget = Budget::new(access.sql());
        let mut rows = Rows { columns, rows: Vec::new(), truncated: false };
        let mut found = prepared.query(params_from_iter(bound(&parameters)?)).map_err(|error| fault(&error))?;
        while let Some(row) = found.next().map_err(|error| fault(&error))? {
            let width = rows.columns.len();
            if !budget.take((0..width).map(|index| row.get_ref(index).map_or(0, size))) {
                rows.truncated = true;
                break;
            }
            let values = (0..width).map(|index| row.get_ref(index).map(value)).collect::<Result<_, _>>();
            rows.rows.push(values.map_err(|error| fault(&error))?);
        }
        Ok(rows)
    })
    .await
}

pub(super) async fn execute(access: Access, statement: String, parameters: Vec<Value>) -> Result<u64, Fault> {
    blocking::run(move |stop| run(&open(&access, Handle::Write, stop)?, &statement, &parameters)).await
}

pub(super) async fn transaction(access: Access, statements: Vec<Statement>) -> Result<Vec<u64>, Fault> {
    blocking::run(move |stop| {
        let mut connection = open(&access, Handle::Write, stop)?;
        // Dropped without a commit, it rolls back.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| fault(&error))?;
        let mut counts = Vec::new();
        for Statement { text, parameters } in &statements {
            if transaction.is_autocommit() {
                return Err(Fault::new(
                    FaultClass::Invalid,
                    "sql.transaction",
                    "a statement ended the transaction; COMMIT and ROLLBACK are the host's",
                ));
            }
            counts.push(run(&transaction, text, parameters)?);
        }
        if transaction.is_autocommit() {
            return Err(Fault::new(
                FaultClass::Invalid,
                "sql.transaction",
                "a statement ended the transaction; COMMIT and ROLLBACK are the host's",
            ));
        }
        transaction.commit().map_err(|error| fault(&error))?;
        Ok(counts)
    })
    .await
}

/// Rows touched, or returned.
fn run(connection: &Connection, statement: &str, parameters: &[Value]) -> Result<u64, Fault> {
    let mut prepared = single(connection, statement)?;
    let parameters = params_from_iter(bound(parameters)?);
    if prepared.column_count() == 0 {
        return prepared.execute(parameters).map(|count| count as u64).map_err(|error| fault(&error));
    }
    let mut rows = prepared.query(parameters).map_err(|error| fault(&error))?;
    let mut count = 0;
    while rows.next().map_err(|error| fault(&error))?.is_some() {
        count += 1;
    }
    Ok(count)
}

pub(super) async fn backup(access: Access, files: FilesSlot, path: String) -> Result<Artifact, Fault> {
    blocking::run(move |stop| {
        let source = open(&access, Handle::Copy, stop)?;
        let failed = |error: &io::Error| files.fault(&path, error);
        let copy = tempfile::Builder::new().prefix(".runbook-").tempfile_in(files.root()).map_err(|error| failed(&error))?;
        let mut target = Connection::open(copy.path()).map_err(|error| fault(&error))?;
        pages(&source, &mut target, stop)?;
        drop(target);
        let mut writer =
            files.open().and_then(|directory| directory.create(&path, Existing::Refuse)).map_err(|error| failed(&error))?;
        pour(&mut copy.reopen().map_err(|error| failed(&error))?, &mut writer, stop).map_err(|error| failed(&error))?;
        let written = writer.finish().map_err(|error| failed(&error))?;
        Ok(Artifact { path: path.clone(), size_bytes: written.size, digest: written.digest.to_string() })
    })
    .await
}

pub(super) async fn restore(access: Access, files: FilesSlot, path: String) -> Result<(), Fault> {
    blocking::run(move |stop| {
        let failed = |error: &io::Error| files.fault(&path, error);
        let database = file_of(access.sql());
        // Beside the database, where its journal must be writable too.
        let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let mut copy = tempfile::Builder::new().prefix(".runbook-").tempfile_in(folder).map_err(|error| failed(&error))?;
        let mut reader = files.open().and_then(|directory| directory.reader(&path)).map_err(|error| failed(&error))?;
        pour(&mut reader, copy.as_file_mut(), stop).map_err(|error| failed(&error))?;
        copy.as_file().sync_all().map_err(|error| failed(&error))?;
        let source = Connection::open_with_flags(copy.path(), OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| fault(&error))?;
        let sound: String = source.query_row("pragma integrity_check(1)", [], |row| row.get(0)).map_err(|error| fault(&error))?;
        if sound != "ok" {
            return Err(Fault::new(
                FaultClass::Conflict,
                "sql.copy-damaged",
                format!("the copy is damaged, so nothing was restored: {sound}"),
            ));
        }
        let mut target = open(&access, Handle::Copy, stop)?;
        pages(&source, &mut target, stop)
    })
    .await
}

/// Copies all pages, giving way to writers.
fn pages(source: &Connection, target: &mut Connection, stop: &Stop) -> Result<(), Fault> {
    let backup = Backup::new(source, target).map_err(|error| fault(&error))?;
    loop {
        if stop.is_set() {
            return Err(fault_stopped());
        }
        match backup.step(1_000).map_err(|error| fault(&error))? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn pour(reader: &mut impl io::Read, writer: &mut impl io::Write, stop: &Stop) -> io::Result<()> {
    let mut chunk = vec![0; 256 << 10];
    loop {
        if stop.is_set() {
            return Err(Stop::error());
        }
        let length = reader.read(&mut chunk)?;
        if length == 0 {
            return writer.flush();
        }
        writer.write_all(&chunk[..length])?;
    }
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handle {
    /// Statements that only look.
    Read,
    /// Statements that change.
    Write,
    /// The host's own copying; no statement of a guest runs.
    Copy,
}

fn file_of(target: &SqlTarget) -> &Path {
    match &target.address {
        SqlAddress::File(path) => path,
        SqlAddress::Server { .. } => unreachable!("only SQLite targets come here"),
    }
}

fn open(access: &Access, handle: Handle, stop: &Stop) -> Result<Connection, Fault> {
    let path = file_of(access.sql());
    let flags = match handle {
        Handle::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Handle::Write | Handle::Copy if access.sql().create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Handle::Write | Handle::Copy => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    if !path.exists() && (handle == Handle::Read || !access.sql().create) {
        let message =
            "the database file is not there; it is made by a change, where its target says `create = true`, and never by a read";
        return Err(Fault::new(FaultClass::NotFound, "sql.no-such-database", message));
    }
    let connection =
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE)
            .map_err(|error| fault(&error))?;
    connection.busy_timeout(BUSY.min(access.timeout)).map_err(|error| fault(&error))?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, 64 << 20).map_err(|error| fault(&error))?;
    let (deadline, stop) = (Instant::now() + access.timeout, stop.clone());
    connection
        .progress_handler(1_000, Some(move || stop.is_set() || Instant::now() >= deadline))
        .map_err(|error| fault(&error))?;
    match handle {
        Handle::Read => {
            connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0).map_err(|error| fault(&error))?;
            connection.authorizer(Some(may_read)).map_err(|error| fault(&error))?;
        }
        Handle::Write => connection.authorizer(Some(may_write)).map_err(|error| fault(&error))?,
        Handle::Copy => {}
    }
    Ok(connection)
}

fn verdict(allowed: bool) -> Authorization {
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

fn may_read(context: AuthContext<'_>) -> Authorization {
    verdict(match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => {
            !matches!(function_name, "load_extension" | "fts3_tokenizer" | "writefile" | "edit")
        }
        AuthAction::Pragma { pragma_name, pragma_value } => {
            let name = pragma_name.to_lowercase();
            LOOKING.contains(&name.as_str()) || (pragma_value.is_none() && LOOKING_WITHOUT_VALUE.contains(&name.as_str()))
        }
        _ => false,
    })
}

/// Everything in this database, and nothing outside of it. VACUUM attaches a nameless file of its own.
fn may_write(context: AuthContext<'_>) -> Authorization {
    verdict(match context.action {
        AuthAction::Attach { filename } => filename.is_empty(),
        AuthAction::Function { function_name } => {
            !matches!(function_name, "load_extension" | "fts3_tokenizer" | "writefile" | "edit")
        }
        AuthAction::Pragma { pragma_name, .. } => {
            !matches!(pragma_name.to_lowercase().as_str(), "writable_schema" | "temp_store_directory" | "data_store_directory")
        }
        _ => true,
    })
}

/// Exactly one statement.
fn single<'c>(connection: &'c Connection, text: &str) -> Result<rusqlite::Statement<'c>, Fault> {
    let mut batch = Batch::new(connection, text);
    let statement = batch.next().map_err(|error| fault(&error))?;
    let Some(statement) = statement else { return Err(Fault::new(FaultClass::Invalid, "sql.empty", "there is no statement")) };
    match batch.next() {
        Ok(None) => Ok(statement),
        Ok(Some(_)) | Err(_) => {
            Err(Fault::new(FaultClass::Invalid, "sql.several-statements", "there is more than one statement"))
        }
    }
}

fn bound(parameters: &[Value]) -> Result<Vec<ToSqlOutput<'static>>, Fault> {
    parameters
        .iter()
        .enumerate()
        .map(|(index, parameter)| {
            let bound = match parameter {
                Value::Null => Bound::Null,
                Value::Boolean(truth) => Bound::Integer(i64::from(*truth)),
                Value::Integer(number) => Bound::Integer(*number),
                Value::Float(number) => Bound::Real(*number),
                Value::Bytes(bytes) => Bound::Blob(bytes.clone()),
                Value::Decimal(text)
                | Value::Text(text)
                | Value::Timestamp(text)
                | Value::Date(text)
                | Value::Time(text)
                | Value::Uuid(text)
                | Value::Json(text) => Bound::Text(text.clone()),
                Value::Sequence(_) | Value::Other(_) => return Err(mismatch(index + 1, "null, number, text or blob")),
            };
            Ok(ToSqlOutput::Owned(bound))
        })
        .collect()
}

fn size(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
    }
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(text) => {
            std::str::from_utf8(text).map_or_else(|_| Value::Bytes(text.to_vec()), |text| Value::Text(text.to_owned()))
        }
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

fn denied(message: &str) -> Fault {
    Fault::new(FaultClass::Denied, "sql.read-only", message)
}

fn fault_stopped() -> Fault {
    Fault::new(FaultClass::Cancelled, "cancelled", "the call is over")
}

fn fault(error: &rusqlite::Error) -> Fault {
    let code = error.sqlite_error_code();
    let (class, name) = match code {
        Some(ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly) => (FaultClass::Denied, "sql.read-only"),
        Some(ErrorCode::OperationInterrupted) => (FaultClass::Timeout, "sql.timeout"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (FaultClass::Transient, "sql.locked"),
        Some(ErrorCode::ConstraintViolation) => (FaultClass::Conflict, "sql.constraint"),
        Some(ErrorCode::CannotOpen) => (FaultClass::NotFound, "sql.no-such-database"),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => (FaultClass::Conflict, "sql.damaged"),
        Some(ErrorCode::DiskFull) => (FaultClass::Conflict, "sql.disk-full"),
        Some(ErrorCode::TooBig) => (FaultClass::Limit, "sql.too-big"),
        Some(_) | None => (FaultClass::Invalid, "sql.error"),
    };
    // SQLite names no path in these messages.
    Fault::new(class, name, error.to_string())
}
