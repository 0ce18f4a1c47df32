//! SQLite, by rusqlite on a blocking thread.
//!
//! A query uses a read-only connection with an authorizer that allows only SELECT, reading,
//! functions and read-only pragmas (`read_only(true)` and `query_only` are not enough: `VACUUM
//! INTO` writes a file and `ATTACH` opens one). A change has an authorizer, too. No connection of a
//! guest can attach a second database.

mod authorizer;
mod copy;

pub(super) use copy::{backup, restore};

use super::failure::parameter_mismatch;
use super::{Budget, DatabaseAccess, words};
use crate::bindings::runbook::sql::types::{Column, Rows, Statement, Value};
use crate::blocking::{self, StopFlag};
use crate::fault::{Fault, FaultClass};
use crate::host::Commit;
use authorizer::Scope;
use runbook_authority::Verb;
use runbook_authority::pattern::Dialect;
use runbook_authority::targets::{SqlAddress, SqlTarget};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::hooks::AuthContext;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, Value as SqliteValue, ValueRef};
use rusqlite::{Batch, Connection, ErrorCode, OpenFlags, TransactionBehavior, params_from_iter};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a statement waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the file for reading, and reads its schema version. A file that a change would make may be
/// missing.
pub(super) async fn reach(access: DatabaseAccess) -> Result<String, Fault> {
    blocking::run(move |stop| {
        if access.sql().create && !file_of(access.sql()).exists() {
            return Ok("the file is not there; the first change makes it".to_owned());
        }
        let connection = open(&access, ConnectionPurpose::CopyFrom, stop)?;
        let version = connection.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0));
        version.map(|_| "the file is a database".to_owned()).map_err(|error| fault(&error))
    })
    .await
}

pub(super) async fn query(
    access: DatabaseAccess,
    statement: String,
    parameters: Vec<Value>,
) -> Result<Rows, Fault> {
    blocking::run(move |stop| {
        let connection = open(&access, ConnectionPurpose::Read, stop)?;
        let mut prepared = prepare_single(&connection, &statement)?;
        if !prepared.readonly() {
            return Err(read_only_fault("the statement would write"));
        }
        let columns: Vec<Column> = prepared
            .columns()
            .iter()
            .map(|column| Column {
                name: column.name().to_owned(),
                type_name: column.decl_type().unwrap_or_default().to_owned(),
            })
            .collect();
        let mut budget = Budget::new(access.sql());
        let mut rows = Rows { columns, rows: Vec::new(), truncated: false };
        let mut cursor = prepared
            .query(params_from_iter(bind_values(&parameters)?))
            .map_err(|error| fault(&error))?;
        while let Some(row) = cursor.next().map_err(|error| fault(&error))? {
            let column_count = rows.columns.len();
            if !budget.take((0..column_count).map(|index| row.get_ref(index).map_or(0, size))) {
                rows.truncated = true;
                break;
            }
            let values = (0..column_count)
                .map(|index| row.get_ref(index).map(value))
                .collect::<Result<_, _>>();
            rows.rows.push(values.map_err(|error| fault(&error))?);
        }
        Ok(rows)
    })
    .await
}

pub(super) async fn execute(
    access: DatabaseAccess,
    statement: String,
    parameters: Vec<Value>,
    commit: Commit,
) -> Result<u64, Fault> {
    if words::is_row_statement(Dialect::Sqlite, &statement) {
        let counts =
            transaction(access, vec![Statement { text: statement, parameters }], commit).await?;
        return Ok(counts.iter().sum());
    }
    blocking::run(move |stop| {
        let connection = open(&access, ConnectionPurpose::Write, stop)?;
        commit.mark_sent()?;
        run(&connection, &statement, &parameters).map_err(|failure| failure.into_fault(&commit))
    })
    .await
}

pub(super) async fn transaction(
    access: DatabaseAccess,
    statements: Vec<Statement>,
    commit: Commit,
) -> Result<Vec<u64>, Fault> {
    blocking::run(move |stop| {
        let mut connection = open(&access, ConnectionPurpose::Write, stop)?;
        // If it is dropped without a commit, it is rolled back.
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| fault(&error))?;
        let mut counts = Vec::new();
        for Statement { text, parameters } in &statements {
            if transaction.is_autocommit() {
                return Err(Fault::new(
                    FaultClass::Invalid,
                    "sql.transaction",
                    "a statement ended the transaction; COMMIT and ROLLBACK are the host's",
                ));
            }
            counts.push(run(&transaction, text, parameters).map_err(StatementFailure::fault)?);
        }
        if transaction.is_autocommit() {
            return Err(Fault::new(
                FaultClass::Invalid,
                "sql.transaction",
                "a statement ended the transaction; COMMIT and ROLLBACK are the host's",
            ));
        }
        commit.mark_sent()?;
        transaction.commit().map_err(|error| StatementFailure::Sent(error).into_fault(&commit))?;
        Ok(counts)
    })
    .await
}

/// Why a statement failed.
enum StatementFailure {
    /// The statement was not started.
    NotSent(Fault),
    Sent(rusqlite::Error),
}

impl StatementFailure {
    fn fault(self) -> Fault {
        match self {
            Self::NotSent(fault) => fault,
            Self::Sent(error) => fault(&error),
        }
    }

    /// The fault after the commit was marked as sent. SQLite rolls back a statement that fails;
    /// only after a disk error it is unknown whether the change is final.
    fn into_fault(self, commit: &Commit) -> Fault {
        match self {
            Self::Sent(error)
                if matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen)
                ) =>
            {
                let message = format!(
                    "the disk failed before the change was known to be final, so it may have \
                     happened: {error}"
                );
                Fault::new(FaultClass::Unknown, "sql.lost", message)
            }
            failure => {
                commit.mark_rolled_back();
                failure.fault()
            }
        }
    }
}

/// Runs a statement, and returns how many rows it changed or returned.
fn run(
    connection: &Connection,
    statement: &str,
    parameters: &[Value],
) -> Result<u64, StatementFailure> {
    // VACUUM needs a second database; the authorizer allows only its temporary file.
    let max_attached = i32::from(words::first_word(Dialect::Sqlite, statement) == "VACUUM");
    set_limit(connection, Limit::SQLITE_LIMIT_ATTACHED, max_attached)
        .map_err(StatementFailure::NotSent)?;
    let mut prepared = prepare_single(connection, statement).map_err(StatementFailure::NotSent)?;
    let parameters = params_from_iter(bind_values(parameters).map_err(StatementFailure::NotSent)?);
    if prepared.column_count() == 0 {
        return prepared
            .execute(parameters)
            .map(|count| count as u64)
            .map_err(StatementFailure::Sent);
    }
    let mut rows = prepared.query(parameters).map_err(StatementFailure::Sent)?;
    let mut count = 0;
    while rows.next().map_err(StatementFailure::Sent)?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// The purpose of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ConnectionPurpose {
    /// The connection runs statements that only read.
    Read,
    /// The connection runs statements that change the database.
    Write,
    /// The host copies the database out of it; no statement of a guest runs.
    CopyFrom,
    /// The host copies a database into it; no statement of a guest runs.
    CopyInto,
}

fn file_of(target: &SqlTarget) -> &Path {
    match &target.address {
        SqlAddress::File(path) => path.real(),
        SqlAddress::Server { .. } => unreachable!("only SQLite targets come here"),
    }
}

fn open(
    access: &DatabaseAccess,
    purpose: ConnectionPurpose,
    stop: &StopFlag,
) -> Result<Connection, Fault> {
    let path = file_of(access.sql());
    let flags = match purpose {
        ConnectionPurpose::Read | ConnectionPurpose::CopyFrom => OpenFlags::SQLITE_OPEN_READ_ONLY,
        ConnectionPurpose::Write | ConnectionPurpose::CopyInto if access.sql().create => {
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
        }
        ConnectionPurpose::Write | ConnectionPurpose::CopyInto => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let is_read_only = matches!(purpose, ConnectionPurpose::Read | ConnectionPurpose::CopyFrom);
    if !path.exists() && (is_read_only || !access.sql().create) {
        let message = "the database file is not there; it is made by a change, where its target says \
             `create = true`, and never by a read";
        return Err(Fault::new(FaultClass::NotFound, "sql.no-such-database", message));
    }
    if path.exists() {
        // SQLite would block on a named pipe.
        let open_fault = |error: std::io::Error| {
            Fault::new(
                FaultClass::Invalid,
                "sql.no-database",
                format!("the database cannot be opened: {error}"),
            )
        };
        runbook_regular_file::check(path).map_err(open_fault)?;
    }
    if !is_read_only {
        refuse_super_journal(path)?;
    }
    let connection =
        // Links were resolved when the target was read; none is followed now.
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE | OpenFlags::SQLITE_OPEN_NOFOLLOW)
            .map_err(|error| fault(&error))?;
    connection.busy_timeout(BUSY_TIMEOUT.min(access.timeout)).map_err(|error| fault(&error))?;
    let (deadline, stop) = (Instant::now() + access.timeout, stop.clone());
    connection
        .progress_handler(1_000, Some(move || stop.is_set() || Instant::now() >= deadline))
        .map_err(|error| fault(&error))?;
    let scope = Scope::of(access.sql());
    match purpose {
        ConnectionPurpose::Read => {
            set_limit(&connection, Limit::SQLITE_LIMIT_LENGTH, largest_value(access.sql()))?;
            set_limit(&connection, Limit::SQLITE_LIMIT_ATTACHED, 0)?;
            connection
                .authorizer(Some(move |context: AuthContext<'_>| {
                    authorizer::authorize_read(&scope, &context)
                }))
                .map_err(|error| fault(&error))?;
        }
        ConnectionPurpose::Write => {
            set_limit(
                &connection,
                Limit::SQLITE_LIMIT_LENGTH,
                largest_value(access.sql()).max(64 << 20),
            )?;
            set_limit(&connection, Limit::SQLITE_LIMIT_ATTACHED, 0)?;
            connection
                .authorizer(Some(move |context: AuthContext<'_>| {
                    authorizer::authorize_write(&scope, &context)
                }))
                .map_err(|error| fault(&error))?;
        }
        ConnectionPurpose::CopyFrom | ConnectionPurpose::CopyInto => {}
    }
    Ok(connection)
}

/// Refuses a rollback journal that names a super-journal: SQLite would read and delete the named
/// file before it calls the authorizer. The record is at the end of the journal: name, length,
/// checksum, and eight magic bytes (<https://www.sqlite.org/fileformat2.html>, "The
/// Super-Journal"). The journal of a transaction in a single database has no such record.
fn refuse_super_journal(database: &Path) -> Result<(), Fault> {
    const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    /// Length, checksum and magic of the record; SQLite looks for it in files of at least this
    /// size.
    const RECORD_SIZE: u64 = 16;
    let mut name = database.as_os_str().to_owned();
    name.push("-journal");
    let names_super_journal = || -> std::io::Result<bool> {
        let mut journal = match std::fs::File::open(Path::new(&name)) {
            Ok(journal) => journal,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let length = journal.metadata()?.len();
        if length < RECORD_SIZE {
            return Ok(false);
        }
        let mut last_bytes = [0; 8];
        journal.seek(SeekFrom::End(-8))?;
        journal.read_exact(&mut last_bytes)?;
        Ok(last_bytes == MAGIC)
    };
    let refusal =
        |message: &str| Err(Fault::new(FaultClass::Denied, "sql.foreign-journal", message));
    match names_super_journal() {
        Ok(false) => Ok(()),
        Ok(true) => refusal(
            "the rollback journal beside the database names another file, which SQLite \
                     would delete; look at it",
        ),
        Err(_) => refusal("the rollback journal beside the database cannot be read; look at it"),
    }
}

fn set_limit(connection: &Connection, limit: Limit, value: i32) -> Result<(), Fault> {
    connection.set_limit(limit, value).map(|_| ()).map_err(|error| fault(&error))
}

/// The largest value, and the largest row of a table, in bytes. At least 1 MiB, so that a statement
/// can compute with larger values than the target returns.
fn largest_value(target: &SqlTarget) -> i32 {
    i32::try_from(target.max_bytes.0.max(1 << 20)).unwrap_or(i32::MAX)
}

/// Prepares a text that is exactly one statement.
fn prepare_single<'c>(
    connection: &'c Connection,
    text: &str,
) -> Result<rusqlite::Statement<'c>, Fault> {
    let mut batch = Batch::new(connection, text);
    let statement = batch.next().map_err(|error| fault(&error))?;
    let Some(statement) = statement else {
        return Err(Fault::new(FaultClass::Invalid, "sql.empty", "there is no statement"));
    };
    match batch.next() {
        Ok(None) => Ok(statement),
        Ok(Some(_)) | Err(_) => Err(Fault::new(
            FaultClass::Invalid,
            "sql.several-statements",
            "there is more than one statement",
        )),
    }
}

/// Why SQLite would not compile a statement for a verb in any database. An empty database in memory
/// tries it.
pub(super) fn compile_refusal(target: &SqlTarget, verb: Verb, statement: &str) -> Option<String> {
    let connection = Connection::open_in_memory().ok()?;
    let scope = Scope::of(target);
    let authorize = move |context: AuthContext<'_>| {
        if verb == Verb::SqlQuery {
            authorizer::authorize_read(&scope, &context)
        } else {
            authorizer::authorize_write(&scope, &context)
        }
    };
    connection.authorizer(Some(authorize)).ok()?;
    let mut batch = Batch::new(&connection, statement);
    let first = match batch.next() {
        Ok(Some(first)) => first,
        Ok(None) => return Some("there is no statement in it".to_owned()),
        Err(error) => return database_independent_message(&error),
    };
    if matches!(batch.next(), Ok(Some(_)) | Err(_)) {
        return Some("there is more than one statement in it, and one is run at a time".to_owned());
    }
    (verb == Verb::SqlQuery && !first.readonly()).then(|| "the statement would write".to_owned())
}

/// The message of an error that does not depend on the database. (A table that is missing here may
/// exist in another database.)
fn database_independent_message(error: &rusqlite::Error) -> Option<String> {
    if error.sqlite_error_code() == Some(ErrorCode::AuthorizationForStatementDenied) {
        return Some(fault(error).message);
    }
    let (rusqlite::Error::SqlInputError { msg, .. } | rusqlite::Error::SqliteFailure(_, Some(msg))) =
        error
    else {
        return None;
    };
    let is_syntax = msg.starts_with("near ") && msg.ends_with("syntax error");
    let message_prefixes =
        ["unrecognized token", "no such function", "not authorized to use function"];
    let is_about_text = is_syntax
        || msg == "incomplete input"
        || message_prefixes.iter().any(|words| msg.starts_with(words));
    is_about_text.then(|| msg.clone())
}

fn bind_values(parameters: &[Value]) -> Result<Vec<ToSqlOutput<'static>>, Fault> {
    parameters
        .iter()
        .enumerate()
        .map(|(index, parameter)| {
            let value = match parameter {
                Value::Null => SqliteValue::Null,
                Value::Boolean(truth) => SqliteValue::Integer(i64::from(*truth)),
                Value::Integer(number) => SqliteValue::Integer(*number),
                Value::Float(number) => SqliteValue::Real(*number),
                Value::Bytes(bytes) => SqliteValue::Blob(bytes.clone()),
                Value::Decimal(text)
                | Value::Text(text)
                | Value::Timestamp(text)
                | Value::Date(text)
                | Value::Time(text)
                | Value::Uuid(text)
                | Value::Json(text) => SqliteValue::Text(text.clone()),
                Value::Sequence(_) | Value::Other(_) => {
                    return Err(parameter_mismatch(index + 1, "null, number, text or blob"));
                }
            };
            Ok(ToSqlOutput::Owned(value))
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
        ValueRef::Text(text) => std::str::from_utf8(text)
            .map_or_else(|_| Value::Bytes(text.to_vec()), |text| Value::Text(text.to_owned())),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

fn read_only_fault(message: &str) -> Fault {
    Fault::new(FaultClass::Denied, "sql.read-only", message)
}

fn call_over_fault() -> Fault {
    Fault::new(FaultClass::Cancelled, "cancelled", "the call is over")
}

fn fault(error: &rusqlite::Error) -> Fault {
    let code = error.sqlite_error_code();
    let (class, name) = match code {
        Some(ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly) => {
            (FaultClass::Denied, "sql.read-only")
        }
        Some(ErrorCode::OperationInterrupted) => (FaultClass::Timeout, "sql.timeout"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (FaultClass::Transient, "sql.locked")
        }
        Some(ErrorCode::ConstraintViolation) => (FaultClass::Conflict, "sql.constraint"),
        // SQLite's message contains the path, which a guest must not see.
        Some(ErrorCode::CannotOpen) => {
            return Fault::new(
                FaultClass::NotFound,
                "sql.no-such-database",
                "the database file cannot be opened",
            );
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            (FaultClass::Conflict, "sql.damaged")
        }
        Some(ErrorCode::DiskFull) => (FaultClass::Conflict, "sql.disk-full"),
        Some(ErrorCode::TooBig) => (FaultClass::Limit, "sql.too-big"),
        Some(_) | None => (FaultClass::Invalid, "sql.error"),
    };
    let message = match error {
        _ if code == Some(ErrorCode::AuthorizationForStatementDenied) => {
            "a query only looks, a change stays in this database, and the statement would do more"
                .to_owned()
        }
        rusqlite::Error::InvalidPath(_) => "the path of the database is not text".to_owned(),
        other => other.to_string(),
    };
    Fault::new(class, name, message)
}
