//! Classifies errors of a database: the class says whether the same call may succeed shortly
//! afterwards.
//!
//! Messages are those of the server, with its line breaks:
//! [`shown_fault`](crate::host::shown_fault) takes out secrets, then makes one line of them.

use super::Access;
use crate::fault::{Fault, FaultClass};
use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use std::time::Duration;

/// Errors of MySQL and MariaDB by number: `42000` alone is a typing error as well as a missing
/// privilege.
const MYSQL: &[(u16, FaultClass, &str)] = &[
    (1040, FaultClass::Transient, "sql.too-many-connections"),
    (1203, FaultClass::Transient, "sql.too-many-connections"),
    (1226, FaultClass::Transient, "sql.too-many-connections"),
    (1044, FaultClass::Denied, "sql.privilege"),
    (1142, FaultClass::Denied, "sql.privilege"),
    (1143, FaultClass::Denied, "sql.privilege"),
    (1227, FaultClass::Denied, "sql.privilege"),
    (1370, FaultClass::Denied, "sql.privilege"),
    (1045, FaultClass::Denied, "sql.login"),
    (1698, FaultClass::Denied, "sql.login"),
    (1049, FaultClass::NotFound, "sql.no-such-relation"),
    (1205, FaultClass::Conflict, "sql.lock-timeout"),
    // `KILL QUERY`: the server's limits have numbers of their own.
    (1317, FaultClass::Conflict, "sql.cancelled"),
    (1927, FaultClass::Transient, "sql.terminated"),
    (1969, FaultClass::Timeout, "sql.timeout"),
    (3024, FaultClass::Timeout, "sql.timeout"),
    (1295, FaultClass::Invalid, "sql.unprepared"),
];

/// The class and code of a fault by SQLSTATE: the whole state, or its first two characters, which
/// are its class.
const STATES: &[(&str, FaultClass, &str)] = &[
    ("25006", FaultClass::Denied, "sql.read-only"),
    // Of a limit of time and of `pg_cancel_backend` alike; the time that it took tells them apart.
    ("57014", FaultClass::Timeout, "sql.timeout"),
    ("57P01", FaultClass::Transient, "sql.terminated"),
    ("55P03", FaultClass::Conflict, "sql.lock-timeout"),
    ("42501", FaultClass::Denied, "sql.privilege"),
    ("42P01", FaultClass::NotFound, "sql.no-such-relation"),
    ("3D000", FaultClass::NotFound, "sql.no-such-relation"),
    ("42S02", FaultClass::NotFound, "sql.no-such-relation"),
    ("53300", FaultClass::Transient, "sql.too-many-connections"),
    ("53400", FaultClass::Transient, "sql.too-many-connections"),
    // The server's word for a message that does not fit the statement: too few parameters, for
    // instance.
    ("08P01", FaultClass::Invalid, "sql.parameter"),
    ("08", FaultClass::Transient, "sql.unavailable"),
    ("57", FaultClass::Transient, "sql.unavailable"),
    ("40", FaultClass::Transient, "sql.unavailable"),
    ("28", FaultClass::Denied, "sql.login"),
    ("23", FaultClass::Conflict, "sql.constraint"),
    ("42", FaultClass::Invalid, "sql.syntax"),
];

/// What an error of a read is, or of anything that did nothing.
pub(super) fn fault_of(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(database) => fault_of_server(&**database),
        sqlx::Error::Io(_) => Fault::new(
            FaultClass::Transient,
            "sql.connect",
            format!("the database cannot be reached: {error}"),
        ),
        // A bad certificate does not become good by a retry.
        sqlx::Error::Tls(_) => Fault::new(FaultClass::Invalid, "sql.tls", error.to_string()),
        sqlx::Error::Protocol(_) => {
            Fault::new(FaultClass::Transient, "sql.protocol", error.to_string())
        }
        other => Fault::new(FaultClass::Invalid, "sql.driver", other.to_string()),
    }
}

/// The fault for an error of a write. Without an answer of the server it is unknown whether the
/// write happened.
pub(super) fn fault_of_write(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => {
            let message = format!(
                "the connection was lost before the server answered, so the change may have \
                 happened: {error}"
            );
            Fault::new(FaultClass::Unknown, "sql.lost", message)
        }
        other => fault_of(other),
    }
}

/// The fault for an error of a write of which nothing was made final.
pub(super) fn fault_before_commit(error: &sqlx::Error) -> Fault {
    match error {
        // The server was reached, so the network is not the only cause: somebody may have ended
        // the session.
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => {
            let message =
                format!("the connection was lost before COMMIT, so it did not happen: {error}");
            Fault::new(FaultClass::Transient, "sql.disconnected", message)
        }
        other => fault_of(other),
    }
}

fn fault_of_server(database: &dyn DatabaseError) -> Fault {
    let state = database.code().unwrap_or_default();
    let number = database.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number);
    let by_number = number
        .and_then(|number| MYSQL.iter().find(|row| row.0 == number))
        .map(|row| (row.1, row.2));
    let by_state = || STATES.iter().find(|row| state.starts_with(row.0)).map(|row| (row.1, row.2));
    let (class, code) = by_number.or_else(by_state).unwrap_or((FaultClass::Invalid, "sql.error"));
    // In the server's language; where it is another one, the time that it took must do.
    let is_asked_for = state == "57014" && database.message().contains("user request");
    let (class, code) =
        if is_asked_for { (FaultClass::Conflict, "sql.cancelled") } else { (class, code) };
    Fault::new(class, code, format!("{} (SQLSTATE {state})", database.message()))
}

/// A parameter of a type that has no value of the contract.
pub(super) fn unsupported(position: usize, expected: &str) -> Fault {
    let message = format!(
        "parameter {position} is a `{expected}`, which is not bound directly; write a cast from \
         text, such as `${position}::text::{}`",
        expected.to_lowercase()
    );
    Fault::new(FaultClass::Invalid, "sql.parameter", message)
}

/// A parameter that does not fit the type that the database expects.
pub(super) fn mismatch(position: usize, expected: &str) -> Fault {
    Fault::new(
        FaultClass::Invalid,
        "sql.parameter",
        format!("parameter {position} must be a `{expected}`"),
    )
}

/// A user against whom nothing is read only.
pub(super) fn as_good_as_superuser(reason: &str) -> Fault {
    let message = format!(
        "{reason}; against a superuser, or one as good, nothing is read only: use a role \
                 of its own, or write `superuser = true` into the target"
    );
    Fault::new(FaultClass::Denied, "sql.superuser", message)
}

/// A `query` that would do more than read.
pub(super) fn not_a_read(reason: &str) -> Fault {
    Fault::new(FaultClass::Denied, "sql.read-only", reason)
}

/// A statement of `transaction` that would end the transaction.
pub(super) fn ends_transaction(word: &str) -> Fault {
    let message = format!(
        "`{word}` cannot be part of a transaction, which the host begins and ends; run it \
                 with `execute`"
    );
    Fault::new(FaultClass::Invalid, "sql.transaction", message)
}

/// How much longer than the server's own limit the host waits. The server counts each statement
/// from its beginning, the host from before it connected; and the server's own error is more
/// precise: it has an SQLSTATE, and says that nothing happened.
const GRACE: Duration = Duration::from_secs(2);

/// Runs with the wall clock; the server has been told the same limit.
pub(super) async fn within<T>(
    access: &Access,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout(access.timeout + GRACE, work).await.unwrap_or_else(|_| {
        let message =
            format!("the database did not answer within {} ms", access.timeout.as_millis());
        Err(Fault::new(FaultClass::Timeout, "sql.timeout", message))
    })
}
