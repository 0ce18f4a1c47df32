//! SQLite, by rusqlite on a blocking thread.
//!
//! A read has a read-only handle whose authorizer lets nothing through but SELECT, reading,
//! functions and pragmas that only look (`read_only(true)` and `query_only` are not enough:
//! `VACUUM INTO` writes a file and `ATTACH` opens one). A change has an authorizer, too, and no
//! handle of a guest can attach a second database.

mod authorizer;
mod copy;

pub(super) use copy::{backup, restore};

use super::failure::mismatch;
use super::{Access, Budget, words};
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
use rusqlite::types::{ToSqlOutput, Value as Bound, ValueRef};
use rusqlite::{Batch, Connection, ErrorCode, OpenFlags, TransactionBehavior, params_from_iter};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a statement waits for another writer.
const BUSY: Duration = Duration::from_secs(5);

pub(super) async fn query(
    access: Access,
    statement: String,
    parameters: Vec<Value>,
) -> Result<Rows, Fault> {
    blocking::run(move |stop| {
        let connection = open(&access, Handle::Read, stop)?;
        let mut prepared = single(&connection, &statement)?;
        if !prepared.readonly() {
            return Err(denied("the statement would write"));
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
        let mut found =
            prepared.query(params_from_iter(bound(&parameters)?)).map_err(|error| fault(&error))?;
        while let Some(row) = found.next().map_err(|error| fault(&error))? {
            let width = rows.columns.len();
            if !budget.take((0..width).map(|index| row.get_ref(index).map_or(0, size))) {
                rows.truncated = true;
                break;
            }
            let values =
                (0..width).map(|index| row.get_ref(index).map(value)).collect::<Result<_, _>>();
            rows.rows.push(values.map_err(|error| fault(&error))?);
        }
        Ok(rows)
    })
    .await
}

pub(super) async fn execute(
    access: Access,
    statement: String,
    parameters: Vec<Value>,
    commit: Commit,
) -> Result<u64, Fault> {
    if words::is_about_rows(Dialect::Sqlite, &statement) {
        let counts =
            transaction(access, vec![Statement { text: statement, parameters }], commit).await?;
        return Ok(counts.iter().sum());
    }
    blocking::run(move |stop| {
        let connection = open(&access, Handle::Write, stop)?;
        commit.send()?;
        run(&connection, &statement, &parameters).map_err(|failed| failed.told(&commit))
    })
    .await
}

pub(super) async fn transaction(
    access: Access,
    statements: Vec<Statement>,
    commit: Commit,
) -> Result<Vec<u64>, Fault> {
    blocking::run(move |stop| {
        let mut connection = open(&access, Handle::Write, stop)?;
        // Dropped without a commit, it rolls back.
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
            counts.push(run(&transaction, text, parameters).map_err(Failed::fault)?);
        }
        if transaction.is_autocommit() {
            return Err(Fault::new(
                FaultClass::Invalid,
                "sql.transaction",
                "a statement ended the transaction; COMMIT and ROLLBACK are the host's",
            ));
        }
        commit.send()?;
        transaction.commit().map_err(|error| Failed::Sent(error).told(&commit))?;
        Ok(counts)
    })
    .await
}

/// Why a statement did not change anything, or may not have.
enum Failed {
    /// The statement was not begun.
    Before(Fault),
    Sent(rusqlite::Error),
}

impl Failed {
    fn fault(self) -> Fault {
        match self {
            Self::Before(fault) => fault,
            Self::Sent(error) => fault(&error),
        }
    }

    /// SQLite takes back what ends with an error; only one of the disk leaves open on which side of
    /// it.
    fn told(self, commit: &Commit) -> Fault {
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
            failed => {
                commit.void();
                failed.fault()
            }
        }
    }
}

/// Runs a statement, and returns how many rows it touched or returned.
fn run(connection: &Connection, statement: &str, parameters: &[Value]) -> Result<u64, Failed> {
    // The one statement that needs a second database, which the authorizer sees to be its own.
    let attached = i32::from(words::first(Dialect::Sqlite, statement) == "VACUUM");
    limit(connection, Limit::SQLITE_LIMIT_ATTACHED, attached).map_err(Failed::Before)?;
    let mut prepared = single(connection, statement).map_err(Failed::Before)?;
    let parameters = params_from_iter(bound(parameters).map_err(Failed::Before)?);
    if prepared.column_count() == 0 {
        return prepared.execute(parameters).map(|count| count as u64).map_err(Failed::Sent);
    }
    let mut rows = prepared.query(parameters).map_err(Failed::Sent)?;
    let mut count = 0;
    while rows.next().map_err(Failed::Sent)?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handle {
    /// It runs statements that only look.
    Read,
    /// It runs statements that change the database.
    Write,
    /// The host's own copying out of it, which changes nothing; no statement of a guest runs.
    CopyFrom,
    /// The host's own copying into it; no statement of a guest runs.
    CopyInto,
}

fn file_of(target: &SqlTarget) -> &Path {
    match &target.address {
        SqlAddress::File(path) => path.real(),
        SqlAddress::Server { .. } => unreachable!("only SQLite targets come here"),
    }
}

fn open(access: &Access, handle: Handle, stop: &StopFlag) -> Result<Connection, Fault> {
    let path = file_of(access.sql());
    let flags = match handle {
        Handle::Read | Handle::CopyFrom => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Handle::Write | Handle::CopyInto if access.sql().create => {
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
        }
        Handle::Write | Handle::CopyInto => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let only_reads = matches!(handle, Handle::Read | Handle::CopyFrom);
    if !path.exists() && (only_reads || !access.sql().create) {
        let message = "the database file is not there; it is made by a change, where its target says \
             `create = true`, and never by a read";
        return Err(Fault::new(FaultClass::NotFound, "sql.no-such-database", message));
    }
    if path.exists() {
        // SQLite would wait for a pipe for ever.
        let no_file = |error: std::io::Error| {
            Fault::new(
                FaultClass::Invalid,
                "sql.no-database",
                format!("the database cannot be opened: {error}"),
            )
        };
        runbook_regular_file::check(path).map_err(no_file)?;
    }
    if !only_reads {
        refuse_foreign_journal(path)?;
    }
    let connection =
        // Links were followed when the target was read and judged; none is followed now.
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE | OpenFlags::SQLITE_OPEN_NOFOLLOW)
            .map_err(|error| fault(&error))?;
    connection.busy_timeout(BUSY.min(access.timeout)).map_err(|error| fault(&error))?;
    let (deadline, stop) = (Instant::now() + access.timeout, stop.clone());
    connection
        .progress_handler(1_000, Some(move || stop.is_set() || Instant::now() >= deadline))
        .map_err(|error| fault(&error))?;
    let scope = Scope::of(access.sql());
    match handle {
        Handle::Read => {
            limit(&connection, Limit::SQLITE_LIMIT_LENGTH, largest_value(access.sql()))?;
            limit(&connection, Limit::SQLITE_LIMIT_ATTACHED, 0)?;
            connection
                .authorizer(Some(move |context: AuthContext<'_>| {
                    authorizer::may_read(&scope, &context)
                }))
                .map_err(|error| fault(&error))?;
        }
        Handle::Write => {
            limit(
                &connection,
                Limit::SQLITE_LIMIT_LENGTH,
                largest_value(access.sql()).max(64 << 20),
            )?;
            limit(&connection, Limit::SQLITE_LIMIT_ATTACHED, 0)?;
            connection
                .authorizer(Some(move |context: AuthContext<'_>| {
                    authorizer::may_write(&scope, &context)
                }))
                .map_err(|error| fault(&error))?;
        }
        Handle::CopyFrom | Handle::CopyInto => {}
    }
    Ok(connection)
}

/// Refuses a rollback journal that names a super-journal. SQLite would read, and then delete,
/// whatever file is named there, before any authorizer is asked. The record stands at the end of
/// the journal: name, length, checksum, and these eight bytes
/// (<https://www.sqlite.org/fileformat2.html>, "The Super-Journal"). A journal of one database
/// alone has none.
fn refuse_foreign_journal(database: &Path) -> Result<(), Fault> {
    const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    /// Length, checksum and magic of the record; SQLite looks for it in files of at least this
    /// size.
    const RECORD: u64 = 16;
    let mut name = database.as_os_str().to_owned();
    name.push("-journal");
    let names_another = || -> std::io::Result<bool> {
        let mut journal = match std::fs::File::open(Path::new(&name)) {
            Ok(journal) => journal,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let length = journal.metadata()?.len();
        if length < RECORD {
            return Ok(false);
        }
        let mut end = [0; 8];
        journal.seek(SeekFrom::End(-8))?;
        journal.read_exact(&mut end)?;
        Ok(end == MAGIC)
    };
    let refused =
        |message: &str| Err(Fault::new(FaultClass::Denied, "sql.foreign-journal", message));
    match names_another() {
        Ok(false) => Ok(()),
        Ok(true) => refused(
            "the rollback journal beside the database names another file, which SQLite \
                     would delete; look at it",
        ),
        Err(_) => refused("the rollback journal beside the database cannot be read; look at it"),
    }
}

fn limit(connection: &Connection, limit: Limit, most: i32) -> Result<(), Fault> {
    connection.set_limit(limit, most).map(|_| ()).map_err(|error| fault(&error))
}

/// No value, and no row of a table, becomes larger than this in the host's memory. What the target
/// lets through fits; a little more is left for what a statement makes of it on the way.
fn largest_value(target: &SqlTarget) -> i32 {
    i32::try_from(target.max_bytes.0.max(1 << 20)).unwrap_or(i32::MAX)
}

/// Prepares a text that is exactly one statement.
fn single<'c>(connection: &'c Connection, text: &str) -> Result<rusqlite::Statement<'c>, Fault> {
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

/// Why SQLite itself would never compile a statement for a verb in any database: an empty one in
/// memory is asked.
pub(super) fn refused(target: &SqlTarget, verb: Verb, statement: &str) -> Option<String> {
    let connection = Connection::open_in_memory().ok()?;
    let scope = Scope::of(target);
    let judge = move |context: AuthContext<'_>| {
        if verb == Verb::SqlQuery {
            authorizer::may_read(&scope, &context)
        } else {
            authorizer::may_write(&scope, &context)
        }
    };
    connection.authorizer(Some(judge)).ok()?;
    let mut batch = Batch::new(&connection, statement);
    let first = match batch.next() {
        Ok(Some(first)) => first,
        Ok(None) => return Some("there is no statement in it".to_owned()),
        Err(error) => return of_the_text(&error),
    };
    if matches!(batch.next(), Ok(Some(_)) | Err(_)) {
        return Some("there is more than one statement in it, and one is run at a time".to_owned());
    }
    (verb == Verb::SqlQuery && !first.readonly()).then(|| "the statement would write".to_owned())
}

/// The message of an error that every database would give: a table that is not there may be there
/// elsewhere.
fn of_the_text(error: &rusqlite::Error) -> Option<String> {
    if error.sqlite_error_code() == Some(ErrorCode::AuthorizationForStatementDenied) {
        return Some(fault(error).message);
    }
    let (rusqlite::Error::SqlInputError { msg, .. } | rusqlite::Error::SqliteFailure(_, Some(msg))) =
        error
    else {
        return None;
    };
    let is_syntax = msg.starts_with("near ") && msg.ends_with("syntax error");
    let begins = ["unrecognized token", "no such function", "not authorized to use function"];
    let is_of_the_text =
        is_syntax || msg == "incomplete input" || begins.iter().any(|words| msg.starts_with(words));
    is_of_the_text.then(|| msg.clone())
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
                Value::Sequence(_) | Value::Other(_) => {
                    return Err(mismatch(index + 1, "null, number, text or blob"));
                }
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
        ValueRef::Text(text) => std::str::from_utf8(text)
            .map_or_else(|_| Value::Bytes(text.to_vec()), |text| Value::Text(text.to_owned())),
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
        Some(ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly) => {
            (FaultClass::Denied, "sql.read-only")
        }
        Some(ErrorCode::OperationInterrupted) => (FaultClass::Timeout, "sql.timeout"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (FaultClass::Transient, "sql.locked")
        }
        Some(ErrorCode::ConstraintViolation) => (FaultClass::Conflict, "sql.constraint"),
        // SQLite's own message tells the path, which is not the guest's business.
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
