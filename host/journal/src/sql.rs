//! The SQL statements, in the syntax that SQLite and PostgreSQL share (`$1` works in both), and the
//! conversion of rows.
//!
//! Only the modules `connect` and `error` know which database it is.

use crate::error::JournalError;
use crate::lease::{StoredLease, Takeover, TakeoverReason};
use jiff::Timestamp;
use runbook_engine::{Holder, Record, RunHeader, RunId, RunSummary};
use serde_json::from_str;
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

pub(crate) const INSERT_RUN: &str = "INSERT INTO runs \
    (run, name, title, operator, environment, phase, started_ns, digest, sources, params) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
pub(crate) const INSERT_EVENT: &str =
    "INSERT INTO events (run, seq, at_ns, event) VALUES ($1, $2, $3, $4)";
pub(crate) const SET_PHASE: &str =
    "UPDATE runs SET phase = $2, ended_ns = $3, took_ms = COALESCE($4, took_ms) WHERE run = $1";
pub(crate) const SELECT_RUN: &str = "SELECT run, name, title, operator, environment, started_ns, digest, sources, params FROM runs \
     WHERE run = $1";
pub(crate) const SELECT_EVENTS: &str =
    "SELECT seq, at_ns, event FROM events WHERE run = $1 AND seq >= $2 ORDER BY seq";
pub(crate) const LIST_RUNS: &str = "SELECT run, name, title, operator, phase, started_ns, ended_ns, took_ms, tried_again_by FROM \
     runs ORDER BY started_ns DESC, run DESC LIMIT $1";
/// Finds the runs with ids from `$1` to `$2`. Both are whole ids, so that they compare by their
/// digits in every collation.
pub(crate) const FIND_RUNS: &str = "SELECT run, name, title, operator, phase, started_ns, ended_ns, took_ms, tried_again_by FROM \
     runs WHERE run >= $1 AND run <= $2 ORDER BY started_ns DESC, run DESC LIMIT $3";

/// How long the last runs of a runbook took that succeeded.
pub(crate) const SELECT_DURATIONS: &str = "SELECT took_ms FROM runs WHERE name = $1 AND ended_ns IS NOT NULL AND phase IN ($2, $3) ORDER \
     BY started_ns DESC LIMIT $4";
/// Finds runs that ended before `$1`, but for those in phase `$2` and those that a process executes
/// at `$3`.
pub(crate) const SELECT_PRUNABLE: &str = "SELECT run FROM runs WHERE ended_ns IS NOT NULL AND ended_ns < $1 AND phase <> $2 AND NOT \
     EXISTS (SELECT 1 FROM leases WHERE leases.name = 'run:' || runs.run AND leases.expires_ns > \
     $3) ORDER BY ended_ns LIMIT $4";
pub(crate) const COUNT_PRUNABLE: &str = "SELECT count(*) AS n FROM runs WHERE ended_ns IS NOT NULL AND ended_ns < $1 AND phase <> $2 \
     AND NOT EXISTS (SELECT 1 FROM leases WHERE leases.name = 'run:' || runs.run AND \
     leases.expires_ns > $3)";
pub(crate) const DELETE_EVENTS: &str = "DELETE FROM events WHERE run = $1";
pub(crate) const DELETE_RUN: &str = "DELETE FROM runs WHERE run = $1 AND ended_ns IS NOT NULL";
pub(crate) const DELETE_LEASE: &str = "DELETE FROM leases WHERE name = $1";
pub(crate) const DELETE_TAKEOVERS: &str = "DELETE FROM takeovers WHERE name = $1";
pub(crate) const COUNT_RUNS: &str = "SELECT count(*) AS n FROM runs";

/// Asks for the clock of the server.
pub(crate) const SELECT_CLOCK: &str =
    "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) * 1000 AS now_ns";

pub(crate) const SELECT_LEASE: &str =
    "SELECT token, run, executor, host, pid, process, expires_ns FROM leases WHERE name = $1";
pub(crate) const INSERT_LEASE: &str = "INSERT INTO leases (name, token, run, executor, host, pid, process, expires_ns) VALUES ($1, \
     $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING";
/// Takes a lease only if its token is `$9` and its expiry is `$10` (-1 if it was released). If two
/// processes take or renew a lease at the same time, only the first succeeds, also where
/// transactions run concurrently.
pub(crate) const TAKE_LEASE: &str = "UPDATE leases SET token = $2, run = $3, executor = $4, host = $5, pid = $6, process = $7, \
     expires_ns = $8 WHERE name = $1 AND token = $9 AND COALESCE(expires_ns, -1) = $10";
pub(crate) const RENEW_LEASE: &str =
    "UPDATE leases SET expires_ns = $3 WHERE name = $1 AND token = $2 AND expires_ns IS NOT NULL";
pub(crate) const RELEASE_LEASE: &str =
    "UPDATE leases SET expires_ns = NULL WHERE name = $1 AND token = $2";
pub(crate) const SELECT_LOCKS: &str = "SELECT name, token, run, executor, host, pid, process, expires_ns FROM leases WHERE name LIKE \
     'lock:%' AND expires_ns IS NOT NULL ORDER BY name";
/// Releases a lease and raises its token. The raised token belongs to no run.
pub(crate) const BREAK_LEASE: &str = "UPDATE leases SET token = token + 1, expires_ns = NULL WHERE name = $1 AND token = $2 AND \
     expires_ns IS NOT NULL";
pub(crate) const INSERT_BROKEN: &str = "INSERT INTO broken_locks (name, token, run, at_ns, operator, reason) VALUES ($1, $2, $3, $4, \
     $5, $6)";
pub(crate) const SELECT_BROKEN: &str =
    "SELECT name, at_ns, operator, reason FROM broken_locks WHERE run = $1 ORDER BY at_ns, name";
pub(crate) const DELETE_BROKEN: &str = "DELETE FROM broken_locks WHERE run = $1";

/// A token is given once. If the row exists, an earlier attempt of the statement has written it.
pub(crate) const INSERT_HOLDER: &str = "INSERT INTO lock_holders (name, token, run) VALUES ($1, $2, $3) ON CONFLICT (name, token) DO \
     NOTHING";
pub(crate) const SELECT_HOLDERS: &str = "SELECT run FROM lock_holders WHERE name = $1 AND token > $2 AND token < $3 ORDER BY token \
     LIMIT $4";
pub(crate) const DELETE_HOLDERS: &str = "DELETE FROM lock_holders WHERE run = $1";

pub(crate) const INSERT_TAKEOVER: &str = "INSERT INTO takeovers (name, token, at_ns, reason, run, from_token, from_run, from_executor, \
     from_host, from_pid, from_process) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
pub(crate) const SELECT_TAKEOVERS: &str = "SELECT name, token, at_ns, reason, from_run, from_executor, from_host, from_pid, from_process \
     FROM takeovers WHERE name = $1 ORDER BY token";

pub(crate) const INSERT_CANCEL: &str = "INSERT INTO cancel_requests (run, executor, at_ns, operator) VALUES ($1, $2, $3, $4) ON \
     CONFLICT (run, executor) DO NOTHING";
pub(crate) const SELECT_RETRY: &str = "SELECT tried_again_by FROM runs WHERE run = $1";
/// If two runs retry the same run at the same time, only the first one sets the column.
pub(crate) const SET_RETRY: &str = "UPDATE runs SET tried_again_by = $2 WHERE run = $1 AND (tried_again_by IS NULL OR \
     tried_again_by = $2)";
/// Deletes a run that never began.
pub(crate) const DELETE_UNSTARTED_RUN: &str = "DELETE FROM runs WHERE run = $1 AND NOT EXISTS (SELECT 1 FROM events WHERE events.run = \
     runs.run)";
pub(crate) const SELECT_CANCEL: &str =
    "SELECT operator FROM cancel_requests WHERE run = $1 AND executor = $2";
pub(crate) const SELECT_LAST_CANCEL: &str =
    "SELECT operator, at_ns FROM cancel_requests WHERE run = $1 ORDER BY at_ns DESC LIMIT 1";
pub(crate) const DELETE_CANCELS: &str = "DELETE FROM cancel_requests WHERE run = $1";

/// A time as stored. Times beyond the year 2262 are stored as the last one that fits.
pub(crate) fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(if at < Timestamp::UNIX_EPOCH {
        i64::MIN
    } else {
        i64::MAX
    })
}

/// An unsigned number as the signed one that a column takes.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number)
        .expect("sequence numbers and tokens count from 0 by one and never reach 2^63")
}

type RowResult<T> = Result<T, JournalError>;

pub(crate) fn header(row: &AnyRow) -> RowResult<RunHeader> {
    let description = || "the definition of a run".to_owned();
    Ok(RunHeader {
        run: run_id(&text(row, "run")?)?,
        name: text(row, "name")?,
        title: text(row, "title")?,
        sources: json(&text(row, "sources")?, description)?,
        digest: text(row, "digest")?,
        params: json(&text(row, "params")?, description)?,
        environment: column(row, "environment")?,
        operator: text(row, "operator")?,
        started: time(row, "started_ns")?,
    })
}

pub(crate) fn record(run: RunId, row: &AnyRow) -> RowResult<Record> {
    let seq = number(row, "seq")?;
    let event = json(&text(row, "event")?, || format!("record {seq} of run {run}"))?;
    Ok(Record { seq, at: time(row, "at_ns")?, event })
}

pub(crate) fn summary(row: &AnyRow) -> RowResult<RunSummary> {
    let run = run_id(&text(row, "run")?)?;
    let ended: Option<i64> = column(row, "ended_ns")?;
    Ok(RunSummary {
        run,
        name: text(row, "name")?,
        title: text(row, "title")?,
        operator: text(row, "operator")?,
        status: json(&text(row, "phase")?, || format!("the phase of run {run}"))?,
        started: time(row, "started_ns")?,
        ended: ended.map(timestamp),
        took_ms: number(row, "took_ms")?,
        retried_by: retried_by(row)?,
    })
}

/// The run that retries a run.
pub(crate) fn retried_by(row: &AnyRow) -> RowResult<Option<RunId>> {
    let later: Option<String> = column(row, "tried_again_by")?;
    later.map(|later| run_id(&later)).transpose()
}

pub(crate) fn lease(row: &AnyRow) -> RowResult<StoredLease> {
    let expires: Option<i64> = column(row, "expires_ns")?;
    let holder = holder(row, ["run", "executor", "host", "pid", "process"])?;
    Ok(StoredLease { token: number(row, "token")?, holder, expires: expires.map(timestamp) })
}

pub(crate) fn takeover(row: &AnyRow) -> RowResult<Takeover> {
    let reason = text(row, "reason")?;
    let reason =
        TakeoverReason::ALL.iter().find(|(_, name)| *name == reason).map(|(reason, _)| *reason);
    Ok(Takeover {
        name: text(row, "name")?,
        token: number(row, "token")?,
        at: time(row, "at_ns")?,
        reason: reason.ok_or_else(|| not_understood("the reason of a takeover"))?,
        from: holder(row, ["from_run", "from_executor", "from_host", "from_pid", "from_process"])?,
    })
}

fn holder(row: &AnyRow, [run, executor, host, pid, process]: [&str; 5]) -> RowResult<Holder> {
    let process = Some(text(row, process)?).filter(|process| !process.is_empty());
    Ok(Holder {
        run: run_id(&text(row, run)?)?,
        executor: Uuid::try_parse(&text(row, executor)?)
            .map_err(|_| not_understood("the holder of a lease"))?,
        host: text(row, host)?,
        pid: u32::try_from(number(row, pid)?)
            .map_err(|_| not_understood("the process of a lease"))?,
        process: process
            .map(|process| json(&process, || "the process of a lease".to_owned()))
            .transpose()?,
    })
}

pub(crate) fn run_id(text: &str) -> RowResult<RunId> {
    RunId::parse(text).ok_or_else(|| not_understood("the id of a run"))
}

pub(crate) fn text(row: &AnyRow, name: &str) -> RowResult<String> {
    column(row, name)
}

pub(crate) fn number(row: &AnyRow, name: &str) -> RowResult<u64> {
    let number: i64 = column(row, name)?;
    u64::try_from(number).map_err(|_| not_understood(&format!("a negative `{name}`")))
}

pub(crate) fn time(row: &AnyRow, name: &str) -> RowResult<Timestamp> {
    column(row, name).map(timestamp)
}

fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into())
        .expect("64 bits of nanoseconds end in 2262, timestamps in 9999")
}

fn column<'r, T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>>(
    row: &'r AnyRow,
    name: &str,
) -> RowResult<T> {
    row.try_get(name).map_err(|_| not_understood(&format!("the column `{name}`")))
}

fn json<T: serde::de::DeserializeOwned>(text: &str, what: impl FnOnce() -> String) -> RowResult<T> {
    from_str(text)
        .map_err(|source| JournalError::NotUnderstood { what: what(), source: Some(source) })
}

fn not_understood(what: &str) -> JournalError {
    JournalError::NotUnderstood { what: what.to_owned(), source: None }
}
