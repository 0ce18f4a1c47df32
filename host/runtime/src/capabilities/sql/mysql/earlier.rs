//! The session of an earlier attempt of a step, which can continue on the server after its process
//! has gone.
//!
//! These servers do not notice that their client is gone before they write to it: a CALL or a
//! definition runs to its end, and what it does comes after whoever looked has looked. So each
//! session that may change something holds, as long as it lives, a lock of the server's that bears
//! the name of its step. Whoever comes after it for that step, to make the next attempt, to look
//! what came of it or to undo it, sees by the lock whether that session is there, ends it, and goes
//! on when it is gone.

use super::super::failure::{fault_of, within};
use super::super::{Access, Unfinished};
use super::connect::connect;
use super::wire::AfterCut;
use crate::fault::{Fault, FaultClass};
use runbook_authority::targets::SqlAddress;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::time::{Duration, Instant};

/// Ends what an earlier session of the step still does on the server, waits until it is gone, and
/// says so.
///
/// # Errors
/// [`Unfinished::StillRuns`] if it does not end in time, [`Unfinished::Unasked`] if the server does
/// not tell.
pub(in super::super) async fn end(access: &Access) -> Result<Option<String>, Unfinished> {
    let asked = within(access, async {
        let (mut connection, _wire) = connect(access, AfterCut::Ends).await?;
        let taken = take(&mut connection, access).await;
        let _ = connection.close().await;
        Ok(taken)
    });
    let unasked = |reason: String| {
        let message = format!(
            "whether an earlier attempt of this step still runs on the database server \
                     cannot be asked: {reason}; before you decide, look at `SHOW PROCESSLIST` \
                     there"
        );
        Unfinished::Unasked(Fault::new(FaultClass::Unknown, "sql.unasked", message))
    };
    match asked.await.map_err(|fault| unasked(fault.message))? {
        Taken::Free => Ok(None),
        Taken::After(session) => Ok(Some(format!(
            "session {session} of an earlier attempt still ran on the database server, and was \
             ended there"
        ))),
        Taken::Held(session) => Err(Unfinished::StillRuns(still_runs(session, access))),
        Taken::Without(reason) => Err(unasked(reason)),
    }
}

/// Takes the step's lock for as long as the session lives. A server that gives none is no reason
/// not to go on: then the session's limit of time is what bounds it.
///
/// # Errors
/// An earlier session of the step is still there and does not end.
pub(super) async fn claim(connection: &mut MySqlConnection, access: &Access) -> Result<(), Fault> {
    match take(connection, access).await {
        Taken::Free | Taken::After(_) | Taken::Without(_) => Ok(()),
        Taken::Held(session) => Err(still_runs(session, access)),
    }
}

/// What came of taking the lock of a step.
enum Taken {
    /// Nobody else had the lock, so it is taken.
    Free,
    /// The session with this number had it, was told to end, and is gone.
    After(i64),
    /// This session has it, and does not end.
    Held(i64),
    /// The server does not give it, for this reason.
    Without(String),
}

/// A session whose client has just left is gone in a moment by itself.
const MOMENT: Duration = Duration::from_millis(100);

/// The pause before it is asked again whether a session is gone.
const PAUSE: Duration = Duration::from_millis(20);

async fn take(connection: &mut MySqlConnection, access: &Access) -> Taken {
    match try_to_take(connection, access).await {
        Ok(taken) => taken,
        Err(error) => Taken::Without(fault_of(&error).message),
    }
}

async fn try_to_take(
    connection: &mut MySqlConnection,
    access: &Access,
) -> Result<Taken, sqlx::Error> {
    let lock = &access.session_lock;
    let began = Instant::now();
    // As long as the server was told that a session of this target may last; a moment is left to
    // say what was found.
    let until = began + access.timeout.saturating_sub(access.began.elapsed()).mul_f64(0.9);
    let mut ended = None;
    loop {
        match number(connection, format!("SELECT GET_LOCK('{lock}', 0)")).await? {
            Some(1) => return Ok(ended.map_or(Taken::Free, Taken::After)),
            Some(_) => {}
            None => return Ok(Taken::Without("it gives no lock".to_owned())),
        }
        if began.elapsed() >= MOMENT
            && let Some(session) =
                number(connection, format!("SELECT IS_USED_LOCK('{lock}')")).await?
        {
            if Instant::now() >= until {
                return Ok(Taken::Held(session));
            }
            // Refused for the session of another user, and for one that has just gone: then it is
            // waited for.
            let told = sqlx::raw_sql(AssertSqlSafe(format!("KILL {session}")))
                .execute(&mut *connection)
                .await;
            match told {
                Ok(_) | Err(sqlx::Error::Database(_)) => ended = Some(session),
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn number(
    connection: &mut MySqlConnection,
    question: String,
) -> Result<Option<i64>, sqlx::Error> {
    let row = sqlx::raw_sql(AssertSqlSafe(question)).fetch_one(connection).await?;
    row.try_get_unchecked(0)
}

fn still_runs(session: i64, access: &Access) -> Fault {
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
