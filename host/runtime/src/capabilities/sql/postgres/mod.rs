//! PostgreSQL.
//!
//! A read: `BEGIN READ ONLY`; `SELECT 1`, after which the mode cannot be changed; a cursor declared
//! over the guest's text by the extended protocol, which takes exactly one statement, and of a kind
//! that a cursor can read; `FETCH` by the simple protocol, so that every type arrives as text with
//! its name; `ROLLBACK`. Tried against the corpus in `tests/`.

mod bind;
mod connect;
mod reachable;
mod touched;
mod value;
mod wire;

use super::failure::{ends_transaction, fault_of, fault_of_write, not_a_read, within};
use super::words::Leaves;
use super::{Access, Budget, words};
use crate::bindings::runbook::sql::types::{Column, Rows, Statement, Value};
use crate::fault::Fault;
use crate::host::Commit;
use connect::connect;
use futures_util::TryStreamExt as _;
use runbook_authority::pattern::{Dialect, StatementClass, acting_word, classify};
use runbook_authority::targets::SqlTarget;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Executor as _, Row as _, SqlSafeStr as _,
    Statement as _, TypeInfo as _,
};
use touched::Watch;
use wire::Wire;

/// How many rows one FETCH asks for.
const BATCH: u32 = 500;

/// Words with which a statement would begin or end a transaction.
const TRANSACTION: &[&str] =
    &["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE", "SAVEPOINT", "RELEASE"];

pub(super) async fn query(
    access: &Access,
    statement: &str,
    parameters: &[Value],
) -> Result<Rows, Fault> {
    refuse_acting(statement)?;
    within(access, async {
        let (mut connection, wire) = connect(access).await?;
        run(&mut connection, "BEGIN READ ONLY").await?;
        run(&mut connection, "SELECT 1").await?;
        let mut watch = Watch::begin(&mut connection, access.sql(), &[statement]).await?;
        let rows = match read(&mut connection, &wire, access, statement, parameters).await {
            Ok(rows) => judged(watch.as_mut(), &mut connection).await.map(|()| rows),
            Err(fault) => Err(fault),
        };
        drop(watch);
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

/// Asks the server once more what was touched, if the target allows less than everything.
async fn judged(watch: Option<&mut Watch<'_>>, connection: &mut PgConnection) -> Result<(), Fault> {
    match watch {
        Some(watch) => watch.judge(connection).await,
        None => Ok(()),
    }
}

pub(super) fn refuse_acting(statement: &str) -> Result<(), Fault> {
    if let Some(word) = acting_word(Dialect::Postgres, statement) {
        let reason = format!(
            "`{word}` does more than read, or hides what it does, so it is for `execute`, \
                     not for `query`"
        );
        return Err(not_a_read(&reason));
    }
    // Such a name is spelt with escapes, which would hide it.
    if statement.to_ascii_lowercase().contains("u&\"") {
        return Err(not_a_read(
            "a name with Unicode escapes (`U&\"…\"`) cannot be queried; write it plainly",
        ));
    }
    Ok(())
}

async fn read(
    connection: &mut PgConnection,
    wire: &Wire,
    access: &Access,
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
        drop(found);
        if wire.is_cut() {
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

/// A cursor takes SELECT, VALUES and TABLE only, so a statement that could be prepared and not
/// declared is no read.
fn not_readable(error: &sqlx::Error) -> Fault {
    let fault = fault_of(error);
    if fault.code == "sql.syntax" || fault.code == "sql.error" {
        let reason = format!(
            "only a statement that returns rows and changes nothing can be queried: {}",
            fault.message
        );
        return not_a_read(&reason);
    }
    fault
}

/// How one statement by itself runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alone {
    /// As a read does: the target's classes say that it is nothing more.
    ReadOnly,
    /// In a transaction: a statement that is stopped before its COMMIT did not happen, and the
    /// server can be asked what it touched.
    InTransaction,
    /// Outside of any transaction: some statements (VACUUM) need that.
    Outside,
}

fn alone(target: &SqlTarget, statement: &str) -> Alone {
    if !target.is_narrowed() {
        return if words::is_about_rows(Dialect::Postgres, statement) {
            Alone::InTransaction
        } else {
            Alone::Outside
        };
    }
    let classes =
        classify(Dialect::Postgres, statement).map(|facts| facts.classes).unwrap_or_default();
    let only = |class| classes.iter().all(|other| *other == class) && !classes.is_empty();
    if only(StatementClass::Select) {
        Alone::ReadOnly
    } else if only(StatementClass::Maintain) {
        Alone::Outside
    } else {
        Alone::InTransaction
    }
}

pub(super) async fn execute(
    access: &Access,
    statement: &str,
    parameters: &[Value],
    commit: &Commit,
) -> Result<u64, Fault> {
    let how = alone(access.sql(), statement);
    within(access, async {
        let (mut connection, _wire) = connect(access).await?;
        let count = match how {
            Alone::Outside => outside(&mut connection, statement, parameters, commit).await,
            Alone::ReadOnly => {
                run(&mut connection, "BEGIN READ ONLY").await?;
                run(&mut connection, "SELECT 1").await?;
                let mut watch = Watch::begin(&mut connection, access.sql(), &[statement]).await?;
                let count =
                    change(&mut connection, statement, parameters).await.map_err(Failed::undone)?;
                judged(watch.as_mut(), &mut connection).await?;
                run(&mut connection, "ROLLBACK").await?;
                Ok(count)
            }
            Alone::InTransaction => {
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

/// One statement that is final as soon as the server has it.
async fn outside(
    connection: &mut PgConnection,
    statement: &str,
    parameters: &[Value],
    commit: &Commit,
) -> Result<u64, Fault> {
    // What the server does not even understand has done nothing.
    connection
        .prepare(AssertSqlSafe(statement.to_owned()).into_sql_str())
        .await
        .map_err(|error| fault_of(&error))?;
    commit.send()?;
    change(connection, statement, parameters).await.map_err(|failed| {
        if failed.is_answered() && words::leaves(Dialect::Postgres, statement) == Leaves::Nothing {
            commit.void();
        }
        failed.for_good()
    })
}

/// Refuses what begins or ends a transaction.
pub(super) fn refuse_ends(statement: &str) -> Result<(), Fault> {
    let word = words::first(Dialect::Postgres, statement);
    if TRANSACTION.contains(&word.as_str()) { Err(ends_transaction(&word)) } else { Ok(()) }
}

pub(super) async fn transaction(
    access: &Access,
    statements: &[Statement],
    commit: &Commit,
) -> Result<Vec<u64>, Fault> {
    statements.iter().try_for_each(|statement| refuse_ends(&statement.text))?;
    within(access, async {
        let (mut connection, _wire) = connect(access).await?;
        let counts = in_transaction(&mut connection, access, statements, commit).await;
        let _ = connection.close().await;
        counts
    })
    .await
}

async fn in_transaction(
    connection: &mut PgConnection,
    access: &Access,
    statements: &[Statement],
    commit: &Commit,
) -> Result<Vec<u64>, Fault> {
    run(connection, "BEGIN").await?;
    let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
    let mut watch = Watch::begin(connection, access.sql(), &texts).await?;
    if statements.iter().any(|statement| words::reaches_out(&statement.text)) {
        // No rollback takes it back.
        commit.send()?;
    }
    let counts = match all(connection, statements, commit).await {
        Ok(counts) => judged(watch.as_mut(), connection).await.map(|()| counts),
        Err(fault) => Err(fault),
    };
    match counts {
        Ok(counts) => {
            let was_sent = commit.is_sent();
            commit.send()?;
            sqlx::raw_sql("COMMIT").execute(connection).await.map_err(|error| {
                // An error at the end (a constraint, a serialization) is the server's word that it
                // took all of it back.
                if matches!(error, sqlx::Error::Database(_)) && !was_sent {
                    commit.void();
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

async fn all(
    connection: &mut PgConnection,
    statements: &[Statement],
    commit: &Commit,
) -> Result<Vec<u64>, Fault> {
    let mut counts = Vec::new();
    for Statement { text, parameters } in statements {
        // Whatever happened to the connection: nothing was committed, unless a statement reaches
        // out of its transaction.
        let failed =
            |failed: Failed| if commit.is_sent() { failed.for_good() } else { failed.undone() };
        counts.push(change(connection, text, parameters).await.map_err(failed)?);
    }
    Ok(counts)
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
async fn change(
    connection: &mut PgConnection,
    statement: &str,
    parameters: &[Value],
) -> Result<u64, Failed> {
    let text = || AssertSqlSafe(statement.to_owned());
    let arguments = if parameters.is_empty() {
        PgArguments::default()
    } else {
        let prepared = connection
            .prepare(text().into_sql_str())
            .await
            .map_err(|error| Failed::Before(fault_of(&error)))?;
        bind::arguments(&prepared, parameters).map_err(Failed::Before)?
    };
    let done =
        sqlx::query_with(text(), arguments).persistent(false).execute(&mut *connection).await;
    done.map(|done| done.rows_affected()).map_err(Failed::Sent)
}

async fn run(connection: &mut PgConnection, statement: &'static str) -> Result<(), Fault> {
    sqlx::raw_sql(statement).execute(connection).await.map(|_| ()).map_err(|error| fault_of(&error))
}
