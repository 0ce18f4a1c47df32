//! MySQL and MariaDB.
//!
//! A query is one statement that begins with a keyword for reading and names no file. It runs by
//! the prepared protocol in `START TRANSACTION READ ONLY`, in which the server refuses writes and
//! definitions; then `ROLLBACK`.

mod autocommit_errors;
mod connect;
mod earlier_session;
mod relay;
mod stored_functions;

use super::failure::{
    fault_before_commit, fault_of, fault_of_write, not_read_only_fault, parameter_mismatch,
    transaction_control_fault, with_timeout,
};
use super::{Budget, DatabaseAccess, words};
use crate::bindings::runbook::sql::types::{Column, Rows, Statement, Value};
use crate::fault::{Fault, FaultClass};
use crate::host::Commit;
use connect::connect;
pub(super) use earlier_session::end_earlier_session;
use futures_util::TryStreamExt as _;
use relay::{RelayHandle, TruncatedResult};
use runbook_authority::pattern::{
    Dialect, StatementClass, classify, side_effect_function, words as sql_words,
};
use runbook_authority::targets::SqlTarget;
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::types::{BigDecimal, chrono};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Executor as _, Row as _, SqlSafeStr as _,
    TypeInfo as _, ValueRef as _,
};

/// Makes the server parse statements with the same rules as the gate.
const STANDARD_SQL_MODE: &str = "SET SESSION sql_mode = \
     'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT'";

/// First words of statements that only read.
const READ_KEYWORDS: &[&str] =
    &["SELECT", "WITH", "VALUES", "TABLE", "SHOW", "DESCRIBE", "DESC", "EXPLAIN"];

/// Opens a session, and ends it.
pub(super) async fn reach(access: &DatabaseAccess) -> Result<(), Fault> {
    with_timeout(access, async {
        let (connection, _relay) = connect(access, TruncatedResult::EndsAtOnce).await?;
        let _ = connection.close().await;
        Ok(())
    })
    .await
}

pub(super) async fn query(
    access: &DatabaseAccess,
    statement: &str,
    parameters: &[Value],
) -> Result<Rows, Fault> {
    refuse_writes(statement)?;
    with_timeout(access, async {
        let (mut connection, relay) = connect(access, TruncatedResult::EndsAtOnce).await?;
        stored_functions::refuse(&mut connection, access.sql(), &[statement]).await?;
        run(&mut connection, "START TRANSACTION READ ONLY").await?;
        let rows = read(&mut connection, &relay, access, statement, parameters).await;
        // After a truncated result the server is still sending rows. Dropping the connection stops
        // it; a clean close would read all of them.
        if !rows.as_ref().is_ok_and(|rows| rows.truncated) {
            let _ = run(&mut connection, "ROLLBACK").await;
            let _ = connection.close().await;
        }
        rows
    })
    .await
}

/// Words with which a SELECT writes into a file or a variable.
const INTO_KEYWORDS: &[&str] = &["dumpfile", "into", "outfile"];

pub(super) fn refuse_writes(statement: &str) -> Result<(), Fault> {
    let first = words::first_word(Dialect::MySql, statement);
    if !READ_KEYWORDS.contains(&first.as_str()) && !statement.trim_start().starts_with('(') {
        return Err(not_read_only_fault(
            "only a statement that returns rows and changes nothing can be queried",
        ));
    }
    let writing_word = || sql_words(statement).find(|word| INTO_KEYWORDS.contains(&word.as_str()));
    if let Some(word) = side_effect_function(Dialect::MySql, statement).or_else(writing_word) {
        let reason =
            format!("`{word}` does more than read, so it is for `execute`, not for `query`");
        return Err(not_read_only_fault(&reason));
    }
    // `/*! … */` is a comment that the server runs.
    if statement.contains("/*!") || statement.contains("/*M!") {
        return Err(not_read_only_fault(
            "a comment that the server runs (`/*! … */`) cannot be queried",
        ));
    }
    Ok(())
}

async fn read(
    connection: &mut MySqlConnection,
    relay: &RelayHandle,
    access: &DatabaseAccess,
    statement: &str,
    parameters: &[Value],
) -> Result<Rows, Fault> {
    let mut budget = Budget::new(access.sql());
    let mut rows = Rows { columns: Vec::new(), rows: Vec::new(), truncated: false };
    let mut row_stream =
        sqlx::query_with(AssertSqlSafe(statement.to_owned()), arguments(parameters)?)
            .persistent(false)
            .fetch(connection);
    while let Some(row) = row_stream.try_next().await.map_err(|error| fault_of(&error))? {
        if rows.columns.is_empty() {
            rows.columns = row
                .columns()
                .iter()
                .map(|column| Column {
                    name: column.name().to_owned(),
                    type_name: column.type_info().name().to_owned(),
                })
                .collect();
        }
        if !budget.take(sizes(&row)) {
            rows.truncated = true;
            break;
        }
        rows.rows.push((0..row.len()).map(|index| value(&row, index)).collect());
    }
    rows.truncated |= relay.is_truncated();
    Ok(rows)
}

fn sizes(row: &MySqlRow) -> impl Iterator<Item = usize> + '_ {
    (0..row.len()).map(|index| row.try_get_unchecked::<&[u8], _>(index).map_or(0, <[u8]>::len))
}

/// Whether a statement only reads, by the statement classes of a narrowed target.
fn is_read_only(target: &SqlTarget, statement: &str) -> bool {
    target.is_narrowed()
        && classify(Dialect::MySql, statement)
            .is_some_and(|facts| facts.classes.iter().all(|class| *class == StatementClass::Select))
}

pub(super) async fn execute(
    access: &DatabaseAccess,
    statement: &str,
    parameters: &[Value],
    commit: &Commit,
) -> Result<u64, Fault> {
    let is_read_only = is_read_only(access.sql(), statement);
    with_timeout(access, async {
        let (mut connection, _relay) = connect(access, TruncatedResult::EndsWithServer).await?;
        earlier_session::acquire_step_lock(&mut connection, access).await?;
        let count = if is_read_only || words::is_row_statement(Dialect::MySql, statement) {
            let statement =
                Statement { text: statement.to_owned(), parameters: parameters.to_vec() };
            let counts =
                in_transaction(&mut connection, access, std::slice::from_ref(&statement), commit)
                    .await;
            counts.map(|counts| counts.iter().sum())
        } else {
            match stored_functions::refuse(&mut connection, access.sql(), &[statement]).await {
                Ok(()) => run_autocommitting(&mut connection, statement, parameters, commit).await,
                Err(fault) => Err(fault),
            }
        };
        let _ = connection.close().await;
        count
    })
    .await
}

/// Runs one statement that commits by itself.
async fn run_autocommitting(
    connection: &mut MySqlConnection,
    statement: &str,
    parameters: &[Value],
    commit: &Commit,
) -> Result<u64, Fault> {
    // A statement that cannot be prepared (bad syntax, missing tables) has had no effect.
    connection
        .prepare(AssertSqlSafe(statement.to_owned()).into_sql_str())
        .await
        .map_err(|error| fault_of(&error))?;
    commit.mark_sent()?;
    execute_one(connection, statement, parameters).await.map_err(|failure| {
        if failure
            .number()
            .is_some_and(|number| autocommit_errors::was_not_started(statement, number))
        {
            commit.mark_rolled_back();
        }
        failure.fault(commit)
    })
}

/// First words of statements that can run inside a transaction; all others commit it implicitly.
const TRANSACTIONAL_KEYWORDS: &[&str] =
    &["INSERT", "UPDATE", "DELETE", "REPLACE", "SELECT", "WITH"];

/// Refuses statements that would commit the transaction implicitly.
pub(super) fn refuse_transaction_control(statement: &str) -> Result<(), Fault> {
    let first = words::first_word(Dialect::MySql, statement);
    if TRANSACTIONAL_KEYWORDS.contains(&first.as_str()) {
        Ok(())
    } else {
        Err(transaction_control_fault(&first))
    }
}

pub(super) async fn transaction(
    access: &DatabaseAccess,
    statements: &[Statement],
    commit: &Commit,
) -> Result<Vec<u64>, Fault> {
    statements.iter().try_for_each(|statement| refuse_transaction_control(&statement.text))?;
    with_timeout(access, async {
        let (mut connection, _relay) = connect(access, TruncatedResult::EndsWithServer).await?;
        earlier_session::acquire_step_lock(&mut connection, access).await?;
        let counts = in_transaction(&mut connection, access, statements, commit).await;
        let _ = connection.close().await;
        counts
    })
    .await
}

/// The error of a COMMIT that was rolled back.
const ERROR_DEADLOCK: u16 = 1213;

/// The warning of a ROLLBACK that could not undo everything.
const WARNING_NOT_ROLLED_BACK: u16 = 1196;

/// Whether there are tables of storage engines without transactions, whose changes cannot be rolled
/// back.
const NON_TRANSACTIONAL_TABLES_QUERY: &str = "SELECT EXISTS(SELECT 1 FROM information_schema.tables t WHERE t.table_type = \
                      'BASE TABLE' AND (t.table_schema = database() OR (database() IS NULL AND \
                      t.table_schema NOT IN ('mysql', 'sys', 'performance_schema', \
                      'information_schema'))) AND t.engine NOT IN (SELECT e.engine FROM \
                      information_schema.engines e WHERE e.transactions = 'YES'))";

async fn in_transaction(
    connection: &mut MySqlConnection,
    access: &DatabaseAccess,
    statements: &[Statement],
    commit: &Commit,
) -> Result<Vec<u64>, Fault> {
    let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
    stored_functions::refuse(connection, access.sql(), &texts).await?;
    let is_read_only =
        statements.iter().all(|statement| is_read_only(access.sql(), &statement.text));
    if !is_read_only && has_non_transactional_tables(connection).await? {
        // Changes to such a table are final at once, whatever happens to the transaction.
        commit.mark_sent()?;
    }
    run(connection, if is_read_only { "START TRANSACTION READ ONLY" } else { "START TRANSACTION" })
        .await?;
    let mut counts = Vec::new();
    for Statement { text, parameters } in statements {
        match execute_one(connection, text, parameters).await {
            Ok(count) => counts.push(count),
            Err(failure) => return Err(roll_back(connection, failure, commit).await),
        }
    }
    commit.mark_sent()?;
    let result = sqlx::raw_sql("COMMIT").execute(connection).await;
    result.map_err(|error| {
        let failure = StatementFailure::Sent(error);
        if failure.number() == Some(ERROR_DEADLOCK) {
            commit.mark_rolled_back();
        }
        failure.fault(commit)
    })?;
    Ok(counts)
}

/// Rolls a failed transaction back, and asks the server whether everything was undone.
async fn roll_back(
    connection: &mut MySqlConnection,
    failure: StatementFailure,
    commit: &Commit,
) -> Fault {
    let mut incomplete = Ok(false);
    if failure.is_server_error() {
        incomplete = match run(connection, "ROLLBACK").await {
            Ok(()) => is_rollback_incomplete(connection).await,
            Err(fault) => Err(fault),
        };
        match incomplete {
            Ok(false) => commit.mark_rolled_back(),
            // A table without transactions in another database, reached by a view or a trigger.
            Ok(true) => drop(commit.mark_sent()),
            Err(_) => {}
        }
    }
    let mut fault = failure.fault(commit);
    if incomplete.is_ok_and(|incomplete| incomplete) {
        fault.message.push_str("; what it had changed in a table without transactions stays");
    }
    fault
}

/// Whether the last ROLLBACK has warned that it could not undo everything.
async fn is_rollback_incomplete(connection: &mut MySqlConnection) -> Result<bool, Fault> {
    let warnings = sqlx::raw_sql("SHOW WARNINGS")
        .fetch_all(connection)
        .await
        .map_err(|error| fault_of(&error))?;
    let number = |row: &MySqlRow| row.try_get_unchecked::<u32, _>(1).ok();
    Ok(warnings.iter().any(|row| number(row) == Some(u32::from(WARNING_NOT_ROLLED_BACK))))
}

async fn has_non_transactional_tables(connection: &mut MySqlConnection) -> Result<bool, Fault> {
    let row = sqlx::raw_sql(NON_TRANSACTIONAL_TABLES_QUERY)
        .fetch_one(connection)
        .await
        .map_err(|error| fault_of(&error))?;
    row.try_get_unchecked::<i64, _>(0).map(|found| found != 0).map_err(|error| fault_of(&error))
}

/// Why a statement failed.
enum StatementFailure {
    /// The statement was not sent.
    NotSent(Fault),
    Sent(sqlx::Error),
}

impl StatementFailure {
    /// Whether the server has answered with an error, or the statement was not sent.
    fn is_server_error(&self) -> bool {
        match self {
            Self::NotSent(_) => true,
            Self::Sent(error) => matches!(error, sqlx::Error::Database(_)),
        }
    }

    /// The server's number of the error.
    fn number(&self) -> Option<u16> {
        match self {
            Self::Sent(sqlx::Error::Database(error)) => error
                .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
                .map(sqlx::mysql::MySqlDatabaseError::number),
            Self::Sent(_) | Self::NotSent(_) => None,
        }
    }

    fn fault(self, commit: &Commit) -> Fault {
        match self {
            Self::NotSent(fault) => fault,
            Self::Sent(error) if commit.is_sent() => fault_of_write(&error),
            Self::Sent(error) => fault_before_commit(&error),
        }
    }
}

async fn execute_one(
    connection: &mut MySqlConnection,
    statement: &str,
    parameters: &[Value],
) -> Result<u64, StatementFailure> {
    let arguments = arguments(parameters).map_err(StatementFailure::NotSent)?;
    let result = sqlx::query_with(AssertSqlSafe(statement.to_owned()), arguments)
        .persistent(false)
        .execute(connection)
        .await;
    result.map(|result| result.rows_affected()).map_err(StatementFailure::Sent)
}

async fn run(connection: &mut MySqlConnection, statement: &'static str) -> Result<(), Fault> {
    sqlx::raw_sql(statement).execute(connection).await.map(|_| ()).map_err(|error| fault_of(&error))
}

fn arguments(parameters: &[Value]) -> Result<MySqlArguments, Fault> {
    use sqlx::Arguments as _;
    let mut arguments = MySqlArguments::default();
    for (index, parameter) in parameters.iter().enumerate() {
        let result = match parameter {
            Value::Null => arguments.add(None::<String>),
            Value::Boolean(truth) => arguments.add(*truth),
            Value::Integer(number) => arguments.add(*number),
            Value::Float(number) => arguments.add(*number),
            Value::Bytes(bytes) => arguments.add(bytes.clone()),
            Value::Decimal(text)
            | Value::Text(text)
            | Value::Timestamp(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Uuid(text)
            | Value::Json(text) => arguments.add(text.clone()),
            Value::Sequence(_) | Value::Other(_) => {
                return Err(parameter_mismatch(index + 1, "null, number, text or blob"));
            }
        };
        result
            .map_err(|error| Fault::new(FaultClass::Invalid, "sql.parameter", error.to_string()))?;
    }
    Ok(arguments)
}

fn value(row: &MySqlRow, index: usize) -> Value {
    let Ok(raw) = row.try_get_raw(index) else { return Value::Null };
    if raw.is_null() {
        return Value::Null;
    }
    let name = raw.type_info().name().to_owned();
    let text = || row.try_get_unchecked::<String, _>(index);
    let decoded = match name.as_str() {
        "BOOLEAN" => row.try_get_unchecked::<bool, _>(index).map(Value::Boolean),
        "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
            row.try_get_unchecked::<i64, _>(index).map(Value::Integer)
        }
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED"
        | "BIGINT UNSIGNED" | "YEAR" => row.try_get_unchecked::<u64, _>(index).map(|number| {
            i64::try_from(number)
                .map_or_else(|_| Value::Decimal(number.to_string()), Value::Integer)
        }),
        "FLOAT" => row.try_get_unchecked::<f32, _>(index).map(|number| Value::Float(number.into())),
        "DOUBLE" => row.try_get_unchecked::<f64, _>(index).map(Value::Float),
        "DECIMAL" => row
            .try_get_unchecked::<BigDecimal, _>(index)
            .map(|number| Value::Decimal(number.to_plain_string())),
        "DATE" => row
            .try_get_unchecked::<chrono::NaiveDate, _>(index)
            .map(|date| Value::Date(date.to_string())),
        "TIME" => row
            .try_get_unchecked::<chrono::NaiveTime, _>(index)
            .map(|time| Value::Time(time.to_string())),
        "DATETIME" => row
            .try_get_unchecked::<chrono::NaiveDateTime, _>(index)
            .map(|at| Value::Timestamp(at.format("%Y-%m-%dT%H:%M:%S%.f").to_string())),
        "TIMESTAMP" => row
            .try_get_unchecked::<chrono::NaiveDateTime, _>(index)
            .map(|at| Value::Timestamp(at.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string())),
        "JSON" => text().map(Value::Json),
        "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" | "BINARY" | "VARBINARY" | "BIT"
        | "GEOMETRY" => row.try_get_unchecked::<Vec<u8>, _>(index).map(Value::Bytes),
        _ => text().map(Value::Text),
    };
    // A value that the driver cannot decode (`0000-00-00`, a TIME of more than a day) is returned
    // as the bytes that the server sent.
    decoded
        .or_else(|_| row.try_get_unchecked::<Vec<u8>, _>(index).map(Value::Bytes))
        .unwrap_or_else(|error| Value::Other((name.to_lowercase(), error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::refuse_writes;

    #[test]
    fn statements_that_a_read_only_transaction_does_not_stop_are_refused() {
        for statement in
            ["select 1", " WITH x AS (SELECT 1) SELECT * FROM x", "show processlist", "(select 1)"]
        {
            assert!(refuse_writes(statement).is_ok(), "{statement}");
        }
        for statement in [
            "set global x = 1",
            "select 1 into outfile '/tmp/x'",
            "select load_file('/etc/passwd')",
            "commit",
            "call p()",
            "/*! delete from t */ select 1",
            "select /*!1 into @x*/ 1",
        ] {
            assert!(refuse_writes(statement).is_err(), "{statement}");
        }
    }
}
