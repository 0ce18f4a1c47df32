//! MySQL and MariaDB.
//!
//! A read: a statement that begins with a reading word and names no file, one at a time by the
//! prepared protocol, in `START TRANSACTION READ ONLY`, which the server holds writes and
//! definitions off with; then `ROLLBACK`.

mod connect;
mod earlier;
mod refused;
mod stored;
mod wire;

use super::failure::{
    ends_transaction, fault_before_commit, fault_of, fault_of_write, mismatch, not_a_read, within,
};
use super::{Access, Budget, words};
use crate::bindings::runbook::sql::types::{Column, Rows, Statement, Value};
use crate::fault::{Fault, FaultClass};
use crate::host::Commit;
use connect::connect;
pub(super) use earlier::end as end_earlier;
use futures_util::TryStreamExt as _;
use runbook_authority::pattern::{
    Dialect, StatementClass, acting_word, classify, words as sql_words,
};
use runbook_authority::targets::SqlTarget;
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::types::{BigDecimal, chrono};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Executor as _, Row as _, SqlSafeStr as _,
    TypeInfo as _, ValueRef as _,
};
use wire::{AfterCut, Wire};

/// How the server reads a text that the gate has judged.
const PLAIN_MODE: &str = "SET SESSION sql_mode = \
     'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT'";

/// Words that a reading statement begins with.
const READING: &[&str] =
    &["SELECT", "WITH", "VALUES", "TABLE", "SHOW", "DESCRIBE", "DESC", "EXPLAIN"];

pub(super) async fn query(
    access: &Access,
    statement: &str,
    parameters: &[Value],
) -> Result<Rows, Fault> {
    refuse_writes(statement)?;
    within(access, async {
        let (mut connection, wire) = connect(access, AfterCut::Ends).await?;
        stored::refuse(&mut connection, access.sql(), &[statement]).await?;
        run(&mut connection, "START TRANSACTION READ ONLY").await?;
        let rows = read(&mut connection, &wire, access, statement, parameters).await;
        // After a cut result the rest is still on its way: dropping the connection ends it, reading
        // on to its end would not.
        if !rows.as_ref().is_ok_and(|rows| rows.truncated) {
            let _ = run(&mut connection, "ROLLBACK").await;
            let _ = connection.close().await;
        }
        rows
    })
    .await
}

/// Words with which a SELECT writes a file or a variable.
const INTO: &[&str] = &["dumpfile", "into", "outfile"];

pub(super) fn refuse_writes(statement: &str) -> Result<(), Fault> {
    let first = words::first(Dialect::MySql, statement);
    if !READING.contains(&first.as_str()) && !statement.trim_start().starts_with('(') {
        return Err(not_a_read(
            "only a statement that returns rows and changes nothing can be queried",
        ));
    }
    let writes = || sql_words(statement).find(|word| INTO.contains(&word.as_str()));
    if let Some(word) = acting_word(Dialect::MySql, statement).or_else(writes) {
        let reason =
            format!("`{word}` does more than read, so it is for `execute`, not for `query`");
        return Err(not_a_read(&reason));
    }
    // `/*! … */` is a comment that the server runs.
    if statement.contains("/*!") || statement.contains("/*M!") {
        return Err(not_a_read("a comment that the server runs (`/*! … */`) cannot be queried"));
    }
    Ok(())
}

async fn read(
    connection: &mut MySqlConnection,
    wire: &Wire,
    access: &Access,
    statement: &str,
    parameters: &[Value],
) -> Result<Rows, Fault> {
    let mut budget = Budget::new(access.sql());
    let mut rows = Rows { columns: Vec::new(), rows: Vec::new(), truncated: false };
    let mut found = sqlx::query_with(AssertSqlSafe(statement.to_owned()), arguments(parameters)?)
        .persistent(false)
        .fetch(connection);
    while let Some(row) = found.try_next().await.map_err(|error| fault_of(&error))? {
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
    rows.truncated |= wire.is_cut();
    Ok(rows)
}

fn sizes(row: &MySqlRow) -> impl Iterator<Item = usize> + '_ {
    (0..row.len()).map(|index| row.try_get_unchecked::<&[u8], _>(index).map_or(0, <[u8]>::len))
}

/// Whether the target's classes say that a statement does nothing but read.
fn only_reads(target: &SqlTarget, statement: &str) -> bool {
    target.is_narrowed()
        && classify(Dialect::MySql, statement)
            .is_some_and(|facts| facts.classes.iter().all(|class| *class == StatementClass::Select))
}

pub(super) async fn execute(
    access: &Access,
    statement: &str,
    parameters: &[Value],
    commit: &Commit,
) -> Result<u64, Fault> {
    let only_reads = only_reads(access.sql(), statement);
    within(access, async {
        let (mut connection, _wire) = connect(access, AfterCut::GoesOn).await?;
        earlier::claim(&mut connection, access).await?;
        let count = if only_reads || words::is_about_rows(Dialect::MySql, statement) {
            let statement =
                Statement { text: statement.to_owned(), parameters: parameters.to_vec() };
            let counts =
                in_transaction(&mut connection, access, std::slice::from_ref(&statement), commit)
                    .await;
            counts.map(|counts| counts.iter().sum())
        } else {
            match stored::refuse(&mut connection, access.sql(), &[statement]).await {
                Ok(()) => outside(&mut connection, statement, parameters, commit).await,
                Err(fault) => Err(fault),
            }
        };
        let _ = connection.close().await;
        count
    })
    .await
}

/// One statement that commits by itself.
async fn outside(
    connection: &mut MySqlConnection,
    statement: &str,
    parameters: &[Value],
    commit: &Commit,
) -> Result<u64, Fault> {
    // What the server does not even understand, or whose tables are not there, has done nothing.
    connection
        .prepare(AssertSqlSafe(statement.to_owned()).into_sql_str())
        .await
        .map_err(|error| fault_of(&error))?;
    commit.send()?;
    change(connection, statement, parameters).await.map_err(|failed| {
        if failed.number().is_some_and(|number| refused::is_not_begun(statement, number)) {
            commit.void();
        }
        failed.fault(commit)
    })
}

/// Words of statements that a transaction holds; every other one ends it by itself.
const TRANSACTIONAL: &[&str] = &["INSERT", "UPDATE", "DELETE", "REPLACE", "SELECT", "WITH"];

/// Refuses what no transaction holds.
pub(super) fn refuse_ends(statement: &str) -> Result<(), Fault> {
    let first = words::first(Dialect::MySql, statement);
    if TRANSACTIONAL.contains(&first.as_str()) { Ok(()) } else { Err(ends_transaction(&first)) }
}

pub(super) async fn transaction(
    access: &Access,
    statements: &[Statement],
    commit: &Commit,
) -> Result<Vec<u64>, Fault> {
    statements.iter().try_for_each(|statement| refuse_ends(&statement.text))?;
    within(access, async {
        let (mut connection, _wire) = connect(access, AfterCut::GoesOn).await?;
        earlier::claim(&mut connection, access).await?;
        let counts = in_transaction(&mut connection, access, statements, commit).await;
        let _ = connection.close().await;
        counts
    })
    .await
}

/// The error of a COMMIT with which the server took everything back.
const DEADLOCK: u16 = 1213;

/// The warning of a ROLLBACK that could not take back all.
const NOT_ROLLED_BACK: u16 = 1196;

/// Tables of engines without transactions, which keep what a statement that failed has done.
const UNHELD: &str = "SELECT EXISTS(SELECT 1 FROM information_schema.tables t WHERE t.table_type = \
                      'BASE TABLE' AND (t.table_schema = database() OR (database() IS NULL AND \
                      t.table_schema NOT IN ('mysql', 'sys', 'performance_schema', \
                      'information_schema'))) AND t.engine NOT IN (SELECT e.engine FROM \
                      information_schema.engines e WHERE e.transactions = 'YES'))";

async fn in_transaction(
    connection: &mut MySqlConnection,
    access: &Access,
    statements: &[Statement],
    commit: &Commit,
) -> Result<Vec<u64>, Fault> {
    let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
    stored::refuse(connection, access.sql(), &texts).await?;
    let only_reads = statements.iter().all(|statement| only_reads(access.sql(), &statement.text));
    if !only_reads && is_any_unheld(connection).await? {
        // What a statement does to such a table stays at once, whatever becomes of the transaction.
        commit.send()?;
    }
    run(connection, if only_reads { "START TRANSACTION READ ONLY" } else { "START TRANSACTION" })
        .await?;
    let mut counts = Vec::new();
    for Statement { text, parameters } in statements {
        match change(connection, text, parameters).await {
            Ok(count) => counts.push(count),
            Err(failed) => return Err(taken_back(connection, failed, commit).await),
        }
    }
    commit.send()?;
    let done = sqlx::raw_sql("COMMIT").execute(connection).await;
    done.map_err(|error| {
        let failed = Failed::Sent(error);
        if failed.number() == Some(DEADLOCK) {
            commit.void();
        }
        failed.fault(commit)
    })?;
    Ok(counts)
}

/// Takes a transaction back, and asks the server whether all of it could be.
async fn taken_back(connection: &mut MySqlConnection, failed: Failed, commit: &Commit) -> Fault {
    let mut left = Ok(false);
    if failed.is_answered() {
        left = match run(connection, "ROLLBACK").await {
            Ok(()) => is_anything_left(connection).await,
            Err(fault) => Err(fault),
        };
        match left {
            Ok(false) => commit.void(),
            // An engine without transactions in another database, behind a view or a trigger.
            Ok(true) => drop(commit.send()),
            Err(_) => {}
        }
    }
    let mut fault = failed.fault(commit);
    if left.is_ok_and(|left| left) {
        fault.message.push_str("; what it had changed in a table without transactions stays");
    }
    fault
}

/// Whether the last ROLLBACK has warned that something stays.
async fn is_anything_left(connection: &mut MySqlConnection) -> Result<bool, Fault> {
    let warnings = sqlx::raw_sql("SHOW WARNINGS")
        .fetch_all(connection)
        .await
        .map_err(|error| fault_of(&error))?;
    let number = |row: &MySqlRow| row.try_get_unchecked::<u32, _>(1).ok();
    Ok(warnings.iter().any(|row| number(row) == Some(u32::from(NOT_ROLLED_BACK))))
}

async fn is_any_unheld(connection: &mut MySqlConnection) -> Result<bool, Fault> {
    let row =
        sqlx::raw_sql(UNHELD).fetch_one(connection).await.map_err(|error| fault_of(&error))?;
    row.try_get_unchecked::<i64, _>(0).map(|found| found != 0).map_err(|error| fault_of(&error))
}

/// Why a statement did not change anything, or may not have.
enum Failed {
    /// The statement was not sent.
    Before(Fault),
    Sent(sqlx::Error),
}

impl Failed {
    /// Whether the server has said that it did not do it.
    fn is_answered(&self) -> bool {
        match self {
            Self::Before(_) => true,
            Self::Sent(error) => matches!(error, sqlx::Error::Database(_)),
        }
    }

    /// The server's number of the error.
    fn number(&self) -> Option<u16> {
        match self {
            Self::Sent(sqlx::Error::Database(error)) => error
                .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
                .map(sqlx::mysql::MySqlDatabaseError::number),
            Self::Sent(_) | Self::Before(_) => None,
        }
    }

    fn fault(self, commit: &Commit) -> Fault {
        match self {
            Self::Before(fault) => fault,
            Self::Sent(error) if commit.is_sent() => fault_of_write(&error),
            Self::Sent(error) => fault_before_commit(&error),
        }
    }
}

async fn change(
    connection: &mut MySqlConnection,
    statement: &str,
    parameters: &[Value],
) -> Result<u64, Failed> {
    let arguments = arguments(parameters).map_err(Failed::Before)?;
    let done = sqlx::query_with(AssertSqlSafe(statement.to_owned()), arguments)
        .persistent(false)
        .execute(connection)
        .await;
    done.map(|done| done.rows_affected()).map_err(Failed::Sent)
}

async fn run(connection: &mut MySqlConnection, statement: &'static str) -> Result<(), Fault> {
    sqlx::raw_sql(statement).execute(connection).await.map(|_| ()).map_err(|error| fault_of(&error))
}

fn arguments(parameters: &[Value]) -> Result<MySqlArguments, Fault> {
    use sqlx::Arguments as _;
    let mut arguments = MySqlArguments::default();
    for (index, parameter) in parameters.iter().enumerate() {
        let added = match parameter {
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
                return Err(mismatch(index + 1, "null, number, text or blob"));
            }
        };
        added
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
    // What the driver cannot decode (`0000-00-00`, a TIME of more than a day) still arrives, as the
    // bytes that were sent.
    decoded
        .or_else(|_| row.try_get_unchecked::<Vec<u8>, _>(index).map(Value::Bytes))
        .unwrap_or_else(|error| Value::Other((name.to_lowercase(), error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::refuse_writes;

    #[test]
    fn what_a_read_only_transaction_does_not_stop_is_refused_before() {
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
