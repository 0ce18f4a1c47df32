//! Classifies errors of a database: the class says whether the same call may succeed shortly
//! afterwards.
//!
//! The messages here are those of the server, with line breaks.
//! [`scrubbed_fault`](crate::host::scrubbed_fault) later removes secrets and makes them one line.

use super::DatabaseAccess;
use crate::fault::{Fault, FaultClass};
use crate::limits::format_limit;
use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use std::time::Duration;

/// Errors of MySQL and MariaDB by number, because SQLSTATE `42000` stands for a syntax error as
/// well as for a missing privilege.
const MYSQL_ERRORS: &[(u16, FaultClass, &str)] = &[
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
    // `KILL QUERY`. The server's own time limits have other numbers.
    (1317, FaultClass::Conflict, "sql.cancelled"),
    (1927, FaultClass::Transient, "sql.terminated"),
    (1969, FaultClass::Timeout, "sql.timeout"),
    (3024, FaultClass::Timeout, "sql.timeout"),
    (1295, FaultClass::Invalid, "sql.unprepared"),
];

/// The class and code of a fault by SQLSTATE: the whole state, or its first two characters, which
/// are its class.
const SQLSTATES: &[(&str, FaultClass, &str)] = &[
    ("25006", FaultClass::Denied, "sql.read-only"),
    // A time limit or `pg_cancel_backend`; `TimeLimit` tells them apart by the elapsed time.
    ("57014", FaultClass::Timeout, "sql.timeout"),
    ("57P01", FaultClass::Transient, "sql.terminated"),
    ("55P03", FaultClass::Conflict, "sql.lock-timeout"),
    ("42501", FaultClass::Denied, "sql.privilege"),
    ("42P01", FaultClass::NotFound, "sql.no-such-relation"),
    ("3D000", FaultClass::NotFound, "sql.no-such-relation"),
    ("42S02", FaultClass::NotFound, "sql.no-such-relation"),
    ("53300", FaultClass::Transient, "sql.too-many-connections"),
    ("53400", FaultClass::Transient, "sql.too-many-connections"),
    // A message that does not fit the statement, such as too few parameters.
    ("08P01", FaultClass::Invalid, "sql.parameter"),
    ("08", FaultClass::Transient, "sql.unavailable"),
    ("57", FaultClass::Transient, "sql.unavailable"),
    ("40", FaultClass::Transient, "sql.unavailable"),
    ("28", FaultClass::Denied, "sql.login"),
    ("23", FaultClass::Conflict, "sql.constraint"),
    ("42", FaultClass::Invalid, "sql.syntax"),
];

/// The fault for an error of a read, or of another statement that has changed nothing.
pub(super) fn fault_of(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(database) => fault_of_server(&**database),
        sqlx::Error::Io(_) => Fault::new(
            FaultClass::Transient,
            "sql.connect",
            format!("the database cannot be reached: {error}"),
        ),
        // A retry does not help against a bad certificate.
        sqlx::Error::Tls(_) => Fault::new(FaultClass::Invalid, "sql.tls", error.to_string()),
        sqlx::Error::Protocol(_) => {
            Fault::new(FaultClass::Transient, "sql.protocol", error.to_string())
        }
        other => Fault::new(FaultClass::Invalid, "sql.driver", other.to_string()),
    }
}

/// The fault for an error of a write. If the server has not answered, it is unknown whether the
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

/// The fault for an error of a write before its COMMIT was sent.
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
        .and_then(|number| MYSQL_ERRORS.iter().find(|row| row.0 == number))
        .map(|row| (row.1, row.2));
    let by_state =
        || SQLSTATES.iter().find(|row| state.starts_with(row.0)).map(|row| (row.1, row.2));
    let (class, code) = by_number.or_else(by_state).unwrap_or((FaultClass::Invalid, "sql.error"));
    // The message is in the server's language. If that is not English, `TimeLimit` decides by the
    // elapsed time.
    let is_user_request = state == "57014" && database.message().contains("user request");
    let (class, code) =
        if is_user_request { (FaultClass::Conflict, "sql.cancelled") } else { (class, code) };
    let help = match code {
        "sql.too-many-connections" => ": its connections are used up",
        _ => "",
    };
    Fault::new(class, code, format!("{} (SQLSTATE {state}){help}", database.message()))
}

/// The fault for a parameter of a type that the contract has no value for.
pub(super) fn unsupported_parameter(position: usize, expected: &str) -> Fault {
    let message = format!(
        "parameter {position} is a `{expected}`, which is not bound directly; write a cast from \
         text, such as `${position}::text::{}`",
        expected.to_lowercase()
    );
    Fault::new(FaultClass::Invalid, "sql.parameter", message)
}

/// The fault for a parameter that does not fit the expected type.
pub(super) fn parameter_mismatch(position: usize, expected: &str) -> Fault {
    Fault::new(
        FaultClass::Invalid,
        "sql.parameter",
        format!("parameter {position} must be a `{expected}`"),
    )
}

/// The fault for a user with so many privileges that read-only cannot be enforced.
pub(super) fn superuser_fault(reason: &str) -> Fault {
    let message = format!(
        "{reason}; against a superuser, or one as good, nothing is read only: use a role \
                 of its own, or write `superuser = true` into the target"
    );
    Fault::new(FaultClass::Denied, "sql.superuser", message)
}

/// The fault for a `query` that would do more than read.
pub(super) fn not_read_only_fault(reason: &str) -> Fault {
    Fault::new(FaultClass::Denied, "sql.read-only", reason)
}

/// The fault for a statement of `transaction` that would end the transaction.
pub(super) fn transaction_control_fault(word: &str) -> Fault {
    let message = format!(
        "`{word}` cannot be part of a transaction, which the host begins and ends; run it \
                 with `execute`"
    );
    Fault::new(FaultClass::Invalid, "sql.transaction", message)
}

/// How much longer than the server's own limit the host waits. The server's error is more precise
/// (it has an SQLSTATE, and says that nothing happened), and its clock starts later, at each
/// statement.
const TIMEOUT_GRACE: Duration = Duration::from_secs(2);

/// Runs `work` with the timeout of the access, by the clock of the host.
pub(super) async fn with_timeout<T>(
    access: &DatabaseAccess,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout(access.timeout + TIMEOUT_GRACE, work).await.unwrap_or_else(|_| {
        let message =
            format!("the database did not answer within {}", format_limit(access.timeout));
        Err(Fault::new(FaultClass::Timeout, "sql.timeout", message))
    })
}
