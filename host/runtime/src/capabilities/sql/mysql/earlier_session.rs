//! Ends the session of an earlier attempt of a step, which may still run on the server although its
//! client process has ended.
//!
//! MySQL and MariaDB notice that a client is gone only when they write to it, so a CALL or a
//! definition runs to its end and may have effects later. So each session that may change something
//! holds a lock on the server, with the name of its step, as long as the session lives. Before the
//! next attempt, an observation or an undo, the lock shows whether such a session still exists; it
//! is killed, and the host waits until it is gone.

use super::super::failure::{fault_of, with_timeout};
use super::super::{DatabaseAccess, EarlierAttemptError};
use super::connect::connect;
use super::relay::TruncatedResult;
use crate::fault::{Fault, FaultClass};
use runbook_authority::targets::SqlAddress;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::time::{Duration, Instant};

/// Ends the earlier session of the step, if there is one, and waits until it is gone. Returns a
/// description of the ended session.
///
/// # Errors
/// [`EarlierAttemptError::StillRunning`] if it does not end in time,
/// [`EarlierAttemptError::Unknown`] if the server does not tell.
pub(in super::super) async fn end_earlier_session(
    access: &DatabaseAccess,
) -> Result<Option<String>, EarlierAttemptError> {
    let lock_result = with_timeout(access, async {
        let (mut connection, _relay) = connect(access, TruncatedResult::EndsAtOnce).await?;
        let lock = acquire_lock(&mut connection, access).await;
        let _ = connection.close().await;
        Ok(lock)
    });
    let unknown_error = |reason: String| {
        let message = format!(
            "whether an earlier attempt of this step still runs on the database server \
                     cannot be asked: {reason}; before you decide, look at `SHOW PROCESSLIST` \
                     there"
        );
        EarlierAttemptError::Unknown(Fault::new(FaultClass::Unknown, "sql.unasked", message))
    };
    match lock_result.await.map_err(|fault| unknown_error(fault.message))? {
        StepLock::Acquired => Ok(None),
        StepLock::AcquiredAfterKill(session) => Ok(Some(format!(
            "session {session} of an earlier attempt still ran on the database server, and was \
             ended there"
        ))),
        StepLock::HeldBy(session) => {
            Err(EarlierAttemptError::StillRunning(still_runs_fault(session, access)))
        }
        StepLock::Unavailable(reason) => Err(unknown_error(reason)),
    }
}

/// Acquires the step's lock for as long as the session lives. If the server does not support locks,
/// the session continues without one; its time limit still ends it.
///
/// # Errors
/// An earlier session of the step is still there and does not end.
pub(super) async fn acquire_step_lock(
    connection: &mut MySqlConnection,
    access: &DatabaseAccess,
) -> Result<(), Fault> {
    match acquire_lock(connection, access).await {
        StepLock::Acquired | StepLock::AcquiredAfterKill(_) | StepLock::Unavailable(_) => Ok(()),
        StepLock::HeldBy(session) => Err(still_runs_fault(session, access)),
    }
}

/// The result of acquiring the lock of a step.
enum StepLock {
    /// No other session had the lock.
    Acquired,
    /// The session with this id had the lock, and was killed.
    AcquiredAfterKill(i64),
    /// The session with this id has the lock and does not end.
    HeldBy(i64),
    /// The server gives no lock, for this reason.
    Unavailable(String),
}

/// How long to wait before a session is killed: one whose client has just left ends by itself.
const GRACE_PERIOD: Duration = Duration::from_millis(100);

/// How often to check whether a session is gone.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

async fn acquire_lock(connection: &mut MySqlConnection, access: &DatabaseAccess) -> StepLock {
    match try_acquire_lock(connection, access).await {
        Ok(lock) => lock,
        Err(error) => StepLock::Unavailable(fault_of(&error).message),
    }
}

async fn try_acquire_lock(
    connection: &mut MySqlConnection,
    access: &DatabaseAccess,
) -> Result<StepLock, sqlx::Error> {
    let lock = &access.session_lock;
    let started = Instant::now();
    // The server ends a session of this target after the timeout; a tenth of it is left for the
    // answer.
    let deadline = started + access.timeout.saturating_sub(access.started.elapsed()).mul_f64(0.9);
    let mut killed_session = None;
    loop {
        match query_number(connection, format!("SELECT GET_LOCK('{lock}', 0)")).await? {
            Some(1) => {
                return Ok(killed_session.map_or(StepLock::Acquired, StepLock::AcquiredAfterKill));
            }
            Some(_) => {}
            None => return Ok(StepLock::Unavailable("it gives no lock".to_owned())),
        }
        if started.elapsed() >= GRACE_PERIOD
            && let Some(session) =
                query_number(connection, format!("SELECT IS_USED_LOCK('{lock}')")).await?
        {
            if Instant::now() >= deadline {
                return Ok(StepLock::HeldBy(session));
            }
            // KILL is refused for a session of another user, and for one that has just ended. In
            // both cases the loop waits.
            let kill_result = sqlx::raw_sql(AssertSqlSafe(format!("KILL {session}")))
                .execute(&mut *connection)
                .await;
            match kill_result {
                Ok(_) | Err(sqlx::Error::Database(_)) => killed_session = Some(session),
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn query_number(
    connection: &mut MySqlConnection,
    query: String,
) -> Result<Option<i64>, sqlx::Error> {
    let row = sqlx::raw_sql(AssertSqlSafe(query)).fetch_one(connection).await?;
    row.try_get_unchecked(0)
}

fn still_runs_fault(session: i64, access: &DatabaseAccess) -> Fault {
    let SqlAddress::Server { user, .. } = &access.sql().address else {
        unreachable!("only MySQL targets come here");
    };
    let message = format!(
        "session {session} of an earlier attempt of this step still runs on the database \
                 server, so what it does may come after whatever is done now, and `{user}` may not \
                 end it; as an administrator, end it there (`KILL {session}`), or wait until \
                 `SHOW PROCESSLIST` has it no more; then go on"
    );
    Fault::new(FaultClass::Conflict, "sql.still-runs", message)
}
