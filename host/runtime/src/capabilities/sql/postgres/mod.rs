//! PostgreSQL.
//!
//! A query runs as `BEGIN READ ONLY`; `SELECT 1`, after which the mode cannot be changed; `DECLARE
//! CURSOR` over the guest's statement by the extended protocol, which accepts exactly one
//! statement, and only one that a cursor can read; `FETCH` by the simple protocol, so that every
//! value arrives as text with the name of its type; `ROLLBACK`. It is tested with the corpus in
//! `tests/`.

mod bind;
mod connect;
mod reachable;
mod relay;
mod touched_relations;
mod value;

use super::failure::{
    fault_of, fault_of_write, not_read_only_fault, transaction_control_fault, with_timeout,
};
use super::words::FailureEffect;
use super::{Budget, DatabaseAccess, words};
use crate::bindings::runbook::sql::types::{Column, Rows, Statement, Value};
use crate::fault::Fault;
use crate::host::Commit;
use connect::connect;
use futures_util::TryStreamExt as _;
use relay::RelayHandle;
use runbook_authority::pattern::{Dialect, StatementClass, classify, side_effect_function};
use runbook_authority::targets::SqlTarget;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Executor as _, Row as _, SqlSafeStr as _,
    Statement as _, TypeInfo as _,
};
use touched_relations::RelationWatch;

/// How many rows one FETCH asks for.
const FETCH_SIZE: u32 = 500;

/// First words of statements that begin or end a transaction.
const TRANSACTION_KEYWORDS: &[&str] =
    &["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE", "SAVEPOINT", "RELEASE"];

/// Opens a session, and ends it.
pub(super) async fn reach(access: &DatabaseAccess) -> Result<(), Fault> {
    with_timeout(access, async {
        let (connection, _relay) = connect(access).await?;
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
    refuse_side_effects(statement)?;
    with_timeout(access, async {
        let (mut connection, relay) = connect(access).await?;
        run(&mut connection, "BEGIN READ ONLY").await?;
        run(&mut connection, "SELECT 1").await?;
        let mut watch = RelationWatch::begin(&mut connection, access.sql(), &[statement]).await?;
        let rows = match read(&mut connection, &relay, access, statement, parameters).await {
            Ok(rows) => {
                check_touched_relations(watch.as_mut(), &mut connection).await.map(|()| rows)
            }
            Err(fault) => Err(fault),
        };
        drop(watch);
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

/// Checks which relations the statement has touched, if the target is narrowed.
async fn check_touched_relations(
    watch: Option<&mut RelationWatch<'_>>,
    connection: &mut PgConnection,
) -> Result<(), Fault> {
    match watch {
        Some(watch) => watch.check(connection).await,
        None => Ok(()),
    }
}

pub(super) fn refuse_side_effects(statement: &str) -> Result<(), Fault> {
    if let Some(word) = side_effect_function(Dialect::Postgres, statement) {
        let reason = format!(
            "`{word}` does more than read, or hides what it does, so it is for `execute`, \
                     not for `query`"
        );
        return Err(not_read_only_fault(&reason));
    }
    // Escapes could hide a name from the check.
    if statement.to_ascii_lowercase().contains("u&\"") {
        return Err(not_read_only_fault(
            "a name with Unicode escapes (`U&\"…\"`) cannot be queried; write it plainly",
        ));
    }
    Ok(())
}

async fn read(
    connection: &mut PgConnection,
    relay: &RelayHandle,
    access: &DatabaseAccess,
    statement: &str,
    parameters: &[Value],
) -> Result<Rows, Fault> {
    let prepared = connection
        .prepare(AssertSqlSafe(statement.to_owned()).into_sql_str())
        .await
        .map_err(|error| fault_of(&error))?;
    let columns = prepared
        .columns()
        .iter()
        .map(|column| Column {
            name: column.name().to_owned(),
            type_name: column.type_info().name().to_owned(),
        })
        .collect();
    let arguments = bind::arguments(&prepared, parameters)?;
    let declare = format!("DECLARE runbook_cursor NO SCROLL CURSOR FOR {statement}");
    sqlx::query_with(AssertSqlSafe(declare), arguments)
        .persistent(false)
        .execute(&mut *connection)
        .await
        .map_err(|error| declare_cursor_fault(&error))?;
    let mut budget = Budget::new(access.sql());
    let mut rows = Rows { columns, rows: Vec::new(), truncated: false };
    loop {
        // One row more than may be kept shows whether there are more.
        let count = FETCH_SIZE.min(budget.rows.saturating_add(1));
        let fetch = format!("FETCH {count} FROM runbook_cursor");
        let mut row_stream = sqlx::raw_sql(AssertSqlSafe(fetch)).fetch(&mut *connection);
        let mut received = 0;
        while let Some(row) = row_stream.try_next().await.map_err(|error| fault_of(&error))? {
            received += 1;
            if !budget.take(sizes(&row)) {
                rows.truncated = true;
                return Ok(rows);
            }
            rows.rows.push(value::values(&row)?);
        }
        drop(row_stream);
        if relay.is_truncated() {
            rows.truncated = true;
            return Ok(rows);
        }
        if received < count {
            return Ok(rows);
        }
    }
}

fn sizes(row: &PgRow) -> impl Iterator<Item = usize> + '_ {
    (0..row.len()).map(|index| {
        row.try_get_raw(index).ok().and_then(|raw| raw.as_bytes().ok()).map_or(0, <[u8]>::len)
    })
}

/// The fault for an error of DECLARE. A cursor accepts only SELECT, VALUES and TABLE, so a
/// statement that can be prepared but not declared does not only read.
fn declare_cursor_fault(error: &sqlx::Error) -> Fault {
    let fault = fault_of(error);
    if fault.code == "sql.syntax" || fault.code == "sql.error" {
        let reason = format!(
            "only a statement that returns rows and changes nothing can be queried: {}",
            fault.message
        );
        return not_read_only_fault(&reason);
    }
    fault
}

/// How `execute` runs a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExecutionMode {
    /// In a read-only transaction, because its class is `select`.
    ReadOnly,
    /// In a transaction: before its COMMIT the statement has no effect, and the server can be asked
    /// which relations it has touched.
    InTransaction,
    /// Outside of a transaction, which some statements (VACUUM) require.
    Autocommit,
}

fn execution_mode(target: &SqlTarget, statement: &str) -> ExecutionMode {
    if !target.is_narrowed() {
        return if words::is_row_statement(Dialect::Postgres, statement) {
            ExecutionMode::InTransaction
        } else {
            ExecutionMode::Autocommit
        };
    }
    let classes =
        classify(Dialect::Postgres, statement).map(|facts| facts.classes).unwrap_or_default();
    let is_only = |class| classes.iter().all(|other| *other == class) && !classes.is_empty();
    if is_only(StatementClass::Select) {
        ExecutionMode::ReadOnly
    } else if is_only(StatementClass::Maintain) {
        ExecutionMode::Autocommit
    } else {
        ExecutionMode::InTransaction
    }
}

pub(super) async fn execute(
    access: &DatabaseAccess,
    statement: &str,
    parameters: &[Value],
    commit: &Commit,
) -> Result<u64, Fault> {
    let mode = execution_mode(access.sql(), statement);
    with_timeout(access, async {
        let (mut connection, _relay) = connect(access).await?;
        let count = match mode {
            ExecutionMode::Autocommit => {
                run_autocommitting(&mut connection, statement, parameters, commit).await
            }
            ExecutionMode::ReadOnly => {
                run(&mut connection, "BEGIN READ ONLY").await?;
                run(&mut connection, "SELECT 1").await?;
                let mut watch =
                    RelationWatch::begin(&mut connection, access.sql(), &[statement]).await?;
                let count = execute_one(&mut connection, statement, parameters)
                    .await
                    .map_err(StatementFailure::fault_if_rolled_back)?;
                check_touched_relations(watch.as_mut(), &mut connection).await?;
                run(&mut connection, "ROLLBACK").await?;
                Ok(count)
            }
            ExecutionMode::InTransaction => {
                let statement =
                    Statement { text: statement.to_owned(), parameters: parameters.to_vec() };
                in_transaction(&mut connection, access, std::slice::from_ref(&statement), commit)
                    .await
                    .map(|counts| counts.iter().sum())
            }
        };
        let _ = connection.close().await;
        count
    })
    .await
}

/// Runs one statement that commits by itself.
async fn run_autocommitting(
    connection: &mut PgConnection,
    statement: &str,
    parameters: &[Value],
    commit: &Commit,
) -> Result<u64, Fault> {
    // A statement that cannot be prepared has had no effect.
    connection
        .prepare(AssertSqlSafe(statement.to_owned()).into_sql_str())
        .await
        .map_err(|error| fault_of(&error))?;
    commit.mark_sent()?;
    execute_one(connection, statement, parameters).await.map_err(|failure| {
        if failure.is_server_error()
            && words::effect_of_failure(Dialect::Postgres, statement) == FailureEffect::None
        {
            commit.mark_rolled_back();
        }
        failure.fault_if_committed()
    })
}

/// Refuses statements that begin or end a transaction.
pub(super) fn refuse_transaction_control(statement: &str) -> Result<(), Fault> {
    let word = words::first_word(Dialect::Postgres, statement);
    if TRANSACTION_KEYWORDS.contains(&word.as_str()) {
        Err(transaction_control_fault(&word))
    } else {
        Ok(())
    }
}

pub(super) async fn transaction(
    access: &DatabaseAccess,
    statements: &[Statement],
    commit: &Commit,
) -> Result<Vec<u64>, Fault> {
    statements.iter().try_for_each(|statement| refuse_transaction_control(&statement.text))?;
    with_timeout(access, async {
        let (mut connection, _relay) = connect(access).await?;
        let counts = in_transaction(&mut connection, access, statements, commit).await;
        let _ = connection.close().await;
        counts
    })
    .await
}

async fn in_transaction(
    connection: &mut PgConnection,
    access: &DatabaseAccess,
    statements: &[Statement],
    commit: &Commit,
) -> Result<Vec<u64>, Fault> {
    run(connection, "BEGIN").await?;
    let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
    let mut watch = RelationWatch::begin(connection, access.sql(), &texts).await?;
    if statements.iter().any(|statement| words::has_external_effect(&statement.text)) {
        // A rollback does not undo such an effect.
        commit.mark_sent()?;
    }
    let counts = match execute_all(connection, statements, commit).await {
        Ok(counts) => check_touched_relations(watch.as_mut(), connection).await.map(|()| counts),
        Err(fault) => Err(fault),
    };
    match counts {
        Ok(counts) => {
            let was_sent = commit.is_sent();
            commit.mark_sent()?;
            sqlx::raw_sql("COMMIT").execute(connection).await.map_err(|error| {
                // With an error of COMMIT (a constraint, a serialization failure) the server has
                // rolled everything back.
                if matches!(error, sqlx::Error::Database(_)) && !was_sent {
                    commit.mark_rolled_back();
                }
                fault_of_write(&error)
            })?;
            Ok(counts)
        }
        Err(fault) => {
            let _ = run(connection, "ROLLBACK").await;
            Err(fault)
        }
    }
}

async fn execute_all(
    connection: &mut PgConnection,
    statements: &[Statement],
    commit: &Commit,
) -> Result<Vec<u64>, Fault> {
    let mut counts = Vec::new();
    for Statement { text, parameters } in statements {
        // Even if the connection was lost, nothing was committed, unless a statement has an effect
        // outside of the transaction.
        let failure = |failure: StatementFailure| {
            if commit.is_sent() {
                failure.fault_if_committed()
            } else {
                failure.fault_if_rolled_back()
            }
        };
        counts.push(execute_one(connection, text, parameters).await.map_err(failure)?);
    }
    Ok(counts)
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

    fn fault_if_committed(self) -> Fault {
        match self {
            Self::NotSent(fault) => fault,
            Self::Sent(error) => fault_of_write(&error),
        }
    }

    fn fault_if_rolled_back(self) -> Fault {
        match self {
            Self::NotSent(fault) => fault,
            Self::Sent(error) => fault_of(&error),
        }
    }
}

/// Runs one statement by the extended protocol, which accepts no more than one.
async fn execute_one(
    connection: &mut PgConnection,
    statement: &str,
    parameters: &[Value],
) -> Result<u64, StatementFailure> {
    let text = || AssertSqlSafe(statement.to_owned());
    let arguments = if parameters.is_empty() {
        PgArguments::default()
    } else {
        let prepared = connection
            .prepare(text().into_sql_str())
            .await
            .map_err(|error| StatementFailure::NotSent(fault_of(&error)))?;
        bind::arguments(&prepared, parameters).map_err(StatementFailure::NotSent)?
    };
    let result =
        sqlx::query_with(text(), arguments).persistent(false).execute(&mut *connection).await;
    result.map(|result| result.rows_affected()).map_err(StatementFailure::Sent)
}

async fn run(connection: &mut PgConnection, statement: &'static str) -> Result<(), Fault> {
    sqlx::raw_sql(statement).execute(connection).await.map(|_| ()).map_err(|error| fault_of(&error))
}
